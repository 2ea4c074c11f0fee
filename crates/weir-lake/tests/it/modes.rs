//! What each mode makes of the same records.

use std::collections::BTreeMap;

use serde_json::json;
use weir_protocol::{Books, SyncMode};

use crate::harness::{TestLake, batch, complete, order, partly, plan};

const TABLE: &str = "acme_orders";

#[tokio::test]
async fn merge_keeps_the_newest_of_each_key() {
    let lake = TestLake::new();
    let receipt = lake
        .sync(
            &plan(SyncMode::IncrementalMerge, "r1"),
            &[
                &[
                    order(1, "01-01", 1.0),
                    order(2, "01-01", 2.0),
                    order(1, "01-02", 1.5),
                ],
                &[order(3, "01-03", 3.0)],
            ],
        )
        .await;
    assert_eq!(
        receipt.books,
        Books {
            read: 4,
            landed: 3,
            deduplicated: 1,
            ..Books::default()
        }
    );
    let receipt = lake
        .sync(
            &plan(SyncMode::IncrementalMerge, "r2"),
            &[&[
                order(1, "01-01", 9.0),
                order(2, "01-05", 2.5),
                order(3, "01-03", 3.0),
                order(4, "01-04", 4.0),
            ]],
        )
        .await;
    assert_eq!((receipt.books.landed, receipt.books.deduplicated), (2, 2));
    insta::assert_snapshot!(lake.rows(TABLE, &["id", "total", "_run"]).await.join("\n"), @r#"
    {"id":1,"total":1.5,"_run":"r1"}
    {"id":2,"total":2.5,"_run":"r2"}
    {"id":3,"total":3.0,"_run":"r1"}
    {"id":4,"total":4.0,"_run":"r2"}
    "#);
}

#[tokio::test]
async fn merge_by_a_cursor_that_is_text_keeps_the_newest() {
    let record = |at: &str, total: i64| json!({ "id": 1, "at": at, "total": total });
    let run = |run: &str| plan(SyncMode::IncrementalMerge, run);
    // The clock was set back between the two.
    let (summer, winter) = ("2024-10-27T02:30:00.000+0200", "2024-10-27T02:15:00.000+0100");
    for (older, newer) in [("9", "10"), (summer, winter)] {
        let lake = TestLake::new();
        lake.sync(&run("r1"), &[&[record(older, 1)]]).await;
        let receipt = lake
            .sync(&run("r2"), &[&[record(newer, 2), record(older, 1)]])
            .await;
        assert_eq!(
            (receipt.books.landed, receipt.books.deduplicated),
            (1, 1),
            "{newer}"
        );
        let receipt = lake.sync(&run("r3"), &[&[record(older, 1)]]).await;
        assert_eq!(
            (receipt.books.landed, receipt.books.deduplicated),
            (0, 1),
            "{older}"
        );
        assert_eq!(lake.rows(TABLE, &["total"]).await, [r#"{"total":2}"#], "{newer}");
    }
    // Nobody knows which of these is older: the last to come stays, over runs and in one.
    for (first, second) in [("10", "x"), ("x", "10"), (winter, "10"), ("10", winter)] {
        let lake = TestLake::new();
        lake.sync(&run("r1"), &[&[record(first, 1)]]).await;
        lake.sync(&run("r2"), &[&[record(second, 2)]]).await;
        assert_eq!(lake.rows(TABLE, &["total"]).await, [r#"{"total":2}"#], "{second}");
        lake.sync(&run("r3"), &[&[record(second, 3), record(first, 4)]])
            .await;
        assert_eq!(lake.rows(TABLE, &["total"]).await, [r#"{"total":4}"#], "{first}");
    }
}

#[tokio::test]
async fn a_key_that_changes_twice_in_a_run_lands_once() {
    let lake = TestLake::new();
    let receipt = lake
        .sync(
            &plan(SyncMode::IncrementalMerge, "r1"),
            &[&[order(1, "01-01", 1.0)], &[order(1, "01-02", 2.0)]],
        )
        .await;
    assert_eq!((receipt.books.landed, receipt.books.deduplicated), (1, 1));
    assert_eq!(
        lake.rows(TABLE, &["id", "total"]).await,
        [r#"{"id":1,"total":2.0}"#]
    );
}

#[tokio::test]
async fn append_with_a_key_takes_no_version_twice() {
    let lake = TestLake::new();
    let plan = plan(SyncMode::IncrementalAppend, "r1");
    lake.sync(&plan, &[&[order(1, "01-01", 1.0), order(2, "01-01", 2.0)]])
        .await;
    let receipt = lake
        .sync(&plan, &[&[order(1, "01-01", 1.0), order(1, "01-02", 1.5)]])
        .await;
    assert_eq!(lake.rows(TABLE, &["id"]).await.len(), 3);
    assert_eq!(receipt.books.read, 4);
    assert_eq!((receipt.books.landed, receipt.books.deduplicated), (3, 1));
}

#[tokio::test]
async fn append_without_a_key_takes_everything() {
    let lake = TestLake::new();
    let mut plan = plan(SyncMode::FullRefreshAppend, "r1");
    plan.stream.primary_key.clear();
    lake.sync(&plan, &[&[order(1, "01-01", 1.0)], &[order(1, "01-01", 1.0)]])
        .await;
    assert_eq!(lake.rows(TABLE, &["id"]).await.len(), 2);
}

#[tokio::test]
async fn replace_shows_the_old_table_until_the_new_one_is_whole() {
    let lake = TestLake::new();
    let first = plan(SyncMode::FullRefreshReplace, "r1");
    lake.sync(&first, &[&[order(1, "01-01", 1.0)], &[order(2, "01-01", 2.0)]])
        .await;
    let mut writer = lake.open(&plan(SyncMode::FullRefreshReplace, "r2")).await;
    writer
        .write(batch(&[order(3, "01-01", 3.0), order(3, "01-02", 3.5)]))
        .await
        .unwrap();
    writer.checkpoint(&partly(0)).await.unwrap();
    assert_eq!(lake.rows(TABLE, &["id"]).await, [r#"{"id":1}"#, r#"{"id":2}"#]);
    let receipt = writer.finish(&complete(1)).await.unwrap().published().unwrap();
    assert_eq!(
        lake.rows(TABLE, &["id", "total"]).await,
        [r#"{"id":3,"total":3.5}"#]
    );
    assert_eq!((receipt.books.landed, receipt.books.deduplicated), (1, 1));
    let before = weir_lake::AsOf::Version(receipt.version - 1);
    let old = lake.rows_at(TABLE, &["id"], Some(before)).await.unwrap();
    assert_eq!(old, [r#"{"id":1}"#, r#"{"id":2}"#]);
}

#[tokio::test]
async fn a_full_refresh_marks_vanished_keys_and_leaves_equal_rows_alone() {
    let lake = TestLake::new();
    let rows = [
        order(1, "01-01", 1.0),
        order(2, "01-01", 2.0),
        order(3, "01-01", 3.0),
    ];
    lake.sync(&plan(SyncMode::FullRefreshMerge, "r1"), &[&rows]).await;
    let receipt = lake
        .sync(
            &plan(SyncMode::FullRefreshMerge, "r2"),
            &[&[order(1, "01-01", 1.0), order(3, "01-02", 3.5)]],
        )
        .await;
    assert_eq!((receipt.books.landed, receipt.books.deduplicated), (1, 1));
    let lines = lake.rows(TABLE, &["id", "total", "_run", "_deleted_at"]).await;
    assert_eq!(lines[0], r#"{"id":1,"total":1.0,"_run":"r1"}"#);
    assert!(
        lines[1].contains(r#""id":2"#) && lines[1].contains("_deleted_at"),
        "{lines:?}"
    );
    assert_eq!(lines[2], r#"{"id":3,"total":3.5,"_run":"r2"}"#);
    // It comes back.
    lake.sync(&plan(SyncMode::FullRefreshMerge, "r3"), &[&rows]).await;
    let lines = lake.rows(TABLE, &["id", "_deleted_at"]).await;
    assert_eq!(lines, [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#]);
}

#[tokio::test]
async fn history_keeps_a_row_for_each_version() {
    let lake = TestLake::new();
    lake.sync(
        &plan(SyncMode::IncrementalHistory, "r1"),
        &[&[order(1, "01-01", 1.0), order(2, "01-01", 2.0)]],
    )
    .await;
    let receipt = lake
        .sync(
            &plan(SyncMode::IncrementalHistory, "r2"),
            &[&[order(1, "02-01", 1.5), order(2, "01-01", 2.0)]],
        )
        .await;
    assert_eq!((receipt.books.landed, receipt.books.deduplicated), (1, 1));
    let columns = ["id", "total", "_valid_from", "_valid_to", "_is_current"];
    insta::assert_snapshot!(lake.rows(TABLE, &columns).await.join("\n"), @r#"
    {"id":1,"total":1.0,"_valid_from":"2026-01-01T00:00:00Z","_valid_to":"2026-02-01T00:00:00Z","_is_current":false}
    {"id":1,"total":1.5,"_valid_from":"2026-02-01T00:00:00Z","_is_current":true}
    {"id":2,"total":2.0,"_valid_from":"2026-01-01T00:00:00Z","_is_current":true}
    "#);
}

#[tokio::test]
async fn history_of_full_refreshes_ends_vanished_keys() {
    let lake = TestLake::new();
    lake.sync(
        &plan(SyncMode::FullRefreshHistory, "r1"),
        &[&[order(1, "01-01", 1.0), order(2, "01-01", 2.0)]],
    )
    .await;
    lake.sync(
        &plan(SyncMode::FullRefreshHistory, "r2"),
        &[&[order(2, "01-03", 2.5)]],
    )
    .await;
    let lines = lake.rows(TABLE, &["id", "total", "_is_current"]).await;
    assert_eq!(
        lines,
        [
            r#"{"id":1,"total":1.0,"_is_current":false}"#,
            r#"{"id":2,"total":2.0,"_is_current":false}"#,
            r#"{"id":2,"total":2.5,"_is_current":true}"#
        ]
    );
}

#[tokio::test]
async fn partitions_are_derived_and_merged_over() {
    let lake = TestLake::new();
    let mut plan = plan(SyncMode::IncrementalMerge, "r1");
    plan.stream.policy.partition_by = vec!["month(at)".to_owned()];
    lake.sync(&plan, &[&[order(1, "01-01", 1.0), order(2, "02-01", 2.0)]])
        .await;
    plan.run = "r2".to_owned();
    lake.sync(&plan, &[&[order(1, "03-01", 1.5)]]).await;
    let lines = lake.rows(TABLE, &["id", "total", "_month_at"]).await;
    assert_eq!(
        lines,
        [
            r#"{"id":1,"total":1.5,"_month_at":"2026-03"}"#,
            r#"{"id":2,"total":2.0,"_month_at":"2026-02"}"#
        ]
    );
}

#[tokio::test]
async fn loads_in_the_order_of_their_keys_replace_what_they_overlap() {
    for text in [false, true] {
        let lake = TestLake::new();
        let key = |n: i64| match text {
            true => json!(format!("k{n:06}")),
            false => json!(n),
        };
        let mut rows = BTreeMap::new();
        // Beside what is there, before it, over its edge by one, within it, and all of it.
        let loads = [100..200, 200..300, 0..50, 299..350, 120..130, 0..400];
        for (load, keys) in loads.into_iter().enumerate() {
            let records: Vec<_> = keys
                .clone()
                .map(|n| json!({ "id": key(n), "at": format!("2026-01-0{}T00:00:00Z", load + 1), "total": load }))
                .collect();
            rows.extend(keys.map(|n| (n, load)));
            let run = plan(SyncMode::IncrementalMerge, &format!("r{load}"));
            let (first, rest) = records.split_at(records.len() / 3);
            let receipt = lake.sync(&run, &[first, rest]).await;
            assert_eq!(receipt.books.landed, records.len() as u64, "load {load}");
        }
        let mut wanted: Vec<String> = rows
            .iter()
            .map(|(n, load)| format!("{{\"id\":{},\"total\":{load}}}", key(*n)))
            .collect();
        wanted.sort_unstable();
        assert_eq!(lake.rows(TABLE, &["id", "total"]).await, wanted);
    }
}

#[tokio::test]
async fn a_load_larger_than_its_memory_is_spilled_and_comes_out_the_same() {
    let lake = TestLake::new();
    let mut small = plan(SyncMode::IncrementalMerge, "r1");
    small.memory_bytes = 1;
    let text = "x".repeat(2_000);
    let mut writer = lake.open(&small).await;
    for page in 0..20_i64 {
        let records: Vec<_> = (0..100)
            .map(|n| json!({ "id": (page * 37 + n) % 500, "at": "2026-01-01T00:00:00Z", "total": page, "text": text }))
            .collect();
        writer.write(batch(&records)).await.unwrap();
    }
    let receipt = writer.finish(&complete(1)).await.unwrap().published().unwrap();
    let rows = lake.rows(TABLE, &["id", "total"]).await;
    assert_eq!(rows.len(), 500);
    assert_eq!((receipt.books.landed, receipt.books.deduplicated), (500, 1_500));
    // The last page that held a key wins the tie.
    let last = (0..20_i64)
        .filter(|page| (0..100).any(|n| (page * 37 + n) % 500 == 7))
        .max()
        .unwrap();
    assert!(
        rows.contains(&format!(r#"{{"id":7,"total":{last}}}"#)),
        "{last} {rows:?}"
    );
    assert!(
        !lake
            .dir
            .path()
            .join("silver/acme_orders/_spill")
            .read_dir()
            .is_ok_and(|mut dir| dir.any(|entry| entry.unwrap().path().is_file()))
    );
}
