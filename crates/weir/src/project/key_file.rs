//! Keys that weir makes for itself where there is none: files that only their owner may read.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use uuid::Uuid;
use weir_protocol::{Result, Secret};

use crate::errors;

/// The key in a file, and whether it was made just now.
pub(crate) struct KeyFile {
    pub(crate) key: Secret,
    pub(crate) is_new: bool,
}

/// Reads a key; where there is no file, makes one.
pub(super) fn read_or_make(path: &Path, generate: impl FnOnce() -> Result<Secret>) -> Result<KeyFile> {
    if let Some(key) = read(path)? {
        return Ok(KeyFile { key, is_new: false });
    }
    let key = generate()?;
    match make(path, &key) {
        Ok(()) => Ok(KeyFile { key, is_new: true }),
        // Another process made it first.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match read(path)? {
            Some(key) => Ok(KeyFile { key, is_new: false }),
            None => Err(errors::file("read", path, error)),
        },
        Err(error) => Err(errors::file("write", path, error)),
    }
}

/// None where there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Secret>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(errors::file("read", path, error)),
    }
}

/// Writes a new key, complete or not at all.
fn make(path: &Path, key: &Secret) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(format!("{}.new", Uuid::new_v4().simple()));
    write(&draft, key)?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    linked
}

/// Puts another key in the place of the one that is there, at one moment.
pub(crate) fn replace(path: &Path, key: &Secret) -> Result<()> {
    let draft = path.with_extension(format!("{}.new", Uuid::new_v4().simple()));
    write(&draft, key)
        .and_then(|()| std::fs::rename(&draft, path))
        .map_err(|error| errors::file("write", path, error))
}

fn write(path: &Path, key: &Secret) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(key.expose().as_bytes())
        .and_then(|()| file.sync_all())
}
