//! What is wrong with a log that cannot be read, in words that say which object to look at.

use std::collections::BTreeSet;

use object_store::path::Path;
use serde::Deserialize;
use serde::de::IgnoredAny;
use weir_protocol::{Error, Result};

use crate::storage::Storage;

/// What a Parquet file begins and ends with.
const PARQUET: &[u8] = b"PAR1";

/// The objects of a log, by what they are for.
#[derive(Debug, Default)]
struct Log {
    commits: BTreeSet<i64>,
    /// Version and object.
    checkpoints: Vec<(i64, Path)>,
    pointer: Option<Path>,
}

#[derive(Deserialize)]
struct Pointer {
    version: i64,
}

/// Finds what keeps the newest version of a table, or the one that is wanted, from being read; none
/// where nothing is found.
pub(super) async fn find(storage: &Storage, folder: &Path, wanted: Option<i64>) -> Result<Option<Error>> {
    let log = read(storage, folder).await?;
    let Some(newest) = log.commits.last().copied() else {
        return Ok(None);
    };
    let wanted = wanted.unwrap_or(newest).min(newest);
    if let Some(error) = bad_pointer(storage, folder, &log).await? {
        return Ok(Some(error));
    }
    let usable = log.checkpoints.iter().filter(|(version, _)| *version <= wanted);
    let newest_checkpoint = usable.map(|(version, _)| *version).max();
    for (version, path) in &log.checkpoints {
        if Some(*version) == newest_checkpoint && !is_parquet(storage, path).await? {
            return Ok(Some(bad_checkpoint(folder, *version, path, &log)));
        }
    }
    for version in newest_checkpoint.map_or(0, |version| version + 1)..=wanted {
        if !log.commits.contains(&version) {
            return Ok(Some(missing(folder, version, newest, newest_checkpoint)));
        }
        let path = commit(folder, version);
        if let Some(line) = bad_line(&storage.get(&path).await?) {
            return Ok(Some(bad_commit(folder, version, newest, &path, line)));
        }
    }
    Ok(None)
}

async fn read(storage: &Storage, folder: &Path) -> Result<Log> {
    let mut log = Log::default();
    for object in storage.list(&folder.clone().join("_delta_log")).await? {
        let path = object.location;
        let Some(name) = path.filename() else { continue };
        if name == "_last_checkpoint" {
            log.pointer = Some(path);
            continue;
        }
        let Some((number, rest)) = name.split_once('.') else {
            continue;
        };
        let Ok(version) = number.parse::<i64>() else {
            continue;
        };
        if rest == "json" {
            log.commits.insert(version);
        } else if rest.starts_with("checkpoint") && rest.ends_with("parquet") {
            log.checkpoints.push((version, path));
        }
    }
    Ok(log)
}

fn commit(folder: &Path, version: i64) -> Path {
    folder
        .clone()
        .join("_delta_log")
        .join(format!("{version:020}.json"))
}

async fn is_parquet(storage: &Storage, path: &Path) -> Result<bool> {
    let bytes = storage.get(path).await?;
    Ok(bytes.len() > 2 * PARQUET.len() && bytes.starts_with(PARQUET) && bytes.ends_with(PARQUET))
}

/// The first line that is no JSON object.
fn bad_line(bytes: &[u8]) -> Option<usize> {
    let is_blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
    if is_blank(bytes) {
        return Some(1);
    }
    let mut lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let bad = lines.find(|(_, line)| {
        let is_object = line.trim_ascii_start().starts_with(b"{");
        let is_action = is_object && serde_json::from_slice::<IgnoredAny>(line).is_ok();
        !is_action && !is_blank(line)
    });
    bad.map(|(index, _)| index + 1)
}

fn name(folder: &Path) -> &str {
    folder.filename().unwrap_or_default()
}

/// The way out where the log itself cannot be mended.
const ANEW: &str = "put the object back from a copy of the lake, or move the table's folder away and make a Silver table \
                    anew from Bronze with `weir lake rebuild`";

fn missing(folder: &Path, version: i64, newest: i64, checkpoint: Option<i64>) -> Error {
    let error = Error::destination(format!(
        "version {version} of table '{}' is missing from its log: no version from {version} to {newest} can be read",
        name(folder)
    ))
    .with("object", commit(folder, version))
    .hint(ANEW);
    match checkpoint {
        Some(checkpoint) => error.with("newest checkpoint", checkpoint),
        None => error,
    }
}

fn bad_commit(folder: &Path, version: i64, newest: i64, path: &Path, line: usize) -> Error {
    Error::destination(format!(
        "version {version} of table '{}' is damaged in its log: no version from {version} to {newest} can be read",
        name(folder)
    ))
    .with("object", path)
    .with("line", line)
    .hint(ANEW)
}

fn bad_checkpoint(folder: &Path, version: i64, path: &Path, log: &Log) -> Error {
    let error = Error::destination(format!(
        "the checkpoint of version {version} in the log of table '{}' is damaged",
        name(folder)
    ))
    .with("object", path);
    let last = log.commits.last().copied().unwrap_or(version);
    if (0..=last).all(|version| log.commits.contains(&version)) {
        error.hint(
            "delete that object and the log's _last_checkpoint: every version is still there without them",
        )
    } else {
        error.hint(ANEW)
    }
}

/// A pointer to a checkpoint that is not there, or none at all.
async fn bad_pointer(storage: &Storage, folder: &Path, log: &Log) -> Result<Option<Error>> {
    let Some(path) = &log.pointer else {
        return Ok(None);
    };
    let pointer = serde_json::from_slice::<Pointer>(&storage.get(path).await?).ok();
    let points = |pointer: &Pointer| {
        log.checkpoints
            .iter()
            .any(|(version, _)| *version == pointer.version)
    };
    if pointer.as_ref().is_some_and(points) {
        return Ok(None);
    }
    let what = match pointer {
        Some(pointer) => format!(
            "names a checkpoint of version {}, which is missing",
            pointer.version
        ),
        None => "is unreadable".to_owned(),
    };
    Ok(Some(
        Error::destination(format!(
            "_last_checkpoint in the log of table '{}' {what}",
            name(folder)
        ))
        .with("object", path)
        .hint("delete that object: the log is then looked through for the newest checkpoint"),
    ))
}
