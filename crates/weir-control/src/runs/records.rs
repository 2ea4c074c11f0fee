//! Runs as they are stored and shown.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::{Books, Error};

use crate::store::stored_badly;

/// Where a run, or one stream of it, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    /// Its process died or lost its lease; another run goes on.
    Abandoned,
}

impl RunStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RunStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| stored_badly("run status", text, "unknown word"))
    }
}

/// What made a run begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    #[default]
    Person,
    Schedule,
    Api,
}

impl Trigger {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Schedule => "schedule",
            Self::Api => "api",
        }
    }
}

impl FromStr for Trigger {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Person, Self::Schedule, Self::Api]
            .into_iter()
            .find(|trigger| trigger.as_str() == text)
            .ok_or_else(|| stored_badly("trigger", text, "unknown word"))
    }
}

/// An error as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub kind: String,
    pub message: String,
    pub hint: Option<String>,
}

/// One execution. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    pub id: String,
    pub connection: String,
    pub kind: String,
    pub started_by: String,
    pub status: RunStatus,
    pub created_at_ms: i64,
    pub started_at_ms: Option<i64>,
    pub finished_at_ms: Option<i64>,
    pub error: Option<Failure>,
    /// The worker that has or had it; none where a command carried it out.
    pub worker: Option<String>,
    pub streams: Vec<StreamRun>,
}

/// One stream of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamRun {
    pub stream: String,
    /// `sync_<source>_<stream>_<mode>`
    pub name: String,
    pub mode: String,
    pub status: RunStatus,
    pub started_at_ms: Option<i64>,
    pub finished_at_ms: Option<i64>,
    /// Up to and including the newest checkpoint.
    pub books: Books,
    pub pages: u64,
    pub requests: u64,
    pub source_bytes: u64,
    pub bronze_bytes: u64,
    pub silver_bytes: u64,
    pub checkpoints: u64,
    /// Of the newest checkpoint.
    pub sequence: Option<u64>,
    pub table: Option<String>,
    pub table_version: Option<i64>,
    /// Why records wait in quarantine, with counts.
    pub quarantine_reasons: Vec<(String, u64)>,
    pub error: Option<Failure>,
}

/// A checkpoint as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoredReceipt {
    pub stream: String,
    pub sequence: u64,
    pub table: Option<String>,
    pub table_version: Option<i64>,
    /// From the run's start up to and including this checkpoint.
    pub books: Books,
    /// Stored by a later run, from what the lake itself knew.
    pub recovered: bool,
    pub stored_at_ms: i64,
}

/// A notice as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredNotice {
    pub stream: String,
    pub noticed_at_ms: i64,
    pub message: String,
    pub hint: Option<String>,
}

/// Which runs to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFilter {
    pub connection: Option<String>,
    pub status: Option<RunStatus>,
    /// Only runs older than this one (its whole id).
    pub before: Option<String>,
    pub limit: u32,
}

impl Default for RunFilter {
    fn default() -> Self {
        Self {
            connection: None,
            status: None,
            before: None,
            limit: 50,
        }
    }
}
