//! Programs that speak the protocol well and badly, played by a shell.

use futures::StreamExt as _;
use serde_json::json;
use weir_protocol::conformance;
use weir_protocol::state::WHOLE;
use weir_protocol::{Error, ReadMode, StateChange};

use super::super::process::engine;
use super::*;

/// A program whose `read` is this script. `$1` is the verb, `$3` the settings, `$5` the catalog, `$7` the state.
fn source_with(read: &str, more: Value) -> AirbyteProcess {
    let script = format!(
        r#"case "$1" in
spec) echo '{{"type":"SPEC","spec":{{"connectionSpecification":{{"type":"object","required":["user"],"properties":{{"user":{{"type":"string"}},"token":{{"type":"string","airbyte_secret":true}}}}}}}}}}' ;;
check) grep -q good "$3" && s=SUCCEEDED || s=FAILED
  echo '{{"type":"LOG","log":{{"level":"INFO","message":"looking"}}}}'
  echo '{{"type":"CONNECTION_STATUS","connectionStatus":{{"status":"'$s'","message":"who is hunter2?"}}}}' ;;
discover) echo 'a line of a library'
  echo '{{"type":"CATALOG","catalog":{{"streams":[{{"name":"things","json_schema":{{"type":"object","properties":{{"id":{{"type":"integer"}},"at":{{"type":"integer"}}}}}},"supported_sync_modes":["full_refresh","incremental"],"source_defined_cursor":true,"default_cursor_field":["at"],"source_defined_primary_key":[["id"]]}},{{"name":"plain","namespace":"Sales","json_schema":{{"type":"object"}},"supported_sync_modes":["full_refresh"]}}]}}}}' ;;
read) {read} ;;
esac"#
    );
    let mut config =
        json!({ "command": ["sh", "-c", script, "sh"], "settings": { "user": "good", "token": "hunter2" } });
    if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    let connection = json!({ "connection": "x", "connector": "airbyte", "config": config });
    let connection = serde_json::from_value(connection).unwrap();
    AirbyteProcess::new(&connection, &engine()).unwrap()
}

fn source(read: &str) -> AirbyteProcess {
    source_with(read, json!({}))
}

#[derive(Default)]
struct Read {
    records: Vec<String>,
    /// Records covered by each state.
    states: Vec<(usize, Value)>,
    notices: Vec<String>,
    is_complete: bool,
    error: Option<Error>,
}

impl Read {
    fn error(&self) -> String {
        format!("{:?}", self.error.as_ref().unwrap())
    }
}

async fn read(source: &AirbyteProcess, stream: &str, mode: ReadMode) -> Read {
    let mut done = Read::default();
    let mut events = source.read(ReadRequest {
        mode,
        ..ReadRequest::full(stream)
    });
    while let Some(event) = events.next().await {
        match event {
            Ok(ReadEvent::Batch(batch)) => {
                let json = |record| String::from_utf8_lossy(batch.json(record)).into_owned();
                done.records.extend(batch.records.iter().map(json));
            }
            Ok(ReadEvent::Advance(StateChange::Slice { state, .. })) => {
                done.states.push((done.records.len(), state.cursor.unwrap()));
            }
            Ok(ReadEvent::Advance(StateChange::Complete { .. })) => done.is_complete = true,
            Ok(ReadEvent::Notice(notice)) => done.notices.push(notice.message),
            Ok(ReadEvent::Progress(_)) => {}
            Err(error) => done.error = Some(error),
        }
    }
    done
}

async fn failure(script: &str) -> String {
    read(&source(script), "things", ReadMode::Incremental)
        .await
        .error()
}

/// Gives records up to 20, four a state, and goes on from the state that it is given.
const GOES_ON: &str = r#"n=0; [ $# -ge 7 ] && n=$(sed -n 's/.*"n":\([0-9]*\).*/\1/p' "$7")
while [ "$n" -lt 20 ]; do
  n=$((n + 1))
  echo '{"type":"RECORD","record":{"stream":"things","data":{"id":'$n',"at":'$n'},"emitted_at":1700000000000}}'
  [ $((n % 4)) = 0 ] && echo '{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"things"},"stream_state":{"n":'$n'}},"sourceStats":{"recordCount":4.0}}}'
done"#;

#[tokio::test]
async fn a_program_keeps_the_promises_of_a_source() {
    let source = source(GOES_ON);
    let modes = [ReadMode::Incremental, ReadMode::FullRefresh];
    conformance::source(&source, "things", &modes, 20).await.unwrap();
}

#[tokio::test]
async fn what_it_declares_is_what_is_known() {
    let found = source("").discover().await.unwrap();
    assert_eq!(found[0].primary_key, ["id"]);
    assert_eq!(found[0].cursor_field.as_deref(), Some("at"));
    assert_eq!(
        (found[1].name.as_str(), found[1].entity.as_str()),
        ("Sales.plain", "sales_plain")
    );
    source("").check().await.unwrap();
}

#[tokio::test]
async fn settings_are_judged_by_its_specification() {
    let wrong = |settings: Value| async move {
        let source = source_with("", json!({ "settings": settings }));
        format!("{:?}", source.check().await.unwrap_err())
    };
    insta::assert_snapshot!(wrong(json!({ "usr": "ann" })).await, @"[spec] config.settings.usr is no setting of this connector -> did you mean 'user'?");
    insta::assert_snapshot!(wrong(json!({ "user": 7 })).await, @r#"[spec] config.settings.user: the value is not of type "string" -> write a value of type string"#);
    insta::assert_snapshot!(wrong(json!({ "user": "bad", "token": "hunter2" })).await, @"[source] 'sh' refuses the connection: who is [redacted]? -> mend config.settings, and look whether the system can be reached");
}

#[tokio::test]
async fn states_end_checkpoints_in_their_order() {
    let done = read(&source(GOES_ON), "things", ReadMode::Incremental).await;
    assert!(done.is_complete && done.error.is_none());
    let covered: Vec<usize> = done.states.iter().map(|(records, _)| *records).collect();
    assert_eq!(covered, [4, 8, 12, 16, 20]);
    assert_eq!(
        done.states[0].1,
        json!({ "type": "STREAM", "stream": { "stream_descriptor": { "name": "things" }, "stream_state": { "n": 4 } } })
    );
}

/// A full read that cannot be gone on with gives no state before its end.
#[tokio::test]
async fn a_plain_full_read_is_all_or_nothing() {
    let script = r#"echo '{"type":"RECORD","record":{"stream":"plain","namespace":"Sales","data":{"a":1},"emitted_at":1}}'
echo '{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"plain","namespace":"Sales"},"stream_state":{"n":1}}}}'"#;
    let done = read(&source(script), "Sales.plain", ReadMode::FullRefresh).await;
    assert_eq!(
        (done.records.len(), done.states.len(), done.is_complete),
        (1, 0, true)
    );
}

const ONE: &str =
    r#"echo '{"type":"RECORD","record":{"stream":"things","data":{"id":1,"at":1},"emitted_at":1}}'"#;

#[tokio::test]
async fn what_goes_wrong_is_named() {
    let trace = |kind: &str| {
        format!(
            r#"{ONE}; echo '{{"type":"TRACE","trace":{{"type":"ERROR","emitted_at":1,"error":{{"message":"no luck, hunter2","internal_message":"KeyError","failure_type":"{kind}"}}}}}}'; exit 1"#
        )
    };
    insta::assert_snapshot!(failure(&trace("config_error")).await, @"[spec] no luck, [redacted] (internally: KeyError, stream: things) -> mend config.settings; `weir check` tells whether they work");
    insta::assert_snapshot!(failure(&trace("transient_error")).await, @"[unavailable] no luck, [redacted] (internally: KeyError, stream: things) -> run again later; what was committed stays");
    insta::assert_snapshot!(failure(&trace("system_error")).await, @"[source] no luck, [redacted] (internally: KeyError, stream: things) -> what was committed stays; `--verbose` logs what the program says");
    insta::assert_snapshot!(failure("echo 'Traceback' >&2; exit 7").await, @"[source] 'sh' ended with exit code 7 (last said: Traceback, stream: things) -> `--verbose` logs all that it says; what was committed stays");
    insta::assert_snapshot!(failure(r#"printf '{"type":"RECORD","record":{"stream":"things","da'"#).await, @r#"[decode] the output ends in the middle of a message (line: {"type":"RECORD","record":{"stream":"things","da, column: 48, stream: things) -> the program was ended while it wrote; run again. What was committed stays"#);
    insta::assert_snapshot!(failure(r#"echo '{"type":"RECORD","record":{"stream":"things","data":{"a":NaN}}}'"#).await, @r#"[decode] a line of output is a broken message (line: {"type":"RECORD","record":{"stream":"things","data":{"a":NaN}}}, column: 58, stream: things) -> the program writes what is no JSON (NaN, two lines in one, one message on several lines); nothing after the last checkpoint was taken"#);
    insta::assert_snapshot!(failure(r#"echo '{"type":"TRACE","trace":{"type":"STREAM_STATUS","stream_status":{"stream_descriptor":{"name":"things"},"status":"INCOMPLETE"}}}'"#).await, @"[source] the program says that the stream is incomplete, and not why (stream: things) -> run again; what was committed stays");
    insta::assert_snapshot!(failure(r#"echo '{"type":"STATE","state":{"type":"GLOBAL","global":{"shared_state":{"lsn":1},"stream_states":[]}}}'"#).await, @"[spec] the program keeps one state for all its streams, but each stream is read by a process of its own (stream: things) -> choose one stream under streams:, and give each further stream a connection with its own source:");
}

#[tokio::test]
async fn records_that_were_lost_on_the_way_are_missed() {
    let state = r#"echo '{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"things"},"stream_state":{}},"sourceStats":{"recordCount":2.0}}}'"#;
    let script = format!("{ONE}; {state}");
    insta::assert_snapshot!(failure(&script).await, @"[decode] the program says that it gave 2 records since its last state; 1 arrived (stream: things) -> records were lost on the way; run again. If the program miscounts, set config.counts: warn");
    let lenient = source_with(&script, json!({ "counts": "warn" }));
    let done = read(&lenient, "things", ReadMode::Incremental).await;
    assert!(done.is_complete);
    insta::assert_snapshot!(done.notices.join("\n"), @"the program says that it gave 2 records since its last state; 1 arrived");
}

#[tokio::test]
async fn garbage_between_messages_does_no_harm() {
    let script =
        format!("echo 'Downloading…'; echo '{{\"a\": 1}}'; echo; {ONE}; echo '[1, 2'; printf 'no end'");
    let done = read(&source(&script), "things", ReadMode::Incremental).await;
    assert!(done.error.is_none() && done.is_complete);
    assert_eq!(done.records, [r#"{"id":1,"at":1}"#]);
}

#[tokio::test]
async fn records_before_a_failure_are_covered_by_their_state() {
    let script = format!("{GOES_ON}; exit 5");
    let done = read(&source(&script), "things", ReadMode::Incremental).await;
    assert_eq!(done.states.last().unwrap().0, 20);
    assert!(!done.is_complete);
    assert!(done.error().contains("exit code 5"), "{}", done.error());
}

#[tokio::test]
async fn changed_settings_are_used_and_told() {
    let script = r#"echo '{"type":"CONTROL","control":{"type":"CONNECTOR_CONFIG","emitted_at":1,"connectorConfig":{"config":{"user":"good","token":"n3w"}}}}'"#;
    let source = source(script);
    let done = read(&source, "things", ReadMode::Incremental).await;
    insta::assert_snapshot!(done.notices.join("\n"), @"the program changed its settings: token");
    assert_eq!(source.0.settings()["token"], "n3w");
}

/// What replaced a secret is one from then on, wherever it is said.
#[tokio::test]
async fn changed_secrets_are_hidden() {
    let control = r#"echo '{"type":"CONTROL","control":{"type":"CONNECTOR_CONFIG","emitted_at":1,"connectorConfig":{"config":{"user":"good","token":"n3wt0ken","refresh":{"api_key":"k3yk3y"}}}}}'"#;
    let error = r#"echo '{"type":"TRACE","trace":{"type":"ERROR","error":{"message":"no n3wt0ken","internal_message":"k3yk3y hunter2"}}}'"#;
    insta::assert_snapshot!(failure(&format!("{control}; {error}")).await, @"[source] no [redacted] (internally: [redacted] [redacted], stream: things) -> what was committed stays; `--verbose` logs what the program says");
    insta::assert_snapshot!(failure(&format!("echo early n3wt0ken >&2; {control}; echo late k3yk3y >&2; exit 1")).await, @"[source] 'sh' ended with exit code 1 (last said: early [redacted] | late [redacted], stream: things) -> `--verbose` logs all that it says; what was committed stays");
    insta::assert_snapshot!(failure(&format!(r#"{control}; echo '{{"type":"RECORD" n3wt0ken'"#)).await, @r#"[decode] a line of output is a broken message (line: {"type":"RECORD" [redacted], column: 18, stream: things) -> the program writes what is no JSON (NaN, two lines in one, one message on several lines); nothing after the last checkpoint was taken"#);
}

/// What is told for people is never fatal.
#[tokio::test]
async fn odd_logs_and_traces_do_no_harm() {
    let script = format!(
        r#"echo '{{"type":"LOG","log":{{"level":null,"message":null}}}}'; echo '{{"type":"LOG","log":"plain"}}'; echo '{{"type":"LOG","log":{{"level":"INFO","message":{{"a":1}}}}}}'
echo '{{"type":"TRACE","trace":{{"type":"ESTIMATE","emitted_at":1.5,"estimate":{{"row_estimate":100.0}}}}}}'; echo '{{"type":"TRACE","trace":{{"type":"ESTIMATE","estimate":null}}}}'
echo '{{"type":"TRACE","trace":{{"type":"STREAM_STATUS","stream_status":{{"status":null}}}}}}'; echo '{{"type":"TRACE","trace":[]}}'
echo '{{"type":"RECORD","record":{{"stream":"things","data":{{"id":2}},"emitted_at":1700000000000.5}}}}'; printf '\357\273\277'; {ONE}"#
    );
    let done = read(&source(&script), "things", ReadMode::Incremental).await;
    assert!(done.error.is_none() && done.is_complete, "{:?}", done.error);
    assert_eq!(done.records, [r#"{"id":2}"#, r#"{"id":1,"at":1}"#]);
    let internal = r#"echo '{"type":"TRACE","trace":{"type":"ERROR","emitted_at":1.5,"error":{"message":null,"internal_message":"db is down","failure_type":"transient_error"}}}'; exit 1"#;
    insta::assert_snapshot!(failure(internal).await, @"[unavailable] db is down (stream: things) -> run again later; what was committed stays");
    insta::assert_snapshot!(failure(r#"echo '{"type":"TRACE","trace":{"type":"ERROR"}}'"#).await, @"[source] the program failed and does not say why (stream: things) -> what was committed stays; `--verbose` logs what the program says");
}

/// A message that would be taken for noise.
#[tokio::test]
async fn hidden_messages_are_missed() {
    insta::assert_snapshot!(failure(&format!("printf '50%%|##  | '; {ONE}")).await, @r#"[decode] a message stands behind other text in its line (line: 50%|## | {"type":"RECORD","record":{"stream":"things","data":{"id":1,"at":1},"emitted_at":1}}, column: 2, stream: things) -> let the program print nothing but messages to standard output (a progress bar belongs to standard error); nothing after the last checkpoint was taken"#);
    insta::assert_snapshot!(failure("echo '{'; echo ' \"type\": \"RECORD\"'; echo '}'").await, @"[decode] a line of output is a broken message (line: {, column: 1, stream: things) -> the program writes what is no JSON (NaN, two lines in one, one message on several lines); nothing after the last checkpoint was taken");
    insta::assert_snapshot!(failure(r#"echo '{"type":"RECORD","record":{"data":{}}}'"#).await, @r#"[decode] a message lacks a member or has one of another type (line: {"type":"RECORD","record":{"data":{}}}, column: 37, stream: things) -> look at the program's version; it may speak another protocol"#);
}

#[tokio::test]
async fn older_states_are_handed_back_as_they_were() {
    // The program says what it was given as a record.
    let script = r#"[ $# -ge 7 ] && echo '{"type":"RECORD","record":{"stream":"things","data":{"id":1,"given":'"$(cat "$7")"'},"emitted_at":1}}'
echo '{"type":"STATE","state":{"data":{"things":{"n":5}}}}'"#;
    let source = source(script);
    let first = read(&source, "things", ReadMode::Incremental).await;
    let slice = weir_protocol::SliceState {
        cursor: Some(first.states[0].1.clone()),
        ..Default::default()
    };
    let state = StreamState {
        slices: [(WHOLE.into(), slice)].into(),
        ..StreamState::default()
    };
    let mut events = source.read(ReadRequest {
        mode: ReadMode::Incremental,
        state: Some(state),
        ..ReadRequest::full("things")
    });
    let Some(Ok(ReadEvent::Batch(batch))) = events.next().await else {
        panic!("a batch");
    };
    assert_eq!(
        batch.json(&batch.records[0]),
        br#"{"id":1,"given":{"things":{"n":5}}}"#
    );
}

#[test]
fn a_state_of_elsewhere_is_handed_over_whole() {
    let state = ForeignState {
        name: "plain".to_owned(),
        namespace: Some("Sales".to_owned()),
        state: json!({ "n": 3 }),
        shared: None,
    };
    let taken = source("").foreign_state("Sales.plain", &state).unwrap();
    assert_eq!(
        state::file(taken.cursor_of(WHOLE).unwrap()),
        json!([{ "type": "STREAM", "stream": { "stream_descriptor": { "name": "plain", "namespace": "Sales" }, "stream_state": { "n": 3 } } }])
    );
    let shared = ForeignState {
        shared: Some(json!({ "lsn": 1 })),
        ..state
    };
    assert!(source("").foreign_state("Sales.plain", &shared).is_err());
}
