//! The processes that take runs from the queue: who they are, and when they were last heard of.

mod sql;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::Result;

use crate::Store;
use crate::store::Scope;

pub(crate) use sql::carried;

/// One that was not heard of for so long counts as silent: its runs are being taken over.
const SILENT_MS: i64 = 60_000;
/// One that was not heard of for so long is forgotten.
const FORGOTTEN_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// A worker as it makes itself known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As runs name it.
    pub id: String,
    pub tenant: String,
    pub name: String,
    /// Who it acts as; none where it is a part of a server.
    pub principal: Option<String>,
    /// Of weir.
    pub version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerStatus {
    Working,
    Idle,
    /// It was not heard of for a minute.
    Silent,
}

impl WorkerStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Idle => "idle",
            Self::Silent => "silent",
        }
    }

    fn of(silent_ms: i64, runs_now: u64) -> Self {
        match runs_now {
            _ if silent_ms >= SILENT_MS => Self::Silent,
            0 => Self::Idle,
            _ => Self::Working,
        }
    }
}

/// A worker as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownWorker {
    pub id: String,
    pub name: String,
    /// Who it acts as; none where it is a part of a server.
    pub principal: Option<String>,
    pub version: String,
    pub status: WorkerStatus,
    pub first_heard_at_ms: i64,
    pub last_heard_at_ms: i64,
    /// Runs that it has now.
    pub runs_now: u64,
    /// Runs that it took so far.
    pub runs_carried: u64,
}

/// Notes that a worker was heard of, and forgets those that were not for a week.
pub async fn heard(store: &Store, worker: &Identity) -> Result<()> {
    store
        .write(Scope::Tenant(&worker.tenant), "note the worker", |db, _| {
            Box::pin(async move {
                if sql::heard(db, worker).await? {
                    sql::forget(db, &worker.tenant, FORGOTTEN_MS).await?;
                }
                Ok(())
            })
        })
        .await
}

/// The newest first.
pub async fn list(store: &Store, tenant: &str) -> Result<Vec<KnownWorker>> {
    store
        .read(Scope::Tenant(tenant), "list workers", |db, _| {
            Box::pin(async move { Ok(sql::list(db, tenant).await?) })
        })
        .await
}
