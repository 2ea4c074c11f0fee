//! What a new version of a connector breaks, and by how much its number has to rise for it.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_protocol::spec::{ActionSpec, ConnectorSpec, StreamSpec};
use weir_protocol::{Error, ErrorKind, Result};

/// How far a change reaches: what part of the version has to rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Patch,
    Minor,
    /// Tables, keys or callers that were right before are not any more.
    Major,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Patch => "patch",
            Self::Minor => "minor",
            Self::Major => "major",
        })
    }
}

/// One difference between two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    pub level: Level,
    /// As in `stream issues`.
    pub place: String,
    pub reason: String,
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, place: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Finding {
            level,
            place: place.into(),
            reason: reason.into(),
        });
    }
}

/// Every difference that somebody could notice.
pub fn compare(old: &ConnectorSpec, new: &ConnectorSpec) -> Vec<Finding> {
    let mut found = Findings(Vec::new());
    for before in &old.streams {
        let place = format!("stream {}", before.name);
        match new.streams.iter().find(|stream| stream.name == before.name) {
            Some(after) => stream(&mut found, &place, before, after),
            None => found.add(Level::Major, place, "it is removed"),
        }
    }
    for after in &new.streams {
        if !old.streams.iter().any(|stream| stream.name == after.name) {
            found.add(Level::Minor, format!("stream {}", after.name), "it is new");
        }
    }
    settings(&mut found, old.config.as_ref(), new.config.as_ref());
    let methods = |spec: &ConnectorSpec| -> BTreeSet<String> {
        spec.auth.iter().map(|auth| auth.method().to_owned()).collect()
    };
    names(&mut found, "auth method", &methods(old), &methods(new));
    let hosts = |spec: &ConnectorSpec| -> BTreeSet<String> { spec.hosts.iter().cloned().collect() };
    for host in hosts(new).difference(&hosts(old)) {
        found.add(Level::Minor, "hosts", format!("requests may now reach {host}"));
    }
    for before in &old.actions {
        let place = format!("action {}", before.name);
        match new.actions.iter().find(|action| action.name == before.name) {
            Some(after) => action(&mut found, &place, before, after),
            None => found.add(Level::Major, place, "it is removed"),
        }
    }
    for after in &new.actions {
        if !old.actions.iter().any(|action| action.name == after.name) {
            found.add(Level::Minor, format!("action {}", after.name), "it is new");
        }
    }
    found.0
}

fn stream(found: &mut Findings, place: &str, old: &StreamSpec, new: &StreamSpec) {
    if old.primary_key != new.primary_key {
        let reason = format!(
            "its key changes from ({}) to ({})",
            old.primary_key.join(", "),
            new.primary_key.join(", ")
        );
        found.add(Level::Major, place, reason);
    }
    let cursor = |stream: &StreamSpec| stream.cursor.as_ref().map(|cursor| cursor.field.clone());
    match (cursor(old), cursor(new)) {
        (Some(before), Some(after)) if before != after => {
            found.add(
                Level::Major,
                place,
                format!("its cursor changes from {before} to {after}"),
            );
        }
        // The state holds values as they were written: read otherwise, it means another moment, or nothing.
        (Some(_), Some(_)) => cursor_format(found, place, old, new),
        (Some(before), None) => found.add(Level::Major, place, format!("its cursor {before} is removed")),
        (None, Some(after)) => found.add(Level::Minor, place, format!("it gets the cursor {after}")),
        _ => {}
    }
    if old.entity() != new.entity() {
        let reason = format!(
            "its table's entity changes from {} to {}",
            old.entity(),
            new.entity()
        );
        found.add(Level::Major, place, reason);
    }
    if old.default_mode() != new.default_mode() {
        let reason = format!(
            "its mode changes from {} to {}",
            old.default_mode(),
            new.default_mode()
        );
        found.add(Level::Major, place, reason);
    }
    if old.pii != new.pii {
        found.add(Level::Major, place, "what happens to personal fields changes");
    }
    let tables = |stream: &StreamSpec| -> BTreeSet<String> { stream.explode.iter().cloned().collect() };
    for gone in tables(old).difference(&tables(new)) {
        found.add(
            Level::Major,
            place,
            format!("the child table of {gone} is removed"),
        );
    }
    for added in tables(new).difference(&tables(old)) {
        found.add(Level::Minor, place, format!("{added} gets a child table"));
    }
    fields(found, place, old.schema.as_ref(), new.schema.as_ref());
}

/// How the cursor's values are written. Further formats behind those there are change nothing of what is stored.
fn cursor_format(found: &mut Findings, place: &str, old: &StreamSpec, new: &StreamSpec) {
    let formats = |stream: &StreamSpec| -> Vec<String> {
        let cursor = stream.cursor.iter();
        cursor
            .flat_map(|cursor| cursor.format.iter().map(ToOwned::to_owned))
            .collect()
    };
    let (before, after) = (formats(old), formats(new));
    if before == after {
        return;
    }
    if after.starts_with(&before) {
        found.add(Level::Minor, place, "its cursor is read in further formats");
        return;
    }
    let reason = format!(
        "the format of its cursor changes from {} to {}",
        before.join(" or "),
        after.join(" or ")
    );
    found.add(Level::Major, place, reason);
}

/// Fields of the declared schemas. A stream without one is typed by its data, which says nothing here.
fn fields(found: &mut Findings, place: &str, old: Option<&Value>, new: Option<&Value>) {
    let (Some(old), Some(new)) = (old, new) else {
        return;
    };
    let empty = serde_json::Map::new();
    let properties = |schema: &Value| schema["properties"].as_object().unwrap_or(&empty).clone();
    let (before, after) = (properties(old), properties(new));
    for (name, was) in &before {
        match after.get(name) {
            None => found.add(Level::Major, place, format!("field {name} is removed")),
            Some(is) => {
                let (was_types, is_types) = (types(was), types(is));
                if was_types == is_types || was_types.is_empty() || is_types.is_empty() {
                    fields(found, &format!("{place}, {name}"), Some(was), Some(is));
                } else if widens(&was_types, &is_types) {
                    found.add(Level::Minor, place, format!("the type of {name} becomes wider"));
                } else {
                    let reason = format!(
                        "the type of {name} changes from {} to {}",
                        joined(&was_types),
                        joined(&is_types)
                    );
                    found.add(Level::Major, place, reason);
                }
            }
        }
    }
    for name in after.keys().filter(|name| !before.contains_key(*name)) {
        found.add(Level::Minor, place, format!("field {name} is new"));
    }
}

fn types(schema: &Value) -> BTreeSet<String> {
    let words = match &schema["type"] {
        Value::String(word) => vec![word.clone()],
        Value::Array(words) => words
            .iter()
            .filter_map(|word| word.as_str().map(ToOwned::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    let format = schema["format"].as_str();
    words
        .into_iter()
        .map(|word| match format {
            Some(format) if word == "string" => format!("string ({format})"),
            _ => word,
        })
        .collect()
}

fn joined(types: &BTreeSet<String>) -> String {
    types.iter().cloned().collect::<Vec<_>>().join(" or ")
}

/// Whether every value of before is one of after, read the same: whole numbers as numbers, dates as times.
fn widens(before: &BTreeSet<String>, after: &BTreeSet<String>) -> bool {
    before.iter().all(|word| {
        after.contains(word)
            || (word == "integer" && after.contains("number"))
            || (word == "string (date)" && after.contains("string (date-time)"))
    })
}

fn settings(found: &mut Findings, old: Option<&Value>, new: Option<&Value>) {
    let list = |schema: Option<&Value>| -> BTreeSet<String> {
        let required = schema.and_then(|schema| schema["required"].as_array());
        let words = required.into_iter().flatten().filter_map(Value::as_str);
        words.map(ToOwned::to_owned).collect()
    };
    for name in list(new).difference(&list(old)) {
        found.add(Level::Major, "settings", format!("{name} is required now"));
    }
    let keys = |schema: Option<&Value>| -> BTreeSet<String> {
        let properties = schema.and_then(|schema| schema["properties"].as_object());
        properties
            .into_iter()
            .flat_map(|all| all.keys().cloned())
            .collect()
    };
    names(found, "setting", &keys(old), &keys(new));
}

fn names(found: &mut Findings, what: &str, old: &BTreeSet<String>, new: &BTreeSet<String>) {
    for gone in old.difference(new) {
        found.add(Level::Major, format!("{what} {gone}"), "it is removed");
    }
    for added in new.difference(old) {
        found.add(Level::Minor, format!("{what} {added}"), "it is new");
    }
}

fn action(found: &mut Findings, place: &str, old: &ActionSpec, new: &ActionSpec) {
    let (old, new) = (serde_json::json!(old), serde_json::json!(new));
    let required = |action: &Value| -> BTreeSet<String> {
        let words = action["input"]["required"].as_array().into_iter().flatten();
        words
            .filter_map(|word| word.as_str().map(ToOwned::to_owned))
            .collect()
    };
    for name in required(&new).difference(&required(&old)) {
        found.add(Level::Major, place, format!("its input needs {name} now"));
    }
    fields(found, place, old.get("input"), new.get("input"));
}

/// Three numbers.
pub(super) fn parse(version: &str) -> Result<[u32; 3]> {
    let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    let parts = parts.and_then(|parts| <[u32; 3]>::try_from(parts).ok());
    parts.ok_or_else(|| {
        Error::spec(format!("version '{version}' is not semantic")).hint("write three numbers, as in 1.0.0")
    })
}

/// Refuses a version that does not rise as far as its changes reach. Before 1.0.0 a minor is as much as a
/// major, as semantic versioning has it.
pub(super) fn check(old: (&str, &ConnectorSpec), new: (&str, &ConnectorSpec)) -> Result<Vec<Finding>> {
    let findings = compare(old.1, new.1);
    let (before, after) = (parse(old.0)?, parse(new.0)?);
    let rises = if after <= before {
        None
    } else if after[0] > before[0] || (before[0] == 0 && after[1] > before[1]) {
        Some(Level::Major)
    } else if after[1] > before[1] {
        Some(Level::Minor)
    } else {
        Some(Level::Patch)
    };
    let needs = findings
        .iter()
        .map(|finding| finding.level)
        .max()
        .unwrap_or(Level::Patch);
    if rises >= Some(needs) {
        return Ok(findings);
    }
    let reasons: Vec<String> = findings
        .iter()
        .filter(|finding| finding.level == needs)
        .map(|finding| format!("{}: {}", finding.place, finding.reason))
        .collect();
    let reasons = if reasons.is_empty() {
        "the version before is as new".to_owned()
    } else {
        reasons.join("; ")
    };
    Err(Error::new(
        ErrorKind::Gate,
        format!(
            "version {} after {} is no {needs} version, but {reasons}",
            new.0, old.0
        ),
    )
    .with("needs", needs)
    .hint(format!("raise the version to {}", next(before, needs))))
}

fn next([major, minor, patch]: [u32; 3], level: Level) -> String {
    match level {
        Level::Major if major == 0 => format!("0.{}.0", minor + 1),
        Level::Major => format!("{}.0.0", major + 1),
        Level::Minor => format!("{major}.{}.0", minor + 1),
        Level::Patch => format!("{major}.{minor}.{}", patch + 1),
    }
}
