//! How much is going on, over all tenants: what a monitor asks for.

use weir_protocol::Result;

use super::{RunStatus, sql};
use crate::Store;
use crate::store::{Scope, count};

const DAY_MS: i64 = 86_400_000;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Open runs, and those of the last day that have ended.
    pub by_status: Vec<(RunStatus, u64)>,
    /// Runs that a worker could take now.
    pub waiting: u64,
    /// For how long the first of them could have been taken.
    pub oldest_waiting_ms: u64,
}

pub async fn figures(store: &Store) -> Result<Figures> {
    let first = &first_id_at(store.now_ms().await? - DAY_MS);
    store
        .read(Scope::Everyone, "count runs", |db, _| {
            Box::pin(async move {
                let rows = sql::by_status(db, first).await?;
                let (waiting, oldest) = sql::waiting(db).await?;
                let mut by_status = Vec::with_capacity(RunStatus::ALL.len());
                for status in RunStatus::ALL {
                    let found = rows.iter().find(|(word, _)| word == status.as_str());
                    by_status.push((status, found.map_or(0, |(_, runs)| count(*runs))));
                }
                Ok(Figures {
                    by_status,
                    waiting: count(waiting),
                    oldest_waiting_ms: count(oldest.unwrap_or_default()),
                })
            })
        })
        .await
}

/// Ids begin with the time at which they were made, so that a day of runs is a range of them.
fn first_id_at(ms: i64) -> String {
    format!("{:08x}-{:04x}", ms >> 16, ms & 0xffff)
}
