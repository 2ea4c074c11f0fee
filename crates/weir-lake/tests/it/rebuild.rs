//! A table rebuilt from the same batches has the same rows.

use futures::StreamExt;
use serde_json::Value;
use weir_lake::RawBatch;
use weir_protocol::SyncMode;

use crate::children::{CHILD, exploding, order as lined};
use crate::harness::{TestLake, batch, complete, order, partly, plan};

const TABLE: &str = "acme_orders";
const COLUMNS: &[&str] = &[
    "id",
    "at",
    "total",
    "_run",
    "_emitted_at",
    "_cursor",
    "_deleted_at",
];

fn runs() -> Vec<Vec<Vec<Value>>> {
    vec![
        vec![
            vec![
                order(1, "01-01", 1.0),
                order(2, "01-01", 2.0),
                order(1, "01-02", 1.1),
            ],
            vec![order(3, "01-03", 3.0), order(2, "01-01", 2.0)],
        ],
        vec![
            vec![order(1, "01-05", 1.5)],
            vec![order(4, "01-04", 4.0), order(3, "01-01", 0.0)],
        ],
        vec![vec![order(4, "01-06", 4.5), order(2, "01-01", 2.0)]],
    ]
}

#[tokio::test]
async fn rows_are_the_same_in_every_mode() {
    for mode in SyncMode::ALL {
        let lake = TestLake::new();
        let mut raw = Vec::new();
        for (number, pages) in runs().iter().enumerate() {
            let run = format!("r{number}");
            let plan = plan(mode, &run);
            let mut writer = lake.open(&plan).await;
            for (page, records) in pages.iter().enumerate() {
                let sequence = writer.committed().map_or(0, |found| found.sequence) + 1;
                writer.write(batch(records)).await.unwrap();
                writer.checkpoint(&partly(page)).await.unwrap();
                raw.push(RawBatch {
                    sequence,
                    run: run.clone(),
                    batch: batch(records),
                });
            }
            writer
                .finish(&complete(number))
                .await
                .unwrap()
                .published()
                .unwrap();
        }
        let columns: Vec<&str> = match mode {
            SyncMode::FullRefreshHistory | SyncMode::IncrementalHistory => {
                [COLUMNS, &["_valid_from", "_valid_to", "_is_current"]].concat()
            }
            _ => COLUMNS.to_vec(),
        };
        let before = lake.rows(TABLE, &columns).await;
        let state = lake.lake.state(TABLE, "shop", "orders").await.unwrap().unwrap();
        let batches = futures::stream::iter(raw.into_iter().map(Ok)).boxed();
        let done = lake
            .lake
            .rebuild_from(&plan(mode, "rebuild"), batches, false)
            .await
            .unwrap();
        assert_eq!(done.rows, before.len() as u64, "{mode}");
        assert_eq!(lake.rows(TABLE, &columns).await, before, "{mode}");
        let after = lake.lake.state(TABLE, "shop", "orders").await.unwrap().unwrap();
        assert_eq!(after.state, state.state, "{mode}");
        // The same from the Bronze objects themselves.
        let done = lake.lake.rebuild(&plan(mode, "rebuild"), false).await.unwrap();
        assert_eq!(done.rows, before.len() as u64, "{mode}");
        assert_eq!(lake.rows(TABLE, &columns).await, before, "{mode}");
        // And it goes on from there.
        lake.sync(&plan(mode, "r9"), &[&[order(9, "02-01", 9.0)]]).await;
    }
}

/// Orders with lines, in which lists change, shrink and go.
fn exploded_runs() -> [Vec<Vec<Value>>; 3] {
    [
        vec![
            vec![lined(1, "01-01", &["a", "b"]), lined(2, "01-01", &["c"])],
            vec![lined(3, "01-01", &["d"]), lined(1, "01-02", &["b"])],
        ],
        vec![vec![lined(2, "01-05", &[]), lined(3, "01-01", &["d"])]],
        vec![vec![lined(4, "01-06", &["e"]), lined(2, "01-07", &["f"])]],
    ]
}

#[tokio::test]
async fn child_tables_are_rebuilt_with_their_parents() {
    for mode in SyncMode::ALL {
        let lake = TestLake::new();
        for (number, pages) in exploded_runs().iter().enumerate() {
            let pages: Vec<&[Value]> = pages.iter().map(Vec::as_slice).collect();
            lake.sync(&exploding(mode, &format!("r{number}")), &pages).await;
        }
        let mut columns = vec!["_parent_id", "_index", "sku", "_cursor", "_run", "_deleted_at"];
        let mut parent = vec!["id", "_cursor", "_run", "_children_digest", "_deleted_at"];
        if matches!(mode, SyncMode::FullRefreshHistory | SyncMode::IncrementalHistory) {
            columns.extend(["_valid_from", "_valid_to", "_is_current"]);
            parent.extend(["_valid_from", "_valid_to", "_is_current"]);
        }
        let before = (lake.rows(TABLE, &parent).await, lake.rows(CHILD, &columns).await);
        for _ in 0..2 {
            lake.lake
                .rebuild(&exploding(mode, "rebuild"), false)
                .await
                .unwrap();
            let after = (lake.rows(TABLE, &parent).await, lake.rows(CHILD, &columns).await);
            assert_eq!(after, before, "{mode}");
        }
        lake.sync(&exploding(mode, "r9"), &[&[lined(9, "02-01", &["z"])]])
            .await;
        let rows = lake.rows(CHILD, &["sku"]).await;
        assert!(rows.contains(&r#"{"sku":"z"}"#.to_owned()), "{mode}");
    }
}
