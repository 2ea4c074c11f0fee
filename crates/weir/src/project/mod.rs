//! A project folder: `weir.yaml`, `connections/`, `connectors/`, `bundles/`, `models/`.

mod alerts;
mod bundles;
mod connections;
mod draft;
mod file;
mod files;
#[cfg(test)]
mod guides;
mod key_file;
mod pii_key;
mod schedules;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weir_protocol::{Error, Result, Secret};

pub(crate) use alerts::{ChannelFile, EmailFile, MailTls};
pub(crate) use bundles::BundleFile;
pub(crate) use draft::{credential_names, draft_connection};
pub(crate) use file::ProjectFile;
pub(crate) use files::folder_files;
pub(crate) use key_file::{KeyFile, replace as replace_key};
pub(crate) use schedules::check_schedule;
pub(crate) use variables::{Environment, substitute};

use crate::errors;

/// The file that makes a folder a project.
pub(crate) const PROJECT_FILE: &str = "weir.yaml";
/// Folder of what weir keeps for itself; not for git.
pub(crate) const OWN_FOLDER: &str = ".weir";

#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// Absolute path of the folder.
    pub(crate) root: PathBuf,
    pub(crate) file: ProjectFile,
}

impl Project {
    /// Finds the project in `start` or the nearest folder above it.
    pub(crate) fn find(start: &Path, environment: Environment<'_>) -> Result<Self> {
        let absolute = std::path::absolute(start).map_err(|error| errors::file("find", start, error))?;
        let root = absolute
            .ancestors()
            .find(|folder| folder.join(PROJECT_FILE).is_file())
            .ok_or_else(|| {
                Error::spec(format!("there is no {PROJECT_FILE} here or in a folder above"))
                    .with("folder", absolute.display())
                    .hint("`weir init` makes a project here; --project names another folder")
            })?;
        Self::open(root, environment)
    }

    fn open(root: &Path, environment: Environment<'_>) -> Result<Self> {
        let path = root.join(PROJECT_FILE);
        let text = read(&path)?;
        let file = substitute(Path::new(PROJECT_FILE), &text, environment)?.parse(ProjectFile::parse)?;
        Ok(Self {
            root: root.to_owned(),
            file,
        })
    }

    /// A path of the project file: relative ones begin at the project's folder.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn connector_folder(&self) -> PathBuf {
        self.root.join("connectors")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path(&self.file.store)
    }

    /// A file that weir keeps for itself: beside the store's own file, wherever the store is.
    pub(crate) fn own_path(&self, name: &str) -> PathBuf {
        let store = self.store();
        store
            .parent()
            .map_or_else(|| self.root.join(name), |folder| folder.join(name))
    }

    /// A key that weir keeps for itself, made where there is none.
    pub(crate) fn own_key(&self, name: &str, generate: impl FnOnce() -> Result<Secret>) -> Result<KeyFile> {
        key_file::read_or_make(&self.own_path(name), generate)
    }

    pub(crate) fn own_key_if_any(&self, name: &str) -> Result<Option<Secret>> {
        key_file::read(&self.own_path(name))
    }

    /// Where the lake lies: an absolute path, or a URL as it is.
    pub(crate) fn lake_location(&self) -> String {
        let location = &self.file.lake.location;
        if location.contains("://") {
            location.clone()
        } else {
            self.path(Path::new(location)).display().to_string()
        }
    }

    pub(crate) fn lake_options(&self) -> BTreeMap<String, String> {
        self.file.lake.options.clone()
    }

    /// `models/**/*.sql`: path and text.
    pub(crate) fn models(&self) -> Result<Vec<(PathBuf, String)>> {
        let mut files = Vec::new();
        walk(&self.root.join("models"), &mut files)?;
        files.retain(|path| path.extension().is_some_and(|ending| ending == "sql"));
        files.sort();
        files
            .into_iter()
            .map(|path| {
                let text = read(&path)?;
                Ok((self.shown(&path), text))
            })
            .collect()
    }

    /// `events/<family>/<version>.json`: family, version and path, versions of a family in order.
    pub(crate) fn event_schemas(&self) -> Result<Vec<(String, u32, PathBuf)>> {
        let mut files = Vec::new();
        walk(&self.root.join("events"), &mut files)?;
        let mut found: Vec<(String, u32, PathBuf)> = files
            .into_iter()
            .filter_map(|path| {
                let version = path.file_stem()?.to_str()?.parse().ok()?;
                let family = path.parent()?.file_name()?.to_str()?.to_owned();
                let is_json = path.extension().is_some_and(|ending| ending == "json");
                is_json.then_some((family, version, path))
            })
            .collect();
        found.sort();
        Ok(found)
    }

    /// A path as messages show it: from the project's folder on.
    fn shown(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| errors::file("read", path, error))
}

/// All files below a folder; a folder that does not exist has none.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(errors::file("list", folder, error)),
    };
    for entry in entries {
        let path = entry.map_err(|error| errors::file("list", folder, error))?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
