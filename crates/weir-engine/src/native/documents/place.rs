//! A file of the connection's folder, by its path below it.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result};

use super::FILE_BYTES_MAX;
use crate::native::files::place::{Pattern, compile, is_hidden, split_glob};

/// The local folder of a connection, and which files below it are meant.
pub(super) struct Folder {
    root: PathBuf,
    pattern: Option<Pattern>,
}

/// None where the connection names no folder, or one elsewhere.
pub(super) fn folder(connection: &ConnectionSpec) -> Result<Option<Folder>> {
    let text = |name: &str| connection.config.get(name).and_then(Value::as_str);
    let Some(path) = text("path") else {
        return Ok(None);
    };
    if path.contains("://") && !path.starts_with("file://") {
        return Ok(None);
    }
    let (root, within) = split_glob(path.strip_prefix("file://").unwrap_or(path));
    Ok(Some(Folder {
        root: PathBuf::from(if root.is_empty() { "." } else { root }),
        pattern: within.or(text("pattern")).map(compile).transpose()?,
    }))
}

/// The content of a file below the folder. A path that leads out of it is refused, links included, and one that the
/// stream would not read.
pub(super) async fn read(folder: Option<&Folder>, path: &str) -> Result<Vec<u8>> {
    let Some(folder) = folder else {
        return Err(
            Error::usage("this connection has no folder on this machine, so a path says nothing")
                .hint("send the file itself, or set config.path of the connection"),
        );
    };
    let is_below = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !is_below {
        return Err(outside(path));
    }
    let name = path.strip_prefix("./").unwrap_or(path);
    let is_meant = folder
        .pattern
        .as_ref()
        .is_none_or(|pattern| pattern.matches(name));
    if is_hidden(name) || !is_meant {
        return Err(Error::usage(format!(
            "'{path}' is not one of the files that the connection reads"
        ))
        .hint("check config.path and config.pattern; names that begin with . or _ are left out"));
    }
    let missing = |error: std::io::Error| {
        Error::not_found(format!("there is no file '{path}' in the connection's folder"))
            .caused_by(error)
            .hint("write the path as it is below config.path, as in 2024/lease.pdf")
    };
    let root = tokio::fs::canonicalize(&folder.root).await.map_err(|error| {
        Error::spec("the connection's folder cannot be opened")
            .with("path", folder.root.display())
            .caused_by(error)
            .hint("check config.path")
    })?;
    let file = tokio::fs::canonicalize(root.join(path)).await.map_err(missing)?;
    if !file.starts_with(&root) {
        return Err(outside(path));
    }
    // Opening a pipe would wait for whoever writes into it.
    let found = tokio::fs::metadata(&file).await.map_err(missing)?;
    if !found.is_file() {
        return Err(Error::usage(format!("'{path}' is no file")).hint("name a file below config.path"));
    }
    let mut content = Vec::new();
    let file = tokio::fs::File::open(&file).await.map_err(missing)?;
    let most = FILE_BYTES_MAX as u64 + 1;
    file.take(most).read_to_end(&mut content).await.map_err(missing)?;
    if content.len() > FILE_BYTES_MAX {
        return Err(too_large(found.len()));
    }
    Ok(content)
}

pub(super) fn too_large(bytes: u64) -> Error {
    Error::limit("the document is too large")
        .with("bytes", bytes)
        .with("limit", FILE_BYTES_MAX)
        .hint("split the document, or give only the part that matters")
}

fn outside(path: &str) -> Error {
    Error::usage(format!("'{path}' leads out of the connection's folder"))
        .hint("write a path below config.path, as in 2024/lease.pdf")
}
