//! The side of the run that holds a stream: offers its slices and hears how they stand.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;
use weir_protocol::slices::{Offer, Settled, SliceReaders, SliceTask, SpoolPlace, Spools};
use weir_protocol::spec::Pii;
use weir_protocol::{Error, Result, StreamDescriptor};

use super::{At, Offered, SliceAsk};
use crate::failpoint;
use crate::leases::Lease;
use crate::ledger::SharedLedger;

/// How often it is looked how slices stand, while some are on offer.
const LOOK: Duration = Duration::from_millis(200);
/// Slices on offer for each place of all workers: those being read, and as many that wait.
const OFFERED_PER_PLACE: usize = 2;
/// Slices on offer at once: what they leave waiting on disk is bounded by it.
const OUT_MAX: usize = 128;

/// Who reads slices of a run besides its own worker.
#[derive(Clone)]
pub struct Sharing {
    /// Workers that may read at once, the run's own included.
    pub workers: u32,
    pub spools: Arc<dyn Spools>,
}

/// Whether slices of a stream may lie in a spool: what must never be kept must not lie there either.
pub(crate) fn may_share(stream: &StreamDescriptor) -> bool {
    !stream.policy.pii.values().any(|pii| *pii == Pii::Drop)
}

/// The slices of one stream that are on offer.
pub(crate) struct Shares {
    desk: Arc<Desk>,
    _looking: AbortOnDropHandle<()>,
}

/// What all offers share.
struct Desk {
    ledger: SharedLedger,
    lease: Lease,
    spools: Arc<dyn Spools>,
    helpers_max: u32,
    out_max: usize,
    /// Offers that are not settled.
    out: AtomicU64,
    /// Looks begun so far. What one says is true of what was there before it began.
    begun: AtomicU64,
    looks: watch::Sender<Look>,
}

/// How all slices stood.
#[derive(Default)]
struct Look {
    number: u64,
    offered: HashMap<String, Offered>,
}

impl Look {
    /// Pages that others have read of what is on offer.
    fn pages(&self) -> u64 {
        self.offered.values().map(|offered| offered.pages).sum()
    }
}

impl Shares {
    /// `at_once` slices are read by each worker; `came_on` is called when others read another page.
    pub(crate) fn new(
        ledger: SharedLedger,
        lease: Lease,
        sharing: &Sharing,
        at_once: usize,
        came_on: impl Fn() + Send + 'static,
    ) -> Self {
        let workers = usize::try_from(sharing.workers).unwrap_or(usize::MAX);
        let places = at_once.saturating_mul(workers);
        let desk = Arc::new(Desk {
            ledger,
            lease,
            spools: sharing.spools.clone(),
            helpers_max: sharing.workers.saturating_sub(1),
            out_max: places.saturating_mul(OFFERED_PER_PLACE).min(OUT_MAX),
            out: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            looks: watch::Sender::new(Look::default()),
        });
        let looking = tokio::spawn(look_on(desk.clone(), came_on));
        Self {
            desk,
            _looking: AbortOnDropHandle::new(looking),
        }
    }
}

async fn look_on(desk: Arc<Desk>, came_on: impl Fn()) {
    let mut pages = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        if desk.out.load(Ordering::SeqCst) == 0 {
            continue;
        }
        let number = desk.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = match desk.ledger.slices(&desk.lease, &SliceAsk::Look).await {
            Ok(answer) => answer,
            Err(error) => {
                // Whether the run may go on, its heartbeat finds out.
                tracing::warn!(run = desk.lease.run, %error, "cannot look at the slices of other workers");
                continue;
            }
        };
        let offered = answer.offered.into_iter();
        let look = Look {
            number,
            offered: offered.map(|offered| (offered.id.clone(), offered)).collect(),
        };
        if look.pages() != pages {
            pages = look.pages();
            came_on();
        }
        desk.looks.send_replace(look);
    }
}

#[async_trait]
impl SliceReaders for Shares {
    fn out_max(&self) -> usize {
        self.desk.out_max
    }

    async fn offer(&self, task: SliceTask) -> Result<Arc<dyn Offer>> {
        let desk = self.desk.clone();
        // Sorts by the time of the offer.
        let id = Uuid::now_v7().to_string();
        let ask = SliceAsk::Offer {
            id: id.clone(),
            task,
            helpers_max: desk.helpers_max,
        };
        desk.ledger.slices(&desk.lease, &ask).await?;
        failpoint::reach(failpoint::AFTER_OFFER)?;
        desk.out.fetch_add(1, Ordering::SeqCst);
        let since = desk.begun.load(Ordering::SeqCst);
        Ok(Arc::new(OnOffer {
            desk,
            id,
            since,
            busy_since: AtomicU64::new(NEVER),
        }))
    }
}

/// No look has this number.
const NEVER: u64 = u64::MAX;

struct OnOffer {
    desk: Arc<Desk>,
    id: String,
    /// Looks up to this one may not know of it.
    since: u64,
    /// Somebody was at it when so many looks had begun.
    busy_since: AtomicU64,
}

impl OnOffer {
    /// Waits for a look, newer than `after`, that `is` true of.
    async fn seen<T>(&self, after: u64, is: impl Fn(Option<&Offered>) -> Option<T>) -> Result<T> {
        let mut looks = self.desk.looks.subscribe();
        loop {
            {
                let look = looks.borrow_and_update();
                if look.number > after
                    && let Some(found) = is(look.offered.get(&self.id))
                {
                    return Ok(found);
                }
            }
            looks.changed().await.map_err(|closed| {
                Error::internal("nobody looks at the slices any more")
                    .caused_by(closed)
                    .hint("report it")
            })?;
        }
    }

    fn place(&self, attempt: i64) -> SpoolPlace {
        let lease = &self.desk.lease;
        SpoolPlace {
            connection: lease.connection.clone(),
            stream: lease.stream.clone(),
            run: lease.run.clone(),
            term: lease.term,
            slice: self.id.clone(),
            attempt,
        }
    }

    async fn ask(&self, ask: SliceAsk) -> Result<bool> {
        let answer = self.desk.ledger.slices(&self.desk.lease, &ask).await?;
        Ok(answer.is_taken)
    }
}

impl Drop for OnOffer {
    fn drop(&mut self) {
        self.desk.out.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Offer for OnOffer {
    async fn free(&self) -> Result<()> {
        let busy_since = self.busy_since.load(Ordering::SeqCst);
        if busy_since == NEVER {
            return Ok(());
        }
        let is_free = |offered: Option<&Offered>| (offered?.at == At::Queued).then_some(());
        self.seen(busy_since, is_free).await
    }

    async fn take_back(&self) -> Result<bool> {
        let id = self.id.clone();
        let is_taken = self.ask(SliceAsk::TakeBack { id }).await?;
        if !is_taken {
            let begun = self.desk.begun.load(Ordering::SeqCst);
            self.busy_since.store(begun, Ordering::SeqCst);
        }
        Ok(is_taken)
    }

    async fn settled(&self) -> Result<Settled> {
        let attempt = self.seen(self.since, |offered| match offered {
            Some(Offered {
                at: At::Done,
                attempt,
                ..
            }) => Some(Some(*attempt)),
            Some(Offered {
                at: At::Queued | At::Claimed,
                ..
            }) => None,
            // One that is gone is nobody's: the lease tells whether it is still ours.
            Some(Offered { at: At::Failed, .. }) | None => Some(None),
        });
        Ok(match attempt.await? {
            Some(attempt) => Settled::Read(self.desk.spools.read(&self.place(attempt))),
            None => Settled::Failed,
        })
    }

    async fn forget(&self) -> Result<()> {
        let id = self.id.clone();
        failpoint::reach(failpoint::BEFORE_FORGET)?;
        self.ask(SliceAsk::Forget { id }).await?;
        failpoint::reach(failpoint::AFTER_FORGET)?;
        // What was tried before lies there too, until the stream's end.
        let known = self
            .desk
            .looks
            .borrow()
            .offered
            .get(&self.id)
            .map(|offered| offered.attempt);
        match known {
            Some(attempt) => self.desk.spools.remove(&self.place(attempt)).await,
            None => Ok(()),
        }
    }
}
