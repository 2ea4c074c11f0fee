//! Maintenance changes files, not rows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use weir_lake::{AsOf, Storage};
use weir_protocol::{Destination, SyncMode};

use crate::harness::{TestLake, complete, order, plan};

const TABLE: &str = "acme_orders";
const COLUMNS: &[&str] = &["id", "at", "total"];
const LATER: &str = "2099-01-01T00:00:00Z";

fn later() -> Timestamp {
    LATER.parse().unwrap()
}

async fn filled() -> TestLake {
    let lake = TestLake::new();
    for run in 1..=5_i64 {
        let mut rows: Vec<_> = (0..20).map(|n| order(run * 100 + n, "01-01", 1.0)).collect();
        rows.push(order(1, &format!("01-0{run}"), run as f64));
        lake.sync(&plan(SyncMode::IncrementalMerge, &format!("r{run}")), &[&rows])
            .await;
    }
    lake
}

fn data_files(lake: &TestLake) -> usize {
    fn count(dir: &std::path::Path) -> usize {
        dir.read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .fold(0, |sum, path| {
                let is_log = path.ends_with("_delta_log");
                let here = usize::from(path.extension().is_some_and(|end| end == "parquet"));
                sum + if path.is_dir() && !is_log {
                    count(&path)
                } else {
                    here
                }
            })
    }
    count(&lake.dir.path().join("silver/acme_orders"))
}

#[tokio::test]
async fn compaction_keeps_every_row_and_the_state() {
    // Enough to sort the rows, and less than the first of them take.
    for memory in [64 << 20, 1] {
        compaction_keeps(memory).await;
    }
}

async fn compaction_keeps(memory: u64) {
    let lake = TestLake::new();
    for run in 1..=5_i64 {
        let rows: Vec<_> = (0..20).map(|n| order(run * 100 + 19 - n, "01-01", 1.0)).collect();
        lake.sync(&plan(SyncMode::IncrementalMerge, &format!("r{run}")), &[&rows])
            .await;
    }
    let before = lake.rows(TABLE, COLUMNS).await;
    let state = lake.lake.state(TABLE, "shop", "orders").await.unwrap();
    let done = lake.lake.compact(TABLE, memory).await.unwrap();
    assert!(done.files_before > 1 && done.files_after == 1, "{done:?}");
    assert_eq!(lake.rows(TABLE, COLUMNS).await, before);
    assert_eq!(lake.lake.state(TABLE, "shop", "orders").await.unwrap(), state);
    let again = lake.lake.compact(TABLE, memory).await.unwrap();
    assert_eq!((again.version, again.bytes_written), (done.version, 0));
    // A merge after it still finds the keys.
    lake.sync(
        &plan(SyncMode::IncrementalMerge, "r9"),
        &[&[order(100, "02-01", 9.0)]],
    )
    .await;
    assert_eq!(lake.rows(TABLE, COLUMNS).await.len(), before.len());
}

#[tokio::test]
async fn vacuum_removes_what_no_kept_version_needs() {
    let lake = filled().await;
    let before = lake.rows(TABLE, COLUMNS).await;
    lake.lake.compact(TABLE, 64 << 20).await.unwrap();
    let old = lake
        .rows_at(TABLE, COLUMNS, Some(AsOf::Version(2)))
        .await
        .unwrap();

    let kept = lake
        .lake
        .vacuum(TABLE, "2000-01-01T00:00:00Z".parse().unwrap(), false)
        .await
        .unwrap();
    assert!(kept.paths.is_empty());
    assert_eq!(
        lake.rows_at(TABLE, COLUMNS, Some(AsOf::Version(2)))
            .await
            .unwrap(),
        old
    );

    let files = data_files(&lake);
    let planned = lake.lake.vacuum(TABLE, later(), true).await.unwrap();
    assert_eq!(data_files(&lake), files);
    let done = lake.lake.vacuum(TABLE, later(), false).await.unwrap();
    assert_eq!(planned, done);
    assert_eq!(data_files(&lake), 1);
    assert_eq!(lake.rows(TABLE, COLUMNS).await, before);
}

#[tokio::test]
async fn vacuum_leaves_an_unfinished_full_refresh_alone() {
    let lake = TestLake::new();
    let replace = plan(SyncMode::FullRefreshReplace, "r1");
    lake.sync(&replace, &[&[order(1, "01-01", 1.0)]]).await;
    let second = plan(SyncMode::FullRefreshReplace, "r2");
    let mut writer = lake.open(&second).await;
    writer
        .write(crate::harness::batch(&[order(2, "01-01", 2.0)]))
        .await
        .unwrap();
    writer.checkpoint(&crate::harness::partly(0)).await.unwrap();
    drop(writer);
    lake.lake.vacuum(TABLE, later(), false).await.unwrap();
    let writer = lake.lake.open(second).await.unwrap();
    writer.finish(&complete(1)).await.unwrap().published().unwrap();
    assert_eq!(lake.rows(TABLE, &["id"]).await, [r#"{"id":2}"#]);
}

#[tokio::test]
async fn restore_brings_rows_and_state_back_and_syncs_go_on() {
    let lake = filled().await;
    let version = lake.lake.snapshot(TABLE, None).await.unwrap().version;
    let old = lake
        .rows_at(TABLE, COLUMNS, Some(AsOf::Version(version - 2)))
        .await
        .unwrap();
    lake.lake
        .restore(TABLE, AsOf::Version(version - 2), "restore-1")
        .await
        .unwrap();
    assert_eq!(lake.rows(TABLE, COLUMNS).await, old);
    let state = lake.lake.state(TABLE, "shop", "orders").await.unwrap().unwrap();
    assert_eq!((state.run.as_str(), state.books.read), ("restore-1", 0));
    let receipt = lake
        .sync(
            &plan(SyncMode::IncrementalMerge, "r9"),
            &[&[order(7, "02-01", 9.0)]],
        )
        .await;
    assert!(receipt.sequence > state.sequence);
}

#[tokio::test]
async fn old_partitions_go_to_the_archive_first() {
    let lake = TestLake::new();
    let mut plan = plan(SyncMode::IncrementalMerge, "r1");
    plan.stream.policy.partition_by = vec!["month(at)".to_owned()];
    lake.sync(&plan, &[&[order(1, "01-01", 1.0), order(2, "03-01", 2.0)]])
        .await;
    let cold = tempfile::tempdir().unwrap();
    let archive = Storage::open(cold.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let border = "2026-02-15T00:00:00Z".parse().unwrap();
    let done = lake
        .lake
        .retain_silver(TABLE, border, Some(&archive))
        .await
        .unwrap();
    assert_eq!((done.files, done.rows), (1, 1));
    assert_eq!(lake.rows(TABLE, &["id"]).await, [r#"{"id":2}"#]);
    assert!(cold.path().join("silver/acme_orders/_month_at=2026-01").exists());
    assert!(cold.path().join("manifests").exists());
    let again = lake
        .lake
        .retain_silver(TABLE, border, Some(&archive))
        .await
        .unwrap();
    assert_eq!(again.files, 0);
}

#[tokio::test]
async fn a_table_without_dates_has_no_retention() {
    let lake = filled().await;
    let error = lake.lake.retain_silver(TABLE, later(), None).await.unwrap_err();
    assert!(error.next_step().unwrap().contains("partition_by"));
}

#[tokio::test]
async fn a_reset_state_starts_the_stream_over() {
    let lake = filled().await;
    lake.lake
        .reset_state(TABLE, "shop", "orders", "reset-1")
        .await
        .unwrap();
    let writer = lake
        .lake
        .open(plan(SyncMode::IncrementalMerge, "r9"))
        .await
        .unwrap();
    assert_eq!(
        writer.committed().unwrap().state,
        weir_protocol::StreamState::default()
    );
    assert!(
        lake.lake
            .usage()
            .await
            .unwrap()
            .iter()
            .any(|usage| usage.part == "silver" && usage.bytes > 0)
    );
}
