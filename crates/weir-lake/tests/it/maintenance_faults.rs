//! Restores, retention and rebuilds of child tables stopped half-way: readers still see a whole
//! table, and doing it again, or a sync in between, ends as if nothing had been stopped.

use std::collections::{BTreeMap, BTreeSet};

use fail::FailScenario;
use serde_json::Value;
use weir_lake::{AsOf, Storage};
use weir_protocol::{SyncMode, WritePlan};

use crate::children::{CHILD, TABLE, exploding, order};
use crate::harness::TestLake;

type Rows = (Vec<String>, Vec<String>);

async fn both(lake: &TestLake) -> Rows {
    (
        lake.rows(TABLE, &["id", "_cursor", "_run"]).await,
        lake.rows(CHILD, &["_parent_id", "_index", "sku"]).await,
    )
}

fn partitioned(run: &str) -> WritePlan {
    let mut plan = exploding(SyncMode::IncrementalMerge, run);
    plan.stream.policy.partition_by = vec!["month(at)".to_owned()];
    plan
}

/// Two runs, and the version at the end of the first.
async fn filled() -> (TestLake, AsOf) {
    let lake = TestLake::new();
    let first: [&[Value]; 2] = [
        &[order(1, "01-01", &["a", "b"]), order(2, "01-01", &["c"])],
        &[order(3, "03-01", &["d"])],
    ];
    let receipt = lake.sync(&partitioned("r1"), &first).await;
    lake.sync(
        &partitioned("r2"),
        &[&[order(1, "03-02", &["z"]), order(4, "03-02", &["e", "f"])]],
    )
    .await;
    (lake, AsOf::Version(receipt.version))
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Restore(AsOf),
    Rebuild,
    Retain,
}

async fn act(lake: &TestLake, act: Act) -> weir_protocol::Result<()> {
    let cold = Storage::open(lake.dir.path().join("cold").to_str().unwrap(), &BTreeMap::new())?;
    match act {
        Act::Restore(to) => lake.lake.restore(TABLE, to, "back").await.map(drop),
        Act::Rebuild => lake.lake.rebuild(&partitioned("x"), false).await.map(drop),
        Act::Retain => {
            let before = "2026-02-15T00:00:00Z".parse().unwrap();
            lake.lake
                .retain_silver(TABLE, before, Some(&cold))
                .await
                .map(drop)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_is_finished_by_doing_it_again() {
    let scenario = FailScenario::setup();
    let (_, first) = filled().await;
    let mut stopped = BTreeSet::new();
    let acts: [(Act, &[&str]); 3] = [
        (
            Act::Restore(first),
            &["lake.after_child_commit", "lake.in_restore"],
        ),
        (
            Act::Rebuild,
            &[
                "lake.before_child_commit",
                "lake.after_child_commit",
                "lake.in_rebuild",
                "lake.after_rebuild",
            ],
        ),
        (Act::Retain, &["lake.after_archive", "lake.after_child_commit"]),
    ];
    for (deed, points) in acts {
        let (expected, _) = filled().await;
        let before = both(&expected).await;
        act(&expected, deed).await.unwrap();
        let after = both(&expected).await;
        for point in points {
            let case = format!("{deed:?} {point}");
            let (lake, _) = filled().await;
            fail::cfg(*point, "1*return->off").unwrap();
            act(&lake, deed).await.unwrap_err();
            fail::cfg(*point, "off").unwrap();
            stopped.insert(case.clone());
            let seen = both(&lake).await;
            assert!(seen.0 == before.0 || seen.0 == after.0, "{case}: {seen:?}");
            assert!(seen.1 == before.1 || seen.1 == after.1, "{case}: {seen:?}");
            for _ in 0..2 {
                act(&lake, deed).await.unwrap();
                assert_eq!(both(&lake).await, after, "{case}");
            }
            let more = order(9, "03-09", &["y"]);
            lake.sync(&partitioned("r3"), &[&[more]]).await;
            assert_eq!(lake.rows(TABLE, &["id"]).await.len(), after.0.len() + 1, "{case}");
            assert_eq!(
                lake.rows(CHILD, &["sku"]).await.len(),
                after.1.len() + 1,
                "{case}"
            );
        }
    }
    assert_eq!(stopped.len(), 8, "{stopped:?}");
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_after_a_stopped_restore_or_rebuild_takes_the_children_back() {
    let scenario = FailScenario::setup();
    let (_, first) = filled().await;
    for (deed, point) in [
        (Act::Restore(first), "lake.after_child_commit"),
        (Act::Restore(first), "lake.in_restore"),
        (Act::Rebuild, "lake.after_child_commit"),
        (Act::Rebuild, "lake.in_rebuild"),
    ] {
        let (lake, _) = filled().await;
        let before = both(&lake).await;
        fail::cfg(point, "1*return->off").unwrap();
        act(&lake, deed).await.unwrap_err();
        fail::cfg(point, "off").unwrap();
        drop(lake.open(&partitioned("r3")).await);
        assert_eq!(both(&lake).await, before, "{deed:?} {point}");
    }
    scenario.teardown();
}

fn objects(folder: &std::path::Path) -> usize {
    let entries = folder.read_dir().into_iter().flatten();
    let count = |path: std::path::PathBuf| if path.is_dir() { objects(&path) } else { 1 };
    entries.map(|entry| count(entry.unwrap().path())).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_of_bronze_loses_no_object_wherever_it_stops() {
    let scenario = FailScenario::setup();
    for (point, nth) in [
        ("lake.after_archive", 0),
        ("lake.in_retention", 0),
        ("lake.in_retention", 1),
    ] {
        let (lake, _) = filled().await;
        let before = both(&lake).await;
        let (bronze, cold) = (lake.dir.path().join("bronze"), lake.dir.path().join("cold"));
        let archive = Storage::open(cold.to_str().unwrap(), &BTreeMap::new()).unwrap();
        let all = objects(&bronze);
        assert!(all >= 3);
        let now = jiff::Timestamp::now();
        let soon = now.checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
        fail::cfg(point, &format!("{nth}*off->1*return->off")).unwrap();
        let stopped = lake.lake.retain_bronze(None, soon, Some(&archive)).await;
        fail::cfg(point, "off").unwrap();
        stopped.unwrap_err();
        assert_eq!(objects(&cold.join("bronze")), all, "{point} {nth}");
        assert_eq!(objects(&bronze), all - nth, "{point} {nth}");
        lake.lake.retain_bronze(None, soon, Some(&archive)).await.unwrap();
        assert_eq!(
            (objects(&bronze), objects(&cold.join("bronze"))),
            (0, all),
            "{point} {nth}"
        );
        assert_eq!(both(&lake).await, before);
        let error = lake.lake.rebuild(&partitioned("x"), false).await.unwrap_err();
        assert!(error.next_step().unwrap().contains("archived"), "{error:?}");
    }
    scenario.teardown();
}
