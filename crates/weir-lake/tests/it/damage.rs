//! Logs with a gap or a damaged object, and what a person is told about them.

use std::path::PathBuf;

use weir_lake::AsOf;
use weir_protocol::{Error, SyncMode};

use crate::harness::{TestLake, order, plan};

const TABLE: &str = "acme_orders";

/// A table of more than one checkpoint of its log.
async fn filled() -> TestLake {
    let lake = TestLake::new();
    for day in 1..=24 {
        let plan = plan(SyncMode::IncrementalMerge, &format!("r{day}"));
        lake.sync(&plan, &[&[order(day, "01-01", 1.0)]]).await;
    }
    lake
}

fn log(lake: &TestLake) -> PathBuf {
    lake.dir.path().join("silver").join(TABLE).join("_delta_log")
}

fn commit(lake: &TestLake, version: i64) -> PathBuf {
    log(lake).join(format!("{version:020}.json"))
}

/// The checkpoints of the log, oldest first.
fn checkpoints(lake: &TestLake) -> Vec<PathBuf> {
    let entries = log(lake).read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|end| end == "parquet"))
        .collect();
    found.sort();
    found
}

async fn newest(lake: &TestLake) -> i64 {
    lake.lake.snapshot(TABLE, None).await.unwrap().version
}

/// The error of an open, as it is shown.
async fn told(lake: &TestLake) -> String {
    let error = lake.lake.snapshot(TABLE, None).await.unwrap_err();
    let sync = lake.lake_open_error(&plan(SyncMode::IncrementalMerge, "x")).await;
    assert_eq!(shown(&sync), shown(&error));
    shown(&error)
}

fn shown(error: &Error) -> String {
    format!("{error} -> {}", error.next_step().unwrap())
}

#[tokio::test]
async fn a_missing_version_is_named() {
    let lake = filled().await;
    let version = newest(&lake).await;
    std::fs::remove_file(commit(&lake, version - 1)).unwrap();
    let told = told(&lake).await;
    assert!(
        told.contains(&format!(
            "version {} of table 'acme_orders' is missing",
            version - 1
        )),
        "{told}"
    );
    assert!(
        told.contains("weir lake rebuild") && !told.contains('{'),
        "{told}"
    );
}

#[tokio::test]
async fn a_missing_version_before_a_checkpoint_is_told_to_those_who_ask_for_it_alone() {
    let lake = filled().await;
    let rows = lake.rows(TABLE, &["id"]).await;
    std::fs::remove_file(commit(&lake, 3)).unwrap();
    assert_eq!(lake.rows(TABLE, &["id"]).await, rows);
    let error = lake
        .lake
        .snapshot(TABLE, Some(AsOf::Version(5)))
        .await
        .unwrap_err();
    let told = shown(&error);
    assert!(
        told.contains("version 3 of table 'acme_orders' is missing") && !told.contains('{'),
        "{told}"
    );
}

#[tokio::test]
async fn a_truncated_version_is_named_with_its_line() {
    let lake = filled().await;
    let path = commit(&lake, newest(&lake).await - 1);
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 40]).unwrap();
    let told = told(&lake).await;
    assert!(
        told.contains("is damaged in its log") && told.contains("line"),
        "{told}"
    );
}

#[tokio::test]
async fn a_damaged_checkpoint_is_named_and_its_way_out_works() {
    let lake = filled().await;
    let rows = lake.rows(TABLE, &["id"]).await;
    let path = checkpoints(&lake).pop().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let told = told(&lake).await;
    assert!(
        told.contains("the checkpoint of version") && told.contains("delete that object"),
        "{told}"
    );
    std::fs::remove_file(path).unwrap();
    std::fs::remove_file(log(&lake).join("_last_checkpoint")).unwrap();
    assert_eq!(lake.rows(TABLE, &["id"]).await, rows);
}
