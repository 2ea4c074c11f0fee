//! The connectors there are: those that the binary carries, overlaid by those in folders on disk.

mod connector;
mod origin;
mod templates;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

pub use connector::Connector;
pub use origin::Origin;

/// Name of the file that makes a folder a connector.
pub const SPEC_FILE: &str = "connector.yaml";

/// What stands in the way of one connector.
#[derive(Debug)]
pub struct Problem {
    /// Key of the connector, as its folder is called.
    pub connector: String,
    pub error: Error,
}

/// Connectors by key, each read when it is first asked for: most commands need one of them. A broken one does not hide
/// the others: it is listed under [`Catalog::problems`] and refused when it is asked for.
#[derive(Debug, Default)]
pub struct Catalog {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    read: OnceLock<Result<Connector, Vec<Problem>>>,
}

impl Entry {
    fn read(&self, key: &str) -> Result<&Connector, &[Problem]> {
        let read = self.read.get_or_init(|| {
            Connector::load(key, self.origin.clone()).map_err(|errors| {
                let problem = |error| Problem {
                    connector: key.to_owned(),
                    error,
                };
                errors.into_iter().map(problem).collect()
            })
        });
        read.as_ref().map_err(Vec::as_slice)
    }
}

impl Catalog {
    /// Only what the binary carries.
    pub fn embedded() -> Self {
        let mut catalog = Self::default();
        for key in origin::embedded_keys() {
            catalog.add(&key, Origin::Embedded);
        }
        catalog
    }

    /// The embedded connectors overlaid by those in `folders`, each a folder of connector folders
    /// (`<project>/connectors`). A later folder overlays an earlier one; one that does not exist
    /// holds no connectors.
    pub fn open(folders: &[PathBuf]) -> Result<Self> {
        let mut catalog = Self::embedded();
        for folder in folders {
            for (key, path) in connector_folders(folder)? {
                catalog.add(&key, Origin::Folder(path));
            }
        }
        Ok(catalog)
    }

    pub fn list(&self) -> impl Iterator<Item = &Connector> {
        self.entries
            .iter()
            .filter_map(|(key, entry)| entry.read(key).ok())
    }

    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let problems = self
            .entries
            .iter()
            .filter_map(|(key, entry)| entry.read(key).err());
        problems.flatten()
    }

    pub fn get(&self, key: &str) -> Result<&Connector> {
        if let Some(entry) = self.entries.get(key) {
            return entry.read(key).map_err(|problems| match problems.first() {
                Some(problem) => problem.restate(),
                None => Error::internal("a connector without a problem is refused").hint("report it"),
            });
        }
        let keys: Vec<&str> = self.entries.keys().map(String::as_str).collect();
        let error = Error::not_found(format!("there is no connector '{key}'"));
        Err(match closest(key, &keys) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint(format!(
                "known are {}; `weir connector new {key}` makes one",
                keys.join(", ")
            )),
        })
    }

    fn add(&mut self, key: &str, origin: Origin) {
        let entry = Entry {
            origin,
            read: OnceLock::new(),
        };
        self.entries.insert(key.to_owned(), entry);
    }
}

impl Problem {
    /// The same error anew, since an error is handed out by value.
    fn restate(&self) -> Error {
        let error = Error::new(
            self.error.kind(),
            format!("connector '{}' is broken: {}", self.connector, self.error),
        );
        match self.error.next_step() {
            Some(hint) => error.hint(hint),
            None => error.hint("`weir validate` lists every problem"),
        }
    }
}

/// Folders in `folder` that hold a connector, by name.
fn connector_folders(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(unreadable(folder, error)),
    };
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|_| path.join(SPEC_FILE).is_file()) {
            found.push((name.to_owned(), path.clone()));
        }
    }
    found.sort();
    Ok(found)
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::spec(format!("cannot read {}", path.display()))
        .caused_by(error)
        .hint("check that the path exists and may be read")
}
