//! What is told of runs: events in the transaction of the change.

use serde_json::{Value, json};
use sqlx::AnyConnection;

use super::{Failure, RunStatus, told_sql as sql};
use crate::events::{self, Event, Family};
use crate::leases::Lease;
use crate::store::Outcome;
use weir_protocol::{Error, Receipt, SyncMode};

/// An event names so many reasons; the run has all.
const REASONS_MAX: usize = 20;

/// A run began with these streams.
pub(super) async fn started(
    db: &mut AnyConnection,
    run: &str,
    streams: &[(String, SyncMode)],
) -> Outcome<()> {
    let Some(facts) = sql::facts(db, run).await? else {
        return Ok(());
    };
    let names: Vec<&str> = streams.iter().map(|(stream, _)| stream.as_str()).collect();
    let event = facts
        .event(run, Family::RunStarted)
        .with("started_by", facts.started_by.as_str())
        .with("streams", names)
        // Begun again where the answer to the first time was lost.
        .once(run);
    events::append_in(db, &event).await.map(drop)
}

/// A run ended, for the first time.
pub(super) async fn ended(
    db: &mut AnyConnection,
    run: &str,
    status: RunStatus,
    error: Option<&Error>,
    will_retry: bool,
) -> Outcome<()> {
    let family = match status {
        RunStatus::Succeeded => Family::RunSucceeded,
        RunStatus::Failed => Family::RunFailed,
        RunStatus::Cancelled => Family::RunCancelled,
        RunStatus::Abandoned => return stale(db, run).await,
        RunStatus::Queued | RunStatus::Running => return Ok(()),
    };
    let Some(facts) = sql::facts(db, run).await? else {
        return Ok(());
    };
    let mut event = facts.event(run, family);
    if let (Some(from), Some(to)) = (facts.started_at_ms, facts.finished_at_ms) {
        event = event.with("duration_ms", to.saturating_sub(from));
    }
    let books = [
        ("read", facts.read),
        ("landed", facts.landed),
        ("filtered", facts.filtered),
        ("deduplicated", facts.deduplicated),
        ("quarantined", facts.quarantined),
    ];
    for (name, records) in books {
        event = event.with(name, records);
    }
    if status == RunStatus::Failed {
        let failure = match error {
            Some(error) => Some(Failure::from(error)),
            None => sql::stream_failure(db, run).await?,
        };
        let failure = failure.map_or(
            Value::Null,
            |Failure { kind, message, hint }| json!({ "kind": kind, "message": message, "hint": hint }),
        );
        event = event.with("error", failure).with("will_retry", will_retry);
    }
    events::append_in(db, &event).await?;
    if facts.quarantined > 0 {
        quarantined(db, run, &facts).await?;
    }
    Ok(())
}

async fn quarantined(db: &mut AnyConnection, run: &str, facts: &sql::Facts) -> Outcome<()> {
    for (stream, records, reasons) in sql::quarantined(db, run).await? {
        let reasons: Value = serde_json::from_str(&reasons).unwrap_or_default();
        let event = facts
            .event(run, Family::QuarantineGrown)
            .with("stream", stream)
            .with("records", records)
            .with("reasons", reasons);
        events::append_in(db, &event).await?;
    }
    Ok(())
}

/// What a stream read in full does not become the table: nothing of it fits.
pub(super) async fn refused(db: &mut AnyConnection, lease: &Lease, receipt: &Receipt) -> Outcome<()> {
    let reasons = receipt.quarantine_reasons.iter().take(REASONS_MAX);
    let failed: Vec<String> = reasons
        .map(|(reason, records)| format!("{reason} ({records} records)"))
        .collect();
    let event = Event::new(
        &lease.tenant,
        Family::GateFailed,
        format!("table:{}", receipt.table),
    )
    .of(&lease.run)
    .with("table", receipt.table.as_str())
    .with("gate", "full_refresh")
    .with("failed", failed)
    // Said again where the answer to the first time was lost.
    .once(&format!("{}/{}", lease.run, receipt.table));
    events::append_in(db, &event).await.map(drop)
}

/// A run was found dead or hung, and taken over or ended.
pub(super) async fn stale(db: &mut AnyConnection, run: &str) -> Outcome<()> {
    let Some(facts) = sql::facts(db, run).await? else {
        return Ok(());
    };
    let event = facts.event(run, Family::RunStale).once(run);
    events::append_in(db, &event).await.map(drop)
}

impl sql::Facts {
    fn event(&self, run: &str, family: Family) -> Event {
        Event::of_connection(&self.tenant, family, &self.connection)
            .of(run)
            .with("run", run)
            .with("attempt", self.attempt)
    }
}
