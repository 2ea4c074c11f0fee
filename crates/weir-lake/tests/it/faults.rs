//! Writers stopped at every fail point; whoever comes next ends with the same table.

use fail::FailScenario;
use weir_protocol::{Destination, StreamWriter, SyncMode, WritePlan};

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
