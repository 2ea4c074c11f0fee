use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use weir_protocol::slices::{Settled, SliceReaders as _, Spools};
use weir_protocol::{
    Error, ErrorKind, ReadEvent, SliceState, Source, StateChange, StreamDescriptor, SyncMode,
};

use super::*;
use crate::ledger::{Beginning, RunLedger};
use crate::runs::Begin;
use crate::runs::queue::{self, RunOptions};
use crate::store::testing;
use crate::worker::{Limits, Performer, StoreSupply, Worker};
use crate::{Connection, DEFAULT_TENANT, Owner, RunStatus, connections, runs};

const STREAM: &str = "orders";

struct World {
    _folder: tempfile::TempDir,
    store: Store,
    lease: Lease,
}

impl World {
    /// A run of worker `owner` that holds its stream.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        let connection = Connection::new("shop", "http_json", "shop");
        connections::register(&store, &connection).await.unwrap();
        queue::ask(&store, DEFAULT_TENANT, "shop", RunOptions::default())
            .await
            .unwrap();
        let run = queue::claim(&store, "owner", None, 1)
            .await
            .unwrap()
            .remove(0)
            .run;
        let beginning = Beginning {
            connection,
            streams: vec![(STREAM.to_owned(), SyncMode::FullRefreshReplace)],
            begin: Begin::Claimed(run),
            owner: Owner::this_process(),
        };
        let lease = RunLedger::begin(&store, &beginning)
            .await
            .unwrap()
            .leases
            .remove(0);
        Self {
            _folder: folder,
            store,
            lease,
        }
    }

    async fn ask(&self, ask: SliceAsk) -> SliceAnswer {
        self.store.slices(&self.lease, &ask).await.unwrap()
    }

    async fn offer(&self, id: &str, helpers_max: u32) {
        let id = id.to_owned();
        let task = task(&id);
        self.ask(SliceAsk::Offer {
            id,
            task,
            helpers_max,
        })
        .await;
    }

    async fn claim(&self, worker: &str, run: Option<&str>, most: usize) -> Vec<String> {
        let claimed = claim(&self.store, worker, None, run, most).await.unwrap();
        let mut ids: Vec<String> = claimed.into_iter().map(|slice| slice.id).collect();
        ids.sort();
        ids
    }

    async fn at(&self, id: &str) -> Option<(At, i64)> {
        let offered = self.ask(SliceAsk::Look).await.offered;
        let found = offered.into_iter().find(|offered| offered.id == id)?;
        Some((found.at, found.attempt))
    }

    async fn expire(&self) {
        testing::execute(&self.store, "UPDATE slices SET expires_at_ms = 0").await;
    }

    async fn report(&self, worker: &str, id: &str, attempt: i64, end: SliceEnd) {
        report(&self.store, worker, (id, attempt), &end).await.unwrap();
    }

    async fn is_kept(&self, worker: &str, id: &str, attempt: i64) -> bool {
        let held = HeldSlice {
            id: id.to_owned(),
            attempt,
            pages: 7,
        };
        !renew(&self.store, worker, &[held]).await.unwrap().is_empty()
    }
}

fn task(key: &str) -> SliceTask {
    SliceTask {
        stream: STREAM.to_owned(),
        key: key.into(),
        read_as: String::new(),
        detail: json!({ "a": 1 }),
    }
}

#[tokio::test]
async fn a_slice_is_one_workers_at_a_time_and_never_its_own_runs() {
    let world = World::new().await;
    let run = world.lease.run.clone();
    for id in ["1", "2", "3"] {
        world.offer(id, 2).await;
        world.offer(id, 2).await;
    }
    assert!(world.claim("owner", None, 9).await.is_empty());
    assert_eq!(
        world.claim("a", None, 9).await,
        ["3"],
        "one to begin with, from the end"
    );
    assert!(
        world.claim("a", None, 9).await.is_empty(),
        "it helps that run already"
    );
    assert_eq!(world.claim("a", Some(&run), 1).await, ["2"]);
    assert_eq!(world.claim("b", None, 9).await, ["1"]);
    assert!(world.claim("b", Some(&run), 9).await.is_empty());
    assert_eq!(world.at("1").await, Some((At::Claimed, 1)));
    let is_taken = world
        .ask(SliceAsk::TakeBack { id: "1".to_owned() })
        .await
        .is_taken;
    assert!(!is_taken, "somebody is at it");
    assert!(world.is_kept("a", "3", 1).await && !world.is_kept("b", "3", 1).await);
    world.report("b", "3", 1, SliceEnd::Done).await;
    assert_eq!(world.at("3").await, Some((At::Claimed, 1)), "it is not b's");
    for _ in 0..2 {
        world.report("a", "3", 1, SliceEnd::Done).await;
        assert_eq!(world.at("3").await, Some((At::Done, 1)));
    }
    world.report("a", "2", 1, SliceEnd::Failed("x".to_owned())).await;
    assert_eq!(world.at("2").await, Some((At::Failed, 1)));
    world.report("b", "1", 1, SliceEnd::GivenBack).await;
    assert!(
        world
            .ask(SliceAsk::TakeBack { id: "1".to_owned() })
            .await
            .is_taken
    );
    assert_eq!(world.at("1").await, None);
    world.ask(SliceAsk::Clear).await;
    assert!(world.ask(SliceAsk::Look).await.offered.is_empty());
}

#[tokio::test]
async fn no_more_workers_help_than_may() {
    let world = World::new().await;
    for id in ["1", "2", "3"] {
        world.offer(id, 1).await;
    }
    assert_eq!(world.claim("a", None, 1).await.len(), 1);
    assert!(world.claim("b", None, 1).await.is_empty());
    world.expire().await;
    assert_eq!(world.claim("b", None, 1).await.len(), 1, "a is gone");
}

#[tokio::test]
async fn who_lost_a_slice_says_nothing_about_it_any_more() {
    let world = World::new().await;
    world.offer("1", 2).await;
    assert_eq!(world.claim("a", None, 1).await, ["1"]);
    world.expire().await;
    assert_eq!(world.at("1").await, Some((At::Queued, 1)), "it is free again");
    assert_eq!(world.claim("b", None, 1).await, ["1"]);
    assert_eq!(world.at("1").await, Some((At::Claimed, 2)));
    assert!(!world.is_kept("a", "1", 1).await);
    world.report("a", "1", 1, SliceEnd::Done).await;
    assert_eq!(world.at("1").await, Some((At::Claimed, 2)));
    world.expire().await;
    assert!(
        world
            .ask(SliceAsk::TakeBack { id: "1".to_owned() })
            .await
            .is_taken
    );
    world.report("b", "1", 2, SliceEnd::Done).await;
    assert_eq!(world.at("1").await, None);
}

#[tokio::test]
async fn the_slices_of_a_run_that_lost_its_stream_are_nobodys() {
    let world = World::new().await;
    world.offer("1", 2).await;
    world.offer("2", 2).await;
    assert_eq!(world.claim("a", None, 1).await, ["2"]);
    assert!(
        helped(&world.store, DEFAULT_TENANT, "a", &world.lease.run)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        helped(&world.store, DEFAULT_TENANT, "b", &world.lease.run)
            .await
            .unwrap()
            .is_none()
    );
    testing::execute(&world.store, "UPDATE leases SET term = term + 1").await;
    assert!(!world.is_kept("a", "2", 1).await);
    assert!(world.claim("b", None, 1).await.is_empty());
    for ask in [
        SliceAsk::TakeBack { id: "1".to_owned() },
        SliceAsk::Forget { id: "1".to_owned() },
        SliceAsk::Clear,
    ] {
        let refused = world.store.slices(&world.lease, &ask).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
    }
    let next = Lease {
        term: world.lease.term + 1,
        ..world.lease.clone()
    };
    let look = world.store.slices(&next, &SliceAsk::Look).await.unwrap();
    assert!(look.offered.is_empty(), "another term's are not the next one's");
    world.store.slices(&next, &SliceAsk::Clear).await.unwrap();
    assert!(world.ask(SliceAsk::Look).await.offered.is_empty());
}

#[tokio::test]
async fn a_run_that_is_to_stop_gets_no_more_help() {
    let world = World::new().await;
    world.offer("1", 2).await;
    queue::cancel(&world.store, DEFAULT_TENANT, &world.lease.run)
        .await
        .unwrap();
    assert!(world.claim("a", None, 1).await.is_empty());
}

/// Keeps spools in memory; a place is a text.
#[derive(Default)]
struct Kept(Mutex<HashMap<String, Vec<ReadEvent>>>);

#[async_trait]
impl Spools for Kept {
    async fn write(&self, place: &SpoolPlace, events: BoxStream<'static, Result<ReadEvent>>) -> Result<()> {
        let events: Vec<Result<ReadEvent>> = events.collect().await;
        let events = events.into_iter().collect::<Result<Vec<_>>>()?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(format!("{place:?}"), events);
        Ok(())
    }

    fn read(&self, place: &SpoolPlace) -> BoxStream<'static, Result<ReadEvent>> {
        let kept = self.0.lock().unwrap();
        let events = kept.get(&format!("{place:?}")).cloned();
        let missing = || Error::destination("no such spool").hint("look");
        let events = events.map_or_else(|| vec![Err(missing())], |all| all.into_iter().map(Ok).collect());
        stream::iter(events).boxed()
    }

    async fn remove(&self, place: &SpoolPlace) -> Result<()> {
        self.0.lock().unwrap().remove(&format!("{place:?}"));
        Ok(())
    }

    async fn sweep(&self, _connection: &str, _stream: &str) -> Result<()> {
        self.0.lock().unwrap().clear();
        Ok(())
    }
}

/// Has slices that are read at once, fail, or hang, as their keys say.
struct Slices;

#[async_trait]
impl Source for Slices {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn discover(&self) -> Result<Vec<StreamDescriptor>> {
        Ok(Vec::new())
    }

    fn read(&self, _request: weir_protocol::ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        stream::pending().boxed()
    }

    fn slices_at_once(&self, _stream: &str) -> usize {
        2
    }

    fn read_slice(&self, task: SliceTask) -> BoxStream<'static, Result<ReadEvent>> {
        match &*task.key {
            "hangs" => stream::pending().boxed(),
            "another's" => stream::once(async {
                Err(Error::new(ErrorKind::Conflict, "by another connector").hint("leave it"))
            })
            .boxed(),
            "fails" => stream::once(async { Err(Error::unavailable("down").hint("wait")) }).boxed(),
            _ => {
                let state = SliceState {
                    done: true,
                    ..SliceState::default()
                };
                let key = task.key;
                stream::once(async { Ok(ReadEvent::Advance(StateChange::Slice { key, state })) }).boxed()
            }
        }
    }
}

struct Hand(std::sync::Arc<Kept>);

#[async_trait]
impl Helper for Hand {
    async fn tools(&self, _run: &Claimed) -> Result<Tools> {
        Ok(Tools {
            source: std::sync::Arc::new(Slices),
            spools: self.0.clone(),
            hung_after: std::time::Duration::from_secs(3600),
        })
    }
}

#[tokio::test]
async fn what_a_helper_read_comes_to_who_holds_the_stream() {
    let world = World::new().await;
    let kept = std::sync::Arc::new(Kept::default());
    let sharing = Sharing {
        workers: 2,
        spools: kept.clone(),
    };
    let ledger = std::sync::Arc::new(world.store.clone());
    let shares = Shares::new(ledger, world.lease.clone(), &sharing, 2, || {});
    assert_eq!(shares.out_max(), 8);
    let mut offers = Vec::new();
    for key in ["fine", "fails", "hangs"] {
        offers.push(shares.offer(task(key)).await.unwrap());
    }
    let first = claim(&world.store, "a", None, None, 1).await.unwrap();
    let supply = std::sync::Arc::new(StoreSlices::new(world.store.clone(), "a".to_owned()));
    let stop = CancellationToken::new();
    let helping = tokio::spawn(help(
        supply,
        std::sync::Arc::new(Hand(kept.clone())),
        first,
        stop.clone(),
    ));
    let Settled::Read(events) = offers[0].settled().await.unwrap() else {
        panic!("it was read");
    };
    assert_eq!(events.count().await, 1);
    assert_eq!(kept.0.lock().unwrap().len(), 1);
    offers[0].forget().await.unwrap();
    assert_eq!(kept.0.lock().unwrap().len(), 0);
    assert!(matches!(offers[1].settled().await.unwrap(), Settled::Failed));
    offers[2].free().await.unwrap();
    assert!(!offers[2].take_back().await.unwrap(), "the helper has it");
    // A worker that is asked to stop gives back what it has.
    stop.cancel();
    helping.await.unwrap().unwrap();
    offers[2].free().await.unwrap();
    assert!(offers[2].take_back().await.unwrap());
    assert_eq!(kept.0.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn who_has_another_connector_than_the_run_gives_all_back_and_helps_no_more() {
    let world = World::new().await;
    for id in ["hangs", "another's"] {
        let offer = SliceAsk::Offer {
            id: id.to_owned(),
            task: task(id),
            helpers_max: 2,
        };
        world.ask(offer).await;
    }
    let mut held = claim(&world.store, "a", None, None, 1).await.unwrap();
    let run = held[0].run.run.clone();
    held.extend(claim(&world.store, "a", None, Some(&run), 1).await.unwrap());
    let supply = std::sync::Arc::new(StoreSlices::new(world.store.clone(), "a".to_owned()));
    let hand = std::sync::Arc::new(Hand(std::sync::Arc::default()));
    let error = help(supply, hand, held, CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    for id in ["hangs", "another's"] {
        assert_eq!(world.at(id).await, Some((At::Queued, 1)), "{id}");
    }
}

/// Ends each run well, and says whose it was.
struct Ends(Store, tokio::sync::mpsc::UnboundedSender<String>);

#[async_trait]
impl Performer for Ends {
    async fn perform(&self, claimed: &Claimed, _cancel: CancellationToken) -> Result<()> {
        self.1.send(claimed.connection.clone()).unwrap();
        runs::finish(&self.0, &claimed.tenant, &claimed.run, RunStatus::Succeeded, None).await
    }
}

#[tokio::test]
async fn a_run_that_waits_comes_before_help() {
    let world = World::new().await;
    world.offer("hangs", 2).await;
    let till = Connection::new("till", "http_json", "till");
    connections::register(&world.store, &till).await.unwrap();
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let supply = StoreSupply::new(world.store.clone());
    let slices = StoreSlices::new(world.store.clone(), supply.worker().to_owned());
    let limits = Limits {
        runs_at_once: 1,
        poll: std::time::Duration::from_millis(5),
        ..Limits::default()
    };
    let performer = std::sync::Arc::new(Ends(world.store.clone(), ended));
    let hand = std::sync::Arc::new(Hand(std::sync::Arc::default()));
    let worker = Worker::over(std::sync::Arc::new(supply), performer, limits)
        .helping(std::sync::Arc::new(slices), hand);
    let stop = CancellationToken::new();
    let work = tokio::spawn(worker.run(stop.clone()));
    while world.at("hangs").await.map(|(at, _)| at) != Some(At::Claimed) {
        tokio::task::yield_now().await;
    }
    queue::ask(&world.store, DEFAULT_TENANT, "till", RunOptions::default())
        .await
        .unwrap();
    let first = tokio::time::timeout(std::time::Duration::from_secs(30), ends.recv());
    assert_eq!(first.await.unwrap().as_deref(), Some("till"), "it need not wait");
    stop.cancel();
    work.await.unwrap().unwrap();
    assert_eq!(world.at("hangs").await.map(|(at, _)| at), Some(At::Queued));
}
