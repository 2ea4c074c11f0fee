use std::sync::Mutex;

use tokio::sync::Notify;
use weir_protocol::schedule::Backoff;

use super::*;
use crate::runs::queue::{self, Order, RunOptions};
use crate::runs::{RunFilter, RunStatus};
use crate::store::testing;
use crate::{Connection, DEFAULT_TENANT, connections};

/// Notes what it was given; what comes of a run, its connection's name says.
struct Notes {
    store: Store,
    seen: Mutex<Vec<(String, u32)>>,
    came: Notify,
}

#[async_trait]
impl Performer for Notes {
    async fn perform(&self, claimed: &Claimed, cancel: CancellationToken) -> Result<()> {
        self.seen
            .lock()
            .unwrap()
            .push((claimed.connection.clone(), claimed.attempt));
        self.came.notify_one();
        let status = match claimed.connection.as_str() {
            "broken" => return Err(Error::spec("the connection cannot be read").hint("mend it")),
            "away" => return Err(Error::unavailable("the source is away").hint("wait")),
            "broken off" => panic!("a defect"),
            "endless" => {
                cancel.cancelled().await;
                RunStatus::Cancelled
            }
            _ => RunStatus::Succeeded,
        };
        runs::finish(&self.store, &claimed.tenant, &claimed.run, status, None).await
    }
}

struct World {
    _folder: tempfile::TempDir,
    store: Store,
    notes: Arc<Notes>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        for name in ["shop", "broken", "broken off", "away", "endless"] {
            let connection = Connection::new(name, "http_json", name);
            connections::register(&store, &connection).await.unwrap();
        }
        let notes = Arc::new(Notes {
            store: store.clone(),
            seen: Mutex::default(),
            came: Notify::new(),
        });
        Self {
            _folder: folder,
            store,
            notes,
        }
    }

    async fn ask(&self, connection: &str, attempts_max: u32) -> String {
        let order = Order {
            attempts_max,
            backoff: Backoff::Linear,
            backoff_base_ms: 0,
            ..Order::asked(DEFAULT_TENANT, connection, RunOptions::default())
        };
        queue::put(&self.store, &order).await.unwrap()
    }

    fn worker(&self) -> Worker {
        let limits = Limits {
            poll: Duration::from_millis(5),
            ..Limits::default()
        };
        Worker::new(self.store.clone(), self.notes.clone(), limits)
    }

    /// Until a worker has worked through the queue.
    async fn work(&self) {
        let stop = CancellationToken::new();
        let work = tokio::spawn(self.worker().run(stop.clone()));
        while self.open().await > 0 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        work.await.unwrap().unwrap();
    }

    /// Counted at one moment: between two looks a failed run is followed by its next attempt.
    async fn open(&self) -> usize {
        let all = runs::list(&self.store, DEFAULT_TENANT, &RunFilter::default())
            .await
            .unwrap();
        all.iter().filter(|run| !run.status.is_final()).count()
    }

    /// Whoever has a run dies, and is found.
    async fn die(&self) {
        testing::execute(&self.store, "UPDATE runs SET expires_at_ms = 1").await;
        assert_eq!(runs::sweep(&self.store).await.unwrap(), 1);
    }

    async fn status(&self, run: &str) -> RunStatus {
        runs::get(&self.store, DEFAULT_TENANT, run).await.unwrap().status
    }
}

#[tokio::test]
async fn what_waits_is_carried_out_once() {
    let world = World::new().await;
    let run = world.ask("shop", 1).await;
    world.work().await;
    assert_eq!(world.status(&run).await, RunStatus::Succeeded);
    assert_eq!(*world.notes.seen.lock().unwrap(), [("shop".to_owned(), 1)]);
}

#[tokio::test]
async fn a_failure_is_tried_again_as_often_as_allowed_and_a_mistake_is_not() {
    let world = World::new().await;
    world.ask("away", 3).await;
    world.ask("broken", 3).await;
    world.work().await;
    let mut seen = world.notes.seen.lock().unwrap().clone();
    seen.sort();
    let away = |attempt| ("away".to_owned(), attempt);
    assert_eq!(seen, [away(1), away(2), away(3), ("broken".to_owned(), 1)]);
    let all = runs::list(&world.store, DEFAULT_TENANT, &RunFilter::default())
        .await
        .unwrap();
    assert!(all.iter().all(|run| run.status == RunStatus::Failed), "{all:?}");
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_ends_what_it_has() {
    let world = World::new().await;
    let run = world.ask("endless", 3).await;
    let mut worker = world.worker();
    worker.limits.drain = Duration::ZERO;
    let stop = CancellationToken::new();
    let work = tokio::spawn(worker.run(stop.clone()));
    world.notes.came.notified().await;
    stop.cancel();
    work.await.unwrap().unwrap();
    assert_eq!(world.status(&run).await, RunStatus::Cancelled);
    // Nobody asked the run itself to stop: another worker goes on, and no attempt was used up.
    let next = queue::claim(&world.store, "another", None, 1)
        .await
        .unwrap()
        .remove(0);
    assert_eq!((next.attempt, next.attempts_max), (2, 4));
}

#[tokio::test]
async fn a_performer_that_breaks_off_fails_its_run_and_leaves_its_place() {
    let world = World::new().await;
    let run = world.ask("broken off", 1).await;
    world.work().await;
    assert_eq!(world.status(&run).await, RunStatus::Failed);
}

#[tokio::test]
async fn what_a_worker_does_not_know_that_it_has_is_tried_again() {
    let world = World::new().await;
    let run = world.ask("shop", 2).await;
    // The answer to this claim never arrived.
    queue::claim(&world.store, "me", None, 1).await.unwrap();
    assert_eq!(queue::renew(&world.store, "me", &[]).await.unwrap(), []);
    testing::execute(
        &world.store,
        "UPDATE runs SET expires_at_ms = expires_at_ms - 30001",
    )
    .await;
    runs::sweep(&world.store).await.unwrap();
    assert_eq!(world.status(&run).await, RunStatus::Abandoned);
    assert_eq!(world.open().await, 1);
}

#[tokio::test]
async fn a_run_is_cancelled_while_it_waits_and_asked_to_stop_while_it_runs() {
    let world = World::new().await;
    let run = world.ask("endless", 1).await;
    assert_eq!(
        queue::cancel(&world.store, DEFAULT_TENANT, &run).await.unwrap(),
        RunStatus::Cancelled
    );
    // Asked twice, it is cancelled once.
    queue::cancel(&world.store, DEFAULT_TENANT, &run).await.unwrap();
    let run = world.ask("endless", 1).await;
    let claimed = queue::claim(&world.store, "me", None, 9).await.unwrap();
    assert_eq!(
        claimed.iter().map(|claimed| &claimed.run).collect::<Vec<_>>(),
        [&run]
    );
    assert_eq!(
        queue::renew(&world.store, "me", std::slice::from_ref(&run))
            .await
            .unwrap(),
        [(run.clone(), Held::Yes)]
    );
    queue::cancel(&world.store, DEFAULT_TENANT, &run).await.unwrap();
    assert_eq!(
        queue::renew(&world.store, "me", std::slice::from_ref(&run))
            .await
            .unwrap(),
        [(run.clone(), Held::CancelAsked)]
    );
    assert_eq!(
        queue::renew(&world.store, "another", std::slice::from_ref(&run))
            .await
            .unwrap(),
        []
    );
}

#[tokio::test]
async fn two_workers_never_have_one_run_nor_one_connection() {
    let world = World::new().await;
    for _ in 0..3 {
        world.ask("shop", 1).await;
        world.ask("away", 1).await;
    }
    let names: Vec<String> = (0..6).map(|n| format!("worker {n}")).collect();
    let claims = names.iter().map(|name| queue::claim(&world.store, name, None, 5));
    let claimed: Vec<Claimed> = futures::future::join_all(claims)
        .await
        .into_iter()
        .flat_map(|claimed| claimed.unwrap())
        .collect();
    let mut connections: Vec<&str> = claimed
        .iter()
        .map(|claimed| claimed.connection.as_str())
        .collect();
    connections.sort_unstable();
    assert_eq!(connections, ["away", "shop"]);
}

#[tokio::test]
async fn a_dead_workers_run_is_tried_again_by_another() {
    let world = World::new().await;
    // As the API asks: no second attempt at the source, which a death is none of.
    let first = world.ask("shop", 1).await;
    queue::claim(&world.store, "dead", None, 1).await.unwrap();
    // Still its own.
    assert_eq!(runs::sweep(&world.store).await.unwrap(), 0);
    world.die().await;
    assert_eq!(world.status(&first).await, RunStatus::Abandoned);
    assert_eq!(
        queue::renew(&world.store, "dead", std::slice::from_ref(&first))
            .await
            .unwrap(),
        []
    );
    // Nor can the dead one say how it ended.
    runs::finish(&world.store, DEFAULT_TENANT, &first, RunStatus::Succeeded, None)
        .await
        .unwrap_err();
    world.work().await;
    assert_eq!(*world.notes.seen.lock().unwrap(), [("shop".to_owned(), 2)]);
}

#[tokio::test]
async fn deaths_spend_no_attempt_at_the_source() {
    let world = World::new().await;
    world.ask("away", 2).await;
    for _ in 0..3 {
        queue::claim(&world.store, "dead", None, 1).await.unwrap();
        world.die().await;
    }
    world.work().await;
    let seen: Vec<u32> = world
        .notes
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|seen| seen.1)
        .collect();
    assert_eq!(seen, [4, 5], "two attempts at the source are left, and no third");
}

#[tokio::test]
async fn a_run_that_its_workers_die_of_ends() {
    let world = World::new().await;
    let mut last = world.ask("shop", 1).await;
    for death in 1..=queue::DEATHS_MAX {
        let claimed = queue::claim(&world.store, "dead", None, 1).await.unwrap();
        assert_eq!((claimed.len(), claimed[0].attempt), (1, death));
        last.clone_from(&claimed[0].run);
        world.die().await;
    }
    assert_eq!(world.open().await, 0, "nobody is sent after those who died");
    assert_eq!(world.status(&last).await, RunStatus::Abandoned);
}

#[tokio::test]
async fn each_following_attempt_is_in_the_audit_trail() {
    let world = World::new().await;
    let first = world.ask("away", 2).await;
    world.work().await;
    let filter = crate::audit::EntryFilter {
        action: Some("run.queue".to_owned()),
        limit: 50,
        ..Default::default()
    };
    let noted = crate::audit::list(&world.store, DEFAULT_TENANT, &filter)
        .await
        .unwrap();
    assert_eq!(noted.len(), 2);
    assert!(noted[0].details.contains(&first) && noted[0].details.contains("\"attempt\":2"));
    assert_ne!(noted[0].correlation_id.as_deref(), Some(first.as_str()));
}
