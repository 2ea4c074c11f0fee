//! What was decided about held records, by whom and why. A decision is written before it is carried
//! out and marked done after, so that a death in between is seen and mended.

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use weir_protocol::{Error, Result};

use super::folder;
use crate::storage::Storage;
use crate::table::Table;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Typed again by the present schema and written to Silver.
    Released,
    Discarded,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub id: String,
    pub verb: Verb,
    pub ids: BTreeSet<String>,
    pub by: String,
    pub why: String,
    pub at: Timestamp,
    /// Whether it was carried out.
    pub done: bool,
}

/// Writes the decision down. It is not in force before [`finish`].
pub(crate) async fn begin(storage: &Storage, source: &str, stream: &str, decision: &Decision) -> Result<()> {
    write(storage, source, stream, decision).await
}

/// Marks the decision as carried out: its records are no longer held.
pub(crate) async fn finish(
    storage: &Storage,
    source: &str,
    stream: &str,
    mut decision: Decision,
) -> Result<()> {
    decision.done = true;
    write(storage, source, stream, &decision).await
}

/// Decisions that were begun and not finished.
pub(super) async fn pending(storage: &Storage, source: &str, stream: &str) -> Result<Vec<Decision>> {
    let mut all = decisions(storage, source, stream).await?;
    all.retain(|decision| !decision.done);
    Ok(all)
}

/// The application id by which a table tells that a decision was carried out: it stands in the
/// commit that did so.
pub(crate) fn application(decision: &str) -> String {
    format!("weir:decision:{decision}")
}

/// Finishes the decisions that the table carried out and whose writer died before it could say so.
/// One that was begun and never committed had no effect; it is left as it is.
pub(crate) async fn settle(storage: &Storage, source: &str, stream: &str, table: &Table) -> Result<()> {
    for decision in pending(storage, source, stream).await? {
        if table.transaction(&application(&decision.id)).await?.is_some() {
            tracing::info!(
                decision = decision.id,
                stream,
                "finishing what an earlier process decided"
            );
            finish(storage, source, stream, decision).await?;
        }
    }
    Ok(())
}

/// All decisions, oldest first.
pub(super) async fn decisions(storage: &Storage, source: &str, stream: &str) -> Result<Vec<Decision>> {
    let mut found = Vec::new();
    for meta in storage.list(&journal(source, stream)).await? {
        let body = storage.get(&meta.location).await?;
        let decision: Decision = serde_json::from_slice(&body).map_err(|error| {
            Error::destination("a decision about held records cannot be read")
                .with("object", &meta.location)
                .caused_by(error)
                .hint("the object was changed by hand: restore it from a copy")
        })?;
        found.push(decision);
    }
    found.sort_by_key(|decision| decision.at);
    Ok(found)
}

async fn write(storage: &Storage, source: &str, stream: &str, decision: &Decision) -> Result<()> {
    let body = serde_json::to_vec(decision)
        .map_err(|error| Error::internal("a decision cannot be written").caused_by(error))?;
    let path = journal(source, stream).join(format!("{}.json", decision.id));
    storage.put(&path, Bytes::from(body)).await
}

fn journal(source: &str, stream: &str) -> Path {
    folder(source, stream).join("_journal")
}
