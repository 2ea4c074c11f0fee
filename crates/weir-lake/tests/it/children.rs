//! Child tables: what each mode makes of exploded lists.

use serde_json::{Value, json};
use weir_protocol::{Books, ErrorKind, SyncMode, WritePlan};

use crate::harness::{TestLake, batch, complete, partly, plan};

pub(crate) const TABLE: &str = "acme_orders";
pub(crate) const CHILD: &str = "acme_orders_lines";
const COLUMNS: &[&str] = &["_parent_id", "_index", "sku"];

pub(crate) fn exploding(mode: SyncMode, run: &str) -> WritePlan {
    let mut plan = plan(mode, run);
    plan.stream.policy.explode = vec!["lines".to_owned()];
    plan
}

/// An order with one line for each sku.
pub(crate) fn order(id: i64, at: &str, skus: &[&str]) -> Value {
    let lines: Vec<Value> = skus.iter().map(|sku| json!({ "sku": sku })).collect();
    json!({ "id": id, "at": format!("2026-{at}T00:00:00Z"), "lines": lines })
}

#[tokio::test]
async fn merge_exchanges_the_children_of_a_changed_parent() {
    let lake = TestLake::new();
    let receipt = lake
        .sync(
            &exploding(SyncMode::IncrementalMerge, "r1"),
            &[
                &[order(1, "01-01", &["a", "b"]), order(2, "01-01", &["c"])],
                &[order(3, "01-01", &[]), order(1, "01-01", &["a", "b"])],
            ],
        )
        .await;
    assert_eq!(receipt.books.landed, 3);
    assert_eq!(receipt.child_rows[CHILD], 3);
    insta::assert_snapshot!(lake.rows(CHILD, COLUMNS).await.join("\n"), @r#"
    {"_parent_id":1,"_index":0,"sku":"a"}
    {"_parent_id":1,"_index":1,"sku":"b"}
    {"_parent_id":2,"_index":0,"sku":"c"}
    "#);
    let receipt = lake
        .sync(
            &exploding(SyncMode::IncrementalMerge, "r2"),
            &[&[
                // Shorter, without any other change of the row; older; first children; gone.
                order(1, "01-01", &["b"]),
                order(2, "00-01", &["x"]),
                order(3, "01-02", &["d"]),
                order(4, "01-02", &["e"]),
            ]],
        )
        .await;
    assert!(receipt.books.balance());
    insta::assert_snapshot!(lake.rows(CHILD, &["_parent_id", "_index", "sku", "_run"]).await.join("\n"), @r#"
    {"_parent_id":1,"_index":0,"sku":"b","_run":"r2"}
    {"_parent_id":2,"_index":0,"sku":"c","_run":"r1"}
    {"_parent_id":3,"_index":0,"sku":"d","_run":"r2"}
    {"_parent_id":4,"_index":0,"sku":"e","_run":"r2"}
    "#);
    lake.sync(
        &exploding(SyncMode::IncrementalMerge, "r3"),
        &[&[order(4, "01-03", &[]), order(3, "01-02", &["d"])]],
    )
    .await;
    insta::assert_snapshot!(lake.rows(CHILD, &["_parent_id", "sku", "_run"]).await.join("\n"), @r#"
    {"_parent_id":1,"sku":"b","_run":"r2"}
    {"_parent_id":2,"sku":"c","_run":"r1"}
    {"_parent_id":3,"sku":"d","_run":"r2"}
    "#);
    let parent = lake.lake.snapshot(TABLE, None).await.unwrap();
    assert!(parent.schema.column_with_name("lines").is_none());
}

#[tokio::test]
async fn a_deleted_parent_has_no_children() {
    let lake = TestLake::new();
    let mut plan = exploding(SyncMode::IncrementalMerge, "r1");
    plan.stream.policy.deleted_field = Some("gone".to_owned());
    lake.sync(&plan, &[&[order(1, "01-01", &["a"]), order(2, "01-01", &["b"])]])
        .await;
    let mut gone = order(1, "01-02", &["a"]);
    gone["gone"] = json!(true);
    lake.sync(&plan, &[&[gone]]).await;
    assert_eq!(
        lake.rows(CHILD, &["_parent_id", "sku"]).await,
        [r#"{"_parent_id":2,"sku":"b"}"#]
    );
}

#[tokio::test]
async fn append_keeps_the_children_of_every_version() {
    let lake = TestLake::new();
    let plan = exploding(SyncMode::IncrementalAppend, "r1");
    let first = [order(1, "01-01", &["a"]), order(2, "01-01", &["b"])];
    lake.sync(&plan, &[&first]).await;
    lake.sync(&plan, &[&first, &[order(1, "01-02", &["a", "c"])]])
        .await;
    insta::assert_snapshot!(lake.rows(CHILD, &["_parent_id", "_index", "sku", "_cursor"]).await.join("\n"), @r#"
    {"_parent_id":1,"_index":0,"sku":"a","_cursor":"2026-01-01T00:00:00Z"}
    {"_parent_id":1,"_index":0,"sku":"a","_cursor":"2026-01-02T00:00:00Z"}
    {"_parent_id":1,"_index":1,"sku":"c","_cursor":"2026-01-02T00:00:00Z"}
    {"_parent_id":2,"_index":0,"sku":"b","_cursor":"2026-01-01T00:00:00Z"}
    "#);
}

#[tokio::test]
async fn a_full_refresh_publishes_children_with_their_parents() {
    for mode in [SyncMode::FullRefreshReplace, SyncMode::FullRefreshAppend] {
        let lake = TestLake::new();
        let plan = exploding(mode, "r1");
        lake.sync(
            &plan,
            &[&[order(1, "01-01", &["a"])], &[order(2, "01-01", &["b"])]],
        )
        .await;
        if mode == SyncMode::FullRefreshAppend {
            assert_eq!(lake.rows(CHILD, &["sku"]).await.len(), 2);
            break;
        }
        let plan = exploding(mode, "r2");
        let mut writer = lake.open(&plan).await;
        writer
            .write(batch(&[
                order(3, "01-01", &["x"]),
                order(3, "01-02", &["c", "d"]),
            ]))
            .await
            .unwrap();
        writer.checkpoint(&partly(0)).await.unwrap();
        assert_eq!(
            lake.rows(CHILD, &["sku"]).await,
            [r#"{"sku":"a"}"#, r#"{"sku":"b"}"#]
        );
        let receipt = writer.finish(&complete(1)).await.unwrap().published().unwrap();
        assert_eq!(receipt.child_rows[CHILD], 2);
        assert_eq!(
            lake.rows(CHILD, &["sku"]).await,
            [r#"{"sku":"c"}"#, r#"{"sku":"d"}"#]
        );
        assert_eq!(lake.rows(TABLE, &["id"]).await, [r#"{"id":3}"#]);
        // Of a source that has nothing left, nothing is left.
        lake.sync(&exploding(mode, "r3"), &[&[]]).await;
        assert!(lake.rows(CHILD, &["sku"]).await.is_empty());
    }
}

#[tokio::test]
async fn children_of_vanished_parents_go() {
    let lake = TestLake::new();
    let mode = SyncMode::FullRefreshMerge;
    let all = [
        order(1, "01-01", &["a"]),
        order(2, "01-01", &["b"]),
        order(3, "01-01", &["c"]),
    ];
    lake.sync(&exploding(mode, "r1"), &[&all]).await;
    lake.sync(&exploding(mode, "r2"), &[&all[1..]]).await;
    assert_eq!(
        lake.rows(CHILD, &["sku", "_run"]).await,
        [r#"{"sku":"b","_run":"r1"}"#, r#"{"sku":"c","_run":"r1"}"#]
    );
    lake.sync(&exploding(mode, "r3"), &[&all]).await;
    assert_eq!(lake.rows(CHILD, &["sku"]).await.len(), 3);
}

#[tokio::test]
async fn history_gives_children_the_validity_of_their_parents() {
    let lake = TestLake::new();
    let mode = SyncMode::IncrementalHistory;
    lake.sync(
        &exploding(mode, "r1"),
        &[&[order(1, "01-01", &["a", "b"]), order(2, "01-01", &["c"])]],
    )
    .await;
    lake.sync(
        &exploding(mode, "r2"),
        &[&[order(1, "02-01", &["b"]), order(2, "01-01", &["c"])]],
    )
    .await;
    let columns = ["_parent_id", "sku", "_valid_from", "_valid_to", "_is_current"];
    insta::assert_snapshot!(lake.rows(CHILD, &columns).await.join("\n"), @r#"
    {"_parent_id":1,"sku":"a","_valid_from":"2026-01-01T00:00:00Z","_valid_to":"2026-02-01T00:00:00Z","_is_current":false}
    {"_parent_id":1,"sku":"b","_valid_from":"2026-01-01T00:00:00Z","_valid_to":"2026-02-01T00:00:00Z","_is_current":false}
    {"_parent_id":1,"sku":"b","_valid_from":"2026-02-01T00:00:00Z","_is_current":true}
    {"_parent_id":2,"sku":"c","_valid_from":"2026-01-01T00:00:00Z","_is_current":true}
    "#);
    lake.sync(
        &exploding(SyncMode::FullRefreshHistory, "r3"),
        &[&[order(2, "01-01", &["c"])]],
    )
    .await;
    let current = lake.rows(CHILD, &["sku", "_is_current"]).await;
    let current: Vec<_> = current.iter().filter(|row| row.contains("true")).collect();
    assert_eq!(current, [r#"{"sku":"c","_is_current":true}"#]);
}

#[tokio::test]
async fn children_grow_new_columns_and_wider_types() {
    let lake = TestLake::new();
    let mode = SyncMode::IncrementalMerge;
    let one = json!({ "id": 1, "at": "2026-01-01T00:00:00Z", "lines": [{ "n": 1 }] });
    let two = json!({ "id": 2, "at": "2026-01-01T00:00:00Z", "lines": [{ "n": 1.5, "note": "x" }] });
    lake.sync(&exploding(mode, "r1"), &[&[one]]).await;
    lake.sync(&exploding(mode, "r2"), &[&[two]]).await;
    assert_eq!(
        lake.rows(CHILD, &["n", "note"]).await,
        [r#"{"n":1.0}"#, r#"{"n":1.5,"note":"x"}"#]
    );
}

#[tokio::test]
async fn the_books_count_parents_alone() {
    let lake = TestLake::new();
    let receipt = lake
        .sync(
            &exploding(SyncMode::IncrementalMerge, "r1"),
            &[&[
                order(1, "01-01", &["a", "b", "c"]),
                json!({ "lines": [{ "sku": "x" }] }),
            ]],
        )
        .await;
    assert_eq!(
        receipt.books,
        Books {
            read: 2,
            landed: 1,
            quarantined: 1,
            ..Books::default()
        }
    );
    assert_eq!(receipt.child_rows[CHILD], 3);
}

#[tokio::test]
async fn a_child_takes_one_stream_and_no_other_tables_name() {
    let lake = TestLake::new();
    let mode = SyncMode::IncrementalMerge;
    lake.sync(&exploding(mode, "r1"), &[&[order(1, "01-01", &["a"])]])
        .await;
    let mut other = exploding(mode, "r2");
    other.connection = "second".to_owned();
    let error = lake.lake_open_error(&other).await;
    assert_eq!(error.kind(), ErrorKind::Spec);
    assert!(error.next_step().unwrap().contains("source"), "{error}");
}

#[tokio::test]
async fn a_spilled_load_takes_its_children_along() {
    let lake = TestLake::new();
    let mut plan = exploding(SyncMode::IncrementalMerge, "r1");
    plan.memory_bytes = 1;
    let long = "x".repeat(2_000);
    let orders = |mark: &str| -> Vec<Value> {
        let line = format!("{mark}{long}");
        (0..1_000).map(|id| order(id, "01-01", &[&line, mark])).collect()
    };
    lake.sync(&plan, &[&orders("a")]).await;
    assert_eq!(lake.rows(CHILD, &["_parent_id"]).await.len(), 2_000);
    lake.sync(&plan, &[&orders("b")]).await;
    let rows = lake.rows(CHILD, &["_parent_id", "_index", "sku"]).await;
    assert_eq!(rows.len(), 2_000);
    assert!(rows.iter().all(|row| row.contains(r#""sku":"b"#)));
}

#[tokio::test]
async fn restore_takes_children_along() {
    let lake = TestLake::new();
    let mode = SyncMode::IncrementalMerge;
    let first = lake
        .sync(
            &exploding(mode, "r1"),
            &[&[order(1, "01-01", &["a", "b"]), order(2, "01-01", &["c"])]],
        )
        .await;
    let before = lake.rows(CHILD, COLUMNS).await;
    lake.sync(
        &exploding(mode, "r2"),
        &[&[order(1, "01-02", &["z"]), order(3, "01-02", &["d"])]],
    )
    .await;
    let version = weir_lake::AsOf::Version(first.version);
    let error = lake.lake.restore(CHILD, version, "r3").await.unwrap_err();
    assert!(error.next_step().unwrap().contains(TABLE), "{error}");
    lake.lake.restore(TABLE, version, "r3").await.unwrap();
    assert_eq!(lake.rows(CHILD, COLUMNS).await, before);
    // The sync reads on from there, and the children follow.
    let again = exploding(mode, "r4");
    assert_eq!(lake.open(&again).await.committed().unwrap().run, "r3");
    lake.sync(&again, &[&[order(1, "01-02", &["z"]), order(3, "01-02", &["d"])]])
        .await;
    insta::assert_snapshot!(lake.rows(CHILD, COLUMNS).await.join("\n"), @r#"
    {"_parent_id":1,"_index":0,"sku":"z"}
    {"_parent_id":2,"_index":0,"sku":"c"}
    {"_parent_id":3,"_index":0,"sku":"d"}
    "#);
}

#[tokio::test]
async fn retention_takes_the_children_of_parents_that_go() {
    let lake = TestLake::new();
    for mode in [SyncMode::IncrementalMerge, SyncMode::IncrementalAppend] {
        let mut plan = exploding(mode, "r1");
        plan.source = format!("acme{}", mode.as_str().len());
        plan.stream.policy.partition_by = vec!["month(at)".to_owned()];
        let orders = [order(1, "01-01", &["a"]), order(2, "03-01", &["b", "c"])];
        lake.sync(&plan, &[&orders, &[order(1, "03-02", &["d"])]]).await;
        let parent = format!("{}_orders", plan.source);
        let child = format!("{parent}_lines");
        let before = "2026-02-15T00:00:00Z".parse().unwrap();
        lake.lake.retain_silver(&child, before, None).await.unwrap_err();
        lake.lake.retain_silver(&parent, before, None).await.unwrap();
        let rows = lake.rows(&child, &["_parent_id", "sku"]).await;
        let expected =
            [(1, "d"), (2, "b"), (2, "c")].map(|(id, sku)| format!(r#"{{"_parent_id":{id},"sku":"{sku}"}}"#));
        assert_eq!(rows, expected, "{mode}");
        assert_eq!(lake.rows(&parent, &["id"]).await.len(), 2, "{mode}");
    }
}
