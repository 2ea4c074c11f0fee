//! Whether one version of a schema may follow another, and if not, why: which field, which rule, and
//! what to do. No I/O.
//!
//! The question behind every mode is whether a reader accepts all that a writer may write. What
//! cannot be decided counts as no. A writer writes the fields that its schema declares, and others
//! only where it says `additionalProperties: true` or gives a schema for them.

mod bounds;
mod expand;
mod objects;
mod subset;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

use expand::expand;

/// How a new version has to fit those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Anything goes.
    None,
    /// Who reads by the new version understands what was written by the one before it.
    #[default]
    Backward,
    /// The same for all versions before it.
    BackwardTransitive,
    /// Who reads by the version before it understands what is written by the new one.
    Forward,
    /// The same for all versions before it.
    ForwardTransitive,
    /// Both ways.
    Full,
    /// Both ways, for all versions before it.
    FullTransitive,
}

impl Mode {
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Backward => "backward",
            Self::BackwardTransitive => "backward_transitive",
            Self::Forward => "forward",
            Self::ForwardTransitive => "forward_transitive",
            Self::Full => "full",
            Self::FullTransitive => "full_transitive",
        }
    }

    fn is_transitive(self) -> bool {
        matches!(
            self,
            Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive
        )
    }

    fn directions(self) -> &'static [Direction] {
        match self {
            Self::None => &[],
            Self::Backward | Self::BackwardTransitive => &[Direction::Backward],
            Self::Forward | Self::ForwardTransitive => &[Direction::Forward],
            Self::Full | Self::FullTransitive => &[Direction::Backward, Direction::Forward],
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(found) = Self::ALL.into_iter().find(|mode| mode.as_str() == text) {
            return Ok(found);
        }
        let words = Self::ALL.map(Self::as_str);
        let error = Error::usage(format!("there is no compatibility '{text}'"));
        Err(match closest(text, &words) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint(format!("use one of {}", words.join(", "))),
        })
    }
}

/// Who has to understand whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Readers of the new version, data of the old one.
    Backward,
    /// Readers of the old version, data of the new one.
    Forward,
}

/// One reason why a version does not fit another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Breach {
    /// The version it does not fit.
    pub version: u32,
    pub direction: Direction,
    /// The field, as in `$.customer.name`; elements of lists are `[]`.
    pub field: String,
    /// The keyword that says no: `required`, `type`, `enum`, …
    pub rule: String,
    pub message: String,
    pub next: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}): {}; {}",
            self.field, self.rule, self.message, self.next
        )
    }
}

/// Everything that keeps `new` from following `versions` (oldest first), in this mode.
pub fn check(mode: Mode, versions: &[(u32, Value)], new: &Value) -> Vec<Breach> {
    let new = expand(new);
    let skipped = if mode.is_transitive() {
        0
    } else {
        versions.len().saturating_sub(1)
    };
    let mut breaches = Vec::new();
    for (version, old) in versions.iter().skip(skipped).rev() {
        let old = expand(old);
        for direction in mode.directions() {
            let (writer, reader) = match direction {
                Direction::Backward => (&old, &new),
                Direction::Forward => (&new, &old),
            };
            let found = subset::differences(writer, reader).into_iter();
            breaches.extend(found.map(|difference| difference.told(*version, *direction)));
        }
    }
    breaches
}

/// A way in which a writer may write what a reader refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Difference {
    field: String,
    rule: &'static str,
    /// What the writer does, and what the reader wants: put together with who is which.
    writes: String,
    wants: String,
    /// What to do where the reader is the new version, and where the writer is.
    mend_reader: String,
    mend_writer: String,
}

impl Difference {
    fn told(self, version: u32, direction: Direction) -> Breach {
        let (message, next) = match direction {
            Direction::Backward => (
                format!(
                    "data of version {version} {}, and the new version {}",
                    self.writes, self.wants
                ),
                self.mend_reader,
            ),
            Direction::Forward => (
                format!(
                    "data of the new version {}, and readers of version {version} {}",
                    self.writes,
                    as_plural(&self.wants)
                ),
                self.mend_writer,
            ),
        };
        Breach {
            version,
            direction,
            field: self.field,
            rule: self.rule.to_owned(),
            message,
            next,
        }
    }
}

/// "requires it" of one reader is "require it" of several.
fn as_plural(wants: &str) -> String {
    for (one, many) in [
        ("requires", "require"),
        ("allows", "allow"),
        ("refuses", "refuse"),
        ("has", "have"),
    ] {
        if let Some(rest) = wants.strip_prefix(one) {
            return format!("{many}{rest}");
        }
    }
    wants.to_owned()
}
