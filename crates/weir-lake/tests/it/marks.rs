//! Tables whose rows are marked as gone instead of written away with their file.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};
use weir_lake::AsOf;
use weir_protocol::{SyncMode, WritePlan};

use crate::harness::{TestLake, order, plan};

const TABLE: &str = "acme_orders";
const COLUMNS: &[&str] = &["id", "at", "total"];

fn marking(mode: SyncMode, run: &str) -> WritePlan {
    let mut plan = plan(mode, run);
    plan.stream.policy.deletion_vectors = true;
    plan
}

fn days(ids: std::ops::Range<i64>, day: &str) -> Vec<Value> {
    ids.map(|id| order(id, day, id as f64)).collect()
}

/// A hundred rows in one file, of which ten are marked.
async fn marked() -> TestLake {
    let lake = TestLake::new();
    let merge = |run| marking(SyncMode::IncrementalMerge, run);
    lake.sync(&merge("r1"), &[&days(0..100, "01-01")]).await;
    lake.sync(&merge("r2"), &[&days(40..50, "01-02")]).await;
    lake
}

async fn vectors(lake: &TestLake) -> Vec<u64> {
    let files = lake.lake.snapshot(TABLE, None).await.unwrap().files;
    let marked = files.iter().filter_map(|file| file.deletion_vector.as_ref());
    marked.map(|vector| vector.cardinality as u64).collect()
}

fn objects(lake: &TestLake, end: &str) -> usize {
    let folder = lake.dir.path().join("silver").join(TABLE);
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .count()
}

#[tokio::test]
async fn a_change_leaves_the_file_of_the_row_alone() {
    let lake = marked().await;
    assert_eq!((objects(&lake, ".parquet"), objects(&lake, ".bin")), (2, 1));
    assert_eq!(vectors(&lake).await, [10]);
    let rows = lake.rows(TABLE, COLUMNS).await;
    assert_eq!(rows.len(), 100);
    assert!(rows.contains(&r#"{"id":45,"at":"2026-01-02T00:00:00Z","total":45.0}"#.to_owned()));
    let before = lake
        .rows_at(TABLE, COLUMNS, Some(AsOf::Version(1)))
        .await
        .unwrap();
    assert!(before.contains(&r#"{"id":45,"at":"2026-01-01T00:00:00Z","total":45.0}"#.to_owned()));
}

#[tokio::test]
async fn marks_are_added_to_those_that_are_there() {
    let lake = marked().await;
    let merge = |run| marking(SyncMode::IncrementalMerge, run);
    lake.sync(&merge("r3"), &[&days(45..55, "01-03")]).await;
    // Of the first file five rows more, of the second one half: that one is written again.
    assert_eq!(vectors(&lake).await, [15]);
    assert_eq!(lake.rows(TABLE, &["id"]).await.len(), 100);
    // The same rows again change nothing.
    let version = lake.lake.snapshot(TABLE, None).await.unwrap().version;
    let receipt = lake.sync(&merge("r4"), &[&days(45..55, "01-03")]).await;
    assert_eq!((receipt.books.landed, receipt.books.deduplicated), (0, 10));
    assert_eq!(lake.rows(TABLE, &["id"]).await.len(), 100);
    assert!(lake.lake.snapshot(TABLE, None).await.unwrap().version >= version);
}

#[tokio::test]
async fn a_file_of_which_much_is_gone_is_written_again() {
    let lake = marked().await;
    lake.sync(
        &marking(SyncMode::IncrementalMerge, "r3"),
        &[&days(0..30, "01-03")],
    )
    .await;
    assert_eq!(vectors(&lake).await, Vec::<u64>::new());
    assert_eq!(lake.rows(TABLE, &["id"]).await.len(), 100);
}

#[tokio::test]
async fn a_stream_that_no_longer_marks_still_reads_its_marks() {
    let lake = marked().await;
    lake.sync(&plan(SyncMode::IncrementalMerge, "r3"), &[&days(50..55, "01-03")])
        .await;
    assert_eq!(vectors(&lake).await, Vec::<u64>::new());
    let rows = lake.rows(TABLE, COLUMNS).await;
    assert_eq!(rows.len(), 100);
    lake.sync(
        &marking(SyncMode::IncrementalMerge, "r4"),
        &[&days(60..61, "01-04")],
    )
    .await;
    assert_eq!(vectors(&lake).await, [1]);
}

#[tokio::test]
async fn maintenance_carries_marks_along() {
    let lake = marked().await;
    let before = lake.rows(TABLE, COLUMNS).await;
    let later = "2099-01-01T00:00:00Z".parse().unwrap();
    assert!(
        lake.lake
            .vacuum(TABLE, later, false)
            .await
            .unwrap()
            .paths
            .is_empty()
    );
    assert_eq!(lake.rows(TABLE, COLUMNS).await, before);

    let marked_version = lake.lake.snapshot(TABLE, None).await.unwrap().version;
    let done = lake.lake.compact(TABLE, 64 << 20).await.unwrap();
    assert_eq!((done.files_before, done.files_after), (2, 1));
    assert_eq!(vectors(&lake).await, Vec::<u64>::new());
    assert_eq!(lake.rows(TABLE, COLUMNS).await, before);

    lake.lake
        .restore(TABLE, AsOf::Version(marked_version), "back")
        .await
        .unwrap();
    assert_eq!(vectors(&lake).await, [10]);
    assert_eq!(lake.rows(TABLE, COLUMNS).await, before);
    // Between the marked version and the one before it lie the marks alone.
    lake.lake
        .restore(TABLE, AsOf::Version(1), "further back")
        .await
        .unwrap();
    assert_eq!(vectors(&lake).await, Vec::<u64>::new());
    lake.lake
        .restore(TABLE, AsOf::Version(marked_version), "and forth")
        .await
        .unwrap();
    assert_eq!(lake.rows(TABLE, COLUMNS).await, before);

    lake.lake.compact(TABLE, 64 << 20).await.unwrap();
    let gone = lake.lake.vacuum(TABLE, later, false).await.unwrap().paths;
    assert!(gone.iter().any(|path| path.ends_with(".bin")), "{gone:?}");
    assert_eq!((objects(&lake, ".parquet"), objects(&lake, ".bin")), (1, 0));
    let error = lake
        .lake
        .restore(TABLE, AsOf::Version(marked_version), "too late")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("vacuum removed"), "{error}");
    assert_eq!(lake.rows(TABLE, COLUMNS).await, before);
}

#[tokio::test]
async fn a_rebuild_has_no_marks() {
    let lake = marked().await;
    let before = lake.rows(TABLE, COLUMNS).await;
    let rebuild = marking(SyncMode::IncrementalMerge, "again");
    lake.lake.rebuild(&rebuild, false).await.unwrap();
    assert_eq!(vectors(&lake).await, Vec::<u64>::new());
    assert_eq!(lake.rows(TABLE, COLUMNS).await, before);
    lake.sync(
        &marking(SyncMode::IncrementalMerge, "r3"),
        &[&days(7..8, "01-05")],
    )
    .await;
    assert_eq!(vectors(&lake).await, [1]);
}

#[tokio::test]
async fn a_lost_object_of_marks_is_named() {
    let lake = marked().await;
    let folder = lake.dir.path().join("silver").join(TABLE);
    let object = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    for path in object.filter(|path| path.extension().is_some_and(|end| end == "bin")) {
        std::fs::remove_file(path).unwrap();
    }
    let error = lake.rows_at(TABLE, COLUMNS, None).await.unwrap_err();
    assert!(error.to_string().contains("deletion vector"), "{error}");
}

#[tokio::test]
async fn an_archive_holds_no_row_that_is_gone() {
    let lake = TestLake::new();
    let merge = |run: &str| {
        let mut plan = marking(SyncMode::IncrementalMerge, run);
        plan.stream.policy.partition_by = vec!["day(made)".to_owned()];
        plan
    };
    let rows = |ids: std::ops::Range<i64>, at: &str| -> Vec<Value> {
        let row =
            |id| json!({ "id": id, "at": format!("2026-{at}T00:00:00Z"), "made": "2026-01-01T00:00:00Z" });
        ids.map(row).collect()
    };
    lake.sync(&merge("r1"), &[&rows(0..50, "01-01")]).await;
    lake.sync(&merge("r2"), &[&rows(0..5, "01-02")]).await;
    assert_eq!(vectors(&lake).await, [5]);
    let cold = tempfile::tempdir().unwrap();
    let archive = weir_lake::Storage::open(cold.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let before = "2026-06-01T00:00:00Z".parse().unwrap();
    let done = lake
        .lake
        .retain_silver(TABLE, before, Some(&archive))
        .await
        .unwrap();
    assert_eq!((done.rows, done.archived), (50, true));
    assert_eq!(stored_rows(cold.path()), 50);
}

/// Rows in all Parquet files below a folder.
fn stored_rows(folder: &Path) -> i64 {
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let rows = entries.map(|entry| match entry.extension() {
        _ if entry.is_dir() => stored_rows(&entry),
        Some(end) if end == "parquet" => {
            let reader = SerializedFileReader::new(File::open(entry).unwrap()).unwrap();
            reader.metadata().file_metadata().num_rows()
        }
        _ => 0,
    });
    rows.sum()
}
