//! How syncs end, and what is left behind.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use weir_protocol::source::Notice;
use weir_protocol::{ErrorKind, StreamState};

use super::*;
use crate::events::{self, EventFilter};
use crate::states::{self, Wish};
use crate::{DEFAULT_TENANT, leases};
use SyncMode::{FullRefreshMerge, FullRefreshReplace, IncrementalAppend, IncrementalMerge};

#[tokio::test]
async fn a_sync_stores_books_receipts_and_state_and_the_next_reads_on() {
    let world = World::new().await;
    let api = items(10);
    let outcome = world.sync(&api, "orders", IncrementalMerge).await;
    assert_eq!((outcome.status, outcome.exit_code()), (RunStatus::Succeeded, 0));
    assert_eq!((outcome.books().read, outcome.books().landed), (10, 10));
    assert_eq!(world.ids("orders"), (1..=10).collect::<Vec<_>>());

    let run = runs::get(&world.store, DEFAULT_TENANT, &outcome.run)
        .await
        .unwrap();
    assert_eq!(
        (run.status, run.streams[0].status),
        (RunStatus::Succeeded, RunStatus::Succeeded)
    );
    // 6 rows, then 4: the second one is the end.
    assert_eq!((run.streams[0].checkpoints, run.streams[0].pages), (2, 4));
    assert_eq!(
        runs::notices(&world.store, DEFAULT_TENANT, &outcome.run)
            .await
            .unwrap()[0]
            .message,
        "all read"
    );
    let stored = states::get(&world.store, DEFAULT_TENANT, "acme", "orders")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        Some(stored.state),
        world.lake.committed("orders").map(|committed| committed.state)
    );

    api.items.lock().unwrap()[2].updated = 500;
    let outcome = world.sync(&api, "orders", IncrementalMerge).await;
    assert_eq!(outcome.books().read, 1);
    assert_eq!(world.ids("orders").len(), 10);
}

#[tokio::test]
async fn one_streams_failure_does_not_stop_the_others() {
    let world = World::new().await;
    let mut api = items(20);
    api.fails_at_page = Some(3);
    let plan = world.plan(&api, &[("orders", IncrementalMerge)]);
    let failed = sync(&world.store, plan).await.unwrap();
    assert_eq!(failed.status, RunStatus::Failed);
    assert_eq!(
        failed.first_error().map(Error::kind),
        Some(ErrorKind::Unavailable)
    );
    assert_eq!(failed.exit_code(), 4);
    // Three pages were given and covered by state: they stay.
    assert_eq!(world.ids("orders"), (1..=9).collect::<Vec<_>>());
    let run = runs::get(&world.store, DEFAULT_TENANT, &failed.run)
        .await
        .unwrap();
    assert_eq!(run.error.unwrap().hint.as_deref(), Some("wait"));
    assert_eq!(run.streams[0].books.read, 9);

    api.fails_at_page = None;
    let outcome = world.sync(&api, "orders", IncrementalMerge).await;
    assert_eq!((outcome.status, outcome.books().read), (RunStatus::Succeeded, 11));
    assert_eq!(world.ids("orders").len(), 20);
}

#[tokio::test]
async fn many_streams_share_the_turns() {
    let world = World::new().await;
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let streams: Vec<_> = names.iter().map(|name| (*name, FullRefreshReplace)).collect();
    let outcome = sync(&world.store, world.plan(&items(7), &streams)).await.unwrap();
    assert_eq!(
        outcome
            .streams
            .iter()
            .map(|stream| stream.stream.as_str())
            .collect::<Vec<_>>(),
        names
    );
    assert_eq!(outcome.books().read, 49);
    for name in names {
        assert_eq!(world.ids(name).len(), 7);
    }
}

#[tokio::test]
async fn a_source_that_does_not_say_it_is_complete_fails_but_keeps_what_is_covered() {
    let world = World::new().await;
    let mut api = items(4);
    api.forgets_to_complete = true;
    let outcome = world.sync(&api, "orders", IncrementalMerge).await;
    assert_eq!(outcome.first_error().map(Error::kind), Some(ErrorKind::Internal));
    assert_eq!(world.ids("orders").len(), 4);
}

#[tokio::test]
async fn books_with_a_hole_make_the_run_fail() {
    let world = World::new().await;
    world.lake.miscounts.store(1, Ordering::SeqCst);
    let outcome = world.sync(&items(4), "orders", IncrementalMerge).await;
    let error = outcome.first_error().unwrap();
    assert_eq!(error.message(), "the books do not balance");
    assert_eq!(outcome.exit_code(), 1);
}

#[tokio::test]
async fn a_conflict_is_tried_again_within_bounds() {
    let world = World::new().await;
    world.lake.conflicts.store(2, Ordering::SeqCst);
    let outcome = world.sync(&items(20), "orders", IncrementalAppend).await;
    assert_eq!(
        outcome.status,
        RunStatus::Succeeded,
        "{:?}",
        outcome.first_error()
    );
    assert_eq!(world.ids("orders"), (1..=20).collect::<Vec<_>>());
    assert_eq!(outcome.books().read, 20);

    world.lake.conflicts.store(100, Ordering::SeqCst);
    let outcome = world.sync(&items(20), "others", IncrementalAppend).await;
    assert_eq!((outcome.status, outcome.exit_code()), (RunStatus::Failed, 5));
}

/// Tells when so many records were read.
struct Watch {
    reads: AtomicU64,
    at: u64,
    reached: Arc<Notify>,
}

impl Observer for Watch {
    fn on_progress(&self, _stream: &str, _progress: &Progress, books: &Books) {
        self.reads.store(books.read, Ordering::SeqCst);
        if books.read >= self.at {
            self.reached.notify_one();
        }
    }

    fn on_notice(&self, _stream: &str, _notice: &Notice) {}
}

#[tokio::test]
async fn cancelling_commits_what_is_covered_and_the_next_run_goes_on() {
    for mode in [IncrementalAppend, FullRefreshReplace, FullRefreshMerge] {
        let world = World::new().await;
        let mut api = items(20);
        api.hangs_at_page = Some(4);
        let reached = Arc::new(Notify::new());
        let mut plan = world.plan(&api, &[("orders", mode)]);
        plan.observer = Arc::new(Watch {
            reads: AtomicU64::new(0),
            at: 12,
            reached: reached.clone(),
        });
        let cancel = plan.cancel.clone();
        let running = tokio::spawn({
            let store = world.store.clone();
            async move { sync(&store, plan).await.unwrap() }
        });
        reached.notified().await;
        cancel.cancel();
        let outcome = running.await.unwrap();
        assert_eq!(
            (outcome.status, outcome.exit_code()),
            (RunStatus::Cancelled, 1),
            "{mode}"
        );
        assert_eq!(outcome.books().read, 12, "{mode}");
        assert!(
            outcome
                .first_error()
                .unwrap()
                .next_step()
                .unwrap()
                .contains("next run goes on")
        );

        api.hangs_at_page = None;
        let outcome = world.sync(&api, "orders", mode).await;
        assert_eq!(outcome.books().read, 8, "{mode}");
        assert_eq!(world.ids("orders"), (1..=20).collect::<Vec<_>>(), "{mode}");
    }
}

#[tokio::test]
async fn a_run_that_loses_its_lease_commits_nothing_more() {
    let world = World::new().await;
    let mut api = items(20);
    api.hangs_at_page = Some(3);
    let reached = Arc::new(Notify::new());
    let mut plan = world.plan(&api, &[("orders", IncrementalAppend)]);
    plan.observer = Arc::new(Watch {
        reads: AtomicU64::new(0),
        at: 9,
        reached: reached.clone(),
    });
    let cancel = plan.cancel.clone();
    let running = tokio::spawn({
        let store = world.store.clone();
        async move { sync(&store, plan).await }
    });
    reached.notified().await;
    leases::expire_all(&world.store).await;
    api.hangs_at_page = None;
    let second = world.sync(&api, "orders", IncrementalAppend).await;
    assert_eq!(second.status, RunStatus::Succeeded);

    // The first one wants to commit its last pages now.
    let before = world.lake.committed("orders");
    cancel.cancel();
    let first = running.await.unwrap().unwrap();
    assert_eq!(first.first_error().map(Error::kind), Some(ErrorKind::Conflict));
    assert_eq!(world.lake.committed("orders"), before);
    assert_eq!(world.ids("orders"), (1..=20).collect::<Vec<_>>());
    let run = runs::get(&world.store, DEFAULT_TENANT, &first.run).await.unwrap();
    assert_eq!(run.status, RunStatus::Abandoned);
}

#[tokio::test]
async fn a_full_read_on_demand_marks_what_vanished_and_incremental_goes_on_after_it() {
    let world = World::new().await;
    let api = items(6);
    world.sync(&api, "orders", IncrementalMerge).await;
    api.items.lock().unwrap().remove(0);
    let mut plan = world.plan(&api, &[("orders", IncrementalMerge)]);
    plan.options.full = true;
    let outcome = sync(&world.store, plan).await.unwrap();
    assert_eq!(outcome.streams[0].name, "sync_acme_orders_full_refresh_merge");
    assert_eq!(world.ids("orders"), (2..=6).collect::<Vec<_>>());
    assert_eq!(world.sync(&api, "orders", IncrementalMerge).await.books().read, 0);
}

#[tokio::test]
async fn an_interrupted_full_read_is_ended_by_the_next_run_though_it_is_incremental() {
    let world = World::new().await;
    let mut api = items(12);
    world.sync(&api, "orders", IncrementalMerge).await;
    api.fails_at_page = Some(2);
    let mut plan = world.plan(&api, &[("orders", IncrementalMerge)]);
    plan.options.full = true;
    sync(&world.store, plan).await.unwrap();
    api.fails_at_page = None;
    let outcome = world.sync(&api, "orders", IncrementalMerge).await;
    assert_eq!(outcome.streams[0].mode, FullRefreshMerge);
    assert_eq!(outcome.books().read, 6);
    let run = runs::get(&world.store, DEFAULT_TENANT, &outcome.run)
        .await
        .unwrap();
    assert_eq!(run.streams[0].name, "sync_acme_orders_full_refresh_merge");
    let notices = runs::notices(&world.store, DEFAULT_TENANT, &run.id)
        .await
        .unwrap();
    assert!(notices[0].message.contains("left unfinished"), "{notices:?}");
    assert_eq!(
        world.sync(&api, "orders", IncrementalMerge).await.streams[0].mode,
        IncrementalMerge
    );
}

#[tokio::test]
async fn a_reset_state_is_read_from_the_beginning_once() {
    let world = World::new().await;
    let api = items(6);
    world.sync(&api, "orders", IncrementalMerge).await;
    let acme = Connection::new("acme", "acme", "acme");
    states::set(&world.store, &acme, "orders", &Wish::Reset)
        .await
        .unwrap();
    assert_eq!(world.sync(&api, "orders", IncrementalMerge).await.books().read, 6);
    assert_eq!(world.sync(&api, "orders", IncrementalMerge).await.books().read, 0);
    let wish = Wish::From(StreamState {
        floor: Some(40.into()),
        complete: true,
        ..StreamState::default()
    });
    states::set(&world.store, &acme, "orders", &wish).await.unwrap();
    assert_eq!(world.sync(&api, "orders", IncrementalMerge).await.books().read, 2);
}

#[tokio::test]
async fn a_lake_that_was_emptied_counts_and_is_filled_again() {
    let world = World::new().await;
    let api = items(6);
    world.sync(&api, "orders", IncrementalMerge).await;
    world.lake.forget();
    let outcome = world.sync(&api, "orders", IncrementalMerge).await;
    assert_eq!(outcome.books().read, 6);
    let notices = runs::notices(&world.store, DEFAULT_TENANT, &outcome.run)
        .await
        .unwrap();
    assert!(notices[0].message.contains("the lake counts"), "{notices:?}");
}

#[tokio::test]
async fn what_state_does_not_cover_is_not_committed_when_the_source_breaks_off() {
    let world = World::new().await;
    let mut api = items(20);
    // State moves after pages 2 and 4; page 5 was given, page 6 fails.
    api.pages_per_advance = 2;
    api.fails_at_page = Some(5);
    let outcome = world.sync(&api, "orders", IncrementalAppend).await;
    assert_eq!((outcome.status, outcome.books().read), (RunStatus::Failed, 12));
    api.fails_at_page = None;
    let outcome = world.sync(&api, "orders", IncrementalAppend).await;
    assert_eq!(outcome.books().read, 8);
    assert_eq!(world.ids("orders"), (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_refresh_that_is_not_published_fails_with_its_books_and_the_next_reads_all_anew() {
    let world = World::new().await;
    let api = items(10);
    world.sync(&api, "orders", FullRefreshReplace).await;
    let state = || states::get(&world.store, DEFAULT_TENANT, "acme", "orders");
    let before = state().await.unwrap().unwrap();
    for _ in 0..2 {
        world.lake.refuses.store(true, Ordering::SeqCst);
        let outcome = world.sync(&api, "orders", FullRefreshReplace).await;
        assert_eq!(outcome.status, RunStatus::Failed);
        assert_eq!(outcome.first_error().map(Error::kind), Some(ErrorKind::Gate));
        assert_eq!((outcome.books().read, world.ids("orders").len()), (10, 10));
        let run = runs::get(&world.store, DEFAULT_TENANT, &outcome.run).await;
        let stream = &run.unwrap().streams[0];
        assert_eq!((stream.status, stream.books.read), (RunStatus::Failed, 10));
        let notices = runs::notices(&world.store, DEFAULT_TENANT, &outcome.run)
            .await
            .unwrap();
        assert!(
            notices.iter().all(|notice| !notice.message.contains("knew")),
            "{notices:?}"
        );
    }
    let filter = EventFilter {
        family: Some("gate.failed".to_owned()),
        limit: 9,
        ..EventFilter::default()
    };
    let told = events::list(&world.store, DEFAULT_TENANT, &filter).await.unwrap();
    let told: Vec<_> = told.iter().map(|event| event.data["gate"].as_str()).collect();
    assert_eq!(told, [Some("full_refresh"); 2], "each refusal is told");
    let outcome = world.sync(&api, "orders", FullRefreshReplace).await;
    assert_eq!((outcome.status, outcome.books().read), (RunStatus::Succeeded, 10));
    let notices = runs::notices(&world.store, DEFAULT_TENANT, &outcome.run)
        .await
        .unwrap();
    assert!(notices[0].message.contains("never published"), "{notices:?}");
    let after = state().await.unwrap().unwrap();
    assert!(after.state.complete && after.sequence > before.sequence);
}

#[tokio::test]
async fn a_wish_is_fulfilled_once_though_the_lake_went_back() {
    let world = World::new().await;
    let api = items(6);
    world.sync(&api, "orders", IncrementalMerge).await;
    let acme = Connection::new("acme", "acme", "acme");
    states::set(&world.store, &acme, "orders", &Wish::Reset)
        .await
        .unwrap();
    world.lake.forget();
    assert_eq!(world.sync(&api, "orders", IncrementalMerge).await.books().read, 6);
    assert_eq!(world.sync(&api, "orders", IncrementalMerge).await.books().read, 0);
}

#[tokio::test]
async fn a_full_read_that_came_to_nothing_is_made_later_and_given_up_once() {
    let world = World::new().await;
    let mut api = items(6);
    world.sync(&api, "orders", IncrementalMerge).await;
    api.items.lock().unwrap().remove(0);
    let run = async |api: &Api, full: bool, restart: bool| {
        let mut plan = world.plan(api, &[("orders", IncrementalMerge)]);
        (plan.options.full, plan.options.restart) = (full, restart);
        sync(&world.store, plan).await.unwrap()
    };
    let told = async |outcome: &SyncOutcome| {
        let notices = runs::notices(&world.store, DEFAULT_TENANT, &outcome.run)
            .await
            .unwrap();
        notices
            .into_iter()
            .map(|notice| notice.message)
            .collect::<Vec<_>>()
    };
    api.fails_at_page = Some(0);
    for _ in 0..2 {
        let failed = run(&api, true, true).await;
        assert_eq!(failed.status, RunStatus::Failed);
        assert_eq!(
            told(&failed).await,
            [""; 0],
            "nothing was begun that could be given up"
        );
    }
    // Given up on purpose: the next runs read on.
    api.fails_at_page = None;
    for restart in [true, false] {
        let outcome = run(&api, false, restart).await;
        assert_eq!(outcome.streams[0].mode, IncrementalMerge, "{restart}");
        assert_eq!(outcome.books().read, 0);
    }
    api.fails_at_page = Some(0);
    run(&api, true, false).await;
    api.fails_at_page = None;
    let outcome = run(&api, false, false).await;
    assert_eq!(outcome.streams[0].mode, FullRefreshMerge);
    let told = told(&outcome).await;
    assert!(told[0].contains("before its first checkpoint"), "{told:?}");
    assert_eq!(world.ids("orders"), (2..=6).collect::<Vec<_>>());
    let outcome = run(&api, false, false).await;
    assert_eq!(outcome.streams[0].mode, IncrementalMerge);
}

#[tokio::test]
async fn a_stream_that_hangs_is_ended_with_what_it_had_committed_and_says_so() {
    let world = World::new().await;
    let mut api = items(20);
    api.hangs_at_page = Some(4);
    let mut plan = world.plan(&api, &[("orders", IncrementalMerge)]);
    plan.options.hung_after = Duration::from_millis(300);
    let outcome = sync(&world.store, plan).await.unwrap();
    let error = outcome.first_error().unwrap();
    assert_eq!(
        (outcome.status, error.kind()),
        (RunStatus::Failed, ErrorKind::Timeout)
    );
    assert!(error.message().contains("hung"), "{error:?}");
    // Another run need not wait for the lease's end, and goes on from the last checkpoint.
    api.hangs_at_page = None;
    let outcome = world.sync(&api, "orders", IncrementalMerge).await;
    assert_eq!(outcome.status, RunStatus::Succeeded);
    assert_eq!(world.ids("orders"), (1..=20).collect::<Vec<_>>());
}

/// Stops the run once it is marked.
struct StopsAtMark(CancellationToken);

impl Observer for StopsAtMark {
    fn on_notice(&self, _stream: &str, notice: &Notice) {
        if notice.message.contains("silent for") {
            self.0.cancel();
        }
    }
}

#[tokio::test]
async fn a_source_that_says_nothing_is_marked_long_before_it_is_called_hung() {
    let world = World::new().await;
    let mut api = items(20);
    api.hangs_at_page = Some(4);
    let mut plan = world.plan(&api, &[("orders", IncrementalMerge)]);
    plan.options.stalled_after = Duration::from_millis(50);
    plan.observer = Arc::new(StopsAtMark(plan.cancel.clone()));
    let outcome = sync(&world.store, plan).await.unwrap();
    assert_eq!(outcome.status, RunStatus::Cancelled);
}
