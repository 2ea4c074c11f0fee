//! What stands at the top of a model's file.

use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_protocol::{Error, Result, yaml};

use super::check::CheckSpec;

/// The front matter.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    pub materialize: Materialize,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub owner: Option<String>,
    /// Version of the algorithm: another one builds an incremental model anew.
    #[serde(default = "one")]
    pub version: u32,
    /// Columns that tell rows apart; an incremental model is merged by them.
    #[serde(default)]
    pub unique_key: Vec<String>,
    /// Column by which an incremental model's new rows are found in its result.
    #[serde(default)]
    pub cursor: Option<String>,
    #[serde(default)]
    pub target: Target,
    #[serde(default)]
    pub checks: Vec<CheckSpec>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Materialize {
    /// The SQL runs each time it is asked.
    View,
    /// Built as a whole.
    Table,
    /// Only new and changed rows are built, and merged by `unique_key`.
    Incremental,
}

impl Materialize {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Table => "table",
            Self::Incremental => "incremental",
        }
    }
}

/// Where the model is built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    #[default]
    Lake,
}

fn one() -> u32 {
    1
}

const OPENING: &str = "/* weir";

/// Front matter and SQL. The SQL keeps its line numbers.
pub(super) fn split(file: &Path, text: &str) -> Result<(ModelSpec, String)> {
    let missing = || {
        Error::spec(format!("{}:1: the model has no front matter", file.display()))
            .hint("begin the file with /* weir, then lines such as `materialize: table`, then */")
    };
    let begin = text.find(OPENING).ok_or_else(missing)?;
    let (before, rest) = text.split_at(begin);
    if !before.trim().is_empty() {
        return Err(missing());
    }
    let rest = rest.strip_prefix(OPENING).unwrap_or(rest);
    let (yaml_text, sql) = rest.split_once("*/").ok_or_else(|| {
        Error::spec(format!("{}: the front matter does not end", file.display())).hint("close it with */")
    })?;
    // Empty lines in front keep line numbers those of the file.
    let lines_before = "\n".repeat(before.matches('\n').count());
    let spec: ModelSpec = yaml::parse(file, &format!("{lines_before}{yaml_text}"))?;
    check(file, &spec)?;
    let lines_above = before.matches('\n').count() + yaml_text.matches('\n').count();
    Ok((spec, format!("{}{sql}", "\n".repeat(lines_above))))
}

fn check(file: &Path, spec: &ModelSpec) -> Result<()> {
    let wrong =
        |message: &str, hint: &str| Err(Error::spec(format!("{}: {message}", file.display())).hint(hint));
    if spec.materialize == Materialize::Incremental && spec.unique_key.is_empty() {
        return wrong(
            "an incremental model needs a unique_key",
            "name the columns that tell its rows apart, as in `unique_key: [repository, week]`",
        );
    }
    if spec.materialize != Materialize::Incremental && spec.cursor.is_some() {
        return wrong(
            "only an incremental model has a cursor",
            "remove `cursor`, or set `materialize: incremental`",
        );
    }
    spec.checks.iter().try_for_each(|check| check.validate(file))
}
