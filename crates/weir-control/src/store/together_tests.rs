use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use weir_protocol::{Error, Result};

use super::{Store, testing};
use crate::audit::{self, Acting, Record};
use crate::events::{self, Event, EventFilter, Family};

const TENANT: &str = crate::DEFAULT_TENANT;

/// What a test's use case does besides writing one event and one record.
#[derive(Default)]
struct Part {
    /// Waited for inside the transaction.
    gate: Option<Arc<Semaphore>>,
    fails: bool,
    called: AtomicU32,
}

fn begun(store: &Store, number: u32, part: &Arc<Part>) -> JoinHandle<Result<u32>> {
    let store = store.acting_as(Acting::new(format!("part-{number}")));
    let part = part.clone();
    tokio::spawn(async move {
        let (part, subject) = (&part, format!("part:{number}"));
        let event = &Event::new(TENANT, Family::RunStale, subject.clone());
        let record = &Record::new(TENANT, "test.part", subject);
        store
            .write_together(TENANT, "write a part", |db, _| {
                Box::pin(async move {
                    part.called.fetch_add(1, Ordering::SeqCst);
                    events::append_in(db, event).await?;
                    if let Some(gate) = &part.gate {
                        gate.acquire().await.unwrap().forget();
                    }
                    if part.fails {
                        return Err(Error::usage("this part fails").into());
                    }
                    Ok((number, vec![record.clone()]))
                })
            })
            .await
    })
}

async fn in_line(store: &Store, count: usize) {
    while store.lines.waiting(TENANT) != Some(count) {
        tokio::task::yield_now().await;
    }
}

/// One that holds the transaction, and others that wait behind it.
async fn lined_up(store: &Store, others: &[Arc<Part>]) -> (Arc<Semaphore>, Vec<JoinHandle<Result<u32>>>) {
    let gate = Arc::new(Semaphore::new(0));
    let first = Arc::new(Part {
        gate: Some(gate.clone()),
        ..Part::default()
    });
    let mut tasks = vec![begun(store, 0, &first)];
    in_line(store, 0).await;
    for (number, part) in (1..).zip(others) {
        tasks.push(begun(store, number, part));
        in_line(store, number as usize).await;
    }
    (gate, tasks)
}

/// Which parts were written: each with its event, its record and whose doing it was, in a chain that holds.
async fn written(store: &Store) -> Vec<String> {
    let filter = EventFilter {
        limit: 200,
        ..EventFilter::default()
    };
    let mut subjects: Vec<String> = events::list(store, TENANT, &filter)
        .await
        .unwrap()
        .into_iter()
        .map(|event| event.subject)
        .collect();
    subjects.sort();
    let filter = audit::EntryFilter {
        action: Some("test.part".to_owned()),
        limit: 200,
        ..audit::EntryFilter::default()
    };
    let entries = audit::list(store, TENANT, &filter).await.unwrap();
    let mut noted: Vec<String> = entries.iter().map(|entry| entry.subject.clone()).collect();
    noted.sort();
    assert_eq!(noted, subjects);
    for entry in entries {
        assert_eq!(entry.principal, entry.subject.replace(':', "-"));
    }
    audit::verify(store, TENANT, &[], None).await.unwrap().unwrap();
    assert_eq!(store.lines.waiting(TENANT), None, "nobody is under way");
    subjects
}

#[tokio::test]
async fn those_who_come_at_once_share_a_transaction_and_a_failure_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let others: Vec<_> = (1..=9)
        .map(|number| {
            Arc::new(Part {
                fails: number == 9,
                ..Part::default()
            })
        })
        .collect();
    let (gate, tasks) = lined_up(&store, &others).await;
    gate.add_permits(2);
    for (number, task) in (0..).zip(tasks) {
        match task.await.unwrap() {
            Ok(own) => assert_eq!(own, number),
            Err(error) => assert_eq!((number, error.message()), (9, "this part fails")),
        }
    }
    // The last one's failure undid what all did; each did it again.
    assert!(others.iter().all(|part| part.called.load(Ordering::SeqCst) == 2));
    assert_eq!(written(&store).await.len(), 9);
}

#[tokio::test]
async fn without_a_failure_each_is_done_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let others: Vec<_> = (1..=150).map(|_| Arc::new(Part::default())).collect();
    let (gate, tasks) = lined_up(&store, &others).await;
    gate.add_permits(1);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert!(others.iter().all(|part| part.called.load(Ordering::SeqCst) == 1));
    assert_eq!(written(&store).await.len(), 151);
}

/// Whether it has the transaction, has passed it on, or stands in line.
#[tokio::test]
async fn who_goes_away_keeps_nobody_waiting() {
    for leaving in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        let gate = Arc::new(Semaphore::new(0));
        let held = Arc::new(Part {
            gate: Some(gate.clone()),
            ..Part::default()
        });
        let others = [Arc::new(Part::default()), held, Arc::new(Part::default())];
        let (first, mut tasks) = lined_up(&store, &others).await;
        if leaving > 0 {
            // The transaction goes on to the second, and stands still at the third.
            first.add_permits(10);
            in_line(&store, 1).await;
            while others[1].called.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        }
        let left = [0, 1, 3][leaving];
        let gone = tasks.remove(left);
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        first.add_permits(10);
        gate.add_permits(10);
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let written = written(&store).await;
        let missing = written.len() == 3 && !written.contains(&format!("part:{left}"));
        // What was passed on is committed by others, although nobody asks any more.
        assert!(
            missing || (leaving == 1 && written.len() == 4),
            "{leaving}: {written:?}"
        );
    }
}

#[tokio::test]
async fn who_comes_alone_or_after_others_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    for number in 0..3 {
        let part = Arc::new(Part::default());
        assert_eq!(begun(&store, number, &part).await.unwrap().unwrap(), number);
        assert_eq!(part.called.load(Ordering::SeqCst), 1);
    }
    let failing = Arc::new(Part {
        fails: true,
        ..Part::default()
    });
    begun(&store, 3, &failing).await.unwrap().unwrap_err();
    assert_eq!(written(&store).await.len(), 3);
}

/// As where a connection stands still: whoever is in it waits, and nobody else for long.
#[tokio::test]
async fn a_transaction_that_hangs_holds_up_nobody_behind_it() {
    if testing::server().is_none() {
        // SQLite has one writer: who is behind waits for it in any case.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let other = Arc::new(Part::default());
    let (gate, mut tasks) = lined_up(&store, std::slice::from_ref(&other)).await;
    tasks.remove(1).await.unwrap().unwrap();
    assert_eq!(other.called.load(Ordering::SeqCst), 1);
    gate.add_permits(1);
    tasks.remove(0).await.unwrap().unwrap();
    assert_eq!(written(&store).await.len(), 2);
}

#[tokio::test]
async fn what_cannot_begin_sends_all_in_line_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let others: Vec<_> = (1..=3).map(|_| Arc::new(Part::default())).collect();
    let (gate, tasks) = lined_up(&store, &others).await;
    store.lines.leave(TENANT);
    gate.add_permits(1);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(written(&store).await.len(), 4);
}
