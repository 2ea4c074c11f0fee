//! The typer as a whole: against arrow's own JSON decoder, and by contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::json::ReaderBuilder;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_protocol::destination::SchemaChangeKind;
use weir_protocol::spec::{Contract, Pii};
use weir_protocol::{Batch, Record, StreamDescriptor, SyncMode, WritePlan};

use super::*;

mod children;
mod rounding;
mod values;

fn plan(schema: Option<Value>, contract: Contract) -> WritePlan {
    let mut stream = StreamDescriptor {
        name: "things".to_owned(),
        entity: "things".to_owned(),
        schema,
        primary_key: vec!["id".to_owned()],
        ..StreamDescriptor::default()
    };
    stream.policy.contract = contract;
    WritePlan {
        run: "run-1".to_owned(),
        connection: "demo".to_owned(),
        source: "demo".to_owned(),
        stream,
        mode: SyncMode::IncrementalMerge,
        restart: false,
        known_sequence: 0,
        memory_bytes: 1 << 20,
        started_at: "2026-11-21T00:00:00Z".parse().unwrap(),
    }
}

fn batch(records: &[Vec<u8>]) -> Batch {
    let mut body = Vec::new();
    let mut spans = Vec::new();
    for record in records {
        spans.push(Record {
            start: u32::try_from(body.len()).unwrap(),
            len: u32::try_from(record.len()).unwrap(),
            cursor_start: 0,
            cursor_len: 0,
        });
        body.extend_from_slice(record);
    }
    Batch {
        slice: "".into(),
        body: Bytes::from(body),
        records: spans,
        filtered: 0,
        deduplicated: 0,
        emitted_at: "2026-11-21T10:00:00Z".parse().unwrap(),
    }
}

fn of(values: &[Value]) -> Batch {
    batch(
        &values
            .iter()
            .map(|value| serde_json::to_vec(value).unwrap())
            .collect::<Vec<_>>(),
    )
}

fn typer(contract: Contract) -> Typer {
    Typer::new(&plan(None, contract), None, b"key").unwrap()
}

fn data_columns(typer: &Typer, rows: &RecordBatch) -> RecordBatch {
    let names: Vec<usize> = typer
        .schema()
        .fields()
        .iter()
        .map(|field| rows.schema().index_of(field.name()).unwrap())
        .collect();
    rows.project(&names).unwrap()
}

fn reasons(decoded: &Decoded) -> Vec<&str> {
    decoded
        .quarantined
        .iter()
        .map(|rejected| rejected.reason.as_str())
        .collect()
}

proptest! {
    /// Each record is a row or held, never both and never neither.
    #[test]
    fn every_record_is_accounted_for(records in any_json::records()) {
        let mut typer = typer(Contract::Evolve);
        let decoded = typer.decode(&of(&records)).unwrap();
        prop_assert_eq!(decoded.rows.num_rows() + decoded.quarantined.len(), records.len());
    }

    /// Scalars, structs and lists read as arrow's decoder reads them.
    #[test]
    fn rows_equal_those_of_arrows_decoder(rows in prop::collection::vec(
        (any::<i64>(), prop::option::of(-1000i64..1000), "[ -~]{0,9}", prop::collection::vec(0i64..9, 0..4), any::<bool>()), 1..20)
    ) {
        let records: Vec<Value> = rows
            .iter()
            .map(|(id, n, text, list, flag)| json!({
                "id": id, "half": n.map(|n| n as f64 / 2.0), "text": text, "list": list,
                "pair": { "flag": flag, "inner": { "n": n } },
            }))
            .collect();
        let schema = json!({ "type": "object", "properties": {
            "id": { "type": "integer" }, "half": { "type": "number" }, "text": { "type": "string" },
            "list": { "type": "array", "items": { "type": "integer" } },
            "pair": { "type": "object", "properties": { "flag": { "type": "boolean" },
                "inner": { "type": "object", "properties": { "n": { "type": "integer" } } } } },
        }});
        let mut typer = Typer::new(&plan(Some(schema), Contract::Evolve), None, b"key").unwrap();
        let decoded = typer.decode(&of(&records)).unwrap();
        let ours = data_columns(&typer, &decoded.rows);
        let mut theirs = ReaderBuilder::new(Arc::clone(typer.schema())).build_decoder().unwrap();
        theirs.serialize(&records).unwrap();
        let theirs = theirs.flush().unwrap().unwrap();
        prop_assert_eq!(ours, theirs);
    }
}

#[test]
fn evolve_adds_widens_and_holds_what_cannot_be_widened() {
    let mut typer = typer(Contract::Evolve);
    typer.decode(&of(&[json!({"id": 1, "n": 1, "s": "a"})])).unwrap();
    let decoded = typer
        .decode(&of(&[
            json!({"id": 2, "n": 1.5, "s": "b", "new": {"x": 1}}),
            json!({"id": 3, "n": "text", "s": "c"}),
            json!({"id": 4, "n": 2, "s": null}),
        ]))
        .unwrap();
    let changes: Vec<_> = decoded
        .changes
        .iter()
        .map(|change| (change.column.as_str(), change.kind))
        .collect();
    assert!(changes.contains(&("n", SchemaChangeKind::Widened)), "{changes:?}");
    assert!(changes.contains(&("new", SchemaChangeKind::Added)), "{changes:?}");
    assert_eq!(decoded.rows.num_rows(), 2);
    assert_eq!(decoded.quarantined.len(), 1, "{:?}", reasons(&decoded));
}

#[test]
fn the_quarantine_contract_holds_records_with_new_fields() {
    let mut typer = typer(Contract::Quarantine);
    typer.decode(&of(&[json!({"id": 1, "s": "a"})])).unwrap();
    let decoded = typer
        .decode(&of(&[
            json!({"id": 2, "s": "b", "x": 1}),
            json!({"id": 3, "s": "c"}),
        ]))
        .unwrap();
    assert_eq!((decoded.rows.num_rows(), decoded.quarantined.len()), (1, 1));
    assert!(reasons(&decoded)[0].contains('x'));
}

#[test]
fn the_freeze_contract_stops_and_names_the_field() {
    let mut typer = typer(Contract::Freeze);
    typer.decode(&of(&[json!({"id": 1, "s": "a"})])).unwrap();
    let error = typer
        .decode(&of(&[json!({"id": 2, "s": "b", "surprise": 1})]))
        .unwrap_err();
    assert_eq!(error.kind(), weir_protocol::ErrorKind::Schema);
    assert!(error.to_string().contains("surprise"), "{error}");
    assert!(error.next_step().is_some());
}

#[test]
fn what_is_no_record_is_held_with_its_bytes() {
    let mut typer = typer(Contract::Evolve);
    let raw: Vec<Vec<u8>> = vec![
        br#"{"id":1}"#.to_vec(),
        b"not json".to_vec(),
        b"[1]".to_vec(),
        b"{\"id\":\"\xff\"}".to_vec(),
        br#"{"name":"no key"}"#.to_vec(),
        br#"{"id":null}"#.to_vec(),
    ];
    let decoded = typer.decode(&batch(&raw)).unwrap();
    assert_eq!(decoded.rows.num_rows(), 1);
    let held: Vec<_> = decoded
        .quarantined
        .iter()
        .map(|rejected| rejected.record.to_vec())
        .collect();
    assert_eq!(held, raw[1..]);
}

#[test]
fn personal_fields_are_hashed_or_dropped() {
    let mut wish = plan(None, Contract::Evolve);
    wish.stream.policy.pii =
        BTreeMap::from([("email".to_owned(), Pii::Hash), ("phone".to_owned(), Pii::Drop)]);
    let mut typer = Typer::new(&wish, None, b"key").unwrap();
    let decoded = typer
        .decode(&of(&[
            json!({"id": 1, "email": "a@b", "phone": "5"}),
            json!({"id": 2, "email": "a@b"}),
        ]))
        .unwrap();
    let rows = data_columns(&typer, &decoded.rows);
    assert!(rows.column_by_name("phone").is_none());
    let shown = arrow::util::pretty::pretty_format_batches(&[rows])
        .unwrap()
        .to_string();
    assert!(!shown.contains("a@b"), "{shown}");
}
