//! Processes that die at every single step: nothing is lost, nothing is doubled.

use proptest::prelude::*;
use weir_protocol::{ReadMode, WriteMode};

use super::*;
use crate::DEFAULT_TENANT;
use crate::twins::{Death, Row};

/// A process on this machine that is known to be gone once somebody asks.
fn mortal() -> Owner {
    Owner {
        process_start: "1".to_owned(),
        ..Owner::this_process()
    }
}

/// Runs a sync that dies at a step. Gives back whether it died.
async fn dies_at(world: &World, api: &Api, mode: SyncMode, step: i64) -> bool {
    dies_in(world, api, step, |api| world.plan(api, &[("orders", mode)])).await
}

async fn dies_in(world: &World, api: &Api, step: i64, plan: impl FnOnce(&Api) -> SyncPlan) -> bool {
    let death = Death::at(step);
    let mut api = api.clone();
    api.death = death.clone();
    *world.lake.death.lock().unwrap() = Some(death.clone());
    let mut plan = plan(&api);
    plan.owner = mortal();
    let died = tokio::select! {
        outcome = sync(&world.store, plan) => {
            assert_eq!(outcome.unwrap().status, RunStatus::Succeeded);
            false
        }
        () = death.came.notified() => true,
    };
    *world.lake.death.lock().unwrap() = None;
    died
}

fn sorted(mut rows: Vec<Row>) -> Vec<String> {
    rows.sort_by_key(|row| row.record.to_string());
    rows.iter()
        .map(|row| format!("{} {}", row.record, row.deleted))
        .collect()
}

/// Every run's books in the store are those of its receipts, and balance; together they read
/// exactly what the source has, no more and no less.
async fn check_books(world: &World, read: u64, case: &str) {
    let runs = runs::list(&world.store, DEFAULT_TENANT, &Default::default())
        .await
        .unwrap();
    let mut total = 0;
    for run in &runs {
        assert!(run.status.is_final(), "{run:?}");
        let books = run.streams[0].books;
        assert!(books.balance());
        let receipts = runs::receipts(&world.store, DEFAULT_TENANT, &run.id)
            .await
            .unwrap();
        assert_eq!(
            receipts.last().map(|receipt| receipt.books).unwrap_or_default(),
            books
        );
        total += books.read;
    }
    assert_eq!(total, read, "{case}");
    assert_eq!(runs[1].status, RunStatus::Abandoned, "{case}");
}

#[tokio::test]
async fn a_death_at_any_step_of_any_mode_leaves_nothing_lost_and_nothing_doubled() {
    for mode in SyncMode::ALL {
        for pages_per_advance in [1, 2] {
            let mut api = items(14);
            api.pages_per_advance = pages_per_advance;
            let calm = World::new().await;
            calm.sync(&api, "orders", mode).await;
            let expected = sorted(calm.lake.rows("orders"));
            for step in 0.. {
                let world = World::new().await;
                if !dies_at(&world, &api, mode, step).await {
                    break;
                }
                // Only the word of success was lost: to the next run, this read is over.
                let was_over = world
                    .lake
                    .committed("orders")
                    .is_some_and(|last| last.state.complete);
                let read_again = was_over && mode.read() == ReadMode::FullRefresh;
                let outcome = world.sync(&api, "orders", mode).await;
                let case = format!("{mode}, killed at step {step}");
                assert_eq!(
                    outcome.status,
                    RunStatus::Succeeded,
                    "{case}: {:?}",
                    outcome.first_error()
                );
                let mut expected = expected.clone();
                if read_again && mode.write() == WriteMode::Append {
                    // Two whole reads, each appended: what the mode says.
                    expected.extend_from_within(..);
                    expected.sort();
                }
                assert_eq!(sorted(world.lake.rows("orders")), expected, "{case}");
                check_books(&world, if read_again { 28 } else { 14 }, &case).await;
            }
        }
    }
}

/// What a read that was cut off had landed never stands beside what is read anew, and a full read that was asked for
/// is made.
#[tokio::test]
async fn a_death_at_any_step_of_a_read_that_begins_anew_leaves_nothing_doubled() {
    let modes = [
        SyncMode::FullRefreshReplace,
        SyncMode::FullRefreshAppend,
        SyncMode::IncrementalAppend,
    ];
    for mode in modes {
        for step in 0.. {
            let world = World::new().await;
            let mut api = items(14);
            let plan = |api: &Api| world.keyless(api, mode);
            api.version = Some(1);
            let mut cut = plan(&api);
            if mode.read() == ReadMode::Incremental {
                sync(&world.store, plan(&api)).await.unwrap();
                cut.options.full = true;
            }
            api.fails_at_page = Some(4);
            cut.source = Arc::new(api.clone());
            assert_eq!(sync(&world.store, cut).await.unwrap().status, RunStatus::Failed);
            (api.version, api.fails_at_page) = (Some(2), None);
            api.items.lock().unwrap().remove(0);
            let died = dies_in(&world, &api, step, plan).await;
            let mut expected: Vec<u64> = (2..=14).collect();
            if died {
                let last = world.lake.committed("orders");
                let was_over = last.is_some_and(|last| last.state.complete);
                let outcome = sync(&world.store, plan(&api)).await.unwrap();
                let error = outcome.first_error();
                assert!(error.is_none(), "{mode}, killed at step {step}: {error:?}");
                if was_over && mode == SyncMode::FullRefreshAppend {
                    // Two whole reads, each appended.
                    expected.extend_from_within(..);
                    expected.sort_unstable();
                }
            }
            assert_eq!(world.ids("orders"), expected, "{mode}, killed at step {step}");
            if !died {
                break;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Several deaths one after another, with changes at the source between them.
    #[test]
    fn many_deaths_in_a_row_change_nothing(
        steps in prop::collection::vec(0_i64..40, 1..5),
        changes in prop::collection::vec(0_usize..14, 0..5),
        page_size in 1_usize..5,
        pages_per_advance in 1_usize..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut api = items(14);
            (api.page_size, api.pages_per_advance) = (page_size, pages_per_advance);
            let world = World::new().await;
            for (turn, step) in steps.iter().enumerate() {
                dies_at(&world, &api, SyncMode::IncrementalMerge, *step).await;
                if let Some(change) = changes.get(turn) {
                    let mut items = api.items.lock().unwrap();
                    items[*change].updated = 1_000 + turn as u64;
                    items[*change].text = format!("changed {turn}");
                }
            }
            let outcome = world.sync(&api, "orders", SyncMode::IncrementalMerge).await;
            assert_eq!(outcome.status, RunStatus::Succeeded);
            let calm = World::new().await;
            calm.sync(&api, "orders", SyncMode::IncrementalMerge).await;
            assert_eq!(sorted(world.lake.rows("orders")), sorted(calm.lake.rows("orders")));
        });
    }
}
