//! Removing files that no version within the retention needs.

use std::collections::BTreeSet;

use deltalake::kernel::{Action, DeletionVectorDescriptor};
use jiff::Timestamp;
use object_store::{ObjectMeta, ObjectStoreExt, path::Path};
use weir_protocol::{Error, Result};

use crate::children::ChildTable;
use crate::failpoint;
use crate::lake::{Lake, folder};
use crate::storage::failed;
use crate::table::deletion::{self, OBJECT_PREFIX};
use crate::table::{AsOf, DataFile, Table};
use crate::upsert::SPILL_FOLDER;
use crate::writer::staging;

/// What a vacuum removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Relative to the lake.
    pub paths: Vec<String>,
    pub bytes: u64,
}

impl Lake {
    /// Removes data files of a table that no version since `keep_since` refers to. Files written
    /// since then stay in any case: a writer at work may be about to commit them. So do the files
    /// of an unfinished full refresh. `keep_since` should lie further back than the longest query
    /// and the longest sync take.
    pub async fn vacuum(&self, name: &str, keep_since: Timestamp, dry_run: bool) -> Result<Vacuumed> {
        let (layer, _) = self.table(name).await?;
        let folder = folder(layer, name);
        // First what there is, then what is needed: a file that a commit takes meanwhile is seen as needed.
        let objects = self.storage.list(&folder).await?;
        let (_, table) = self.table(name).await?;
        let mut needed: BTreeSet<String> = table.files()?.into_iter().flat_map(paths).collect();
        needed.extend(removed_since(&table, keep_since).await?);
        needed.extend(staged(self, &folder).await?);
        needed.extend(left_behind(self, &table).await?);
        let mut done = Vacuumed::default();
        for object in objects {
            let Some(path) = data_path(&folder, &object) else {
                continue;
            };
            let is_old = object.last_modified.timestamp_millis() < keep_since.as_millisecond();
            if !is_old || needed.contains(&path) {
                continue;
            }
            done.bytes += object.size;
            done.paths.push(object.location.to_string());
            if !dry_run {
                failpoint::reach("lake.in_vacuum")?;
                self.storage.delete(&object.location).await?;
            }
        }
        Ok(done)
    }
}

/// The object's path from the table's folder, if it is a data file.
fn data_path(folder: &Path, object: &ObjectMeta) -> Option<String> {
    let parts: Vec<_> = object.location.prefix_match(folder)?.collect();
    let is_log = parts.iter().any(|part| part.as_ref() == "_delta_log");
    let is_spill = parts.first().is_some_and(|part| part.as_ref() == SPILL_FOLDER);
    let is_vector = object
        .location
        .filename()
        .is_some_and(|name| name.starts_with(OBJECT_PREFIX));
    let is_data = object.location.extension() == Some("parquet") || is_vector;
    if is_log || is_spill || !is_data {
        return None;
    }
    Some(Path::from_iter(parts).to_string())
}

/// What a version needs of a file: itself, and its deletion vector.
fn paths(file: DataFile) -> impl Iterator<Item = String> {
    let vector = vector(file.deletion_vector.as_ref());
    std::iter::once(file.path).chain(vector)
}

fn vector(descriptor: Option<&DeletionVectorDescriptor>) -> Option<String> {
    Some(deletion::path(descriptor?)?.to_string())
}

/// Paths that commits since then took out: the version before still needs them.
async fn removed_since(table: &Table, since: Timestamp) -> Result<Vec<String>> {
    let log = table.folder().clone().join("_delta_log");
    let mut paths = Vec::new();
    for object in table.storage().list(&log).await? {
        let is_commit = object.location.extension() == Some("json");
        if !is_commit || object.last_modified.timestamp_millis() < since.as_millisecond() {
            continue;
        }
        let store = table.storage().store();
        let entry = match store.get(&object.location).await {
            Ok(entry) => entry.bytes().await,
            Err(error) => Err(error),
        };
        let entry = entry.map_err(|error| failed("read", &object.location, error))?;
        for line in entry.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if memchr::memmem::find(line, b"\"remove\"").is_none() {
                continue;
            }
            let action: Action = serde_json::from_slice(line).map_err(|error| {
                Error::destination(format!("the log entry '{}' is damaged", object.location))
                    .hint("restore it from a backup before vacuuming")
                    .caused_by(error)
            })?;
            if let Action::Remove(remove) = action {
                paths.extend(vector(remove.deletion_vector.as_ref()));
                paths.push(remove.path);
            }
        }
    }
    Ok(paths)
}

/// Files that a child table goes back to where its parent did not follow.
async fn left_behind(lake: &Lake, table: &Table) -> Result<Vec<String>> {
    let Some(child) = ChildTable::of(table.name(), &table.properties()?) else {
        return Ok(Vec::new());
    };
    match child.goes_back_to(&lake.storage, table).await? {
        Some(before) => {
            let files = table.at(AsOf::Version(before)).await?.files()?;
            Ok(files.into_iter().flat_map(paths).collect())
        }
        None => Ok(Vec::new()),
    }
}

/// Files of full refreshes that are not finished.
async fn staged(lake: &Lake, folder: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for name in lake.storage.folders(folder).await? {
        if !staging::is_name(&name) {
            continue;
        }
        let folder = folder.clone().join(name.as_str());
        if staging::is_begun(&lake.storage, &folder).await? {
            let files = Table::open(&lake.storage, &folder).await?.files()?;
            paths.extend(files.into_iter().map(|file| format!("{name}/{}", file.path)));
        }
    }
    Ok(paths)
}
