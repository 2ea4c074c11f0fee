//! Held records typed again.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use weir_protocol::{Batch, Error, Record, Result, SchemaChange, WritePlan};

use crate::quarantine::Entry;
use crate::typed::{Inexact, Rejected, Typer};
use crate::writer::lineage::with_run;
use crate::writer::shape::Shape;

/// What became of entries under the schema of today.
pub(super) struct Retyped {
    /// Rows of those that fit, in the order of their arrival.
    pub(super) rows: Vec<RecordBatch>,
    pub(super) fitting: BTreeSet<String>,
    pub(super) reasons: Vec<String>,
    /// The table's columns with those of the rows.
    pub(super) schema: SchemaRef,
    /// Long columns of the table and of the rows that are not widened.
    pub(super) inexact: Inexact,
    pub(super) changes: Vec<SchemaChange>,
}

pub(super) fn retype(
    plan: &WritePlan,
    shape: &Shape,
    registered: (SchemaRef, Vec<(String, SchemaRef)>, Inexact),
    pii_key: &[u8],
    entries: &[Entry],
) -> Result<Retyped> {
    let (table, children, known) = registered;
    let mut typer = Typer::with_children(plan, Some(table), &children, &known, pii_key)?;
    // Lists that go to child tables are there for the replay that lands such rows.
    let shape = &shape.with_lists();
    let conflicts = typer.conflicts();
    let mut retyped = Retyped {
        rows: Vec::new(),
        fitting: BTreeSet::new(),
        reasons: Vec::new(),
        schema: typer.row_schema(),
        inexact: known,
        changes: Vec::new(),
    };
    for page in pages(entries) {
        let decoded = typer.decode(&batch(page)?)?;
        for rejected in &decoded.quarantined {
            check_conflict(shape, &conflicts, rejected)?;
            retyped.reasons.push(rejected.reason.clone());
        }
        let misfits: BTreeSet<usize> = decoded.quarantined.iter().map(|misfit| misfit.place).collect();
        let fitting = page
            .iter()
            .enumerate()
            .filter(|(place, _)| !misfits.contains(place));
        retyped.fitting.extend(fitting.map(|(_, entry)| entry.id.clone()));
        retyped.changes.extend(decoded.changes);
        if let (Some(first), true) = (page.first(), decoded.rows.num_rows() > 0) {
            retyped
                .rows
                .push(shape.rows(with_run(&decoded.rows, &first.run)?)?);
        }
    }
    retyped.schema = shape.table_schema(&typer.row_schema());
    retyped.inexact = typer.inexact();
    Ok(retyped)
}

/// A record that fits the declared type but not the table's would stay held for ever.
fn check_conflict(shape: &Shape, conflicts: &[SchemaChange], rejected: &Rejected) -> Result<()> {
    let Some(column) = &rejected.column else {
        return Ok(());
    };
    let Some(conflict) = conflicts.iter().find(|conflict| conflict.column == *column) else {
        return Ok(());
    };
    let kind = |kind: &Option<String>| kind.clone().unwrap_or_default();
    Err(Error::schema(format!(
        "column '{column}' is declared as {}, table '{}' holds it as {}, which cannot become that in place",
        kind(&conflict.to),
        shape.name,
        kind(&conflict.from),
    ))
    .hint(format!(
        "rebuild the table: `weir lake rebuild {} {}` types all records by the declared schema and lands the held ones that fit",
        shape.connection, shape.stream
    )))
}

/// The entries page by page: time of arrival, slice and run are those of the rows.
fn pages(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    let same = |a: &Entry, b: &Entry| a.emitted_at == b.emitted_at && a.slice == b.slice && a.run == b.run;
    entries.chunk_by(same)
}

fn batch(entries: &[Entry]) -> Result<Batch> {
    let mut body = Vec::new();
    let mut records = Vec::with_capacity(entries.len());
    for entry in entries {
        let start = offset(body.len())?;
        body.extend_from_slice(&entry.record);
        let cursor = entry.cursor.as_deref().unwrap_or_default();
        let cursor_start = offset(body.len())?;
        body.extend_from_slice(cursor);
        records.push(Record {
            start,
            len: offset(entry.record.len())?,
            cursor_start,
            cursor_len: offset(cursor.len())?,
        });
    }
    let first = entries
        .first()
        .ok_or_else(|| Error::internal("a batch of held records is empty").hint("report this defect"))?;
    Ok(Batch {
        slice: first.slice.clone(),
        body: Bytes::from(body),
        records,
        filtered: 0,
        deduplicated: 0,
        emitted_at: first.emitted_at,
    })
}

fn offset(at: usize) -> Result<u32> {
    u32::try_from(at).map_err(|error| {
        Error::limit("the held records exceed 4 GiB")
            .hint("release them by reason or by id, in parts")
            .caused_by(error)
    })
}
