//! Writers stopped at every fail point; whoever comes next ends with the same table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fail::FailScenario;
use weir_protocol::{Destination, ErrorKind, StreamWriter, SyncMode, WritePlan};

use crate::harness::{TestLake, batch, complete, order, partly, plan};

const TABLE: &str = "acme_orders";
const POINTS: &[&str] = &[
    "lake.before_bronze",
    "lake.after_bronze",
    "lake.before_quarantine",
    "lake.before_commit",
    "lake.after_commit",
    "lake.before_publish",
    "lake.in_publish",
    "lake.after_publish",
];

/// Reads three pages, opening again after each failure. Fails at the point at its `nth` passing.
async fn read(lake: &TestLake, plan: &WritePlan, point: &str, nth: usize) {
    let pages = [
        vec![order(1, "01-01", 1.0), order(2, "01-01", 2.0)],
        vec![order(1, "01-02", 1.5), serde_json::json!({ "id": null })],
        vec![order(3, "01-03", 3.0)],
    ];
    fail::cfg(point, &format!("{nth}*off->1*return->off")).unwrap();
    for _ in 0..20 {
        let Ok(mut writer) = lake.lake.open(plan.clone()).await else {
            continue;
        };
        let found = writer.committed().filter(|found| found.run == plan.run).cloned();
        if found.as_ref().is_some_and(|found| found.state.complete) {
            break;
        }
        let at = found.and_then(|found| found.state.slices.values().next()?.page.clone()?.as_u64());
        let mut next = at.map_or(0, |at| at as usize + 1);
        if go_on(writer.as_mut(), &pages, &mut next).await && writer.finish(&complete(3)).await.is_ok() {
            break;
        }
    }
    fail::cfg(point, "off").unwrap();
}

async fn go_on(writer: &mut dyn StreamWriter, pages: &[Vec<serde_json::Value>], next: &mut usize) -> bool {
    while let Some(page) = pages.get(*next) {
        if writer.write(batch(page)).await.is_err() || writer.checkpoint(&partly(*next)).await.is_err() {
            return false;
        }
        *next += 1;
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn no_death_loses_or_doubles_a_row() {
    let scenario = FailScenario::setup();
    for mode in [
        SyncMode::IncrementalMerge,
        SyncMode::IncrementalHistory,
        SyncMode::IncrementalAppend,
        SyncMode::FullRefreshAppend,
        SyncMode::FullRefreshReplace,
        SyncMode::FullRefreshMerge,
    ] {
        let expected = TestLake::new();
        read(&expected, &plan(mode, "r1"), "lake.none", 0).await;
        let rows = expected.rows(TABLE, &["id", "total"]).await;
        let books = expected
            .lake
            .state(TABLE, "shop", "orders")
            .await
            .unwrap()
            .unwrap()
            .books;
        assert_eq!((books.read, books.quarantined), (5, 1), "{mode}");
        for point in POINTS {
            for nth in 0..4 {
                let lake = TestLake::new();
                read(&lake, &plan(mode, "r1"), point, nth).await;
                assert_eq!(
                    lake.rows(TABLE, &["id", "total"]).await,
                    rows,
                    "{mode} {point} {nth}"
                );
                let found = lake.lake.state(TABLE, "shop", "orders").await.unwrap().unwrap();
                assert_eq!(found.books, books, "{mode} {point} {nth}");
            }
        }
    }
    scenario.teardown();
}

/// While the first run is at that point another one gives its full refresh up and lands one of its own.
fn overtake_at(lake: &Arc<TestLake>, point: &str, plan: WritePlan) {
    let (lake, is_over) = (Arc::clone(lake), AtomicBool::new(false));
    let overtake = move || {
        if is_over.swap(true, Ordering::SeqCst) {
            return;
        }
        let other = async {
            let mut writer = lake.open(&plan).await;
            writer.write(batch(&[order(2, "01-02", 2.0)])).await.unwrap();
            writer.checkpoint(&partly(0)).await.unwrap();
            writer.write(batch(&[order(3, "01-03", 3.0)])).await.unwrap();
            writer.finish(&complete(2)).await.unwrap().published().unwrap();
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(other));
    };
    fail::cfg_callback(point, overtake).unwrap();
}

fn bronze_of(lake: &TestLake, run: &str) -> usize {
    let mut folders = vec![lake.dir.path().join("bronze")];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found += usize::from(path.is_file() && path.display().to_string().contains(run));
            folders.extend(path.is_dir().then_some(path));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_that_slept_adds_nothing_to_the_full_refresh_of_the_one_after_it() {
    let scenario = FailScenario::setup();
    for mode in [SyncMode::FullRefreshMerge, SyncMode::FullRefreshReplace] {
        for point in ["lake.before_commit", "lake.before_publish", "lake.in_publish"] {
            let lake = Arc::new(TestLake::new());
            let mut sleeper = lake.open(&plan(mode, "r1")).await;
            let next = WritePlan {
                restart: true,
                ..plan(mode, "r2")
            };
            overtake_at(&lake, point, next);
            let case = format!("{mode} {point}");
            sleeper.write(batch(&[order(1, "01-01", 1.0)])).await.unwrap();
            let error = match sleeper.checkpoint(&partly(0)).await {
                Ok(_) => sleeper.finish(&complete(1)).await.err(),
                Err(error) => Some(error),
            };
            assert_eq!(
                error.map(|error| error.kind()),
                Some(ErrorKind::Conflict),
                "{case}"
            );
            fail::cfg(point, "off").unwrap();
            let rows = lake.rows(TABLE, &["id", "_run"]).await;
            assert_eq!(
                rows,
                [r#"{"id":2,"_run":"r2"}"#, r#"{"id":3,"_run":"r2"}"#],
                "{case}"
            );
            // And the one after both goes on as if nothing had been.
            let again = plan(mode, "r3");
            lake.sync(&again, &[&[order(3, "01-03", 3.0)], &[order(4, "01-04", 4.0)]])
                .await;
            let rows = lake.rows(TABLE, &["id"]).await;
            assert_eq!(rows.last().map(String::as_str), Some(r#"{"id":4}"#), "{case}");
            assert_eq!(bronze_of(&lake, "-r1-"), 0, "{case}: Bronze of what never was");
        }
    }
    scenario.teardown();
}
