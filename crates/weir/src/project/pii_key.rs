//! The key under which personal fields are hashed.

use uuid::Uuid;
use weir_protocol::{Error, Result, Secret};

use super::{Project, key_file};

const KEY_CHARS_MIN: usize = 32;

impl Project {
    /// The project's key: from the setting, else from its file, which is made where there is none.
    pub(crate) fn pii_key(&self, setting: Option<&str>) -> Result<Secret> {
        let path = self.path(&self.file.pii_key);
        let generate = || {
            Ok(Secret::new(format!(
                "{}{}",
                Uuid::new_v4().simple(),
                Uuid::new_v4().simple()
            )))
        };
        let key = match setting {
            Some(key) => Secret::new(key),
            None => key_file::read_or_make(&path, generate)?.key,
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
