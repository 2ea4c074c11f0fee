//! A file of the connection's folder, by its path below it.

use std::path::{Component, Path, PathBuf};

use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result};

use super::FILE_BYTES_MAX;

/// The local folder that a connection names; None where it names none, or one elsewhere.
pub(super) fn folder(connection: &ConnectionSpec) -> Option<PathBuf> {
    let path = connection.config.get("path")?.as_str()?;
    if path.contains("://") && !path.starts_with("file://") {
        return None;
    }
    Some(PathBuf::from(path.strip_prefix("file://").unwrap_or(path)))
}

/// The content of a file below the folder. A path that leads out of it is refused, links included.
pub(super) async fn read(folder: Option<&Path>, path: &str) -> Result<Vec<u8>> {
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
    let missing = |error: std::io::Error| {
        Error::not_found(format!("there is no file '{path}' in the connection's folder"))
            .caused_by(error)
            .hint("write the path as it is below config.path, as in 2024/lease.pdf")
    };
    let root = tokio::fs::canonicalize(folder).await.map_err(|error| {
        Error::spec("the connection's folder cannot be opened")
            .with("path", folder.display())
            .caused_by(error)
            .hint("check config.path")
    })?;
    let file = tokio::fs::canonicalize(root.join(path)).await.map_err(missing)?;
    if !file.starts_with(&root) {
        return Err(outside(path));
    }
    let size = tokio::fs::metadata(&file).await.map_err(missing)?.len();
    if size > FILE_BYTES_MAX as u64 {
        return Err(too_large(size));
    }
    tokio::fs::read(&file).await.map_err(missing)
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
