//! `read`: records and states of the chosen streams, one stream after the other.

use std::collections::BTreeMap;
use std::path::Path;

use futures::StreamExt as _;
use serde_json::json;
use weir_engine::catalog::Connector;
use weir_protocol::{Error, ReadEvent, ReadMode, ReadRequest, Result, Source, StreamState};

use super::catalog::{Configured, Stated};
use super::messages::Messages;
use super::{connect, read_json};

/// A stream that fails does not keep the others from being read; the first failure is the result.
pub(crate) async fn read(
    connector: &Connector,
    config: &Path,
    catalog: &Path,
    state: Option<&Path>,
    out: &mut Messages,
) -> Result<()> {
    let source = connect(connector, config)?;
    let configured: Configured = read_json(catalog)?;
    let stated: Vec<Stated> = state.map(read_json).transpose()?.unwrap_or_default();
    let mut states: BTreeMap<String, StreamState> = stated
        .into_iter()
        .filter_map(|stated| Some((stated.stream.stream_descriptor.name, stated.stream.stream_state?)))
        .collect();
    let mut failed: Option<Error> = None;
    for chosen in configured.streams {
        let name = chosen.stream.name;
        out.status(&name, "STARTED")?;
        let request = request(&name, chosen.sync_mode.into(), states.remove(&name));
        match read_stream(source.as_ref(), request, out).await {
            Ok(()) => out.status(&name, "COMPLETE")?,
            Err(error) => {
                out.status(&name, "INCOMPLETE")?;
                if failed.is_some() {
                    out.failed(&error, Some(&name))?;
                }
                failed.get_or_insert(error.with("stream", &name));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// A full refresh that came to its end begins anew.
fn request(stream: &str, mode: ReadMode, state: Option<StreamState>) -> ReadRequest {
    let state = state.filter(|state| mode == ReadMode::Incremental || !state.complete);
    ReadRequest {
        mode,
        state,
        ..ReadRequest::full(stream)
    }
}

async fn read_stream(source: &dyn Source, request: ReadRequest, out: &mut Messages) -> Result<()> {
    let stream = request.stream.clone();
    let mut state = request.state.clone().unwrap_or_default();
    let mut records = 0_u64;
    let mut running = false;
    let mut events = source.read(request);
    while let Some(event) = events.next().await {
        match event? {
            ReadEvent::Batch(batch) => {
                if !running && !batch.records.is_empty() {
                    out.status(&stream, "RUNNING")?;
                    running = true;
                }
                for record in &batch.records {
                    records += u64::from(out.record(&stream, batch.json(record), batch.emitted_at)?);
                }
            }
            ReadEvent::Advance(change) => {
                state.apply(change);
                out.write(&json!({
                    "type": "STATE",
                    "state": {
                        "type": "STREAM",
                        "stream": { "stream_descriptor": { "name": stream }, "stream_state": state },
                        "sourceStats": { "recordCount": records },
                    }
                }))?;
                records = 0;
            }
            ReadEvent::Notice(notice) => out.log("WARN", &format!("{stream}: {}", notice.message))?,
            ReadEvent::Progress(_) => {}
        }
    }
    Ok(())
}
