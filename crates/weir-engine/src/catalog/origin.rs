//! Where a connector's files lie.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_protocol::{Error, Result};

/// Path below `connectors/` and content of every file that the binary carries.
static EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/connectors.rs"));

/// Largest file of a connector that is read into memory.
const FILE_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the binary.
    Embedded,
    /// In this folder.
    Folder(PathBuf),
    /// Sent by another process: path below the connector's folder, and text.
    Carried(Arc<BTreeMap<String, String>>),
}

/// Files that a connector is not read from.
const NOT_CARRIED: [&str; 4] = ["fixtures/", "expected/", "gold/", "README.md"];

impl Origin {
    /// How messages name a file of the connector.
    pub fn place(&self, key: &str, path: &str) -> PathBuf {
        match self {
            Self::Embedded | Self::Carried(_) => Path::new(key).join(path),
            Self::Folder(folder) => folder.join(path),
        }
    }

    /// Content of a file, none where there is no such file. `path` is relative to the connector's folder.
    pub fn read(&self, key: &str, path: &str) -> Result<Option<Cow<'static, [u8]>>> {
        match self {
            Self::Embedded => {
                let wanted = format!("{key}/{path}");
                let found = EMBEDDED.iter().find(|(path, _)| *path == wanted);
                Ok(found.map(|(_, content)| Cow::Borrowed(*content)))
            }
            Self::Folder(folder) => read_file(&folder.join(path)).map(|found| found.map(Cow::Owned)),
            Self::Carried(files) => {
                let found = files.get(path);
                Ok(found.map(|text| Cow::Owned(text.clone().into_bytes())))
            }
        }
    }

    /// As [`Self::read`], for text.
    pub fn read_text(&self, key: &str, path: &str) -> Result<Option<String>> {
        let Some(content) = self.read(key, path)? else {
            return Ok(None);
        };
        let text = String::from_utf8(content.into_owned()).map_err(|error| {
            Error::spec(format!("{} is not UTF-8 text", self.place(key, path).display()))
                .caused_by(error)
                .hint("save the file as UTF-8")
        })?;
        Ok(Some(text))
    }

    /// Paths of the files below `folder`, relative to it, sorted.
    pub fn list(&self, key: &str, folder: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        match self {
            Self::Embedded => {
                let prefix = format!("{key}/{folder}/");
                found.extend(
                    EMBEDDED
                        .iter()
                        .filter_map(|(path, _)| path.strip_prefix(&prefix))
                        .map(str::to_owned),
                );
            }
            Self::Folder(root) => walk(&root.join(folder), "", &mut found)?,
            Self::Carried(files) => {
                let prefix = format!("{folder}/");
                found.extend(
                    files
                        .keys()
                        .filter_map(|path| path.strip_prefix(&prefix))
                        .map(str::to_owned),
                );
            }
        }
        found.sort();
        Ok(found)
    }

    /// Everything that reading the connector takes, to be sent to another process.
    pub fn to_carry(&self, key: &str) -> Result<BTreeMap<String, String>> {
        let paths = match self {
            Self::Embedded => {
                let prefix = format!("{key}/");
                let paths = EMBEDDED.iter().filter_map(|(path, _)| path.strip_prefix(&prefix));
                paths.map(str::to_owned).collect()
            }
            Self::Folder(root) => {
                let mut found = Vec::new();
                walk(root, "", &mut found)?;
                found
            }
            Self::Carried(files) => files.keys().cloned().collect(),
        };
        let is_needed = |path: &String| !NOT_CARRIED.iter().any(|other| path.starts_with(other));
        let mut files = BTreeMap::new();
        for path in paths.into_iter().filter(is_needed) {
            if let Some(text) = self.read_text(key, &path)? {
                files.insert(path, text);
            }
        }
        Ok(files)
    }
}

/// Keys of the embedded connectors.
pub(super) fn embedded_keys() -> Vec<String> {
    EMBEDDED
        .iter()
        .filter_map(|(path, _)| path.strip_suffix("/connector.yaml"))
        .map(str::to_owned)
        .collect()
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    let size = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(super::unreadable(path, error)),
    };
    if size > FILE_BYTES_MAX {
        return Err(Error::limit(format!(
            "{} is larger than a connector's file may be",
            path.display()
        ))
        .with("bytes", size)
        .with("bytes_max", FILE_BYTES_MAX)
        .hint("keep recorded answers small"));
    }
    std::fs::read(path)
        .map(Some)
        .map_err(|error| super::unreadable(path, error))
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(super::unreadable(folder, error)),
    };
    for entry in entries {
        let path = entry.map_err(|error| super::unreadable(folder, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let inside = format!("{prefix}{name}");
        if path.is_dir() {
            walk(&path, &format!("{inside}/"), found)?;
        } else {
            found.push(inside);
        }
    }
    Ok(())
}
