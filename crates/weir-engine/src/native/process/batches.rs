//! Records that arrive one by one, gathered into batches of bounded size.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use weir_protocol::source::{Notice, Progress};
use weir_protocol::state::WHOLE;
use weir_protocol::{Batch, Error, ReadEvent, ReadRequest, Record, Result, SliceState, StateChange};

use crate::clock::Clock;
use crate::extract::{Path, Step, find};

/// A batch is sent when it holds so many bytes or records.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_RECORDS: usize = 10_000;
/// Most records at one cursor value that are told apart; more are taken again.
const EDGE_MAX: usize = 10_000;

pub(in crate::native) type Events = mpsc::Sender<Result<ReadEvent>>;

pub(in crate::native) struct Batches {
    out: Events,
    clock: Clock,
    cursor: Option<Path>,
    body: Vec<u8>,
    records: Vec<Record>,
    deduplicated: u64,
    /// When the first record of the batch was read at the source.
    at: Option<Timestamp>,
    progress: Progress,
    remaining: Option<u64>,
    edge: Option<Edge>,
    /// What is handed to the program to go on from.
    state: Option<Value>,
    is_stopped: bool,
}

impl Batches {
    pub(in crate::native) fn new(
        out: Events,
        clock: Clock,
        request: &ReadRequest,
        cursor_field: Option<&str>,
    ) -> Self {
        let state = request.state.as_ref();
        let known = state.and_then(|state| state.slices.get(WHOLE));
        Self {
            out,
            clock,
            cursor: cursor_field.map(|path| Path {
                steps: path.split('.').map(|step| Step::Key(step.to_owned())).collect(),
            }),
            body: Vec::new(),
            records: Vec::new(),
            deduplicated: 0,
            at: None,
            progress: Progress::default(),
            remaining: request.records_max,
            edge: request
                .skip_edge
                .then(|| Edge::new(known.map(|slice| slice.edge.as_slice()).unwrap_or_default())),
            state: state.and_then(|state| state.cursor_of(WHOLE)).cloned(),
            is_stopped: false,
        }
    }

    /// Whether the reader wants no more. The error that ended the reading is no failure then.
    pub(in crate::native) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// A record as it stands in a message.
    pub(in crate::native) async fn record(&mut self, json: &[u8], at: Option<Timestamp>) -> Result<()> {
        let start = self.body.len();
        self.body.extend_from_slice(json);
        let cursor = match &self.cursor {
            Some(path) => find(&self.body, &(start..self.body.len()), path)?.unwrap_or(0..0),
            None => 0..0,
        };
        if let Some(edge) = &mut self.edge
            && edge.knows(json, self.body.get(cursor.clone()).unwrap_or_default())
        {
            self.body.truncate(start);
            self.deduplicated += 1;
            return Ok(());
        }
        self.at = self.at.or(at);
        self.records.push(record(start..self.body.len(), &cursor)?);
        let wanted = self
            .remaining
            .is_some_and(|left| self.records.len() as u64 >= left);
        if wanted || self.body.len() >= BATCH_BYTES || self.records.len() >= BATCH_RECORDS {
            self.flush().await?;
        }
        Ok(())
    }

    pub(in crate::native) async fn notice(&mut self, message: String, hint: &str) -> Result<()> {
        let hint = Some(hint.to_owned());
        self.send(ReadEvent::Notice(Notice { message, hint })).await
    }

    pub(in crate::native) fn expect(&mut self, records: u64) {
        self.progress.records_total = records;
    }

    /// The program can go on from here: everything so far is covered.
    pub(in crate::native) async fn advance(&mut self, state: Value) -> Result<()> {
        self.flush().await?;
        self.state = Some(state);
        let change = StateChange::Slice {
            key: WHOLE.into(),
            state: self.slice(),
        };
        self.send(ReadEvent::Advance(change)).await
    }

    /// Remembers where to go on without telling: what was read so far is not covered by it alone.
    pub(in crate::native) fn keep(&mut self, state: Value) {
        self.state = Some(state);
    }

    /// The read came to its end. Without `keeps_state` the next one begins at the beginning.
    pub(in crate::native) async fn complete(&mut self, keeps_state: bool) -> Result<()> {
        self.flush().await?;
        self.progress.slices_done = 1;
        let slices = match self.state {
            Some(_) if keeps_state => [(Arc::from(WHOLE), self.slice())].into(),
            _ => std::collections::BTreeMap::new(),
        };
        let change = StateChange::Complete {
            floor: None,
            groups: Vec::new(),
            slices,
        };
        self.send(ReadEvent::Advance(change)).await
    }

    fn slice(&self) -> SliceState {
        SliceState {
            cursor: self.state.clone(),
            edge: self.edge.as_ref().map(Edge::stored).unwrap_or_default(),
            ..SliceState::default()
        }
    }

    async fn flush(&mut self) -> Result<()> {
        if self.records.is_empty() && self.deduplicated == 0 {
            return Ok(());
        }
        let batch = Batch {
            slice: WHOLE.into(),
            body: Bytes::from(std::mem::take(&mut self.body)),
            records: std::mem::take(&mut self.records),
            filtered: 0,
            deduplicated: std::mem::take(&mut self.deduplicated),
            emitted_at: self.at.take().unwrap_or_else(|| self.clock.now()),
        };
        let count = batch.records.len() as u64;
        self.progress.pages += 1;
        self.progress.bytes += batch.body.len() as u64;
        self.send(ReadEvent::Batch(batch)).await?;
        self.send(ReadEvent::Progress(self.progress)).await?;
        if let Some(left) = &mut self.remaining {
            *left = left.saturating_sub(count);
            if *left == 0 {
                return Err(self.stop());
            }
        }
        Ok(())
    }

    async fn send(&mut self, event: ReadEvent) -> Result<()> {
        if self.out.send(Ok(event)).await.is_err() {
            return Err(self.stop());
        }
        Ok(())
    }

    fn stop(&mut self) -> Error {
        self.is_stopped = true;
        Error::cancelled("nobody reads on").hint("run again to go on")
    }
}

fn record(at: Range<usize>, cursor: &Range<usize>) -> Result<Record> {
    let small = |n: usize| {
        u32::try_from(n).map_err(|_| {
            Error::limit("a record is too large")
                .with("bytes", n)
                .hint("leave out the field that is so large")
        })
    };
    Ok(Record {
        start: small(at.start)?,
        len: small(at.len())?,
        cursor_start: small(cursor.start)?,
        cursor_len: small(cursor.len())?,
    })
}

/// Tells the records exactly at the newest cursor value apart: programs give them again, and rows
/// that are appended have no key.
struct Edge {
    old: HashSet<String>,
    newest: Option<Value>,
    /// Those at the newest value.
    digests: Vec<String>,
}

/// Begins the entry of the stored digests that holds the value they are at, as JSON. The state's
/// cursor is the program's own and does not say it.
const NEWEST: &str = "newest ";

impl Edge {
    fn new(stored: &[String]) -> Self {
        let newest = stored.iter().find_map(|entry| entry.strip_prefix(NEWEST));
        let digests = stored.iter().filter(|entry| !entry.starts_with(NEWEST));
        let digests: Vec<String> = digests.cloned().collect();
        Self {
            old: digests.iter().cloned().collect(),
            // An older record that comes late must not take the place of what is stored.
            newest: newest.and_then(|json| serde_json::from_str(json).ok()),
            digests,
        }
    }

    fn stored(&self) -> Vec<String> {
        let newest = self.newest.iter().map(|newest| format!("{NEWEST}{newest}"));
        newest.chain(self.digests.iter().cloned()).collect()
    }

    /// Whether an earlier read gave this record already. Takes notice of it.
    fn knows(&mut self, json: &[u8], cursor: &[u8]) -> bool {
        let Ok(cursor) = serde_json::from_slice::<Value>(cursor) else {
            return false;
        };
        let digest: String = Sha256::digest(json)
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        match self.newest.as_ref().map(|newest| order(&cursor, newest)) {
            None | Some(std::cmp::Ordering::Greater) => {
                self.newest = Some(cursor);
                self.digests = vec![digest.clone()];
            }
            // Those of the last read are among them already.
            Some(std::cmp::Ordering::Equal)
                if self.digests.len() < EDGE_MAX && !self.old.contains(&digest) =>
            {
                self.digests.push(digest.clone());
            }
            Some(_) => {}
        }
        self.old.contains(&digest)
    }
}

/// Numbers by size, texts as they are written. Of two that cannot be compared the first is newer.
fn order(one: &Value, other: &Value) -> std::cmp::Ordering {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let whole = one
                .as_i64()
                .zip(other.as_i64())
                .map(|(one, other)| one.cmp(&other));
            let real = one.as_f64().zip(other.as_f64());
            let real = || real.and_then(|(one, other)| one.partial_cmp(&other));
            whole.or_else(real).unwrap_or(std::cmp::Ordering::Greater)
        }
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (one, other) if one == other => std::cmp::Ordering::Equal,
        _ => std::cmp::Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stored: &[String], records: &[(&str, &str)]) -> (Vec<bool>, Vec<String>) {
        let mut edge = Edge::new(stored);
        let known = records
            .iter()
            .map(|(json, cursor)| edge.knows(json.as_bytes(), cursor.as_bytes()))
            .collect();
        (known, edge.stored())
    }

    #[test]
    fn a_late_record_leaves_those_at_the_newest_value_known() {
        let (_, first) = read(&[], &[("a", "1"), ("b", "2"), ("c", "2")]);
        assert_eq!((first[0].as_str(), first.len()), ("newest 2", 3));
        let (known, second) = read(&first, &[("late", "1")]);
        assert_eq!((known, &second), (vec![false], &first));
        let (known, third) = read(&second, &[("c", "2"), ("d", "2")]);
        assert_eq!((known, third.len()), (vec![true, false], 4));
        let (known, fourth) = read(&third, &[("b", "2"), ("d", "2"), ("e", "3")]);
        assert_eq!((known, fourth.len()), (vec![true, true, false], 2));
        assert_eq!(read(&third, &[]).1, third);
    }

    /// A state of before the value was stored.
    #[test]
    fn digests_without_their_value_hold_until_the_next_record() {
        let (_, stored) = read(&[], &[("a", "1")]);
        let (known, next) = read(&stored[1..], &[("a", "1"), ("b", "2")]);
        assert_eq!((known, next[0].as_str()), (vec![true, false], "newest 2"));
    }
}
