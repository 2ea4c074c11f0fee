//! Quarantine, mend, release and rebuild, in any order: the table of a run in which nothing failed.

use proptest::prelude::*;
use serde_json::{Value, json};
use weir_lake::quarantine::Choice;
use weir_protocol::spec::Contract;
use weir_protocol::{Receipt, SyncMode, WritePlan};

use crate::harness::{TestLake, batch_at, complete, order, partly, plan};

pub(crate) const TABLE: &str = "acme_orders";

/// The stream before the mend: records with a `note` do not fit.
pub(crate) fn strict(mode: SyncMode, run: &str, keyed: bool) -> WritePlan {
    let mut plan = plan(mode, run);
    plan.stream.policy.contract = Contract::Quarantine;
    plan.stream.schema = Some(schema(false));
    if !keyed {
        plan.stream.primary_key.clear();
    }
    plan
}

/// The stream after it: they do.
pub(crate) fn mended(mode: SyncMode, run: &str, keyed: bool) -> WritePlan {
    let mut plan = strict(mode, run, keyed);
    plan.stream.schema = Some(schema(true));
    plan
}

fn schema(note: bool) -> Value {
    let mut schema = json!({ "type": "object", "properties": {
        "id": { "type": "integer" },
        "at": { "type": "string", "format": "date-time" },
        "total": { "type": "number" },
    }});
    if note {
        schema["properties"]["note"] = json!({ "type": "string" });
    }
    schema
}

pub(crate) type Pages = Vec<Vec<Value>>;

/// Two runs of pages; every page has its own time of arrival.
pub(crate) async fn fill(lake: &TestLake, plans: [&WritePlan; 2], runs: &[Pages]) {
    let mut minute = 0;
    for (plan, pages) in plans.into_iter().zip(runs) {
        let mut writer = lake.open(plan).await;
        for (page, records) in pages.iter().enumerate() {
            let at = format!("2026-11-21T10:{minute:02}:00Z");
            minute += 1;
            writer.write(batch_at(records, &at)).await.unwrap();
            writer.checkpoint(&partly(page)).await.unwrap();
        }
        writer
            .finish(&complete(pages.len()))
            .await
            .unwrap()
            .published()
            .unwrap();
    }
}

/// All columns; of a vanished row only that it vanished, because the time of the mark is the run's own.
pub(crate) async fn table(lake: &TestLake, mode: SyncMode) -> Vec<String> {
    let mut columns = vec!["id", "at", "total", "note", "_run", "_emitted_at", "_deleted_at"];
    if matches!(mode, SyncMode::FullRefreshHistory | SyncMode::IncrementalHistory) {
        columns.extend(["_valid_from", "_valid_to", "_is_current"]);
    }
    let schema = lake.lake.snapshot(TABLE, None).await.unwrap().schema;
    columns.retain(|name| schema.column_with_name(name).is_some());
    let staged = matches!(mode, SyncMode::FullRefreshHistory | SyncMode::FullRefreshMerge);
    let lines = lake.rows(TABLE, &columns).await.into_iter().map(|line| {
        let mut row: Value = serde_json::from_str(&line).unwrap();
        let is_current = row.get("_is_current").is_none_or(|flag| flag == true);
        // A version that begins when its key vanished begins at the mark of a run.
        let from = row.get("_valid_from").and_then(Value::as_str);
        if staged && from.is_some_and(|from| from > "2026-11") {
            row["_valid_from"] = json!("marked");
        }
        for mark in ["_deleted_at", "_valid_to"] {
            if staged && !(mark == "_valid_to" && is_current) && row.get(mark).is_some_and(|at| !at.is_null())
            {
                row[mark] = json!("marked");
            }
        }
        row.to_string()
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

pub(crate) async fn release(lake: &TestLake, plan: &WritePlan, choice: &Choice) -> Option<Receipt> {
    lake.lake
        .release_held(plan, choice, "ann", "mended")
        .await
        .unwrap()
}

pub(crate) async fn held(lake: &TestLake) -> u64 {
    lake.lake.quarantined("acme", "orders", 0).await.unwrap().total
}

pub(crate) fn bronze_bytes(lake: &TestLake) -> Vec<(String, u64)> {
    fn walk(dir: &std::path::Path, found: &mut Vec<(String, u64)>) {
        for entry in dir.read_dir().into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push((path.display().to_string(), path.metadata().unwrap().len()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&lake.dir.path().join("bronze"), &mut found);
    found.sort();
    found
}

#[derive(Debug, Clone, Copy)]
enum Act {
    /// The held record at this place of the list alone.
    One(usize),
    All,
    Rebuild,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (0..6_usize).prop_map(Act::One),
        Just(Act::All),
        Just(Act::Rebuild)
    ];
    prop::collection::vec(act, 0..4)
}

/// Pages of records with ids that are unique in the page; some have a note.
fn pages() -> impl Strategy<Value = Vec<Vec<(i64, u8, bool)>>> {
    let page = prop::collection::btree_map(0..6_i64, (1..28_u8, prop::bool::weighted(0.35)), 1..5);
    let page = page.prop_map(|page| {
        page.into_iter()
            .map(|(id, (day, note))| (id, day, note))
            .collect()
    });
    prop::collection::vec(page, 1..4)
}

fn records(runs: [Vec<Vec<(i64, u8, bool)>>; 2]) -> Vec<Pages> {
    let mut number = 0.0;
    let mut record = |(id, day, note): (i64, u8, bool)| {
        number += 1.0;
        let mut record = order(id, &format!("01-{day:02}"), number);
        if note {
            record["note"] = json!(format!("n{number}"));
        }
        record
    };
    let mut runs = runs.map(|pages| {
        let page = |page: Vec<_>| page.into_iter().map(&mut record).collect();
        pages.into_iter().map(page).collect::<Pages>()
    });
    // A full refresh of which nothing fits is refused, and a table needs a row that landed.
    for run in &mut runs {
        number += 1.0;
        let last = order(99, "01-01", number);
        run.last_mut().unwrap().push(last);
    }
    runs.into()
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

async fn any_order(mode: SyncMode, keyed: bool, runs: &[Pages], acts: &[Act]) {
    let expected = TestLake::new();
    fill(
        &expected,
        [&mended(mode, "r1", keyed), &mended(mode, "r2", keyed)],
        runs,
    )
    .await;
    let wanted = table(&expected, mode).await;

    let lake = TestLake::new();
    fill(
        &lake,
        [&strict(mode, "r1", keyed), &strict(mode, "r2", keyed)],
        runs,
    )
    .await;
    let bronze = bronze_bytes(&lake);
    let plan = mended(mode, "later", keyed);
    for act in acts.iter().chain(&[Act::All, Act::Rebuild, Act::All]) {
        let before = held(&lake).await;
        match act {
            Act::One(place) => {
                let listed = lake.lake.quarantined("acme", "orders", 10).await.unwrap().entries;
                let Some(entry) = listed.get(*place) else { continue };
                let choice = Choice::Ids([entry.id.clone()].into());
                release(&lake, &plan, &choice).await.unwrap();
                assert_eq!(held(&lake).await, before - 1, "{mode} {act:?}");
            }
            Act::All => {
                release(&lake, &plan, &Choice::All).await;
                assert_eq!(held(&lake).await, 0, "{mode} {act:?}");
            }
            Act::Rebuild => {
                let done = lake.lake.rebuild(&plan, false).await.unwrap();
                assert_eq!(done.rejected, 0, "{mode} {act:?}");
            }
        }
    }
    assert_eq!(table(&lake, mode).await, wanted, "{mode} keyed {keyed} {acts:?}");
    assert_eq!(bronze_bytes(&lake), bronze, "a release wrote Bronze");
}

/// Every case runs all modes twice, so few make a test; PROPTEST_CASES asks for more.
fn few() -> ProptestConfig {
    let asked = ProptestConfig::default();
    let cases = if asked.cases == 256 { 4 } else { asked.cases };
    ProptestConfig { cases, ..asked }
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn release_and_rebuild_make_the_table_of_a_run_without_failures(
        one in pages(), two in pages(), acts in acts()
    ) {
        let runs = records([one, two]);
        run(async {
            for mode in SyncMode::ALL {
                any_order(mode, true, &runs, &acts).await;
                if !mode.needs_primary_key() {
                    any_order(mode, false, &runs, &acts).await;
                }
            }
        });
    }
}

#[tokio::test]
async fn a_release_of_which_nothing_fits_changes_nothing() {
    for mode in SyncMode::ALL {
        let lake = TestLake::new();
        let plan = strict(mode, "r1", true);
        let mut bad = order(2, "01-01", 2.0);
        bad["note"] = json!("x");
        let runs = [vec![vec![order(1, "01-01", 1.0), bad]], Vec::new()];
        fill(&lake, [&plan, &plan], &runs[..1]).await;
        let listed = lake.lake.quarantined("acme", "orders", 9).await.unwrap();
        let version = lake.lake.snapshot(TABLE, None).await.unwrap().version;
        let bronze = bronze_bytes(&lake);
        for _ in 0..2 {
            let receipt = release(&lake, &plan, &Choice::All).await.unwrap();
            assert_eq!(
                (receipt.books.landed, receipt.books.quarantined),
                (0, 1),
                "{mode}"
            );
            assert_eq!(receipt.version, version, "{mode}");
        }
        assert_eq!(lake.lake.quarantined("acme", "orders", 9).await.unwrap(), listed);
        assert_eq!(lake.lake.snapshot(TABLE, None).await.unwrap().version, version);
        assert_eq!(bronze_bytes(&lake), bronze, "{mode}");
    }
}

#[tokio::test]
async fn a_discarded_record_stays_out_of_a_rebuild_and_a_narrower_schema_holds_once() {
    for keyed in [true, false] {
        let mode = SyncMode::IncrementalAppend;
        let lake = TestLake::new();
        let mut bad = order(2, "01-01", 2.0);
        bad["note"] = json!("x");
        let runs = [vec![vec![order(1, "01-01", 1.0), bad.clone(), bad]]];
        let strict = strict(mode, "r1", keyed);
        fill(&lake, [&strict, &strict], &runs).await;
        let first = lake.lake.quarantined("acme", "orders", 1).await.unwrap().entries;
        let choice = Choice::Ids([first[0].id.clone()].into());
        let gone = lake.lake.discard_held("acme", "orders", &choice, "ann", "twice");
        assert_eq!(gone.await.unwrap(), 1);
        let mended = mended(mode, "r2", keyed);
        for _ in 0..2 {
            let done = lake.lake.rebuild(&mended, false).await.unwrap();
            assert_eq!((done.rows, done.rejected), (2, 0));
            assert_eq!(held(&lake).await, 0);
        }
        // The schema is narrowed again: what landed by the rebuild is held, once.
        for accepts_loss in [true, false] {
            let done = lake.lake.rebuild(&strict, accepts_loss).await.unwrap();
            assert_eq!((done.rows, done.rejected), (1, 1));
            assert_eq!(held(&lake).await, 1);
        }
        release(&lake, &mended, &Choice::All).await.unwrap();
        assert_eq!(lake.rows(TABLE, &["id"]).await.len(), 2);
    }
}
