//! Writers stopped between a child's commit and its parent's; whoever comes next ends with the same
//! tables as one that was never stopped.

use fail::FailScenario;
use serde_json::Value;
use weir_protocol::{Destination, StreamWriter, SyncMode, WritePlan};

use crate::children::{CHILD, TABLE, exploding, order};
use crate::harness::{TestLake, batch, complete, partly};

const POINTS: &[&str] = &[
    "lake.before_commit",
    "lake.before_child_commit",
    "lake.after_child_commit",
    "lake.after_commit",
    "lake.before_publish",
    "lake.in_publish",
    "lake.after_publish",
];

fn runs() -> [Vec<Vec<Value>>; 2] {
    [
        vec![
            vec![order(1, "01-01", &["a", "b"]), order(2, "01-01", &["c"])],
            vec![order(3, "01-01", &["d"]), order(1, "01-02", &["a"])],
        ],
        vec![
            vec![order(2, "01-03", &[]), order(3, "01-01", &["d"])],
            vec![order(4, "01-04", &["e", "f"]), order(1, "01-05", &["g"])],
        ],
    ]
}

/// One run to its end, opened again after each failure.
async fn read(lake: &TestLake, plan: &WritePlan, pages: &[Vec<Value>]) {
    for _ in 0..20 {
        let Ok(mut writer) = lake.lake.open(plan.clone()).await else {
            continue;
        };
        let found = writer.committed().filter(|found| found.run == plan.run).cloned();
        if found.as_ref().is_some_and(|found| found.state.complete) {
            return;
        }
        let at = found.and_then(|found| found.state.slices.values().next()?.page.clone()?.as_u64());
        let mut next = at.map_or(0, |at| at as usize + 1);
        if go_on(writer.as_mut(), pages, &mut next).await && writer.finish(&complete(3)).await.is_ok() {
            return;
        }
    }
    panic!("the run never ended");
}

async fn go_on(writer: &mut dyn StreamWriter, pages: &[Vec<Value>], next: &mut usize) -> bool {
    while let Some(page) = pages.get(*next) {
        if writer.write(batch(page)).await.is_err() || writer.checkpoint(&partly(*next)).await.is_err() {
            return false;
        }
        *next += 1;
    }
    true
}

async fn both(lake: &TestLake, mode: SyncMode) -> (Vec<String>, Vec<String>) {
    let mut columns = vec!["id", "_cursor", "_run", "_children_digest"];
    let mut child = vec!["_parent_id", "_index", "sku", "_cursor", "_run"];
    if matches!(mode, SyncMode::IncrementalHistory) {
        columns.extend(["_valid_from", "_valid_to", "_is_current"]);
        child.extend(["_valid_from", "_valid_to", "_is_current"]);
    }
    (lake.rows(TABLE, &columns).await, lake.rows(CHILD, &child).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_death_between_child_and_parent_loses_or_doubles_a_row() {
    let scenario = FailScenario::setup();
    for mode in [
        SyncMode::IncrementalMerge,
        SyncMode::IncrementalHistory,
        SyncMode::IncrementalAppend,
        SyncMode::FullRefreshAppend,
        SyncMode::FullRefreshReplace,
        SyncMode::FullRefreshMerge,
    ] {
        let [one, two] = runs();
        let lake = TestLake::new();
        read(&lake, &exploding(mode, "r1"), &one).await;
        read(&lake, &exploding(mode, "r2"), &two).await;
        let expected = both(&lake, mode).await;
        assert!(expected.1.len() >= 3, "{mode}: {expected:?}");
        for point in POINTS {
            for nth in 0..5 {
                let lake = TestLake::new();
                fail::cfg(*point, &format!("{nth}*off->1*return->off")).unwrap();
                read(&lake, &exploding(mode, "r1"), &one).await;
                read(&lake, &exploding(mode, "r2"), &two).await;
                fail::cfg(*point, "off").unwrap();
                assert_eq!(both(&lake, mode).await, expected, "{mode} {point} {nth}");
                let found = lake.lake.state(TABLE, "shop", "orders").await.unwrap().unwrap();
                assert!(
                    found.books.balance() && found.books.read == 4,
                    "{mode} {point} {nth}"
                );
            }
        }
    }
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_ahead_is_taken_back_before_the_next_read() {
    let scenario = FailScenario::setup();
    let lake = TestLake::new();
    let mode = SyncMode::IncrementalMerge;
    lake.sync(
        &exploding(mode, "r1"),
        &[&[order(1, "01-01", &["a", "b"]), order(2, "01-01", &["c"])]],
    )
    .await;
    let before = lake.rows(CHILD, &["_parent_id", "_index", "sku"]).await;
    fail::cfg("lake.after_child_commit", "1*return->off").unwrap();
    let mut writer = lake.open(&exploding(mode, "r2")).await;
    writer.write(batch(&[order(1, "01-02", &["z"])])).await.unwrap();
    writer.checkpoint(&partly(0)).await.unwrap_err();
    // A reader of the child sees it ahead.
    assert_ne!(lake.rows(CHILD, &["_parent_id", "_index", "sku"]).await, before);
    // Neither compaction nor vacuum takes away what the child goes back to.
    lake.lake.compact(CHILD, 64 << 20).await.unwrap();
    let now = jiff::Timestamp::now();
    let soon = now.checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
    lake.lake.vacuum(CHILD, soon, false).await.unwrap();
    let writer = lake.open(&exploding(mode, "r2")).await;
    assert_eq!(writer.committed().unwrap().run, "r1");
    assert_eq!(lake.rows(CHILD, &["_parent_id", "_index", "sku"]).await, before);
    scenario.teardown();
}
