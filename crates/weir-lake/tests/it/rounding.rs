//! Integers that a double does not hold are never rounded: over runs, modes, child tables and rebuilds.

use arrow::datatypes::DataType;
use serde_json::{Value, json};
use weir_protocol::{SyncMode, WriteMode, WritePlan};

use crate::children::{CHILD, TABLE, exploding};
use crate::harness::{TestLake, plan};

/// Two to the 53rd, and one more.
const BEYOND: i64 = 9_007_199_254_740_993;

fn order(id: i64, n: Value, in_line: Value) -> Value {
    json!({ "id": id, "at": "2026-01-01T00:00:00Z", "n": n, "lines": [{ "n": in_line }] })
}

async fn held(lake: &TestLake) -> u64 {
    lake.lake.quarantined("acme", "orders", 0).await.unwrap().total
}

/// The parents and, where there are any, their children.
async fn tables(lake: &TestLake, exploded: bool) -> (Vec<String>, Vec<String>) {
    let children = match exploded {
        true => lake.rows(CHILD, &["_parent_id", "n"]).await,
        false => Vec::new(),
    };
    (lake.rows(TABLE, &["id", "n"]).await, children)
}

async fn stays_long(mode: SyncMode, exploded: bool) {
    let lake = TestLake::new();
    let plan = |run: &str| -> WritePlan {
        match exploded {
            true => exploding(mode, run),
            false => plan(mode, run),
        }
    };
    let case = format!("{mode}, exploded: {exploded}");
    let replaces = mode.write() == WriteMode::Replace;
    let first = lake
        .sync(
            &plan("r1"),
            &[
                &[order(1, json!(1), json!(1))],
                &[order(2, json!(BEYOND), json!(-BEYOND))],
                &[order(3, json!(1.5), json!(1))],
            ],
        )
        .await;
    assert_eq!((first.books.landed, first.books.quarantined), (2, 1), "{case}");
    let second = lake
        .sync(
            &plan("r2"),
            &[&[
                order(4, json!(2.5), json!(1)),
                order(5, json!(3), json!(3)),
                order(6, json!(4), json!(1.5)),
            ]],
        )
        .await;
    assert_eq!((second.books.landed, second.books.quarantined), (1, 2), "{case}");
    let mut reasons: Vec<&str> = second
        .quarantine_reasons
        .iter()
        .map(|(why, _)| why.as_str())
        .collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        [
            "column 'lines[].n': expected integer, got number",
            "column 'n': expected integer, got number"
        ],
        "{case}"
    );
    let snapshot = lake.lake.snapshot(TABLE, None).await.unwrap();
    let n = snapshot.schema.field_with_name("n").unwrap();
    assert_eq!(*n.data_type(), DataType::Int64, "{case}");
    let before = tables(&lake, exploded).await;
    assert_eq!(before.0.len(), if replaces { 1 } else { 3 }, "{case}");
    if replaces {
        // The second refresh alone counts, and the column is what the first one made it.
        lake.lake.rebuild(&plan("rebuild"), false).await.unwrap();
        assert_eq!(tables(&lake, exploded).await, before, "{case}");
        return;
    }
    let exact = r#"{"id":2,"n":9007199254740993}"#.to_owned();
    assert!(before.0.contains(&exact), "{case}: {before:?}");
    let exact = r#"{"_parent_id":2,"n":-9007199254740993}"#.to_owned();
    assert_eq!(before.1.contains(&exact), exploded, "{case}: {before:?}");
    for _ in 0..2 {
        lake.lake.rebuild(&plan("rebuild"), false).await.unwrap();
        assert_eq!(tables(&lake, exploded).await, before, "{case}");
        assert_eq!(held(&lake).await, 3, "{case}");
    }
}

#[tokio::test]
async fn a_column_of_such_integers_stays_long_in_every_mode() {
    for mode in SyncMode::ALL {
        for exploded in [false, true] {
            stays_long(mode, exploded).await;
        }
    }
}

#[tokio::test]
async fn one_that_a_double_column_does_not_take_lands_once_the_column_is_a_decimal() {
    let lake = TestLake::new();
    let mut plan = plan(SyncMode::IncrementalMerge, "r1");
    let order = |id: i64, n: Value| json!({ "id": id, "at": "2026-01-01T00:00:00Z", "n": n });
    let receipt = lake
        .sync(&plan, &[&[order(1, json!(1.5))], &[order(2, json!(BEYOND))]])
        .await;
    assert_eq!(
        receipt.quarantine_reasons,
        [(
            "column 'n': the integer has more digits than a double holds".to_owned(),
            1
        )]
    );
    plan.stream.schema = Some(json!({ "type": "object", "properties": {
        "id": { "type": "integer" },
        "at": { "type": "string", "format": "date-time" },
        "n": { "type": "number", "format": "decimal" },
    }}));
    let done = lake.lake.rebuild(&plan, false).await.unwrap();
    assert_eq!((done.rows, done.released, done.rejected), (2, 1, 0));
    let rows = lake.rows(TABLE, &["id", "n"]).await;
    assert!(rows[0].contains("1.500000000"), "{rows:?}");
    assert!(rows[1].contains("9007199254740993.000000000"), "{rows:?}");
}

/// Takes what the states in a table's log say of its long columns out of them, as if weir had never said it.
fn forget(lake: &TestLake, said: &str) -> usize {
    let log = lake.dir.path().join("silver").join(TABLE).join("_delta_log");
    let said = format!(r#","inexact":{said}"#).replace('"', r#"\""#);
    let mut found = 0;
    for entry in log.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).unwrap();
            found += text.matches(&said).count();
            std::fs::write(&path, text.replace(&said, "")).unwrap();
        }
    }
    found
}

#[tokio::test]
async fn of_a_table_whose_state_does_not_tell_the_statistics_do() {
    let lake = TestLake::new();
    let order = |id: i64, n: Value, m: Value, x: Value| {
        let inner = json!({ "x": x });
        json!({ "id": id, "at": "2026-01-01T00:00:00Z", "n": n, "m": m, "s": inner })
    };
    let plan = |run: &str| plan(SyncMode::IncrementalMerge, run);
    let pages = [
        [order(1, json!(BEYOND), json!(1), json!(1))],
        [order(2, json!(1), json!(BEYOND - 1), json!(1))],
    ];
    lake.sync(&plan("r1"), &[&pages[0], &pages[1]]).await;
    assert!(forget(&lake, r#"[["n"]]"#) > 0);
    // Nothing is known of what is nested, so that it stays as it is.
    let receipt = lake
        .sync(
            &plan("r2"),
            &[&[
                order(3, json!(1.5), json!(1), json!(1)),
                order(4, json!(1), json!(1.5), json!(1)),
                order(5, json!(1), json!(1), json!(1.5)),
            ]],
        )
        .await;
    assert_eq!((receipt.books.landed, receipt.books.quarantined), (1, 2));
    let rows = lake.rows(TABLE, &["id", "n", "m"]).await;
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    let of = |name: &str| -> Vec<Value> { rows.iter().map(|row| row[name].clone()).collect() };
    assert_eq!(of("n"), [json!(BEYOND), json!(1), json!(1)]);
    assert_eq!(of("m"), [json!(1.0), json!((BEYOND - 1) as f64), json!(1.5)]);
    // Bronze tells all: the nested column held nothing that a double would round.
    let done = lake.lake.rebuild(&plan("rebuild"), false).await.unwrap();
    assert_eq!((done.rows, done.released, held(&lake).await), (4, 1, 1));
}
