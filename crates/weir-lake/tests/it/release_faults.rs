//! Releases and rebuilds stopped half-way: whoever releases or rebuilds next ends with the same table.

use fail::FailScenario;
use serde_json::{Value, json};
use weir_lake::quarantine::Choice;
use weir_protocol::{SyncMode, WritePlan};

use crate::harness::{TestLake, order};
use crate::release::{Pages, bronze_bytes, fill, held, mended, strict, table};

const POINTS: &[&str] = &[
    "lake.in_release",
    "lake.after_release",
    "lake.in_rebuild",
    "lake.after_rebuild",
];

fn noted(id: i64, at: &str, total: f64) -> Value {
    let mut record = order(id, at, total);
    record["note"] = json!(format!("n{total}"));
    record
}

fn runs() -> [Pages; 2] {
    [
        vec![
            vec![order(1, "01-01", 1.0), noted(2, "01-01", 2.0)],
            vec![noted(1, "01-03", 3.0), order(3, "01-02", 4.0)],
        ],
        vec![vec![
            order(2, "01-04", 5.0),
            noted(4, "01-04", 6.0),
            order(1, "01-05", 7.0),
        ]],
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Release,
    Rebuild,
}

async fn act(lake: &TestLake, plan: &WritePlan, act: Act) -> weir_protocol::Result<()> {
    match act {
        Act::Release => lake
            .lake
            .release_held(plan, &Choice::All, "ann", "mended")
            .await
            .map(drop),
        Act::Rebuild => lake.lake.rebuild(plan, false).await.map(drop),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_death_of_a_release_or_rebuild_loses_or_doubles_a_row() {
    let scenario = FailScenario::setup();
    let mut stopped = std::collections::BTreeSet::new();
    for (mode, keyed) in SyncMode::ALL
        .into_iter()
        .flat_map(|mode| [(mode, true), (mode, false)])
    {
        if !keyed && mode != SyncMode::IncrementalAppend {
            continue;
        }
        let plans = [mended(mode, "r1", keyed), mended(mode, "r2", keyed)];
        let expected = TestLake::new();
        fill(&expected, [&plans[0], &plans[1]], &runs()).await;
        let wanted = table(&expected, mode).await;
        for point in POINTS {
            for (first, then) in [
                (Act::Release, Act::Release),
                (Act::Release, Act::Rebuild),
                (Act::Rebuild, Act::Release),
                (Act::Rebuild, Act::Rebuild),
            ] {
                let lake = TestLake::new();
                let plans = [strict(mode, "r1", keyed), strict(mode, "r2", keyed)];
                fill(&lake, [&plans[0], &plans[1]], &runs()).await;
                assert!(held(&lake).await >= 1, "{mode}");
                let bronze = bronze_bytes(&lake);
                let plan = mended(mode, "later", keyed);
                fail::cfg(*point, "1*return->off").unwrap();
                if act(&lake, &plan, first).await.is_err() {
                    stopped.insert(*point);
                }
                fail::cfg(*point, "off").unwrap();
                let case = format!("{mode} keyed {keyed} {point} {first:?} {then:?}");
                for _ in 0..2 {
                    act(&lake, &plan, then).await.unwrap();
                    assert_eq!(held(&lake).await, 0, "{case}");
                    assert_eq!(table(&lake, mode).await, wanted, "{case}");
                }
                assert_eq!(bronze_bytes(&lake), bronze, "{case}");
            }
        }
    }
    assert_eq!(stopped.len(), POINTS.len(), "only {stopped:?} were passed");
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_after_a_release_that_died_doubles_nothing() {
    let scenario = FailScenario::setup();
    for mode in [SyncMode::IncrementalAppend, SyncMode::IncrementalMerge] {
        for point in ["lake.in_release", "lake.after_release"] {
            let later = vec![vec![order(9, "02-01", 9.0)]];
            let lake = TestLake::new();
            let plans = [strict(mode, "r1", true), strict(mode, "r2", true)];
            fill(&lake, [&plans[0], &plans[1]], &runs()).await;
            let plan = mended(mode, "r3", true);
            fail::cfg(point, "1*return->off").unwrap();
            act(&lake, &plan, Act::Release).await.unwrap_err();
            fail::cfg(point, "off").unwrap();
            fill(&lake, [&plan, &plan], std::slice::from_ref(&later)).await;
            act(&lake, &plan, Act::Release).await.unwrap();
            assert_eq!(held(&lake).await, 0, "{mode} {point}");
            let before = table(&lake, mode).await;
            act(&lake, &plan, Act::Rebuild).await.unwrap();
            assert_eq!(table(&lake, mode).await, before, "{mode} {point}");

            let expected = TestLake::new();
            let plans = [mended(mode, "r1", true), mended(mode, "r2", true)];
            fill(&expected, [&plans[0], &plans[1]], &runs()).await;
            fill(&expected, [&plan, &plan], &[later]).await;
            assert_eq!(before, table(&expected, mode).await, "{mode} {point}");
        }
    }
    scenario.teardown();
}
