//! Processes die at each moment of a run, and requests come to a bad end at each step: the effect at the vendor is all
//! of it or none, or a person is told.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::ask::Put;
use super::*;
use crate::deaths::killed_after;

/// Asks and goes on within this task, so that it dies with it.
async fn ask_here(desk: &Desk, access: &Access, wanted: &Wanted, key: &str) {
    match desk.begin(access, wanted, Some(key), "test").await.unwrap() {
        Put::New(run) => desk.go(&run.id, run.kept.term).await.unwrap(),
        Put::Known(run) => desk.drive(&run.id).await.unwrap(),
    }
}

/// A run that nobody is at work on says the truth about the vendor.
fn is_true(world: &World, run: &Run, name: &str, what: &str) {
    for call in run.kept.calls.keys() {
        let happened = world.mart.happened(call);
        assert!(happened <= 1, "{what}: {happened} effects of one call");
    }
    let found = nets(&world.mart, name);
    match run.status {
        Status::Done => assert_eq!(found, [1, 1, 1], "{what}: {run:?}"),
        Status::Failed | Status::Compensated => assert_eq!(found, [0, 0, 0], "{what}: {run:?}"),
        Status::Parked => {
            let error = run.parked_error.as_ref().unwrap();
            assert!(
                !error.message.is_empty() && error.hint.is_some(),
                "{what}: {run:?}"
            );
        }
        Status::Running | Status::Compensating => panic!("{what}: nobody goes on with {run:?}"),
    }
}

async fn by_key(world: &World, access: &Access, key: &str) -> Option<Run> {
    let filter = RunFilter {
        limit: 200,
        ..RunFilter::default()
    };
    let all = list(&world.store, access, &filter).await.unwrap();
    all.into_iter()
        .find(|run| run.idempotency_key.as_deref() == Some(key))
}

const SCRIPTS: [&[Mood]; 4] = [
    &[],
    &[Mood::Fine, Mood::Fine, Mood::Fine, Mood::Refuses],
    &[Mood::Fine, Mood::LosesAnswer, Mood::LosesRequest],
    &[
        Mood::Fine,
        Mood::Fine,
        Mood::Fine,
        Mood::Refuses,
        Mood::LosesAnswer,
    ],
];

#[tokio::test]
async fn the_effect_is_all_or_none_whenever_a_process_dies() {
    for (kind, idempotency) in [("none", json!("none")), ("lookup", lookup())] {
        for (number, script) in SCRIPTS.iter().enumerate() {
            let world = World::of(idempotency.clone()).await;
            let (agent, ann) = (world.agent().await, world.approver().await);
            let mut polls = 0;
            loop {
                polls += 7;
                let name = format!("k{polls}");
                let what = format!("{kind}, script {number}, killed after {polls}");
                world.mart.will(script);
                let (doomed, wanted) = (world.doomed(), wanted("three", &name));
                let ended = Box::pin(killed_after(polls, ask_here(&doomed, &agent, &wanted, &name))).await;
                world.rest().await;
                if let Some(run) = by_key(&world, &agent, &name).await {
                    is_true(&world, &run, &name, &what);
                }
                // The caller asks again under the same key, whatever became of the first.
                world.mart.will(&[]);
                let again = world
                    .desk
                    .ask(&agent, &wanted, Some(&name), "test")
                    .await
                    .unwrap()
                    .run;
                is_true(&world, &again, &name, &what);
                let helped = world.help(&ann, &again.id).await;
                assert!(helped.status.is_over(), "{what}: {helped:?}");
                is_true(&world, &helped, &name, &what);
                if ended.is_some() {
                    break;
                }
            }
            // How often a future is polled depends on how fast the database answers.
            assert!(polls > 14, "{polls}");
        }
    }
}

#[tokio::test]
async fn a_run_that_cannot_go_on_is_let_go() {
    let world = World::of(lookup()).await;
    let agent = world.agent().await;
    let wanted = wanted("three", "held");
    let Put::New(run) = world.desk.begin(&agent, &wanted, None, "test").await.unwrap() else {
        panic!("it was asked for before");
    };
    *world.known.is_away.lock().unwrap() = true;
    let error = world.desk.go(&run.id, run.kept.term).await.unwrap_err();
    assert_eq!(error.kind(), weir_protocol::ErrorKind::Unavailable);
    assert!(!world.run(&run.id).await.kept.is_held);
    *world.known.is_away.lock().unwrap() = false;
    world.rest().await;
    assert_eq!(world.run(&run.id).await.status, Status::Done);
}

fn mood() -> impl Strategy<Value = Mood> {
    prop_oneof![
        6 => Just(Mood::Fine),
        1 => Just(Mood::LosesAnswer),
        1 => Just(Mood::LosesRequest),
        1 => Just(Mood::Refuses),
        1 => Just(Mood::IsAway),
    ]
}

/// Whatever goes wrong at whatever request, forward and back: all, none, or parked with a reason; and once a person has
/// helped, all or none.
fn all_or_none(idempotency: Value, bundle: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (world, agent, ann) = runtime.block_on(async {
        let world = World::of(idempotency).await;
        let (agent, ann) = (world.agent().await, world.approver().await);
        (world, agent, ann)
    });
    let number = std::sync::atomic::AtomicU64::new(0);
    let config = Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    };
    let moods = proptest::collection::vec(mood(), 0..16);
    TestRunner::new(config)
        .run(&moods, |moods| {
            let name = format!("p{}", number.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            runtime.block_on(async {
                world.mart.will(&moods);
                let run = world.ask(&agent, bundle, &name, None).await.unwrap().run;
                world.rest().await;
                let what = format!("{bundle} {moods:?}");
                is_true(&world, &world.run(&run.id).await, &name, &what);
                let helped = world.help(&ann, &run.id).await;
                is_true(&world, &helped, &name, &what);
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn random_failures_leave_all_or_nothing_where_nothing_can_be_looked_up() {
    all_or_none(json!("none"), "three");
}

#[test]
fn random_failures_leave_all_or_nothing_where_the_vendor_can_be_asked() {
    all_or_none(lookup(), "three");
}

#[test]
fn random_failures_leave_all_or_nothing_around_a_pivot() {
    all_or_none(lookup(), "pivot");
}
