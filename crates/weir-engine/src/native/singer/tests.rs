//! Taps that behave and taps that do not, played by a shell.

use serde_json::json;
use weir_protocol::conformance;
use weir_protocol::{Error, ReadMode, StateChange};

use super::super::process::engine;
use super::*;

const CATALOG: &str = r#"{"streams": [
  {"tap_stream_id": "things", "stream": "things", "key_properties": ["id"],
   "schema": {"type": "object", "properties": {"id": {"type": "integer"}, "at": {"type": ["null", "integer"]}, "blob": {}}},
   "metadata": [
     {"breadcrumb": [], "metadata": {"inclusion": "available", "table-key-properties": ["id"], "valid-replication-keys": ["at"]}},
     {"breadcrumb": ["properties", "at"], "metadata": {"inclusion": "available"}},
     {"breadcrumb": ["properties", "blob"], "metadata": {"inclusion": "unsupported"}}]},
  {"tap_stream_id": "sales-plain", "stream": "plain", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}, "metadata": []}
]}"#;

/// A tap whose sync is this script: `$2` the settings, `$4` the catalog, `$6` the state.
fn tap(sync: &str) -> Tap {
    let script = format!("if [ \"$3\" = --discover ]; then cat <<'END'\n{CATALOG}\nEND\nelse\n:\n{sync}\nfi");
    let connection = json!({ "connection": "x", "connector": "singer", "config": {
        "command": ["sh", "-c", script, "sh"], "settings": { "api_key": "hunter2" },
    } });
    let connection = serde_json::from_value(connection).unwrap();
    Tap::new(&connection, &engine()).unwrap()
}

#[derive(Default)]
struct Read {
    records: Vec<String>,
    states: Vec<(usize, Value)>,
    notices: Vec<String>,
    is_complete: bool,
    error: Option<Error>,
}

async fn read(tap: &Tap, stream: &str, mode: ReadMode) -> Read {
    let mut done = Read::default();
    let mut events = tap.read(ReadRequest {
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
    let done = read(&tap(script), "things", ReadMode::Incremental).await;
    format!("{:?}", done.error.unwrap())
}

const GOES_ON: &str = r#"n=0; [ $# -ge 6 ] && n=$(sed -n 's/.*"n":\([0-9]*\).*/\1/p' "$6")
echo '{"type":"SCHEMA","stream":"things","schema":{"properties":{"id":{"type":"integer"}}},"key_properties":["id"]}'
while [ "$n" -lt 20 ]; do
  n=$((n + 1))
  echo '{"type":"RECORD","stream":"things","record":{"id":'$n',"at":'$n'},"time_extracted":"2026-01-01T00:00:00.000000Z"}'
  [ $((n % 4)) = 0 ] && echo '{"type":"STATE","value":{"bookmarks":{"things":{"n":'$n'}}}}'
done; true"#;

#[tokio::test]
async fn a_tap_keeps_the_promises_of_a_source() {
    let tap = tap(GOES_ON);
    let modes = [ReadMode::Incremental, ReadMode::FullRefresh];
    conformance::source(&tap, "things", &modes, 20).await.unwrap();
}

#[tokio::test]
async fn what_it_declares_is_what_is_known() {
    let found = tap("").discover().await.unwrap();
    assert_eq!(
        (found[0].primary_key.as_slice(), found[0].cursor_field.as_deref()),
        (&["id".to_owned()][..], Some("at"))
    );
    assert_eq!(found[0].mode, Some(weir_protocol::SyncMode::IncrementalMerge));
    assert_eq!(
        (found[1].name.as_str(), found[1].entity.as_str()),
        ("sales-plain", "sales_plain")
    );
    assert_eq!(found[1].mode, Some(weir_protocol::SyncMode::FullRefreshReplace));
}

#[tokio::test]
async fn one_stream_is_selected_with_all_that_can_be_had() {
    let tap = tap("");
    let catalog = tap.0.catalog().await.unwrap();
    let selected = catalog.selecting("things", ReadMode::Incremental, Some("at"), &["id".to_owned()]);
    let things = &selected["streams"][0];
    assert_eq!(things["replication_key"], "at");
    let root = &things["metadata"][0]["metadata"];
    assert_eq!(
        (&root["selected"], &root["replication-method"]),
        (&json!(true), &json!("INCREMENTAL"))
    );
    assert_eq!(things["metadata"][1]["metadata"]["selected"], json!(true));
    assert_eq!(things["metadata"][2]["metadata"].get("selected"), None);
    assert_eq!(
        things["metadata"][3],
        json!({ "breadcrumb": ["properties", "id"], "metadata": { "selected": true } })
    );
    let other = &selected["streams"][1];
    assert_eq!(other["metadata"][0]["metadata"]["selected"], json!(false));
    let full = catalog.selecting("sales-plain", ReadMode::FullRefresh, None, &["a".to_owned()]);
    let root = &full["streams"][1]["metadata"][0]["metadata"];
    assert_eq!(
        (&root["replication-method"], &root["view-key-properties"]),
        (&json!("FULL_TABLE"), &json!(["a"]))
    );
}

#[tokio::test]
async fn states_end_checkpoints_and_a_message_is_known_by_its_alias() {
    let done = read(&tap(GOES_ON), "things", ReadMode::Incremental).await;
    let covered: Vec<usize> = done.states.iter().map(|(records, _)| *records).collect();
    assert_eq!((covered, done.is_complete), (vec![4, 8, 12, 16, 20], true));
    let plain = r#"echo '{"type":"RECORD","stream":"plain","record":{"a":"x"}}'; echo '{"type":"RECORD","stream":"other","record":{}}'; echo '{"type":"STATE","value":{}}'"#;
    let done = read(&tap(plain), "sales-plain", ReadMode::FullRefresh).await;
    assert_eq!(
        (done.records.len(), done.states.len(), done.is_complete),
        (1, 0, true)
    );
}

#[tokio::test]
async fn what_goes_wrong_is_named() {
    let one = r#"echo '{"type":"RECORD","stream":"things","record":{"id":1}}'"#;
    insta::assert_snapshot!(failure(&format!("{one}; echo 'CRITICAL no hunter2' >&2; exit 1")).await, @"[source] 'sh' ended with exit code 1 (last said: CRITICAL no [redacted], stream: things) -> `--verbose` logs all that it says; what was committed stays");
    insta::assert_snapshot!(failure(&format!("{one}; printf '{{\"type\":\"REC'")).await, @r#"[decode] the output ends in the middle of a message (line: {"type":"REC, column: 12, stream: things) -> the tap was ended while it wrote; run again. What was committed stays"#);
    insta::assert_snapshot!(failure(r#"echo '{"type":"RECORD","stream":"things","record":{"id":NaN}}'"#).await, @r#"[decode] a line of output is a broken message (line: {"type":"RECORD","stream":"things","record":{"id":NaN}}, column: 51, stream: things) -> the tap writes what is no JSON (NaN, two lines in one, one message on several lines); nothing after the last checkpoint was taken"#);
    insta::assert_snapshot!(failure(r#"echo '{"type":"BATCH","stream":"things","manifest":[]}'"#).await, @"[decode] the tap hands its records over in files (BATCH), which weir does not read (stream: things) -> remove batch_config from the tap's settings");
    let error = tap("echo 'no such account' >&2; exit 1")
        .check()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no such account"), "{error}");
}

#[tokio::test]
async fn odd_times_and_versions_are_taken_and_hidden_messages_are_missed() {
    let script = r#"printf '\357\273\277'; echo '{"type":"RECORD","stream":"things","record":{"id":1},"time_extracted":1700000000,"version":"v7"}'
echo '{"type":"ACTIVATE_VERSION","stream":"things","version":"v7"}'"#;
    let done = read(&tap(script), "things", ReadMode::Incremental).await;
    assert!(done.is_complete && done.error.is_none(), "{:?}", done.error);
    assert_eq!((done.records.len(), done.notices.len()), (1, 0));
    insta::assert_snapshot!(failure(r#"echo '50% {"type":"SCHEMA","stream":"things","schema":{}}'"#).await, @r#"[decode] a message stands behind other text in its line (line: 50% {"type":"SCHEMA","stream":"things","schema":{}}, column: 2, stream: things) -> let the tap print nothing but messages to standard output (a progress bar belongs to standard error); nothing after the last checkpoint was taken"#);
    insta::assert_snapshot!(failure(r#"echo '{"stream":"things","record":{}}'"#).await, @r#"[decode] a message lacks a member or has one of another type (line: {"stream":"things","record":{}}, column: 31, stream: things) -> look at the tap's version; it may speak another protocol"#);
    insta::assert_snapshot!(failure(r#"echo '{"type":"RECORD","stream":7,"record":{}}'"#).await, @r#"[decode] a message lacks a member or has one of another type (line: {"type":"RECORD","stream":7,"record":{}}, column: 27, stream: things) -> look at the tap's version; it may speak another protocol"#);
}

#[tokio::test]
async fn changes_in_the_middle_are_told() {
    let script = r#"echo '{"type":"SCHEMA","stream":"things","schema":{"properties":{"id":{"type":"integer"}}},"key_properties":["id"]}'
echo '{"type":"RECORD","stream":"things","record":{"id":1},"version":7}'
echo 'not a message'
echo '{"type":"SCHEMA","stream":"things","schema":{"properties":{"id":{"type":"string"},"more":{"type":"string"}}},"key_properties":["id","more"]}'
echo '{"type":"ACTIVATE_VERSION","stream":"things","version":8}'"#;
    let done = read(&tap(script), "things", ReadMode::Incremental).await;
    assert!(done.is_complete && done.error.is_none());
    insta::assert_snapshot!(done.notices.join("\n"), @"
    the tap announces other types than its catalog: id, more
    the tap names another key than its catalog: id, more
    the tap replaced the table at the source; rows that vanished there stay here
    ");
}
