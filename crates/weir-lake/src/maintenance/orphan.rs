//! A stream of which Bronze alone is left: its table was removed, or lost.

use std::collections::{BTreeMap, BTreeSet};

use object_store::ObjectMeta;
use weir_protocol::{Books, Error, ReadMode, Result, StreamState, WriteMode, WritePlan};

use crate::bronze::{self, ObjectName};
use crate::lake::Lake;
use crate::quarantine;
use crate::writer::form::TableForm;
use crate::writer::generations::Generation;
use crate::writer::shape::Shape;
use crate::writer::state::{Span, StateRecord};

/// What is known of such a stream: how its declaration writes, and the numbers of Bronze. Its state
/// is none. Lines tell neither slices nor whether their run came to its end, and a state that claims
/// too much would miss records, while one that claims too little only reads them again.
///
/// What a run wrote beyond the checkpoint that it is known to have `reached` is no part of it: one that
/// failed before its commit leaves the beginning of a read, and the next begins it again.
pub(super) async fn record(
    lake: &Lake,
    plan: &WritePlan,
    shape: &Shape,
    reached: &BTreeMap<String, u64>,
) -> Result<StateRecord> {
    let (source, stream) = (&plan.source, &plan.stream.name);
    let bronze = bronze::objects(&lake.storage, &bronze::folder(source, stream)).await?;
    // A line that is held stands in Bronze too, but the run of a rebuild has held records alone.
    let held = bronze::objects(&lake.storage, &quarantine::folder(source, stream)).await?;
    // Numbers of what is left out are used up: a sync that found them ahead of the table would be refused.
    let numbers = bronze.iter().chain(&held).map(|(name, _)| name.sequence);
    let sequence = numbers.max().unwrap_or(0);
    let is_committed = |name: &ObjectName| {
        let newest = reached.get(&name.run);
        newest.is_none_or(|newest| name.sequence <= *newest)
    };
    let (objects, left_out): (Vec<_>, Vec<_>) = bronze.into_iter().partition(|(name, _)| is_committed(name));
    let Some((last, _)) = objects.last() else {
        return Err(nothing(plan, shape, sequence));
    };
    let held = held.into_iter().filter(|(name, _)| !is_committed(name));
    let left_out: Vec<_> = left_out.into_iter().chain(held).collect();
    let undone = leave_out(lake, &objects, &left_out).await?;
    let from = objects
        .iter()
        .rev()
        .take_while(|(name, _)| name.run == last.run)
        .last()
        .map_or(1, |(name, _)| name.sequence);
    // Rows without a key cannot be merged: of refreshes that replaced each other the newest is taken.
    let newest_alone = shape.primary_key.is_empty()
        && shape.mode.write() == WriteMode::Replace
        && shape.mode.read() == ReadMode::FullRefresh;
    let newest = Generation {
        from,
        to: sequence,
        at: jiff::Timestamp::now().as_microsecond(),
        mode: plan.mode,
        vanish: false,
        empty: false,
    };
    tracing::warn!(
        table = shape.name,
        objects = objects.len(),
        left_out = left_out.len(),
        "the table is gone: it is made anew from what Bronze holds, and its stream starts over; objects are left out of runs \
         that failed before they committed them"
    );
    Ok(StateRecord {
        connection: plan.connection.clone(),
        stream: stream.clone(),
        source: source.clone(),
        mode: plan.mode,
        sequence,
        run: last.run.clone(),
        state: StreamState::default(),
        books: Books::default(),
        bronze_bytes: 0,
        silver_bytes: 0,
        generations: newest_alone.then_some(newest).into_iter().collect(),
        form: Some(TableForm::of(shape)),
        bronze_from: objects.first().map(|(name, _)| name.sequence),
        lines: None,
        undone,
        held: 0,
        refused: false,
        writers: Vec::new(),
        inexact: None,
        children: BTreeMap::new(),
        child_rows: BTreeMap::new(),
    })
}

/// Sees to it that nobody reads what is left out: under a number that another run committed it is
/// removed, as any sync would; else it stays, and no replay lands the number.
async fn leave_out(
    lake: &Lake,
    objects: &[(ObjectName, ObjectMeta)],
    left_out: &[(ObjectName, ObjectMeta)],
) -> Result<Vec<Span>> {
    let taken: BTreeSet<u64> = objects.iter().map(|(name, _)| name.sequence).collect();
    let mut undone = BTreeSet::new();
    for (name, meta) in left_out {
        if taken.contains(&name.sequence) {
            tracing::info!(object = %meta.location, "removing an object that no checkpoint took");
            lake.storage.delete(&meta.location).await?;
        } else {
            undone.insert(name.sequence);
        }
    }
    let span = |number| Span {
        from: number,
        to: number,
    };
    Ok(undone.into_iter().map(span).collect())
}

/// `newest`: the last number of what runs left that failed, 0 where there is nothing.
fn nothing(plan: &WritePlan, shape: &Shape, newest: u64) -> Error {
    let (connection, stream) = (&plan.connection, &plan.stream.name);
    let sync = format!("`weir sync {connection} --stream {stream}` reads it");
    Error::not_found(format!(
        "there is neither a table '{}' nor Bronze of stream '{stream}' that a run committed",
        shape.name
    ))
    .hint(match newest {
        0 | 1 => sync,
        _ => format!(
            "`weir lake set-aside {connection} {stream}` moves what failed runs left away; then {sync}"
        ),
    })
}
