//! Records to rows: two batches under one contract, the second against what the first made of the table.
#![no_main]

use bytes::Bytes;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use weir_lake::typed::{Typer, conform};
use weir_protocol::spec::{Contract, Pii};
use weir_protocol::{Batch, Record, StreamDescriptor, SyncMode, WritePlan};

/// What a stream may declare of its records.
fn declared(choice: u8) -> Option<Value> {
    match choice & 3 {
        0 | 1 => None,
        2 => Some(json!({ "type": "object", "properties": {
            "id": { "type": ["null", "integer"] }, "at": { "type": "string", "format": "date-time" },
            "day": { "type": "string", "format": "date" }, "price": { "type": "number", "multipleOf": 0.01 },
            "user": { "type": "object", "properties": { "login": { "type": "string" } } },
            "tags": { "type": "array", "items": { "type": "string" } } } })),
        _ => Some(json!({ "properties": { "id": { "type": "string" }, "any": {}, "user": { "type": "object" } } })),
    }
}

fn plan(choice: u8) -> WritePlan {
    let mut stream = StreamDescriptor {
        name: "things".to_owned(),
        entity: "things".to_owned(),
        schema: declared(choice),
        primary_key: vec!["id".to_owned()],
        cursor_field: Some("at".to_owned()),
        ..StreamDescriptor::default()
    };
    stream.policy.contract =
        [Contract::Evolve, Contract::Quarantine, Contract::Freeze, Contract::Evolve][usize::from(choice >> 2 & 3)];
    if choice & 16 != 0 {
        stream.policy.explode = vec!["tags".to_owned()];
    }
    if choice & 32 != 0 {
        stream.policy.pii = [("user.login".to_owned(), Pii::Hash), ("any".to_owned(), Pii::Drop)].into();
    }
    if choice & 64 != 0 {
        stream.policy.deleted_field = Some("gone".to_owned());
    }
    WritePlan {
        run: "run".to_owned(),
        connection: "fuzz".to_owned(),
        source: "fuzz".to_owned(),
        stream,
        mode: SyncMode::IncrementalMerge,
        restart: false,
        known_sequence: 0,
        memory_bytes: 1 << 20,
        started_at: Timestamp::UNIX_EPOCH,
    }
}

/// One record a line.
fn batch(body: &[u8]) -> Batch {
    let mut records = Vec::new();
    let mut start = 0;
    for line in body.split(|byte| *byte == b'\n') {
        records.push(Record {
            start: u32::try_from(start).expect("a short body"),
            len: u32::try_from(line.len()).expect("a short body"),
            cursor_start: 0,
            cursor_len: 0,
        });
        start += line.len() + 1;
    }
    Batch {
        slice: "".into(),
        body: Bytes::copy_from_slice(body),
        records,
        filtered: 0,
        deduplicated: 0,
        emitted_at: Timestamp::UNIX_EPOCH,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let Ok(mut typer) = Typer::new(&plan(*choice), None, b"a key of the fuzzer") else {
        return;
    };
    // Two batches, where an empty line stands between.
    let middle = body.windows(2).position(|two| two == b"\n\n").unwrap_or(body.len());
    let (first, second) = body.split_at(middle);
    let mut before = None;
    for body in [first, second] {
        let batch = batch(body);
        let Ok(decoded) = typer.decode(&batch) else {
            return;
        };
        // Nothing is lost and nothing doubled.
        assert_eq!(decoded.rows.num_rows() + decoded.quarantined.len(), batch.records.len());
        assert_eq!(decoded.rows.schema(), typer.row_schema());
        if let Some(before) = before.replace(decoded.rows) {
            conform(&before, &typer.row_schema()).expect("the table takes the new schema on");
        }
    }
    // What was made is what another run finds.
    let rows = typer.row_schema();
    if let Ok(mut again) = Typer::new(&plan(*choice), Some(rows.clone()), b"a key of the fuzzer")
        && let Ok(decoded) = again.decode(&batch(first))
    {
        conform(&decoded.rows, &again.row_schema()).expect("rows of their own schema");
    }
});
