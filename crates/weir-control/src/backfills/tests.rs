use super::*;
use crate::runs::{self, RunFilter};
use crate::store::testing;
use crate::{Connection, DEFAULT_TENANT};

struct World {
    _folder: tempfile::TempDir,
    store: Store,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        connections::register(&store, &Connection::new("shop", "http_json", "shop"))
            .await
            .unwrap();
        Self {
            _folder: folder,
            store,
        }
    }

    async fn begin(&self) -> Backfill {
        create(&self.store, DEFAULT_TENANT, &wanted("1", "30", Some("10")))
            .await
            .unwrap()
    }

    async fn now(&self, id: &str) -> Backfill {
        get(&self.store, DEFAULT_TENANT, id).await.unwrap()
    }

    /// Takes the run that waits and ends it.
    async fn end(&self, status: RunStatus, error: Option<&Error>) -> RunOptions {
        let claimed = queue::claim(&self.store, "worker", None, 5).await.unwrap();
        assert_eq!(claimed.len(), 1);
        runs::finish(&self.store, DEFAULT_TENANT, &claimed[0].run, status, error)
            .await
            .unwrap();
        claimed[0].options.clone()
    }

    async fn waiting(&self) -> usize {
        let filter = RunFilter {
            status: Some(RunStatus::Queued),
            ..RunFilter::default()
        };
        runs::list(&self.store, DEFAULT_TENANT, &filter)
            .await
            .unwrap()
            .len()
    }
}

fn wanted(from: &str, to: &str, chunk: Option<&str>) -> Wanted {
    Wanted {
        connection: "shop".to_owned(),
        streams: vec!["orders".to_owned()],
        from: from.to_owned(),
        to: to.to_owned(),
        chunk: chunk.map(ToOwned::to_owned),
    }
}

#[tokio::test]
async fn one_chunk_follows_another_until_all_are_read() {
    let world = World::new().await;
    let made = world.begin().await;
    assert_eq!((made.chunks, made.done, made.status), (3, 0, Status::Running));
    let mut read = Vec::new();
    for done in 1..=3 {
        let options = world.end(RunStatus::Succeeded, None).await;
        read.push((options.from.unwrap(), options.to.unwrap()));
        assert_eq!(world.now(&made.id).await.done, done);
    }
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(read, [pair("1", "11"), pair("11", "21"), pair("21", "30")]);
    assert_eq!(
        (world.now(&made.id).await.status, world.waiting().await),
        (Status::Succeeded, 0)
    );
    let all = runs::list(&world.store, DEFAULT_TENANT, &RunFilter::default())
        .await
        .unwrap();
    assert!(all.iter().all(|run| run.kind == "backfill"));
    resume(&world.store, DEFAULT_TENANT, &made.id).await.unwrap_err();
}

#[tokio::test]
async fn a_paused_one_waits_and_goes_on_where_it_was() {
    let world = World::new().await;
    let made = world.begin().await;
    pause(&world.store, DEFAULT_TENANT, &made.id).await.unwrap();
    world.end(RunStatus::Succeeded, None).await;
    assert_eq!((world.now(&made.id).await.done, world.waiting().await), (1, 0));
    let again = resume(&world.store, DEFAULT_TENANT, &made.id).await.unwrap();
    assert_eq!((again.status, world.waiting().await), (Status::Running, 1));
    // Asked twice, there is still one run.
    resume(&world.store, DEFAULT_TENANT, &made.id).await.unwrap();
    assert_eq!(world.waiting().await, 1);
    assert_eq!(
        world.end(RunStatus::Succeeded, None).await.from.as_deref(),
        Some("11")
    );
}

#[tokio::test]
async fn a_chunk_is_tried_again_and_a_failure_for_good_stops_the_rest() {
    let world = World::new().await;
    let made = world.begin().await;
    let away = Error::unavailable("the source is away").hint("wait");
    for _ in 0..ATTEMPTS {
        assert_eq!(world.now(&made.id).await.status, Status::Running);
        testing::execute(
            &world.store,
            "UPDATE runs SET not_before_ms = 0 WHERE status = 'queued'",
        )
        .await;
        world.end(RunStatus::Failed, Some(&away)).await;
    }
    let failed = world.now(&made.id).await;
    assert_eq!(
        (failed.status, failed.done, world.waiting().await),
        (Status::Failed, 0, 0)
    );
    assert!(failed.error.unwrap().contains("the source is away"));
    resume(&world.store, DEFAULT_TENANT, &made.id).await.unwrap();
    assert_eq!(
        world.end(RunStatus::Succeeded, None).await.from.as_deref(),
        Some("1")
    );
    assert_eq!(world.now(&made.id).await.done, 1);
}

#[tokio::test]
async fn a_cancelled_one_ends_at_once_and_stays_ended() {
    let world = World::new().await;
    let made = world.begin().await;
    cancel(&world.store, DEFAULT_TENANT, &made.id).await.unwrap();
    assert_eq!(world.waiting().await, 0);
    resume(&world.store, DEFAULT_TENANT, &made.id).await.unwrap_err();
    // Its run cancelled instead: it waits for a word.
    let other = world.begin().await;
    let run = runs::list(&world.store, DEFAULT_TENANT, &RunFilter::default())
        .await
        .unwrap()
        .remove(0);
    queue::cancel(&world.store, DEFAULT_TENANT, &run.id)
        .await
        .unwrap();
    assert_eq!(world.now(&other.id).await.status, Status::Paused);
}

#[tokio::test]
async fn what_a_schedule_asks_for_takes_turns_with_it() {
    let world = World::new().await;
    world.begin().await;
    let scheduled = Order::asked(DEFAULT_TENANT, "shop", RunOptions::default());
    let scheduled = queue::put(&world.store, &scheduled).await.unwrap();
    world.end(RunStatus::Succeeded, None).await;
    // The next chunk is behind what waited before it.
    let next = queue::claim(&world.store, "worker", None, 5).await.unwrap();
    assert_eq!(next[0].run, scheduled);
}

#[test]
fn ranges_are_cut_without_a_gap() {
    let edges = |from, to, chunk| rules::edges(from, to, chunk).unwrap();
    assert_eq!(
        edges("2026-01-01", "2026-01-20", Some("7d")),
        [
            "2026-01-01",
            "2026-01-08",
            "2026-01-15",
            "2026-01-20T23:59:59.999999Z"
        ]
    );
    assert_eq!(
        edges("2026-01-01", "2026-01-02", None),
        ["2026-01-01", "2026-01-02T23:59:59.999999Z"]
    );
    assert_eq!(
        edges("2026-01-01T00:00:00Z", "2026-01-01T05:00:00Z", Some("2h")),
        [
            "2026-01-01T00:00:00Z",
            "2026-01-01T02:00:00Z",
            "2026-01-01T04:00:00Z",
            "2026-01-01T05:00:00Z"
        ]
    );
    assert_eq!(edges("5", "12", Some("5")), ["5", "10", "12"]);
    for (from, to, chunk) in [
        ("2026-01-02", "2026-01-01", None),
        ("9", "9", None),
        ("yesterday", "today", None),
        ("2026-01-01", "2026-01-02", Some("soon")),
        ("1", "9", Some("7d")),
        ("1", "9", Some("0")),
        ("2000-01-01", "2026-01-01", Some("1m")),
        ("1", "1000000", Some("1")),
    ] {
        assert!(
            rules::edges(from, to, chunk).unwrap_err().next_step().is_some(),
            "{from} {to} {chunk:?}"
        );
    }
}

/// Somebody syncs the stream by hand before anybody noticed that the chunk's worker died: the sync reads on, and the
/// chunk is tried again after it.
#[tokio::test]
async fn a_chunk_whose_stream_is_taken_over_is_tried_again() {
    let world = World::new().await;
    let made = world.begin().await;
    let claimed = queue::claim(&world.store, "worker", None, 5)
        .await
        .unwrap()
        .remove(0);
    let connection = Connection::new("shop", "http_json", "shop");
    let streams = [("orders".to_owned(), weir_protocol::SyncMode::IncrementalMerge)];
    let owner = crate::Owner::this_process();
    let begin = runs::Begin::Claimed(claimed.run.clone());
    runs::start_sync(&world.store, &connection, &streams, &begin, &owner)
        .await
        .unwrap();
    // It lost its lease; its right to the run is not over yet, so that no sweep finds it.
    testing::execute(&world.store, "UPDATE leases SET expires_at_ms = 0").await;
    let by_hand = runs::Begin::Anew(runs::Trigger::Person);
    let (run, _) = runs::start_sync(&world.store, &connection, &streams, &by_hand, &owner)
        .await
        .unwrap();
    assert_eq!(world.now(&made.id).await.status, Status::Running);
    assert_eq!(world.waiting().await, 1, "the next attempt of the chunk");
    runs::finish(&world.store, DEFAULT_TENANT, &run, RunStatus::Succeeded, None)
        .await
        .unwrap();
    assert_eq!(
        world.end(RunStatus::Succeeded, None).await.from.as_deref(),
        Some("1")
    );
    assert_eq!(world.now(&made.id).await.done, 1);
}

#[tokio::test]
async fn a_change_of_what_is_another_by_now_is_refused() {
    let world = World::new().await;
    let made = world.begin().await;
    let seen = made.clone();
    let same = move |now: &Backfill| {
        if *now == seen {
            return Ok(());
        }
        Err(Error::usage("it changed").hint("look"))
    };
    let change = async |change| change_if(&world.store, DEFAULT_TENANT, &made.id, change, &same).await;
    assert_eq!(change(Change::Pause).await.unwrap().status, Status::Paused);
    assert_eq!(change(Change::Cancel).await.unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(world.now(&made.id).await.status, Status::Paused);
}
