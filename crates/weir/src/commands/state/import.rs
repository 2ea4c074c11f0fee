//! States of another platform: read from its export, matched with the connection's streams.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};
use weir_control::states::{self, Wish};
use weir_protocol::yaml::closest;
use weir_protocol::{Error, ForeignState, ReadMode, Result, Source, StreamDescriptor, StreamState};

use crate::commands::Context;
use crate::commands::discover::mode;
use crate::errors;
use crate::output::{Format, Sheet, line};
use crate::wiring::{Wiring, registered};

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Airbyte's state of the connection: the export of its API or pages, or STATE messages
    #[arg(long, value_name = "FILE")]
    airbyte: PathBuf,
    /// Name of the connection
    connection: String,
    /// Only this stream; may be given several times
    #[arg(long = "stream", value_name = "STREAM")]
    streams: Vec<String>,
    /// In a table without a key, what is read again may stand twice
    #[arg(long)]
    accept_duplicates: bool,
    /// Say what would be taken over, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// A state, and the stream of the connection that it is of.
struct Matched<'a> {
    stream: &'a StreamDescriptor,
    found: ForeignState,
    state: StreamState,
}

pub(super) async fn run(args: &ImportArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let connection = wiring.connection(&args.connection)?;
    let found = read(&args.airbyte)?;
    let source = wiring.source(&connection).await?;
    let streams = source.discover().await?;
    let wanted = |found: &ForeignState| {
        let is_named = |name: &String| *name == found.name || *name == full_name(found);
        args.streams.is_empty() || args.streams.iter().any(is_named)
    };
    let found: Vec<ForeignState> = found.into_iter().filter(wanted).collect();
    let matched = matched(source.as_ref(), &streams, found, &args.connection)?;
    if matched.is_empty() {
        return Err(
            Error::state(format!("{} holds no state to take over", args.airbyte.display()))
                .hint("look whether it is the right file and --stream names what is in it"),
        );
    }
    if !args.accept_duplicates {
        for one in &matched {
            crate::places::refuse_doubles(&wiring, &connection, one.stream).await?;
        }
    }
    if !args.dry_run {
        let store = wiring.store().await?;
        for one in &matched {
            let wish = Wish::From(one.state.clone());
            states::set(&store, &registered(&connection), &one.stream.name, &wish).await?;
        }
    }
    print(&matched, context.format())?;
    if context.format() == Format::Table {
        line(if args.dry_run {
            "nothing was changed; without --dry-run the next run reads on from there"
        } else {
            "the next run reads on from there"
        });
    }
    Ok(())
}

/// Every state with its stream. One that has none refuses them all, so that none is lost unseen.
fn matched<'a>(
    source: &dyn Source,
    streams: &'a [StreamDescriptor],
    found: Vec<ForeignState>,
    connection: &str,
) -> Result<Vec<Matched<'a>>> {
    let mut matched: Vec<Matched<'a>> = Vec::new();
    let mut unknown = Vec::new();
    for found in found {
        let full = full_name(&found);
        let stream = streams
            .iter()
            .find(|stream| stream.name == full)
            .or_else(|| streams.iter().find(|stream| stream.name == found.name));
        match stream {
            Some(stream) if matched.iter().any(|other| other.stream.name == stream.name) => {
                return Err(
                    Error::state(format!("the file holds two states of stream '{}'", stream.name))
                        .hint("keep the newer one"),
                );
            }
            Some(stream) => matched.push(Matched {
                stream,
                state: source.foreign_state(&stream.name, &found)?,
                found,
            }),
            None => unknown.push(full),
        }
    }
    let Some(first) = unknown.first() else {
        return Ok(matched);
    };
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    let error = Error::state(format!(
        "connection '{connection}' has no stream {}",
        unknown.join(", ")
    ));
    Err(match closest(first, &names) {
        Some(near) => error.hint(format!(
            "did you mean '{near}'? --stream takes over only some of the file"
        )),
        None => error.hint(format!(
            "its streams are {}; --stream takes over only some of the file",
            names.join(", ")
        )),
    })
}

fn full_name(found: &ForeignState) -> String {
    match &found.namespace {
        Some(namespace) => format!("{namespace}.{}", found.name),
        None => found.name.clone(),
    }
}

fn print(matched: &[Matched<'_>], format: Format) -> Result<()> {
    let mut sheet = Sheet::new(["stream", "mode", "state", "used"]);
    for one in matched {
        let mode = mode(one.stream);
        let used = match mode.read() {
            ReadMode::Incremental => "yes",
            ReadMode::FullRefresh => "no: the stream is read in full",
        };
        sheet.push([
            one.stream.name.as_str().into(),
            mode.as_str().into(),
            one.found.state.to_string().into(),
            used.into(),
        ]);
    }
    sheet.print(format)
}

/// The states of a file, in whichever of the platform's forms.
fn read(file: &Path) -> Result<Vec<ForeignState>> {
    let text = std::fs::read_to_string(file).map_err(|error| errors::file("read", file, error))?;
    let named = |error: Error| error.with("file", file.display());
    match serde_json::from_str::<Value>(&text) {
        Ok(whole) => parse(&whole).map_err(named),
        Err(_) => messages(&text).map_err(named),
    }
}

fn broken(why: impl Into<String>) -> Error {
    Error::state(why).hint(
        "give the connection's state as Airbyte exports it: a list of stream states, the API's answer, or STATE messages",
    )
}

/// Lines of a read's output: the last state of each stream counts.
fn messages(text: &str) -> Result<Vec<ForeignState>> {
    let mut found: Vec<ForeignState> = Vec::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let message: Value = serde_json::from_str(line).map_err(|error| {
            broken("the file is neither JSON nor lines of JSON")
                .with("line", number + 1)
                .caused_by(error)
        })?;
        if message["type"] == "STATE" {
            for state in parse(&message)? {
                found.retain(|other| (&other.name, &other.namespace) != (&state.name, &state.namespace));
                found.push(state);
            }
        }
    }
    Ok(found)
}

fn parse(whole: &Value) -> Result<Vec<ForeignState>> {
    match whole {
        Value::Array(items) => {
            let states: Result<Vec<Vec<ForeignState>>> = items.iter().map(parse).collect();
            Ok(states?.into_iter().flatten().collect())
        }
        Value::Object(members) => object(members),
        _ => Err(broken("the state is neither a list nor an object")),
    }
}

/// A member under either spelling: the protocol's own, or that of the platform's API.
fn member<'a>(members: &'a Map<String, Value>, own: &str, api: &str) -> Option<&'a Value> {
    members
        .get(own)
        .or_else(|| members.get(api))
        .filter(|value| !value.is_null())
}

fn object(members: &Map<String, Value>) -> Result<Vec<ForeignState>> {
    let kind = member(members, "type", "stateType")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match kind.to_ascii_uppercase().as_str() {
        "STATE" => parse(members.get("state").unwrap_or(&Value::Null)),
        "STREAM" => match member(members, "stream", "streamState") {
            Some(Value::Object(stream)) => Ok(of_stream(stream, None)?.into_iter().collect()),
            Some(Value::Array(streams)) => of_streams(streams, None),
            _ => Err(broken("a stream's state is missing")),
        },
        "GLOBAL" => {
            let Some(Value::Object(global)) = member(members, "global", "globalState") else {
                return Err(broken("the global state is missing"));
            };
            let shared = member(global, "shared_state", "sharedState");
            let shared = shared.filter(|shared| shared.as_object().is_none_or(|shared| !shared.is_empty()));
            match member(global, "stream_states", "streamStates") {
                Some(Value::Array(streams)) => of_streams(streams, shared),
                _ => Err(broken("the global state has no states of streams")),
            }
        }
        "LEGACY" => match member(members, "data", "state") {
            Some(Value::Object(streams)) => Ok(legacy(streams)),
            _ => Err(broken("the state is missing")),
        },
        "NOT_SET" => Ok(Vec::new()),
        "" if member(members, "stream_descriptor", "streamDescriptor").is_some() => {
            Ok(of_stream(members, None)?.into_iter().collect())
        }
        "" => match members.get("data") {
            Some(Value::Object(streams)) => Ok(legacy(streams)),
            _ => Ok(legacy(members)),
        },
        other => Err(broken(format!("'{other}' is no kind of state"))),
    }
}

fn of_streams(streams: &[Value], shared: Option<&Value>) -> Result<Vec<ForeignState>> {
    let states = streams.iter().map(|stream| match stream {
        Value::Object(stream) => of_stream(stream, shared),
        _ => Err(broken("a stream's state is no object")),
    });
    Ok(states
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// None where the stream has no state yet.
fn of_stream(stream: &Map<String, Value>, shared: Option<&Value>) -> Result<Option<ForeignState>> {
    let descriptor = member(stream, "stream_descriptor", "streamDescriptor");
    let text = |field: &str| {
        let text = descriptor?.get(field)?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    let name = text("name").ok_or_else(|| broken("a stream's state does not name its stream"))?;
    let state = member(stream, "stream_state", "streamState")
        .cloned()
        .unwrap_or_default();
    if shared.is_none() && is_empty(&state) {
        return Ok(None);
    }
    Ok(Some(ForeignState {
        name,
        namespace: text("namespace"),
        state,
        shared: shared.cloned(),
    }))
}

fn is_empty(state: &Value) -> bool {
    state.is_null() || state.as_object().is_some_and(Map::is_empty)
}

/// The oldest form: an object of the streams' states.
fn legacy(streams: &Map<String, Value>) -> Vec<ForeignState> {
    let states = streams.iter().filter(|(_, state)| !is_empty(state));
    states
        .map(|(name, state)| ForeignState {
            name: name.clone(),
            namespace: None,
            state: state.clone(),
            shared: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let found = serde_json::from_str(text).map_or_else(|_| messages(text), |whole| parse(&whole));
        match found {
            Ok(found) => {
                let shown = found.iter().map(|found| {
                    let shared = found
                        .shared
                        .as_ref()
                        .map(|shared| format!(" + {shared}"))
                        .unwrap_or_default();
                    format!("{}: {}{shared}", full_name(found), found.state)
                });
                shown.collect::<Vec<_>>().join("; ")
            }
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn every_form_of_export_is_read() {
        let wanted = r#"a: {"n":1}"#;
        for text in [
            r#"[{"type":"STREAM","stream":{"stream_descriptor":{"name":"a"},"stream_state":{"n":1}}},{"type":"STREAM","stream":{"stream_descriptor":{"name":"b"}}}]"#,
            r#"[{"streamDescriptor":{"name":"a","namespace":""},"streamState":{"n":1}}]"#,
            r#"{"stateType":"stream","connectionId":"x","streamState":[{"streamDescriptor":{"name":"a"},"streamState":{"n":1}}]}"#,
            r#"{"stateType":"legacy","state":{"a":{"n":1}}}"#,
            r#"{"type":"LEGACY","data":{"a":{"n":1}}}"#,
            r#"{"data":{"a":{"n":1}}}"#,
            r#"{"a":{"n":1},"b":{}}"#,
            "{\"type\":\"LOG\"}\n{\"type\":\"STATE\",\"state\":{\"data\":{\"a\":{\"n\":0}}}}\n\n{\"type\":\"STATE\",\"state\":{\"data\":{\"a\":{\"n\":1}}}}",
        ] {
            assert_eq!(told(text), wanted, "{text}");
        }
        let global = r#"{"stateType":"global","globalState":{"sharedState":{"lsn":1},"streamStates":[{"streamDescriptor":{"name":"a","namespace":"s"}}]}}"#;
        assert_eq!(told(global), r#"s.a: null + {"lsn":1}"#);
        assert_eq!(told(r#"{"stateType":"not_set"}"#), "");
    }

    #[test]
    fn what_is_no_state_is_refused() {
        insta::assert_snapshot!(told("7"), @"[state] the state is neither a list nor an object -> give the connection's state as Airbyte exports it: a list of stream states, the API's answer, or STATE messages");
        insta::assert_snapshot!(told(r#"{"type":"ODD"}"#), @"[state] 'ODD' is no kind of state -> give the connection's state as Airbyte exports it: a list of stream states, the API's answer, or STATE messages");
        insta::assert_snapshot!(told(r#"[{"type":"STREAM","stream":{"stream_state":{}}}]"#), @"[state] a stream's state does not name its stream -> give the connection's state as Airbyte exports it: a list of stream states, the API's answer, or STATE messages");
        insta::assert_snapshot!(told("{\"a\": \n nonsense"), @"[state] the file is neither JSON nor lines of JSON (line: 1): EOF while parsing a value at line 1 column 6 -> give the connection's state as Airbyte exports it: a list of stream states, the API's answer, or STATE messages");
    }
}
