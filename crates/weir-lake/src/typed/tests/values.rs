//! Single values: what is taken as it is, what widens, what is held, what is hidden.

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;

use super::*;

fn declared(properties: Value, contract: Contract) -> Typer {
    let schema = json!({ "type": "object", "properties": properties });
    Typer::new(&plan(Some(schema), contract), None, b"key").unwrap()
}

fn table(typer: &Typer, decoded: &Decoded) -> String {
    let rows = data_columns(typer, &decoded.rows);
    arrow::util::pretty::pretty_format_batches(&[rows])
        .unwrap()
        .to_string()
}

#[test]
fn lossless_forms_are_taken_and_others_held() {
    let mut typer = declared(
        json!({
            "id": { "type": "integer" }, "n": { "type": "number" }, "t": { "type": "string" },
            "at": { "type": "string", "format": "date-time" },
            "d": { "type": "string", "x-weir-decimal": "6,2" }, "bag": { "type": "object" },
        }),
        Contract::Evolve,
    );
    let decoded = typer
        .decode(&batch(&[
            br#"{"id": 5.0, "n": 1, "t": 1.50, "at": "2026-01-02", "d": 12.340, "bag": {"x" : [1]}}"#
                .to_vec(),
            br#"{"id": 6, "n": 1e2, "t": true, "at": "2026-01-02T03:04:05+02:00", "d": "1.5", "bag": "s"}"#
                .to_vec(),
            br#"{"id": 1, "id": 7, "n": null, "bag": null}"#.to_vec(),
            br#"{"id": "8"}"#.to_vec(),
            br#"{"id": 9, "t": {}}"#.to_vec(),
            br#"{"id": 10, "d": 1.234}"#.to_vec(),
            br#"{"id": 11, "at": "yesterday"}"#.to_vec(),
            br#"{"id": 99999999999999999999}"#.to_vec(),
        ]))
        .unwrap();
    insta::assert_snapshot!(table(&typer, &decoded), @r#"
    +----+-------+------+----------------------+-------+-------------+
    | id | n     | t    | at                   | d     | bag         |
    +----+-------+------+----------------------+-------+-------------+
    | 5  | 1.0   | 1.50 | 2026-01-02T00:00:00Z | 12.34 | {"x" : [1]} |
    | 6  | 100.0 | true | 2026-01-02T01:04:05Z | 1.50  | "s"         |
    | 7  |       |      |                      |       |             |
    +----+-------+------+----------------------+-------+-------------+
    "#);
    insta::assert_snapshot!(reasons(&decoded).join("\n"), @"
    column 'id': expected integer, got text
    column 't': expected text, got object
    column 'd': the number has more digits than decimal(6,2)
    column 'at': expected date-time, got text
    column 'id': the integer does not fit 64 bits
    ");
    assert_eq!(decoded.changes, []);
}

#[test]
fn a_strict_contract_takes_no_number_for_text() {
    let mut typer = declared(
        json!({ "id": { "type": "integer" }, "t": { "type": "string" } }),
        Contract::Quarantine,
    );
    let decoded = typer.decode(&of(&[json!({"id": 1, "t": 5})])).unwrap();
    assert_eq!(reasons(&decoded), ["column 't': expected text, got integer"]);
}

#[test]
fn only_what_needs_it_widens() {
    let mut typer = declared(
        json!({
            "id": { "type": "integer" }, "a": { "type": "integer" }, "b": { "type": "integer" },
            "day": { "type": "string", "format": "date" }, "due": { "type": "string", "format": "date" },
        }),
        Contract::Evolve,
    );
    let record =
        json!({"id": 1, "a": 2.0, "b": 2.5, "day": "2026-01-01", "due": "2026-01-01T10:00:00Z", "new": 1});
    let decoded = typer.decode(&of(&[record])).unwrap();
    let mut changed: Vec<&str> = decoded
        .changes
        .iter()
        .map(|change| change.column.as_str())
        .collect();
    changed.sort_unstable();
    assert_eq!(changed, ["b", "due", "new"]);
    assert_eq!(decoded.rows.num_rows(), 1);
}

#[test]
fn types_are_told_from_data() {
    let mut typer = typer(Contract::Evolve);
    let raw = br#"{"id": 1, "big": 18446744073709551616, "huge": 1e400, "at": "2026-01-01T00:00:00Z",
        "day": "2026-01-01", "mix": 1, "shape": [1], "none": null, "empty": {"a": []}, "ns": "2026-01-01T00:00:00.123456789Z"}"#;
    let second = br#"{"id": 2, "mix": "x", "shape": {"a": 1}}"#;
    let decoded = typer.decode(&batch(&[raw.to_vec(), second.to_vec()])).unwrap();
    let types: Vec<String> = typer
        .schema()
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    insta::assert_snapshot!(types.join("\n"), @r#"
    id Int64
    big Decimal128(38, 0)
    huge Utf8
    at Timestamp(µs, "UTC")
    day Utf8
    mix Utf8
    shape Utf8
    ns Utf8
    "#);
    insta::assert_snapshot!(table(&typer, &decoded), @r#"
    +----+----------------------+-------+----------------------+------------+-----+----------+--------------------------------+
    | id | big                  | huge  | at                   | day        | mix | shape    | ns                             |
    +----+----------------------+-------+----------------------+------------+-----+----------+--------------------------------+
    | 1  | 18446744073709551616 | 1e400 | 2026-01-01T00:00:00Z | 2026-01-01 | 1   | [1]      | 2026-01-01T00:00:00.123456789Z |
    | 2  |                      |       |                      |            | x   | {"a": 1} |                                |
    +----+----------------------+-------+----------------------+------------+-----+----------+--------------------------------+
    "#);
    assert!(decoded.quarantined.is_empty() && decoded.changes.is_empty());
}

#[test]
fn a_record_that_is_held_leaves_no_trace() {
    let mut typer = declared(
        json!({
            "id": { "type": "integer" }, "list": { "type": "array", "items": { "type": "string" } },
            "user": { "properties": { "name": { "type": "string" } } }, "last": { "type": "integer" },
        }),
        Contract::Evolve,
    );
    let good = json!({"id": 1, "list": ["a"], "user": {"name": "x"}, "last": 1});
    let bad = json!({"id": 2, "list": ["b", {}], "user": {"name": "y"}});
    let late = json!({"id": 3, "list": ["c", "d"], "user": {"name": "z"}, "last": "no"});
    let decoded = typer
        .decode(&of(&[good.clone(), bad, late, good.clone()]))
        .unwrap();
    let alone = typer.decode(&of(&[good.clone(), good])).unwrap();
    assert_eq!(decoded.rows, alone.rows);
    assert_eq!(
        reasons(&decoded),
        [
            "column 'list[]': expected text, got object",
            "column 'last': expected integer, got text"
        ]
    );
}

proptest! {
    /// The order of fields, by which columns are guessed, changes nothing.
    #[test]
    fn the_order_of_fields_does_not_matter(records in any_json::records(), seed in any::<u64>()) {
        let shuffled: Vec<Value> = records.iter().enumerate().map(|(index, record)| {
            let mut members: Vec<_> = record.as_object().unwrap().clone().into_iter().collect();
            if !members.is_empty() {
                let by = (seed as usize).wrapping_add(index) % members.len();
                members.rotate_left(by);
            }
            Value::Object(members.into_iter().collect())
        }).collect();
        let mut wish = plan(None, Contract::Evolve);
        wish.stream.primary_key.clear();
        let mut typer = Typer::new(&wish, None, b"key").unwrap();
        let first = typer.decode(&of(&records)).unwrap();
        let second = typer.decode(&of(&shuffled)).unwrap();
        prop_assert_eq!(first.rows, second.rows);
        prop_assert_eq!(first.quarantined.len(), 0);
    }
}

#[test]
fn deletion_marks_become_times() {
    let mut wish = plan(None, Contract::Evolve);
    wish.stream.policy.deleted_field = Some("meta.gone".to_owned());
    let mut typer = Typer::new(&wish, None, b"key").unwrap();
    let marks = [
        json!(true),
        json!("2026-01-01T00:00:00Z"),
        json!(false),
        json!(null),
        json!(""),
        json!(0),
    ];
    let records: Vec<Value> = marks
        .iter()
        .enumerate()
        .map(|(id, mark)| json!({"id": id, "meta": {"gone": mark}}))
        .collect();
    let decoded = typer.decode(&of(&records)).unwrap();
    let deleted = decoded.rows.column_by_name("_deleted_at").unwrap();
    let deleted: Vec<_> = deleted
        .as_primitive::<TimestampMicrosecondType>()
        .iter()
        .collect();
    let emitted = 1_795_255_200_000_000;
    assert_eq!(
        deleted,
        [Some(emitted), Some(1_767_225_600_000_000), None, None, None, None]
    );
}

#[test]
fn personal_data_does_not_leak_by_the_cursor_or_quarantine() {
    let record = br#"{"id": 1, "email": "a@b", "at": {"mail": "c@d"}, "n": 1}"#;
    let held = br#"{"id": "x", "email": "a@b", "at": {"mail": "c@d"}, "n": 1}"#;
    let mut records = batch(&[record.to_vec(), held.to_vec()]);
    for (index, place) in [r#""a@b""#.len(), r#""a@b""#.len()].into_iter().enumerate() {
        let start = records.records[index].start as usize;
        let at = start
            + std::str::from_utf8(&records.body[start..])
                .unwrap()
                .find(r#""a@b""#)
                .unwrap();
        records.records[index].cursor_start = u32::try_from(at).unwrap();
        records.records[index].cursor_len = u32::try_from(place).unwrap();
    }
    for rule in [Pii::Hash, Pii::Drop] {
        let schema =
            json!({ "properties": { "id": { "type": "integer" }, "n": { "type": "integer" }, "at": {} } });
        let mut wish = plan(Some(schema), Contract::Evolve);
        wish.stream.cursor_field = Some("email".to_owned());
        wish.stream.policy.pii =
            BTreeMap::from([("email".to_owned(), rule), ("at.mail".to_owned(), Pii::Drop)]);
        let mut typer = Typer::new(&wish, None, b"key").unwrap();
        let decoded = typer.decode(&records).unwrap();
        let shown = arrow::util::pretty::pretty_format_batches(std::slice::from_ref(&decoded.rows))
            .unwrap()
            .to_string();
        assert!(!shown.contains("a@b") && !shown.contains("c@d"), "{shown}");
        let rejected = &decoded.quarantined[0];
        let kept = String::from_utf8(rejected.record.to_vec()).unwrap();
        assert!(!kept.contains("c@d"), "{kept}");
        if rule == Pii::Drop {
            assert!(!kept.contains("a@b"), "{kept}");
            assert_eq!(rejected.cursor, None);
        }
    }
}

#[test]
fn equal_values_hash_alike_and_numbers_by_their_text() {
    let mut wish = plan(None, Contract::Evolve);
    wish.stream.policy.pii = BTreeMap::from([("who.id".to_owned(), Pii::Hash)]);
    let mut typer = Typer::new(&wish, None, b"key").unwrap();
    let decoded = typer
        .decode(&of(&[
            json!({"id": 1, "who": [{"id": 7}]}),
            json!({"id": 2, "who": [{"id": "7"}, {"id": null}]}),
        ]))
        .unwrap();
    let who = decoded
        .rows
        .column_by_name("who")
        .unwrap()
        .as_list::<i32>()
        .values()
        .clone();
    let hashes = who.as_struct().column(0).as_string::<i32>();
    assert_eq!(hashes.value(0), hashes.value(1));
    assert_eq!(hashes.value(0).len(), 64);
    assert!(hashes.iter().nth(2).unwrap().is_none());
}

#[test]
fn a_declaration_meets_the_table() {
    let old = declared(
        json!({ "id": { "type": "integer" }, "n": { "type": "integer" }, "t": { "type": "string" } }),
        Contract::Evolve,
    );
    let schema = json!({ "properties": {
        "id": { "type": "integer" }, "n": { "type": "number" }, "t": { "type": "boolean" }, "new": { "type": "string" },
    }});
    let wish = plan(Some(schema), Contract::Evolve);
    let mut typer = Typer::new(&wish, Some(Arc::clone(old.schema())), b"key").unwrap();
    let decoded = typer.decode(&of(&[json!({"id": 1, "n": 1.5})])).unwrap();
    let changes: Vec<_> = decoded
        .changes
        .iter()
        .map(|change| (change.column.as_str(), change.kind))
        .collect();
    assert_eq!(
        changes,
        [
            ("n", SchemaChangeKind::Widened),
            ("t", SchemaChangeKind::Conflict),
            ("new", SchemaChangeKind::Added)
        ]
    );
    let vanished: Vec<String> = typer.vanished().into_iter().map(|change| change.column).collect();
    // `new` is declared, and was never there.
    assert_eq!(vanished, ["t"]);
    // Rows of before take the new shape.
    let mut old = old;
    let before = old.decode(&of(&[json!({"id": 1, "n": 3})])).unwrap().rows;
    let after = conform(&before, &typer.row_schema()).unwrap();
    assert_eq!(after.schema(), typer.row_schema());
    assert_eq!(after.column_by_name("new").unwrap().null_count(), 1);
}

#[test]
fn only_a_read_that_shows_it_says_that_a_column_vanished() {
    let schema = json!({ "properties": { "id": { "type": "integer" }, "n": { "type": "integer" } } });
    let columns =
        |typer: &Typer| -> Vec<String> { typer.vanished().into_iter().map(|change| change.column).collect() };
    let wish = plan(Some(schema.clone()), Contract::Quarantine);
    // Empty on its first run: declared columns were never there.
    let first = Typer::new(&wish, None, b"key").unwrap();
    assert_eq!(columns(&first), [""; 0]);
    let table = Arc::clone(first.schema());
    let open = || Typer::new(&wish, Some(Arc::clone(&table)), b"key").unwrap();
    assert_eq!(columns(&open()), [""; 0], "nothing was read");
    let mut typer = open();
    typer.decode(&of(&[json!({ "id": 1 })])).unwrap();
    assert_eq!(columns(&typer), ["n"]);
    // The column lives on in a record that waits in quarantine.
    let decoded = typer.decode(&of(&[json!({ "id": 2, "n": "word" })])).unwrap();
    assert_eq!(decoded.quarantined.len(), 1);
    assert_eq!(columns(&typer), [""; 0]);
}

#[test]
fn a_table_has_a_limit_of_columns() {
    let wide: serde_json::Map<String, Value> =
        (0..2_001).map(|index| (format!("k{index}"), json!(1))).collect();
    let mut wide = Value::Object(wide);
    wide["id"] = json!(1);
    let error = typer(Contract::Evolve).decode(&of(&[wide])).unwrap_err();
    assert_eq!(error.kind(), weir_protocol::ErrorKind::Limit);
    assert!(error.next_step().is_some());
}
