//! Rows of the store as runs, streams, receipts and notices.

use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row};
use weir_protocol::{Books, Error};

use super::{Failure, Run, RunStatus, StoredNotice, StoredReceipt, StreamRun};
use crate::store::count;

fn number(row: &AnyRow, column: &str) -> sqlx::Result<u64> {
    row.try_get::<i64, _>(column).map(count)
}

fn json<T: DeserializeOwned>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn run_status(row: &AnyRow) -> sqlx::Result<RunStatus> {
    let text: String = row.try_get("status")?;
    text.parse()
        .map_err(|error: Error| sqlx::Error::Decode(Box::new(error)))
}

fn failure(row: &AnyRow) -> sqlx::Result<Option<Failure>> {
    let kind: Option<String> = row.try_get("error_kind")?;
    let Some(kind) = kind else { return Ok(None) };
    Ok(Some(Failure {
        kind,
        message: row
            .try_get::<Option<String>, _>("error_message")?
            .unwrap_or_default(),
        hint: row.try_get("error_hint")?,
    }))
}

impl FromRow<'_, AnyRow> for Run {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            connection: row.try_get("connection")?,
            kind: row.try_get("kind")?,
            started_by: row.try_get("started_by")?,
            status: run_status(row)?,
            created_at_ms: row.try_get("created_at_ms")?,
            started_at_ms: row.try_get("started_at_ms")?,
            finished_at_ms: row.try_get("finished_at_ms")?,
            error: failure(row)?,
            worker: row.try_get("worker")?,
            streams: Vec::new(),
        })
    }
}

impl FromRow<'_, AnyRow> for StreamRun {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let reasons: Vec<(String, u64)> = json(row, "quarantine_reasons")?;
        Ok(Self {
            stream: row.try_get("stream")?,
            name: row.try_get("name")?,
            mode: row.try_get("mode")?,
            status: run_status(row)?,
            started_at_ms: row.try_get("started_at_ms")?,
            finished_at_ms: row.try_get("finished_at_ms")?,
            books: Books {
                read: number(row, "read")?,
                landed: number(row, "landed")?,
                filtered: number(row, "filtered")?,
                deduplicated: number(row, "deduplicated")?,
                quarantined: number(row, "quarantined")?,
            },
            pages: number(row, "pages")?,
            requests: number(row, "requests")?,
            source_bytes: number(row, "source_bytes")?,
            bronze_bytes: number(row, "bronze_bytes")?,
            silver_bytes: number(row, "silver_bytes")?,
            checkpoints: number(row, "checkpoints")?,
            sequence: row.try_get::<Option<i64>, _>("sequence")?.map(count),
            table: row.try_get("table_name")?,
            table_version: row.try_get("table_version")?,
            quarantine_reasons: reasons,
            error: failure(row)?,
        })
    }
}

impl FromRow<'_, AnyRow> for StoredReceipt {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let books: Books = json(row, "books")?;
        Ok(Self {
            stream: row.try_get("stream")?,
            sequence: number(row, "sequence")?,
            table: row.try_get("table_name")?,
            table_version: row.try_get("table_version")?,
            books,
            recovered: row.try_get::<i64, _>("recovered")? != 0,
            stored_at_ms: row.try_get("stored_at_ms")?,
        })
    }
}

impl FromRow<'_, AnyRow> for StoredNotice {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            stream: row.try_get("stream")?,
            noticed_at_ms: row.try_get("noticed_at_ms")?,
            message: row.try_get("message")?,
            hint: row.try_get("hint")?,
        })
    }
}
