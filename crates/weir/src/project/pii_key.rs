//! The key under which personal fields are hashed.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use uuid::Uuid;
use weir_protocol::{Error, Result, Secret};

use super::Project;
use crate::errors;

const KEY_CHARS_MIN: usize = 32;

impl Project {
    /// The project's key: from the setting, else from its file, which is made where there is none.
    pub(crate) fn pii_key(&self, setting: Option<&str>) -> Result<Secret> {
        let path = self.path(&self.file.pii_key);
        let key = match setting {
            Some(key) => Secret::new(key),
            None => read_or_make(&path)?,
        };
        if key.expose().len() < KEY_CHARS_MIN {
            return Err(Error::spec(format!(
                "the key of hashed personal fields is shorter than {KEY_CHARS_MIN} characters"
            ))
            .with("file", path.display())
            .hint(
                "restore the key file from a backup, or delete it to get a new one (all hashes change then)",
            ));
        }
        Ok(key)
    }
}

fn read_or_make(path: &Path) -> Result<Secret> {
    match std::fs::read_to_string(path) {
        Ok(text) => return Ok(Secret::new(text.trim())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(errors::file("read", path, error)),
    }
    match make(path) {
        Ok(key) => Ok(key),
        // Another process made it first.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let text = std::fs::read_to_string(path).map_err(|error| errors::file("read", path, error))?;
            Ok(Secret::new(text.trim()))
        }
        Err(error) => Err(errors::file("write", path, error)),
    }
}

/// Writes a new key that only its owner may read, complete or not at all.
fn make(path: &Path) -> std::io::Result<Secret> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let key = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let draft = path.with_extension(format!("{}.new", Uuid::new_v4().simple()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(key.as_bytes()).and_then(|()| file.sync_all())?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    linked.map(|()| Secret::new(key))
}
