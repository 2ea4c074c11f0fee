//! Reads against a server on loopback, whose records and pages are made by rules.

mod api;
mod conformance;
mod incremental;
mod job;
mod paging;
mod parents;
mod resume;
mod share;
mod slices;
mod trouble;
mod windows;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::{Value, json};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::source::Notice;
use weir_protocol::spec::ConnectorSpec;
use weir_protocol::{Error, ReadEvent, ReadMode, ReadRequest, Result, SliceState, Source, StreamState};

use crate::catalog::Connector;
use crate::clock::Clock;
use crate::{EngineSettings, connect};

pub(super) const NOW: &str = "2026-11-21T00:00:00Z";

/// A source with these streams at a server.
pub(super) fn source(base_url: &str, streams: Value) -> Arc<dyn Source> {
    try_source(base_url, streams, json!({})).unwrap()
}

pub(super) fn try_source(base_url: &str, streams: Value, config: Value) -> Result<Arc<dyn Source>> {
    source_of("", base_url, streams, config)
}

/// The same as somebody's account.
pub(super) fn source_of(
    account: &str,
    base_url: &str,
    streams: Value,
    config: Value,
) -> Result<Arc<dyn Source>> {
    let spec: ConnectorSpec = serde_json::from_value(json!({
        "spec": 1, "connector": "test", "version": "1.0.0", "name": { "en": "Test" },
        "hosts": [base_url], "http": { "base_url": base_url }, "streams": streams,
        "reliability": { "pages_max": 200 },
    }))
    .unwrap();
    spec.validate()?;
    let connection: ConnectionSpec = serde_json::from_value(json!({
        "connection": "test", "connector": "test", "config": config, "allow_private_hosts": true,
    }))
    .unwrap();
    let settings = EngineSettings {
        clock: Clock::fixed(NOW.parse().unwrap()),
        account: account.to_owned(),
        ..EngineSettings::default()
    };
    connect(&Connector::new(spec), &connection, &settings)
}

/// What a read gave, as far as it went.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) records: Vec<Value>,
    pub(super) state: StreamState,
    pub(super) filtered: u64,
    pub(super) deduplicated: u64,
    pub(super) batches: usize,
    pub(super) notices: Vec<Notice>,
    pub(super) error: Option<Error>,
}

impl Outcome {
    pub(super) fn ids(&self) -> Vec<i64> {
        self.records
            .iter()
            .map(|record| record["id"].as_i64().unwrap())
            .collect()
    }

    pub(super) fn id_set(&self) -> BTreeSet<i64> {
        self.ids().into_iter().collect()
    }

    pub(super) fn fine(self) -> Self {
        assert!(self.error.is_none(), "{:?}", self.error);
        self
    }
}

/// Reads until the end, or until so many advances were seen; what came after the last advance is
/// thrown away, as a crash would.
pub(super) async fn read_until(
    source: &dyn Source,
    request: ReadRequest,
    advances: Option<usize>,
) -> Outcome {
    gather(source.read(request.clone()), request, advances).await
}

async fn gather(
    mut events: BoxStream<'static, Result<ReadEvent>>,
    request: ReadRequest,
    advances: Option<usize>,
) -> Outcome {
    let mut out = Outcome {
        state: request.state.clone().unwrap_or_default(),
        ..Outcome::default()
    };
    let mut uncovered = Vec::new();
    let mut seen = 0;
    while let Some(event) = events.next().await {
        match event {
            Ok(ReadEvent::Batch(batch)) => {
                out.batches += 1;
                out.filtered += batch.filtered;
                out.deduplicated += batch.deduplicated;
                uncovered.extend(batch.records.iter().map(|record| -> Value {
                    if let Some(cursor) = batch.cursor(record) {
                        serde_json::from_slice::<Value>(cursor).unwrap();
                    }
                    serde_json::from_slice(batch.json(record)).unwrap()
                }));
            }
            Ok(ReadEvent::Advance(change)) => {
                out.records.append(&mut uncovered);
                out.state.apply(change);
                seen += 1;
                if advances == Some(seen) {
                    return out;
                }
            }
            Ok(ReadEvent::Progress(_)) => {}
            Ok(ReadEvent::Notice(notice)) => out.notices.push(notice),
            Err(error) => out.error = Some(error),
        }
    }
    out.records.append(&mut uncovered);
    out
}

pub(super) async fn read(source: &dyn Source, request: ReadRequest) -> Outcome {
    read_until(source, request, None).await
}

pub(super) fn full(state: Option<StreamState>) -> ReadRequest {
    ReadRequest {
        state,
        ..ReadRequest::full("items")
    }
}

pub(super) fn incremental(state: Option<StreamState>) -> ReadRequest {
    ReadRequest {
        mode: ReadMode::Incremental,
        ..full(state)
    }
}
