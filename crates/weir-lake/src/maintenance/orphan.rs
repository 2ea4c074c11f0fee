//! A stream of which Bronze alone is left: its table was removed, or lost.

use std::collections::BTreeMap;

use weir_protocol::{Books, Error, ReadMode, Result, StreamState, WriteMode, WritePlan};

use crate::bronze::{self, ObjectName};
use crate::lake::Lake;
use crate::quarantine;
use crate::writer::form::TableForm;
use crate::writer::generations::Generation;
use crate::writer::shape::Shape;
use crate::writer::state::StateRecord;

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
    let committed = |name: &ObjectName| {
        reached
            .get(&name.run)
            .is_none_or(|newest| name.sequence <= *newest)
    };
    let mut objects = bronze::objects(&lake.storage, &bronze::folder(source, stream)).await?;
    objects.retain(|(name, _)| committed(name));
    let Some((last, _)) = objects.last() else {
        return Err(nothing(plan, shape));
    };
    // A line that is held stands in Bronze too, but the run of a rebuild has held records alone.
    let held = bronze::objects(&lake.storage, &quarantine::folder(source, stream)).await?;
    let held = held.iter().rev().find(|(name, _)| committed(name));
    let sequence = last.sequence.max(held.map_or(0, |(name, _)| name.sequence));
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
        "the table is gone: it is made anew from all that Bronze holds, and its stream starts over"
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
        undone: Vec::new(),
        held: 0,
        refused: false,
        writers: Vec::new(),
        inexact: None,
        children: BTreeMap::new(),
        child_rows: BTreeMap::new(),
    })
}

fn nothing(plan: &WritePlan, shape: &Shape) -> Error {
    let stream = &plan.stream.name;
    Error::not_found(format!(
        "there is neither a table '{}' nor Bronze of stream '{stream}' that a run committed",
        shape.name
    ))
    .hint(format!(
        "`weir sync {} --stream {stream}` reads it",
        plan.connection
    ))
}
