//! The connectors there are: those that the binary carries, overlaid by those in folders on disk.

mod connector;
mod origin;
mod templates;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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

/// Connectors by key. A broken one does not hide the others: it is listed under [`Catalog::problems`]
/// and refused when it is asked for.
#[derive(Debug, Default)]
pub struct Catalog {
    connectors: BTreeMap<String, Connector>,
    problems: Vec<Problem>,
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
                catalog.remove(&key);
                catalog.add(&key, Origin::Folder(path));
            }
        }
        Ok(catalog)
    }

    pub fn list(&self) -> impl Iterator<Item = &Connector> {
        self.connectors.values()
    }

    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub fn get(&self, key: &str) -> Result<&Connector> {
        if let Some(connector) = self.connectors.get(key) {
            return Ok(connector);
        }
        if let Some(problem) = self.problems.iter().find(|problem| problem.connector == key) {
            return Err(problem.restate());
        }
        let keys: Vec<&str> = self.connectors.keys().map(String::as_str).collect();
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
        match Connector::load(key, origin) {
            Ok(connector) => {
                self.connectors.insert(key.to_owned(), connector);
            }
            Err(errors) => self.problems.extend(errors.into_iter().map(|error| Problem {
                connector: key.to_owned(),
                error,
            })),
        }
    }

    fn remove(&mut self, key: &str) {
        self.connectors.remove(key);
        self.problems.retain(|problem| problem.connector != key);
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
