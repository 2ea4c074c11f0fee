//! Columns that change while rows come in.

use serde_json::json;
use weir_protocol::SyncMode;

use crate::harness::{TestLake, batch, complete, order, partly, plan};

const TABLE: &str = "acme_orders";

#[tokio::test]
async fn new_columns_and_wider_types_reach_old_rows() {
    for mode in SyncMode::ALL {
        let lake = TestLake::new();
        let mut writer = lake.open(&plan(mode, "r1")).await;
        let whole = |id: i64, n: serde_json::Value| json!({ "id": id, "at": "2026-01-01T00:00:00Z", "n": n });
        writer.write(batch(&[whole(1, json!(1))])).await.unwrap();
        writer.checkpoint(&partly(0)).await.unwrap();
        writer.write(batch(&[whole(2, json!(2))])).await.unwrap();
        writer.write(batch(&[whole(3, json!(2.5))])).await.unwrap();
        writer
            .write(batch(&[
                json!({ "id": 4, "at": "2026-01-01T00:00:00Z", "n": 4, "s": { "x": 1 } }),
            ]))
            .await
            .unwrap();
        let receipt = writer.finish(&complete(1)).await.unwrap().published().unwrap();
        assert!(
            receipt.schema_changes.iter().any(|change| change.column == "n"),
            "{mode}: {receipt:?}"
        );
        let lines = lake.rows(TABLE, &["id", "n", "s"]).await;
        assert_eq!(
            lines,
            [
                r#"{"id":1,"n":1.0}"#,
                r#"{"id":2,"n":2.0}"#,
                r#"{"id":3,"n":2.5}"#,
                r#"{"id":4,"n":4.0,"s":{"x":1}}"#
            ],
            "{mode}"
        );
    }
}

#[tokio::test]
async fn a_stream_without_records_still_keeps_its_state() {
    for mode in SyncMode::ALL {
        let lake = TestLake::new();
        let writer = lake.open(&plan(mode, "r1")).await;
        writer.finish(&complete(1)).await.unwrap().published().unwrap();
        let writer = lake.open(&plan(mode, "r2")).await;
        assert_eq!(
            writer.committed().map(|found| found.state.clone()),
            Some(complete(1)),
            "{mode}"
        );
    }
}

#[tokio::test]
async fn bad_records_wait_and_good_ones_land() {
    let lake = TestLake::new();
    let mut writer = lake.open(&plan(SyncMode::IncrementalMerge, "r1")).await;
    writer.write(batch(&[order(1, "01-01", 1.0)])).await.unwrap();
    writer
        .write(batch(&[
            json!({ "id": null, "at": "2026-01-01T00:00:00Z" }),
            order(2, "01-01", 2.0),
        ]))
        .await
        .unwrap();
    let receipt = writer.finish(&complete(1)).await.unwrap().published().unwrap();
    assert_eq!((receipt.books.landed, receipt.books.quarantined), (2, 1));
    assert_eq!(receipt.quarantine_reasons.len(), 1);
    assert_eq!(lake.rows(TABLE, &["id"]).await.len(), 2);
}

#[tokio::test]
async fn held_records_are_released_once_or_discarded() {
    for mode in [
        SyncMode::IncrementalMerge,
        SyncMode::FullRefreshReplace,
        SyncMode::FullRefreshMerge,
    ] {
        let lake = TestLake::new();
        let plan = plan(mode, "r1");
        let mut writer = lake.open(&plan).await;
        writer.write(batch(&[order(1, "01-01", 1.0)])).await.unwrap();
        let bad = json!({ "id": 2, "at": "2026-01-01T00:00:00Z", "total": "much" });
        writer.write(batch(&[bad, json!({ "id": null })])).await.unwrap();
        writer.finish(&complete(1)).await.unwrap().published().unwrap();
        let held = lake.lake.quarantined("acme", "orders", 10).await.unwrap();
        assert_eq!(held.total, 2, "{mode}");
        let choice = weir_lake::quarantine::Choice::All;
        // Nothing was mended: both are held anew, and none is lost.
        let receipt = lake
            .lake
            .release_held(&plan, &choice, "ann", "try")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(receipt.books.quarantined, 2, "{mode}");
        assert_eq!(
            lake.lake.quarantined("acme", "orders", 10).await.unwrap().total,
            2
        );
        let state = lake.lake.state(TABLE, "shop", "orders").await.unwrap().unwrap();
        assert_eq!(state.state, complete(1));
        let gone = lake
            .lake
            .discard_held("acme", "orders", &choice, "ann", "useless")
            .await
            .unwrap();
        assert_eq!(gone, 2);
        assert_eq!(
            lake.lake.quarantined("acme", "orders", 10).await.unwrap().total,
            0
        );
        assert_eq!(lake.rows(TABLE, &["id"]).await.len(), 1, "{mode}");
    }
}
