use serde::Serialize;
use sqlx::AnyConnection;
use weir_protocol::destination::Committed;
use weir_protocol::source::{Notice, Progress};
use weir_protocol::{Books, Error, Receipt, SyncMode};

use super::{Failure, Run, RunFilter, RunStatus, StoredNotice, StoredReceipt, StreamRun, Trigger};
use crate::Connection;
use crate::leases::{Lease, Owner, release_run};
use crate::store::int;

pub(super) fn json(value: &impl Serialize) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

pub(super) async fn insert(
    db: &mut AnyConnection,
    run: &str,
    connection: &Connection,
    kind: &str,
    trigger: Trigger,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO runs (id, tenant, connection, kind, started_by, status, created_at_ms)
         SELECT $1, $2, $3, $4, $5, 'queued', now_ms FROM clock WHERE true
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(run)
    .bind(&connection.tenant)
    .bind(&connection.name)
    .bind(kind)
    .bind(trigger.as_str())
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn insert_stream(
    db: &mut AnyConnection,
    run: &str,
    stream: &str,
    name: &str,
    mode: SyncMode,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO run_streams (run, stream, position, name, mode, status)
         SELECT $1, $2, (SELECT count(*) FROM run_streams WHERE run = $1), $3, $4, 'queued' FROM clock WHERE true
         ON CONFLICT (run, stream) DO NOTHING",
    )
        .bind(run)
        .bind(stream)
        .bind(name)
        .bind(mode.as_str())
        .execute(db)
        .await
        .map(drop)
}

pub(super) async fn insert_attempt(db: &mut AnyConnection, run: &str, owner: &str) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO run_attempts (run, number, owner, started_at_ms)
         SELECT $1, (SELECT count(*) + 1 FROM run_attempts WHERE run = $1), $2, now_ms FROM clock
         WHERE NOT EXISTS (SELECT 1 FROM run_attempts WHERE run = $1 AND finished_at_ms IS NULL)",
    )
    .bind(run)
    .bind(owner)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn finish_attempt(
    db: &mut AnyConnection,
    run: &str,
    error: Option<&Error>,
) -> sqlx::Result<()> {
    let failure = error.map(Failure::from);
    sqlx::query(
        "UPDATE run_attempts SET finished_at_ms = (SELECT now_ms FROM clock), error_kind = $2, error_message = $3
         WHERE run = $1 AND finished_at_ms IS NULL",
    )
    .bind(run)
    .bind(failure.as_ref().map(|failure| &failure.kind))
    .bind(failure.as_ref().map(|failure| &failure.message))
    .execute(db)
    .await
    .map(drop)
}

/// The run's status, which nobody else changes until this transaction ends.
pub(super) async fn lock_status(db: &mut AnyConnection, run: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("UPDATE runs SET status = status WHERE id = $1 RETURNING status")
        .bind(run)
        .fetch_optional(db)
        .await
}

pub(super) async fn set_status(
    db: &mut AnyConnection,
    run: &str,
    status: RunStatus,
    error: Option<&Error>,
) -> sqlx::Result<()> {
    let failure = error.map(Failure::from);
    sqlx::query(
        "UPDATE runs SET status = $2, error_kind = $4, error_message = $5, error_hint = $6,
             started_at_ms = coalesce(started_at_ms, (SELECT now_ms FROM clock)),
             finished_at_ms = CASE WHEN $3 THEN (SELECT now_ms FROM clock) END
         WHERE id = $1",
    )
    .bind(run)
    .bind(status.as_str())
    .bind(status.is_final())
    .bind(failure.as_ref().map(|failure| &failure.kind))
    .bind(failure.as_ref().map(|failure| &failure.message))
    .bind(failure.as_ref().and_then(|failure| failure.hint.as_ref()))
    .execute(db)
    .await
    .map(drop)
}

/// Gives back whether the step could be taken: the lease is held, and the status before allows it.
pub(super) async fn set_stream_status(
    db: &mut AnyConnection,
    lease: &Lease,
    name: &str,
    mode: SyncMode,
    status: RunStatus,
    error: Option<&Error>,
) -> sqlx::Result<bool> {
    let failure = error.map(Failure::from);
    // A stream that is tried again is already running.
    let before = RunStatus::ALL.into_iter();
    let before = before.filter(|before| *before == status || before.may_become(status));
    // Between spaces, as the statement looks for it: a list that both databases read.
    let before: String = before.map(|before| format!(" {} ", before.as_str())).collect();
    let changed = sqlx::query(
        "UPDATE run_streams SET status = $3, error_kind = $5, error_message = $6, error_hint = $7,
             name = $8, mode = $9,
             started_at_ms = coalesce(started_at_ms, (SELECT now_ms FROM clock)),
             finished_at_ms = CASE WHEN $4 THEN (SELECT now_ms FROM clock) END
         WHERE run = $1 AND stream = $2 AND $10 LIKE '% ' || status || ' %'
             AND EXISTS (SELECT 1 FROM leases WHERE tenant = $11 AND connection = $12 AND leases.stream = $2
                 AND leases.run = $1 AND term = $13)",
    )
    .bind(&lease.run)
    .bind(&lease.stream)
    .bind(status.as_str())
    .bind(status.is_final())
    .bind(failure.as_ref().map(|failure| &failure.kind))
    .bind(failure.as_ref().map(|failure| &failure.message))
    .bind(failure.as_ref().and_then(|failure| failure.hint.as_ref()))
    .bind(name)
    .bind(mode.as_str())
    .bind(before)
    .bind(&lease.tenant)
    .bind(&lease.connection)
    .bind(lease.term)
    .execute(db)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Gives back whether the receipt is new.
pub(super) async fn insert_receipt(
    db: &mut AnyConnection,
    lease: &Lease,
    receipt: &Receipt,
) -> sqlx::Result<bool> {
    let inserted = sqlx::query(
        "INSERT INTO receipts (run, stream, sequence, table_name, table_version, books, recovered, stored_at_ms)
         SELECT $1, $2, $3, $4, $5, $6, 0, now_ms FROM clock WHERE true
         ON CONFLICT (run, stream, sequence) DO NOTHING",
    )
    .bind(&lease.run)
    .bind(&lease.stream)
    .bind(int(receipt.sequence))
    .bind(&receipt.table)
    .bind(receipt.version)
    .bind(json(&receipt.books)?)
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

pub(super) async fn set_stream_books(
    db: &mut AnyConnection,
    lease: &Lease,
    receipt: &Receipt,
    progress: Progress,
    is_new: bool,
) -> sqlx::Result<()> {
    let Books {
        read,
        landed,
        filtered,
        deduplicated,
        quarantined,
    } = receipt.books;
    sqlx::query(
        "UPDATE run_streams SET read = $3, landed = $4, filtered = $5, deduplicated = $6, quarantined = $7,
             pages = $8, requests = $9, source_bytes = $10, bronze_bytes = $11, silver_bytes = $12,
             sequence = $13, table_name = $14, table_version = $15, quarantine_reasons = $16,
             checkpoints = checkpoints + $17
         WHERE run = $1 AND stream = $2",
    )
    .bind(&lease.run)
    .bind(&lease.stream)
    .bind(int(read))
    .bind(int(landed))
    .bind(int(filtered))
    .bind(int(deduplicated))
    .bind(int(quarantined))
    .bind(int(progress.pages))
    .bind(int(progress.requests))
    .bind(int(progress.bytes))
    .bind(int(receipt.bronze_bytes))
    .bind(int(receipt.silver_bytes))
    .bind(int(receipt.sequence))
    .bind(&receipt.table)
    .bind(receipt.version)
    .bind(json(&receipt.quarantine_reasons)?)
    .bind(i64::from(is_new))
    .execute(db)
    .await
    .map(drop)
}

/// A checkpoint that only the lake knew of.
pub(super) async fn insert_recovered(
    db: &mut AnyConnection,
    stream: &str,
    committed: &Committed,
) -> sqlx::Result<()> {
    let inserted = sqlx::query(
        "INSERT INTO receipts (run, stream, sequence, books, recovered, stored_at_ms)
         SELECT $1, $2, $3, $4, 1, now_ms FROM clock WHERE true
         ON CONFLICT (run, stream, sequence) DO NOTHING",
    )
    .bind(&committed.run)
    .bind(stream)
    .bind(int(committed.sequence))
    .bind(json(&committed.books)?)
    .execute(&mut *db)
    .await?;
    let books = committed.books;
    sqlx::query(
        "UPDATE run_streams SET read = $3, landed = $4, filtered = $5, deduplicated = $6, quarantined = $7,
             sequence = $8, checkpoints = checkpoints + $9
         WHERE run = $1 AND stream = $2 AND coalesce(sequence, 0) < $8",
    )
    .bind(&committed.run)
    .bind(stream)
    .bind(int(books.read))
    .bind(int(books.landed))
    .bind(int(books.filtered))
    .bind(int(books.deduplicated))
    .bind(int(books.quarantined))
    .bind(int(committed.sequence))
    .bind(int(inserted.rows_affected()))
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn insert_notice(
    db: &mut AnyConnection,
    lease: &Lease,
    notice: &Notice,
    notices_max: u32,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO run_notices (run, stream, number, noticed_at_ms, message, hint)
         SELECT $1, $2, n, now_ms,
             CASE WHEN n > $3 THEN 'there were more notices; they stand in the log' ELSE $4 END,
             CASE WHEN n > $3 THEN NULL ELSE $5 END
         FROM clock, (SELECT count(*) + 1 AS n FROM run_notices WHERE run = $1 AND stream = $2) AS numbered
         WHERE n <= $3 + 1",
    )
    .bind(&lease.run)
    .bind(&lease.stream)
    .bind(i64::from(notices_max))
    .bind(&notice.message)
    .bind(&notice.hint)
    .execute(db)
    .await
    .map(drop)
}

/// Marks what a dead holder of one stream's lease left. Where the whole process is known to be
/// dead, or no other of its leases lives, its run ends too; gives back whether this ended it.
pub(super) async fn abandon(
    db: &mut AnyConnection,
    run: &str,
    stream: &str,
    is_dead: bool,
) -> sqlx::Result<bool> {
    sqlx::query(
        "UPDATE run_streams SET status = 'abandoned', finished_at_ms = (SELECT now_ms FROM clock)
         WHERE run = $1 AND stream = $2 AND status IN ('queued', 'running')",
    )
    .bind(run)
    .bind(stream)
    .execute(&mut *db)
    .await?;
    sqlx::query("UPDATE leases SET run = NULL WHERE run = $1 AND stream = $2")
        .bind(run)
        .bind(stream)
        .execute(&mut *db)
        .await?;
    if is_dead || living_holders(db, run).await?.is_empty() {
        return abandon_run(db, run).await;
    }
    Ok(false)
}

/// Whether it was this that ended the run.
pub(super) async fn abandon_run(db: &mut AnyConnection, run: &str) -> sqlx::Result<bool> {
    sqlx::query(
        "UPDATE run_streams SET status = 'abandoned', finished_at_ms = (SELECT now_ms FROM clock)
         WHERE run = $1 AND status IN ('queued', 'running')",
    )
    .bind(run)
    .execute(&mut *db)
    .await?;
    let ended = sqlx::query(
        "UPDATE runs SET status = 'abandoned', finished_at_ms = (SELECT now_ms FROM clock)
         WHERE id = $1 AND status IN ('queued', 'running')",
    )
    .bind(run)
    .execute(&mut *db)
    .await?;
    finish_attempt(db, run, None).await?;
    release_run(db, run).await?;
    Ok(ended.rows_affected() == 1)
}

pub(super) async fn stream_statuses(db: &mut AnyConnection, run: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT status FROM run_streams WHERE run = $1")
        .bind(run)
        .fetch_all(db)
        .await
}

/// Running runs, and whether a worker's right to them still holds.
pub(super) async fn unfinished(db: &mut AnyConnection) -> sqlx::Result<Vec<(String, bool)>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT id, CASE WHEN worker IS NOT NULL AND expires_at_ms > now_ms THEN 1 ELSE 0 END
         FROM runs, clock WHERE status = 'running'",
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(run, right)| (run, right != 0)).collect())
}

/// The holders of a run's leases that have not expired.
pub(super) async fn living_holders(db: &mut AnyConnection, run: &str) -> sqlx::Result<Vec<Owner>> {
    let rows: Vec<(String, i64, String, String)> = sqlx::query_as(
        "SELECT DISTINCT host, pid, machine, process_start FROM leases, clock
         WHERE run = $1 AND expires_at_ms > now_ms",
    )
    .bind(run)
    .fetch_all(db)
    .await?;
    let owner = |(host, pid, machine, process_start)| Owner {
        host,
        pid: u32::try_from(pid).unwrap_or_default(),
        machine,
        process_start,
    };
    Ok(rows.into_iter().map(owner).collect())
}

pub(super) async fn list(
    db: &mut AnyConnection,
    tenant: &str,
    filter: &RunFilter,
    limit: u32,
) -> sqlx::Result<Vec<Run>> {
    sqlx::query_as(
        "SELECT * FROM runs
         WHERE tenant = $1 AND ($2 IS NULL OR connection = $2) AND ($3 IS NULL OR status = $3)
           AND ($4 IS NULL OR id < $4)
         ORDER BY id DESC LIMIT $5",
    )
    .bind(tenant)
    .bind(&filter.connection)
    .bind(filter.status.map(RunStatus::as_str))
    .bind(&filter.before)
    .bind(i64::from(limit))
    .fetch_all(db)
    .await
}

/// At most two, which is enough to know that the prefix is not the only one.
pub(super) async fn by_prefix(db: &mut AnyConnection, tenant: &str, prefix: &str) -> sqlx::Result<Vec<Run>> {
    sqlx::query_as(
        "SELECT * FROM runs WHERE tenant = $1 AND substr(id, 1, length($2)) = $2 AND length($2) > 0
         ORDER BY id LIMIT 2",
    )
    .bind(tenant)
    .bind(prefix)
    .fetch_all(db)
    .await
}

pub(super) async fn streams(db: &mut AnyConnection, run: &str) -> sqlx::Result<Vec<StreamRun>> {
    sqlx::query_as("SELECT * FROM run_streams WHERE run = $1 ORDER BY position, stream")
        .bind(run)
        .fetch_all(db)
        .await
}

pub(super) async fn receipts(
    db: &mut AnyConnection,
    tenant: &str,
    run: &str,
) -> sqlx::Result<Vec<StoredReceipt>> {
    sqlx::query_as(
        "SELECT * FROM receipts WHERE run = $1 AND EXISTS (SELECT 1 FROM runs WHERE id = $1 AND tenant = $2)
         ORDER BY stream, sequence",
    )
    .bind(run)
    .bind(tenant)
    .fetch_all(db)
    .await
}

pub(super) async fn notices(
    db: &mut AnyConnection,
    tenant: &str,
    run: &str,
) -> sqlx::Result<Vec<StoredNotice>> {
    sqlx::query_as(
        "SELECT * FROM run_notices WHERE run = $1 AND EXISTS (SELECT 1 FROM runs WHERE id = $1 AND tenant = $2)
         ORDER BY stream, number",
    )
    .bind(run)
    .bind(tenant)
    .fetch_all(db)
    .await
}

pub(super) async fn is_of(db: &mut AnyConnection, tenant: &str, run: &str) -> sqlx::Result<bool> {
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM runs WHERE id = $1 AND tenant = $2")
        .bind(run)
        .bind(tenant)
        .fetch_one(db)
        .await?;
    Ok(found > 0)
}

/// Open runs, and those since `first` (the smallest id that counts) that ended, by status.
pub(super) async fn by_status(db: &mut AnyConnection, first: &str) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "SELECT status, count(*) FROM runs WHERE status IN ('queued', 'running') GROUP BY status
         UNION ALL
         SELECT status, count(*) FROM runs WHERE id >= $1 AND status NOT IN ('queued', 'running') GROUP BY status",
    )
    .bind(first)
    .fetch_all(db)
    .await
}

/// Runs that could be taken now, and for how long the first of them could.
pub(super) async fn waiting(db: &mut AnyConnection) -> sqlx::Result<(i64, Option<i64>)> {
    sqlx::query_as(
        "SELECT count(*), max(now_ms - CASE WHEN not_before_ms > created_at_ms THEN not_before_ms
                                            ELSE created_at_ms END)
         FROM runs, clock WHERE status = 'queued' AND not_before_ms <= now_ms",
    )
    .fetch_one(db)
    .await
}
