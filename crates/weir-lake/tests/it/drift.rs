//! What becomes of a stream whose records change, under each contract: docs/reference/drift.md, made here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use arrow::json::LineDelimitedWriter;
use futures::TryStreamExt;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use weir_protocol::destination::{SchemaChange, SchemaChangeKind};
use weir_protocol::spec::Contract;
use weir_protocol::{Receipt, Result, SyncMode, WritePlan};

use crate::harness::{TestLake, complete, plan, raw_batch};

const TABLE: &str = "acme_orders";
const BEFORE: &str = r#""id":1,"at":"2026-01-01T00:00:00Z""#;
const AFTER: &str = r#""id":2,"at":"2026-01-02T00:00:00Z""#;

/// More are rounded, as every reader of JSON numbers does; Bronze keeps them.
const DOUBLE_DIGITS: usize = 17;

struct Change {
    name: &'static str,
    /// Members of the records of the first and of the second sync; they begin with key and cursor
    /// unless they have them themselves.
    before: &'static str,
    after: &'static str,
    schema: Option<Value>,
}

/// Name, and the members before and after.
const CHANGES: &[(&str, &str, &str)] = &[
    ("a new field", "", r#""x":1"#),
    ("a field is gone", r#""x":1"#, ""),
    ("a whole number becomes a fraction", r#""x":1"#, r#""x":1.5"#),
    ("a fraction becomes a whole number", r#""x":1.5"#, r#""x":2"#),
    ("a number becomes text", r#""x":1"#, r#""x":"one""#),
    ("text becomes a number", r#""x":"one""#, r#""x":1"#),
    (
        "a number outgrows 64 bits",
        r#""x":1"#,
        r#""x":18446744073709551617"#,
    ),
    (
        "a whole number that a double would round is followed by a fraction",
        r#""x":9007199254740993"#,
        r#""x":1.5"#,
    ),
    (
        "the same in a nested field",
        r#""x":{"a":9007199254740993}"#,
        r#""x":{"a":1.5}"#,
    ),
    (
        "a fraction is followed by a whole number that a double would round",
        r#""x":1.5"#,
        r#""x":9007199254740993"#,
    ),
    (
        "a fraction is followed by a large whole number that a double holds",
        r#""x":1.5"#,
        r#""x":9007199254740994"#,
    ),
    (
        "a fraction gets more digits than a double has",
        r#""x":1.5"#,
        r#""x":1.23456789012345678901"#,
    ),
    ("an object becomes a list", r#""x":{"a":1}"#, r#""x":[1]"#),
    ("a list becomes a single value", r#""x":[1]"#, r#""x":1"#),
    ("a single value becomes an object", r#""x":1"#, r#""x":{"a":1}"#),
    (
        "a field that was always null gets a value",
        r#""x":null"#,
        r#""x":5"#,
    ),
    (
        "a date is written in another format",
        r#""x":"2026-01-01""#,
        r#""x":"01/02/2026""#,
    ),
    (
        "a time becomes a date",
        r#""x":"2026-01-01T00:00:00Z""#,
        r#""x":"2026-01-02""#,
    ),
    ("true or false becomes text", r#""x":true"#, r#""x":"yes""#),
    ("a nested field is new", r#""x":{"a":1}"#, r#""x":{"a":1,"b":2}"#),
    ("a nested field is gone", r#""x":{"a":1,"b":2}"#, r#""x":{"a":1}"#),
    (
        "a nested number becomes text",
        r#""x":{"a":1}"#,
        r#""x":{"a":"one"}"#,
    ),
    ("elements of a list become text", r#""x":[1]"#, r#""x":["one"]"#),
    (
        "the key becomes text",
        BEFORE,
        r#""id":"two","at":"2026-01-02T00:00:00Z""#,
    ),
    ("the cursor becomes a number", BEFORE, r#""id":2,"at":1767312000"#),
    ("a field's name changes its case", r#""x":1"#, r#""X":1"#),
    (
        "a field has the name of a column of weir's",
        "",
        r#""_run":"mine""#,
    ),
    ("a field has an odd name", "", r#""a b;{c}=":1"#),
];

fn change(name: &'static str, before: &'static str, after: &'static str) -> Change {
    Change {
        name,
        before,
        after,
        schema: None,
    }
}

fn declared(x: Value, required: &[&str]) -> Option<Value> {
    Some(json!({"type": "object", "required": required, "properties": {
        "id": {"type": "integer"},
        "at": {"type": "string", "format": "date-time"},
        "x": x,
    }}))
}

fn changes() -> Vec<Change> {
    let mut changes: Vec<Change> = CHANGES
        .iter()
        .map(|(name, before, after)| change(name, before, after))
        .collect();
    changes.extend([
        Change {
            schema: declared(json!({"type": "integer"}), &["x"]),
            ..change("a required field is null", r#""x":1"#, r#""x":null"#)
        },
        Change {
            schema: declared(json!({"type": "string", "enum": ["a", "b"]}), &[]),
            ..change(
                "a value that the declared list of values lacks",
                r#""x":"a""#,
                r#""x":"c""#,
            )
        },
    ]);
    changes
}

fn record(base: &str, members: &str) -> String {
    match members {
        "" => format!("{{{base}}}"),
        whole if whole.contains("\"id\"") => format!("{{{whole}}}"),
        more => format!("{{{base},{more}}}"),
    }
}

async fn read(lake: &TestLake, plan: &WritePlan, record: &str) -> Result<Receipt> {
    let mut writer = weir_protocol::Destination::open(&lake.lake, plan.clone()).await?;
    writer
        .write(raw_batch(&[record.to_owned()], "2026-11-21T10:00:00Z"))
        .await?;
    writer.finish(&complete(1)).await?.published()
}

/// What one change comes to, in words.
async fn cell(change: &Change, contract: Contract) -> String {
    let lake = TestLake::new();
    let mut plan = plan(SyncMode::IncrementalMerge, "r1");
    plan.stream.policy.contract = contract;
    plan.stream.schema.clone_from(&change.schema);
    let first = read(&lake, &plan, &record(BEFORE, change.before)).await.unwrap();
    assert_eq!(first.books.landed, 1, "{}", change.name);
    plan.run = "r2".to_owned();
    let given = record(AFTER, change.after);
    let done = match read(&lake, &plan, &given).await {
        Ok(receipt) => receipt,
        Err(error) => return format!("stops: {}", error.message()),
    };
    let mut words: Vec<String> = done.schema_changes.iter().filter_map(told).collect();
    if done.books.quarantined == 0 {
        let row = row(&lake).await;
        words.push(landed(change.name, &given, &row));
    } else {
        let held = lake.lake.quarantined("acme", "orders", 10).await.unwrap();
        assert_eq!(held.total, 1, "{}", change.name);
        assert_eq!(held.entries[0].record, given.as_bytes(), "{}", change.name);
        words.push(format!("held: {}", held.entries[0].reason));
    }
    words.join("; ")
}

fn told(change: &SchemaChange) -> Option<String> {
    let column = &change.column;
    match (change.kind, &change.from, &change.to) {
        (SchemaChangeKind::Added, _, Some(to)) => Some(format!("column `{column}` added as {to}")),
        (SchemaChangeKind::Widened, Some(from), Some(to)) => {
            Some(format!("column `{column}` widened from {from} to {to}"))
        }
        _ => None,
    }
}

type Members = BTreeMap<String, Box<RawValue>>;

/// The row of the second record.
async fn row(lake: &TestLake) -> Members {
    let batches: Vec<_> = lake
        .lake
        .rows(TABLE, None)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let mut writer = LineDelimitedWriter::new(Vec::new());
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    let text = String::from_utf8(writer.into_inner()).unwrap();
    let rows = text
        .lines()
        .map(|line| serde_json::from_str::<Members>(line).unwrap());
    rows.into_iter()
        .find(|row| row["_run"].get() == "\"r2\"")
        .unwrap()
}

/// Says where each value went; fails where one is not what was given.
fn landed(name: &str, given: &str, row: &Members) -> String {
    let given: Members = serde_json::from_str(given).unwrap();
    let mut words = vec!["lands".to_owned()];
    for (field, value) in &given {
        let holds = |column: &&String| is_same(value.get(), row[*column].get());
        let exact = Some(field).filter(|field| row.contains_key(*field)).filter(holds);
        let other = || {
            row.keys()
                .filter(|column| letters(column).starts_with(&letters(field)))
                .find(holds)
        };
        let column = exact.or_else(other);
        match column {
            Some(column) if column == field && digits(value.get()) > DOUBLE_DIGITS => {
                words.push("as the nearest double".to_owned());
            }
            Some(column) if column == field => {}
            Some(column) => words.push(format!("as column `{column}`")),
            None if value.get() == "null" => {}
            None => panic!("{name}: {field} was given as {value}, the row is {row:?}"),
        }
    }
    words.join(" ")
}

/// Digits of a number; none of what is no number.
fn digits(json: &str) -> usize {
    let is_number = json.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    json.chars().filter(|c| is_number && c.is_ascii_digit()).count()
}

/// What a column's name keeps of a field's in any case.
fn letters(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .collect::<String>()
        .to_lowercase()
}

/// The same value, whatever type its column has: as text, as JSON in text, as the same number or time.
fn is_same(given: &str, found: &str) -> bool {
    if given == found {
        return true;
    }
    let text: Option<String> = serde_json::from_str(found).ok();
    if text.as_deref() == Some(given) {
        return true;
    }
    let value = |text: &str| serde_json::from_str::<Value>(text).ok();
    let (given, found) = (value(given), value(found));
    if let (Some(Value::Number(given)), Some(Value::Number(found))) = (&given, &found) {
        let double = found.as_f64().unwrap_or(f64::NAN);
        return match (given.as_i64(), found.as_i64()) {
            (Some(given), Some(found)) => given == found,
            // Every digit counts of a whole number.
            (Some(given), None) => double.fract() == 0.0 && double as i128 == i128::from(given),
            (None, _) => given.as_f64() == Some(double),
        };
    }
    if let (Some(Value::String(given)), Some(Value::String(found))) = (&given, &found) {
        let time = |text: &str| -> Option<jiff::Timestamp> {
            let midnight = || format!("{text}T00:00:00Z").parse().ok();
            text.parse().ok().or_else(midnight)
        };
        return given == found || time(given).is_some() && time(given) == time(found);
    }
    let inner = text.and_then(|text| value(&text));
    given == found || (given.is_some() && given == inner)
}

fn page(cells: &[(Change, [String; 3])]) -> String {
    let mut page = "# When records change\n\n\
        Made by `crates/weir-lake/tests/it/drift.rs`: a stream with a key and a cursor, its types as its first record told\n\
        them (or as declared, for the last two rows), read a second time with a record that differs. No value is altered: it\n\
        lands as it was given, or the whole record is held in quarantine (counted in the run's books, shown by `weir quarantine\n\
        list`, released once it fits), or the stream stops with nothing committed.\n\n\
        | what changes | `evolve` | `quarantine` | `freeze` |\n|---|---|---|---|\n"
        .to_owned();
    for (change, outcomes) in cells {
        let shown = |text: &str| text.replace('|', "\\|");
        writeln!(
            page,
            "| {}: `{}` → `{}` | {} |",
            change.name,
            shown(if change.before.is_empty() {
                "–"
            } else {
                change.before
            }),
            shown(if change.after.is_empty() {
                "–"
            } else {
                change.after
            }),
            outcomes
                .iter()
                .map(|text| shown(text))
                .collect::<Vec<_>>()
                .join(" | ")
        )
        .unwrap();
    }
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_has_one_documented_result_under_each_contract() {
    let mut cells = Vec::new();
    for change in changes() {
        let mut outcomes: [String; 3] = Default::default();
        for (contract, outcome) in [Contract::Evolve, Contract::Quarantine, Contract::Freeze]
            .into_iter()
            .zip(&mut outcomes)
        {
            *outcome = cell(&change, contract).await;
        }
        cells.push((change, outcomes));
    }
    let made = page(&cells);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/drift.md");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    if made != known {
        std::fs::write(file.with_extension("md.new"), &made).unwrap();
    }
    assert!(
        made == known,
        "docs/reference/drift.md differs: move drift.md.new over it if that is right"
    );
}
