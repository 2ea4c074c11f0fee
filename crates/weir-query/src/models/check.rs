//! Checks of a model: questions whose answer must be empty.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_protocol::{Error, Result};

/// One check; exactly one of the kinds is given.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_null: Option<Columns>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique: Option<Columns>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_values: Option<AcceptedValues>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_count: Option<RowCount>,
    /// A query that gives the rows that are wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    pub severity: Severity,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Holds publication back.
    #[default]
    Error,
    Warn,
}

/// A column, or several.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Columns {
    One(String),
    Many(Vec<String>),
}

impl Columns {
    fn quoted(&self) -> Vec<String> {
        match self {
            Self::One(name) => vec![quote(name)],
            Self::Many(names) => names.iter().map(|name| quote(name)).collect(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedValues {
    pub column: String,
    pub values: Vec<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowCount {
    #[serde(default)]
    pub min: Option<u64>,
    #[serde(default)]
    pub max: Option<u64>,
}

/// How a check came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckResult {
    pub check: String,
    pub severity: Severity,
    pub passed: bool,
    /// The first wrong rows, each as `column: value` pairs.
    pub sample: Vec<String>,
}

pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl CheckSpec {
    pub(super) fn validate(&self, file: &Path) -> Result<()> {
        let kinds = [
            self.not_null.is_some(),
            self.unique.is_some(),
            self.accepted_values.is_some(),
            self.row_count.is_some(),
            self.sql.is_some(),
        ];
        if kinds.into_iter().filter(|given| *given).count() == 1 {
            return Ok(());
        }
        Err(
            Error::spec(format!("{}: a check names exactly one kind", file.display())).hint(
                "write one of not_null, unique, accepted_values, row_count, sql in each entry of `checks`",
            ),
        )
    }

    /// What it is called in messages.
    pub fn title(&self) -> String {
        if let Some(columns) = &self.not_null {
            return format!("not_null({})", columns.quoted().join(", ").replace('"', ""));
        }
        if let Some(columns) = &self.unique {
            return format!("unique({})", columns.quoted().join(", ").replace('"', ""));
        }
        if let Some(accepted) = &self.accepted_values {
            return format!("accepted_values({})", accepted.column);
        }
        match (&self.row_count, &self.sql) {
            (Some(_), _) => "row_count".to_owned(),
            (None, Some(sql)) => format!("sql({})", sql.split_whitespace().collect::<Vec<_>>().join(" ")),
            (None, None) => "empty".to_owned(),
        }
    }

    /// A query over `table` (quoted) that gives the rows that break the check.
    pub(super) fn wrong_rows(&self, table: &str) -> String {
        if let Some(columns) = &self.not_null {
            let nulls: Vec<String> = columns
                .quoted()
                .iter()
                .map(|name| format!("{name} is null"))
                .collect();
            return format!("select * from {table} where {}", nulls.join(" or "));
        }
        if let Some(columns) = &self.unique {
            let names = columns.quoted().join(", ");
            return format!(
                "select {names}, count(*) as times from {table} group by {names} having count(*) > 1"
            );
        }
        if let Some(accepted) = &self.accepted_values {
            let column = quote(&accepted.column);
            let values: Vec<String> = accepted.values.iter().map(literal).collect();
            return format!(
                "select {column}, count(*) as times from {table} where {column} not in ({}) group by {column}",
                values.join(", ")
            );
        }
        if let Some(count) = &self.row_count {
            let (min, max) = (
                count.min.unwrap_or(0),
                count.max.unwrap_or(i64::MAX.unsigned_abs()),
            );
            return format!(
                "select row_count from (select count(*) as row_count from {table}) as counted \
                 where row_count not between {min} and {max}"
            );
        }
        self.sql.clone().unwrap_or_default()
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => other.to_string(),
    }
}
