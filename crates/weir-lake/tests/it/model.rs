//! Random pages and crashes against a map by key.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;
use weir_protocol::{SyncMode, WritePlan};

use crate::harness::{TestLake, batch, complete, order, partly, plan};

const TABLE: &str = "acme_orders";

/// id, day of the cursor, a number that tells two reads of the same version apart.
type Row = (i64, u8, u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Never,
    BeforeCheckpoint,
    AfterCheckpoint,
}

fn pages() -> impl Strategy<Value = Vec<(Vec<Row>, Stop)>> {
    let row = (0..12_i64, 1..28_u8, 0..3_u8);
    let stop = prop_oneof![
        3 => Just(Stop::Never),
        1 => Just(Stop::BeforeCheckpoint),
        1 => Just(Stop::AfterCheckpoint)
    ];
    prop::collection::vec((prop::collection::vec(row, 0..12), stop), 1..6)
}

fn record(row: &Row) -> Value {
    order(row.0, &format!("01-{:02}", row.1), f64::from(row.2))
}

/// One read to its end, with writers that die on the way and others that go on.
async fn read(lake: &TestLake, plan: WritePlan, pages: &[(Vec<Row>, Stop)]) {
    let run = plan.run.as_str();
    let mut writer = lake.open(&plan).await;
    let mut stops: Vec<Stop> = pages.iter().map(|(_, stop)| *stop).collect();
    let mut page = 0;
    while page < pages.len() {
        let records: Vec<Value> = pages[page].0.iter().map(record).collect();
        writer.write(batch(&records)).await.unwrap();
        let stop = std::mem::replace(&mut stops[page], Stop::Never);
        if stop != Stop::BeforeCheckpoint {
            let receipt = writer.checkpoint(&partly(page)).await.unwrap();
            assert!(receipt.books.balance());
            page += 1;
        }
        if stop != Stop::Never {
            drop(writer);
            writer = lake.open(&plan).await;
            let done = writer.committed().filter(|found| found.run == run);
            let next = done.map_or(0, |found| {
                let at = found
                    .state
                    .slices
                    .values()
                    .next()
                    .and_then(|slice| slice.page.clone());
                at.and_then(|at| at.as_u64()).map_or(0, |at| at as usize + 1)
            });
            assert_eq!(next, page, "the state follows the data");
        }
    }
    let receipt = writer
        .finish(&complete(pages.len()))
        .await
        .unwrap()
        .published()
        .unwrap();
    let all: usize = pages.iter().map(|(rows, _)| rows.len()).sum();
    assert_eq!(receipt.books.read, all as u64);
    assert!(receipt.books.balance());
}

/// The newest version of each key; on a tie the one that was read last.
fn newest(model: &mut BTreeMap<i64, (u8, u8)>, pages: &[(Vec<Row>, Stop)]) {
    for (id, day, total) in pages.iter().flat_map(|(rows, _)| rows) {
        let entry = model.entry(*id).or_insert((*day, *total));
        if *day >= entry.0 {
            *entry = (*day, *total);
        }
    }
}

fn lines(model: &BTreeMap<i64, (u8, u8)>) -> BTreeSet<String> {
    let line = |(id, (day, total)): (&i64, &(u8, u8))| {
        format!(r#"{{"id":{id},"at":"2026-01-{day:02}T00:00:00Z","total":{total}.0}}"#)
    };
    model.iter().map(line).collect()
}

async fn table(lake: &TestLake, columns: &[&str]) -> Vec<String> {
    if lake
        .lake
        .snapshot(TABLE, None)
        .await
        .unwrap()
        .schema
        .column_with_name("id")
        .is_none()
    {
        return Vec::new();
    }
    lake.rows(TABLE, columns).await
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

/// A run whose table has rows marked as gone, or files written again without them.
fn marking(mode: SyncMode, run: &str, marks: bool) -> WritePlan {
    let mut plan = plan(mode, run);
    plan.stream.policy.deletion_vectors = marks;
    plan
}

const COLUMNS: &[&str] = &["id", "at", "total"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn merge_is_the_map(one in pages(), two in pages(), marks in any::<bool>()) {
        run(async {
            let lake = TestLake::new();
            let mut model = BTreeMap::new();
            for (name, pages) in [("r1", &one), ("r2", &two)] {
                read(&lake, marking(SyncMode::IncrementalMerge, name, marks), pages).await;
                newest(&mut model, pages);
                let rows = table(&lake, COLUMNS).await;
                assert_eq!(rows.len(), model.len());
                assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), lines(&model));
            }
        });
    }

    #[test]
    fn history_has_one_current_row_a_key_and_no_gap(one in pages(), two in pages(), marks in any::<bool>()) {
        run(async {
            let lake = TestLake::new();
            let mut model = BTreeMap::new();
            for (name, pages) in [("r1", &one), ("r2", &two)] {
                read(&lake, marking(SyncMode::IncrementalHistory, name, marks), pages).await;
                newest(&mut model, pages);
            }
            let rows = table(&lake, &["id", "at", "total", "_valid_from", "_valid_to", "_is_current"]).await;
            let mut current = BTreeSet::new();
            let mut ends: BTreeMap<String, Vec<String>> = BTreeMap::new();
            let mut starts: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for row in &rows {
                let row: Value = serde_json::from_str(row).unwrap();
                let id = row["id"].to_string();
                starts.entry(id.clone()).or_default().push(row["_valid_from"].to_string());
                if row["_is_current"] == true {
                    assert!(row["_valid_to"].is_null());
                    current.insert(format!(r#"{{"id":{id},"at":{},"total":{}}}"#, row["at"], row["total"]));
                } else {
                    ends.entry(id).or_default().push(row["_valid_to"].to_string());
                }
            }
            assert_eq!(current, lines(&model));
            for (id, mut starts) in starts {
                // Every version but the first begins where another ends.
                starts.sort();
                let mut ends = ends.remove(&id).unwrap_or_default();
                ends.sort();
                assert_eq!(&starts[1..], &ends[..]);
            }
        });
    }

    #[test]
    fn append_has_each_version_once(one in pages(), two in pages(), marks in any::<bool>()) {
        run(async {
            let lake = TestLake::new();
            let mut model = BTreeSet::new();
            for (name, pages) in [("r1", &one), ("r2", &two)] {
                read(&lake, marking(SyncMode::IncrementalAppend, name, marks), pages).await;
                model.extend(pages.iter().flat_map(|(rows, _)| rows).map(|row| (row.0, row.1)));
            }
            let rows = table(&lake, &["id", "at"]).await;
            let expected: BTreeSet<String> = model
                .iter()
                .map(|(id, day)| format!(r#"{{"id":{id},"at":"2026-01-{day:02}T00:00:00Z"}}"#))
                .collect();
            assert_eq!(rows.len(), expected.len());
            assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), expected);
        });
    }

    #[test]
    fn a_full_refresh_is_what_was_read_last(one in pages(), two in pages(), marks in any::<bool>()) {
        run(async {
            for mode in [SyncMode::FullRefreshReplace, SyncMode::FullRefreshMerge] {
                let lake = TestLake::new();
                let mut before = BTreeMap::new();
                read(&lake, marking(mode, "r1", marks), &one).await;
                newest(&mut before, &one);
                read(&lake, marking(mode, "r2", !marks), &two).await;
                let mut whole = BTreeMap::new();
                newest(&mut whole, &two);
                let deleted: BTreeSet<i64> = before.keys().filter(|id| !whole.contains_key(id)).copied().collect();
                if mode == SyncMode::FullRefreshReplace {
                    let rows = table(&lake, COLUMNS).await;
                    assert_eq!(rows.len(), whole.len());
                    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), lines(&whole));
                    continue;
                }
                let mut gone = BTreeSet::new();
                let mut there = BTreeSet::new();
                for row in table(&lake, &["id", "_deleted_at"]).await {
                    let row: Value = serde_json::from_str(&row).unwrap();
                    let set = if row["_deleted_at"].is_null() { &mut there } else { &mut gone };
                    assert!(set.insert(row["id"].as_i64().unwrap()));
                }
                assert_eq!(gone, deleted);
                assert_eq!(there, whole.keys().copied().collect());
            }
        });
    }

    /// Full refreshes close what they lack; incremental reads between them bring it back, late or anew.
    #[test]
    fn history_has_disjoint_versions_whatever_vanishes_and_returns(
        runs in prop::collection::vec((prop::bool::ANY, pages()), 1..5)
    ) {
        run(async {
            let lake = TestLake::new();
            for (number, (is_full, pages)) in runs.iter().enumerate() {
                let mode = if *is_full { SyncMode::FullRefreshHistory } else { SyncMode::IncrementalHistory };
                read(&lake, plan(mode, &format!("r{number}")), pages).await;
                disjoint(&versions(&lake).await);
            }
            let before = versions(&lake).await;
            lake.lake.rebuild(&plan(SyncMode::IncrementalHistory, "x"), false).await.unwrap();
            let after = versions(&lake).await;
            assert_eq!(after, before);
        });
    }
}

const VERSION: &[&str] = &["id", "_valid_from", "_valid_to", "_is_current", "total"];

async fn versions(lake: &TestLake) -> Vec<String> {
    table(lake, VERSION).await
}

/// At most one version of a key is open, and no two hold at the same time.
fn disjoint(rows: &[String]) {
    let mut spans: BTreeMap<i64, Vec<(String, Option<String>)>> = BTreeMap::new();
    for row in rows {
        let row: Value = serde_json::from_str(row).unwrap();
        let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let to = text("_valid_to");
        assert_eq!(to.is_none(), row["_is_current"] == true, "{row}");
        let spans = spans.entry(row["id"].as_i64().unwrap()).or_default();
        spans.push((text("_valid_from").unwrap(), to));
    }
    for (id, mut spans) in spans {
        // Times of one form, but for the fraction of a second: "Z" would sort after ".".
        let key = |at: &Option<String>| at.as_ref().map_or("9".to_owned(), |at| at.replace('Z', ""));
        spans.sort_by_key(|(from, to)| (from.replace('Z', ""), key(to)));
        for (from, to) in &spans {
            assert!(from.replace('Z', "") <= key(to), "{id}: {spans:?}");
        }
        for pair in spans.windows(2) {
            assert!(key(&pair[0].1) <= pair[1].0.replace('Z', ""), "{id}: {spans:?}");
        }
    }
}
