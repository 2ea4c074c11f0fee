//! Which files make up a project, what they are, and how two sets of them differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use weir_protocol::{Error, Result};

use super::diff::{Line, lines};

/// Path from the project's folder on, with `/` between its parts, and text.
pub type Files = BTreeMap<String, String>;

const FILES_MAX: usize = 5000;
const BYTES_MAX: usize = 16 << 20;

/// What a file is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// `weir.yaml`, with all its sections.
    Project,
    Connection,
    Connector,
    Bundle,
    Model,
    Metric,
    Check,
    Event,
    Policy,
}

/// Folders of a project, and what their files are.
pub const FOLDERS: [(&str, ObjectKind); 8] = [
    ("connections", ObjectKind::Connection),
    ("connectors", ObjectKind::Connector),
    ("bundles", ObjectKind::Bundle),
    ("models", ObjectKind::Model),
    ("metrics", ObjectKind::Metric),
    ("checks", ObjectKind::Check),
    ("events", ObjectKind::Event),
    ("policies", ObjectKind::Policy),
];

/// The file that makes a folder a project.
pub const PROJECT_FILE: &str = "weir.yaml";

impl ObjectKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Connection => "connection",
            Self::Connector => "connector",
            Self::Bundle => "bundle",
            Self::Model => "model",
            Self::Metric => "metric",
            Self::Check => "check",
            Self::Event => "event",
            Self::Policy => "policy",
        }
    }

    /// What a path is a part of; none where it is no part of a project.
    pub fn of(path: &str) -> Option<(Self, String)> {
        if path == PROJECT_FILE {
            return Some((Self::Project, PROJECT_FILE.to_owned()));
        }
        let (folder, below) = path.split_once('/')?;
        let (_, kind) = FOLDERS.into_iter().find(|(name, _)| *name == folder)?;
        let name = match kind {
            Self::Connector => below.split('/').next().unwrap_or(below),
            Self::Connection | Self::Bundle | Self::Model => {
                let file = below.rsplit('/').next().unwrap_or(below);
                file.rsplit_once('.').map_or(file, |(stem, _)| stem)
            }
            _ => below.rsplit_once('.').map_or(below, |(stem, _)| stem),
        };
        Some((kind, name.to_owned()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Added,
    Changed,
    Removed,
}

/// How one file differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileChange {
    pub path: String,
    pub change: ChangeKind,
    /// With three lines around each change.
    pub lines: Vec<Line>,
}

/// How one object differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    pub kind: ObjectKind,
    pub name: String,
    pub change: ChangeKind,
    pub files: Vec<FileChange>,
}

/// What has to be done to `applied` so that it is `wanted`, in the order of kinds and names.
pub fn difference(applied: &Files, wanted: &Files) -> Vec<Change> {
    let mut objects: BTreeMap<(ObjectKind, String), Vec<FileChange>> = BTreeMap::new();
    let mut stays: BTreeSet<(ObjectKind, String)> = BTreeSet::new();
    let paths: BTreeSet<&String> = applied.keys().chain(wanted.keys()).collect();
    for path in paths {
        let Some(object) = ObjectKind::of(path) else {
            continue;
        };
        let (before, after) = (applied.get(path), wanted.get(path));
        let change = match (before, after) {
            (Some(before), Some(after)) if before == after => {
                stays.insert(object);
                continue;
            }
            (Some(_), Some(_)) => ChangeKind::Changed,
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
        };
        let text = |file: Option<&String>| file.map_or("", String::as_str).to_owned();
        objects.entry(object).or_default().push(FileChange {
            path: path.clone(),
            change,
            lines: lines(&text(before), &text(after)),
        });
    }
    let mut changes = Vec::new();
    for (object, files) in objects {
        let all = |kind| files.iter().all(|file| file.change == kind);
        let change = match stays.contains(&object) {
            false if all(ChangeKind::Added) => ChangeKind::Added,
            false if all(ChangeKind::Removed) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
        let (kind, name) = object;
        changes.push(Change {
            kind,
            name,
            change,
            files,
        });
    }
    changes
}

/// Names exactly these files.
pub fn digest(files: &Files) -> String {
    let mut digest = Sha256::new();
    for (path, text) in files {
        // Lengths first, so that no two sets of files run into the same bytes.
        digest.update((path.len() as u64).to_be_bytes());
        digest.update(path);
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    digest.finalize().iter().fold(String::new(), |mut hex, byte| {
        // A String takes everything.
        write!(hex, "{byte:02x}").unwrap_or_default();
        hex
    })
}

/// Refuses what is not a project's.
pub fn check(files: &Files) -> Result<()> {
    if !files.contains_key(PROJECT_FILE) {
        return Err(
            Error::spec(format!("the project has no {PROJECT_FILE}")).hint("`weir init` makes a project")
        );
    }
    let bytes: usize = files.values().map(String::len).sum();
    if files.len() > FILES_MAX || bytes > BYTES_MAX {
        return Err(Error::limit(format!(
            "the project has {} files with {bytes} bytes",
            files.len()
        ))
        .hint(format!(
            "keep it to {FILES_MAX} files and {BYTES_MAX} bytes: data belongs elsewhere"
        )));
    }
    for (path, text) in files {
        let is_safe = path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']));
        if ObjectKind::of(path).is_none() || !is_safe {
            return Err(Error::spec(format!("'{path}' is no part of a project"))
                .hint("docs/guides/project-as-code.md lists the folders of a project"));
        }
        if text.contains('\0') {
            return Err(Error::spec(format!("'{path}' is not a text"))
                .hint("keep pictures and archives outside of the project's folders"));
        }
    }
    Ok(())
}
