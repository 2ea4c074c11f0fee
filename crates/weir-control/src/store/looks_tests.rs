use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use weir_protocol::{Error, Result};

use super::{Scope, Store, testing};

struct World {
    _folder: tempfile::TempDir,
    store: Store,
    gate: Arc<Semaphore>,
    looks: Arc<AtomicU32>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: testing::store(folder.path()).await,
            _folder: folder,
            gate: Arc::new(Semaphore::new(0)),
            looks: Arc::default(),
        }
    }

    /// A look that waits for the gate, and says which look it was.
    fn ask(&self, fails: bool) -> JoinHandle<Result<u32>> {
        let (store, gate, looks) = (self.store.clone(), self.gate.clone(), self.looks.clone());
        tokio::spawn(async move {
            let (gate, looks) = (&gate, &looks);
            store
                .read_shared(Scope::Everyone, "a thing", "look at a thing", |_, _| {
                    Box::pin(async move {
                        let look = looks.fetch_add(1, Ordering::SeqCst) + 1;
                        gate.acquire().await.unwrap().forget();
                        if fails {
                            return Err(Error::usage("nothing to see").into());
                        }
                        Ok(look)
                    })
                })
                .await
        })
    }

    /// One that is looking, and others that wait for the next look.
    async fn waiting(&self, others: usize) -> Vec<JoinHandle<Result<u32>>> {
        let mut tasks = vec![self.ask(false)];
        self.looked(1).await;
        for number in 1..=others {
            tasks.push(self.ask(false));
            while self.store.looks.waiting("a thing") != Some(number) {
                tokio::task::yield_now().await;
            }
        }
        tasks
    }

    async fn looked(&self, times: u32) {
        while self.looks.load(Ordering::SeqCst) < times {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn one_look_answers_all_who_asked_before_it_began() {
    let world = World::new().await;
    let mut tasks = world.waiting(5).await;
    world.gate.add_permits(1);
    world.looked(2).await;
    // Who comes now is not answered by the look that is under way.
    tasks.push(world.ask(false));
    while world.store.looks.waiting("a thing") != Some(1) {
        tokio::task::yield_now().await;
    }
    world.gate.add_permits(10);
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap().unwrap());
    }
    assert_eq!(answers, [1, 2, 2, 2, 2, 2, 3]);
    assert_eq!(world.store.looks.waiting("a thing"), None);
}

#[tokio::test]
async fn who_looks_and_goes_away_or_fails_keeps_nobody_waiting() {
    for failing in [false, true] {
        let world = World::new().await;
        let first = world.ask(failing);
        world.looked(1).await;
        let others: Vec<_> = (0..4).map(|_| world.ask(false)).collect();
        while world.store.looks.waiting("a thing") != Some(4) {
            tokio::task::yield_now().await;
        }
        if failing {
            world.gate.add_permits(1);
            assert_eq!(first.await.unwrap().unwrap_err().message(), "nothing to see");
        } else {
            first.abort();
            assert!(first.await.unwrap_err().is_cancelled());
        }
        world.looked(2).await;
        world.gate.add_permits(10);
        for other in others {
            assert!(other.await.unwrap().unwrap() > 1);
        }
        assert_eq!(world.store.looks.waiting("a thing"), None);
    }
}
