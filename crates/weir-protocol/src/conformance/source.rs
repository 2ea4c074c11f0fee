//! [`crate::Source`].

use std::collections::BTreeSet;

use futures::StreamExt;
use serde_json::Value;

use super::{holds, same};
use crate::{Batch, Error, ReadEvent, ReadMode, ReadRequest, Result, Source, StateChange, StreamState};

/// Most places that a read is stopped at.
const STOPS_MAX: usize = 50;

/// What a read gave.
#[derive(Debug, Default)]
struct Read {
    /// Records that the state covers, as JSON.
    covered: BTreeSet<String>,
    state: StreamState,
    advances: usize,
    is_complete: bool,
}

/// Runs the suite over one stream, whose records do not change meanwhile and are `count`.
pub async fn source(source: &dyn Source, stream: &str, modes: &[ReadMode], count: usize) -> Result<()> {
    source.check().await?;
    let found = source.discover().await?;
    let names: BTreeSet<&str> = found.iter().map(|stream| stream.name.as_str()).collect();
    same("streams have names of their own", &names.len(), &found.len())?;
    holds("discover names what can be read", names.contains(stream), &names)?;
    for mode in modes {
        let named = |error: Error| error.with("mode", format!("{mode:?}"));
        stops_anywhere(source, stream, *mode, count)
            .await
            .map_err(named)?;
    }
    let mut preview = ReadRequest::full(stream);
    preview.records_max = Some(1);
    read(source, preview, None).await?;
    Ok(())
}

/// Whatever state a read is stopped at, reading on from it gives all that it does not cover.
async fn stops_anywhere(source: &dyn Source, stream: &str, mode: ReadMode, count: usize) -> Result<()> {
    let request = |state: Option<StreamState>| ReadRequest {
        mode,
        state,
        ..ReadRequest::full(stream)
    };
    let whole = read(source, request(None), None).await?;
    holds("a read ends with its completion", whole.is_complete, &whole.state)?;
    same("a whole read gives every record", &whole.covered.len(), &count)?;
    let again = read(source, request(None), None).await?;
    same("reading twice is harmless", &again.covered, &whole.covered)?;
    for stop in 1..whole.advances.min(STOPS_MAX) {
        let first = read(source, request(None), Some(stop)).await?;
        if first.is_complete {
            break;
        }
        let rest = read(source, request(Some(stored(&first.state)?)), None).await?;
        holds(
            "a read that goes on comes to its end",
            rest.is_complete,
            &rest.state,
        )?;
        let both: BTreeSet<String> = first.covered.union(&rest.covered).cloned().collect();
        same("nothing is lost between two reads", &both, &whole.covered)?;
    }
    if mode == ReadMode::Incremental {
        let later = read(source, request(Some(stored(&whole.state)?)), None).await?;
        holds(
            "a read of nothing new comes to its end",
            later.is_complete,
            &later.state,
        )?;
        let known = later.covered.is_subset(&whole.covered);
        holds("a read of nothing new gives nothing new", known, &later.covered)?;
    }
    Ok(())
}

/// The state as a destination keeps it.
fn stored(state: &StreamState) -> Result<StreamState> {
    let broken = |error| {
        Error::internal("not so: a state survives being stored")
            .hint("a state is JSON")
            .caused_by(error)
    };
    let text = serde_json::to_string(state).map_err(broken)?;
    let back: StreamState = serde_json::from_str(&text).map_err(broken)?;
    same("a state survives being stored", &back, state)?;
    Ok(back)
}

/// Reads until the end, or until so many advances: what came after the last one is forgotten, as
/// in a crash.
async fn read(source: &dyn Source, request: ReadRequest, advances_max: Option<usize>) -> Result<Read> {
    let mut done = Read {
        state: request.state.clone().unwrap_or_default(),
        ..Read::default()
    };
    let is_cut = request.records_max.is_some();
    let mut uncovered = Vec::new();
    let mut events = source.read(request);
    while let Some(event) = events.next().await {
        holds(
            "completion is the last event",
            !done.is_complete || is_quiet(&event),
            &"an event after it",
        )?;
        match event? {
            ReadEvent::Batch(batch) => records(&batch, &mut uncovered)?,
            ReadEvent::Advance(change) => {
                done.is_complete = matches!(change, StateChange::Complete { .. });
                done.state.apply(change);
                done.advances += 1;
                done.covered.extend(uncovered.drain(..));
                if advances_max == Some(done.advances) {
                    return Ok(done);
                }
            }
            ReadEvent::Progress(_) | ReadEvent::Notice(_) => {}
        }
    }
    holds(
        "every record is covered by an advance",
        is_cut || uncovered.is_empty(),
        &uncovered,
    )?;
    Ok(done)
}

/// Tellings that change nothing.
fn is_quiet(event: &Result<ReadEvent>) -> bool {
    matches!(event, Ok(ReadEvent::Progress(_) | ReadEvent::Notice(_)))
}

/// The records of a batch, each a JSON text within its body, and so is its cursor.
fn records(batch: &Batch, into: &mut Vec<String>) -> Result<()> {
    for record in &batch.records {
        let end = u64::from(record.start) + u64::from(record.len);
        holds(
            "a record lies in its batch",
            end <= batch.body.len() as u64,
            record,
        )?;
        let cursor_end = u64::from(record.cursor_start) + u64::from(record.cursor_len);
        let fits = record.cursor_len == 0 || cursor_end <= batch.body.len() as u64;
        holds("a cursor lies in its batch", fits, record)?;
        let json: Value = parsed("a record is JSON", batch.json(record))?;
        if let Some(cursor) = batch.cursor(record) {
            parsed("a cursor is JSON", cursor)?;
        }
        into.push(json.to_string());
    }
    Ok(())
}

fn parsed(property: &'static str, text: &[u8]) -> Result<Value> {
    serde_json::from_slice(text).map_err(|error| {
        Error::internal(format!("not so: {property}"))
            .hint("a batch's spans are bytes of its body")
            .caused_by(error)
    })
}
