//! Use cases of one tenant that come at once share a transaction: one commit, and one stretch of the tenant's audit
//! chain, which only one transaction at a time can make longer.
//!
//! The first begins it. Whoever comes meanwhile waits in line, and gets the transaction from the one before. The last
//! in line appends all audit records, commits, and tells the others. Where anything goes wrong, nothing of it happened,
//! and each does its own work again, alone: whose fault it was, it learns then. Nobody stands in line for long: a
//! transaction that hangs holds up those in it, and nobody else.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{Any, Transaction};
use tokio::sync::oneshot;
use weir_protocol::Result;

use super::{Access, Held, OUTAGE_MAX, Outcome, Outlives, Patience, Scope, Store, Work};
use crate::audit::{self, Acting, Record};

/// So many share one transaction at most: the first of them waits for the last.
const ABOARD_MAX: usize = 64;
/// Who stands in line for longer goes alone.
const IN_LINE_MAX: Duration = Duration::from_secs(3);

/// Who waits for a tenant's next transaction. A tenant that stands here has one under way.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<BTreeMap<String, Line>>);

type Line = VecDeque<oneshot::Sender<Turn>>;

/// What somebody gets who waited.
#[derive(Debug)]
enum Turn {
    Begin(Helm),
    Join(Box<Shared>),
}

/// The right to begin a tenant's next transaction. The next in line gets it when it is let go, however that happens.
#[derive(Debug)]
struct Helm(Option<(Arc<Lines>, String)>);

/// A transaction on its way from one to the next.
#[derive(Debug)]
struct Shared {
    helm: Helm,
    transaction: Transaction<'static, Any>,
    noted: Vec<(Arc<Acting>, Record)>,
    /// Those before, who wait for the commit.
    aboard: Vec<oneshot::Sender<()>>,
}

impl Lines {
    /// Sends all who stand in a tenant's line away: each goes alone.
    pub(super) fn leave(&self, tenant: &str) {
        self.all().remove(tenant);
    }

    /// How many stand in a tenant's line; none where nothing is under way.
    #[cfg(test)]
    pub(super) fn waiting(&self, tenant: &str) -> Option<usize> {
        self.all().get(tenant).map(VecDeque::len)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next in line. Where there is none and `ends`, whoever comes next begins anew.
    fn next(&self, tenant: &str, ends: bool) -> Option<oneshot::Sender<Turn>> {
        let mut lines = self.all();
        let next = lines.get_mut(tenant)?.pop_front();
        if next.is_none() && ends {
            lines.remove(tenant);
        }
        next
    }

    async fn turn(self: &Arc<Self>, tenant: &str) -> Option<Turn> {
        let turn = {
            let mut lines = self.all();
            if let Some(line) = lines.get_mut(tenant) {
                let (sender, turn) = oneshot::channel();
                line.push_back(sender);
                turn
            } else {
                lines.insert(tenant.to_owned(), VecDeque::new());
                return Some(Turn::Begin(Helm(Some((self.clone(), tenant.to_owned())))));
            }
        };
        tokio::time::timeout(IN_LINE_MAX, turn).await.ok()?.ok()
    }
}

impl Helm {
    /// Sends all who stand in line away: what the first of them could not begin, the others would try in vain one after
    /// another.
    fn break_up(mut self) {
        if let Some((lines, tenant)) = self.0.take() {
            lines.leave(&tenant);
        }
    }
}

impl Drop for Helm {
    fn drop(&mut self) {
        let Some((lines, tenant)) = self.0.take() else {
            return;
        };
        while let Some(next) = lines.next(&tenant, true) {
            let helm = Self(Some((lines.clone(), tenant.clone())));
            match next.send(Turn::Begin(helm)) {
                Ok(()) => return,
                // It does not wait any more, and must not pass on what it never had.
                Err(Turn::Begin(mut helm)) => helm.0 = None,
                Err(Turn::Join(_)) => return,
            }
        }
    }
}

impl Shared {
    async fn begin(store: &Store, tenant: &str, helm: Helm) -> Option<Box<Self>> {
        let access = Access::Transaction { exclusive: None };
        let Ok(Held::Within(transaction)) = store.begin(Scope::Tenant(tenant), access).await else {
            helm.break_up();
            return None;
        };
        Some(Box::new(Self {
            helm,
            transaction,
            noted: Vec::new(),
            aboard: Vec::new(),
        }))
    }

    /// Gives the transaction to the next in line; back where nobody waits, or enough are aboard.
    fn pass_on(mut self: Box<Self>) -> std::result::Result<oneshot::Receiver<()>, Box<Self>> {
        while self.aboard.len() + 1 < ABOARD_MAX {
            let next = self
                .helm
                .0
                .as_ref()
                .and_then(|(lines, tenant)| lines.next(tenant, false));
            let Some(next) = next else {
                break;
            };
            let (sender, committed) = oneshot::channel();
            self.aboard.push(sender);
            match next.send(Turn::Join(self)) {
                Ok(()) => return Ok(committed),
                Err(Turn::Join(back)) => self = back,
                Err(Turn::Begin(_)) => return Ok(committed),
            }
            self.aboard.pop();
        }
        Err(self)
    }

    async fn commit(mut self: Box<Self>) -> Outcome<()> {
        audit::append_noted_in(&mut self.transaction, &self.noted).await?;
        // The chain is held: the next may begin, and comes to its own records after this commit.
        drop(self.helm);
        self.transaction.commit().await?;
        for waiting in self.aboard {
            // Whoever went away meanwhile needs no answer.
            let _told = waiting.send(());
        }
        Ok(())
    }
}

impl Store {
    /// As [`Self::write`] for what ends in audit records: `work` gives them back, and they are appended with those
    /// of others who came at the same time. `work` may be called twice; what it sees may be undone before it is
    /// committed, and then it is called again.
    pub(crate) async fn write_together<'e, T, W>(
        &self,
        tenant: &str,
        doing: &'static str,
        mut work: W,
    ) -> Result<T>
    where
        W: Work<'e, (T, Vec<Record>)>,
    {
        fail::fail_point!("control.before_write", |_| std::process::abort());
        if let Some(value) = self.shared(tenant, &mut work).await {
            return Ok(value);
        }
        let mut patience = Patience::new(OUTAGE_MAX);
        loop {
            let error = match self.alone(tenant, &mut work).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !error.may_pass(&self.place) || !patience.lasts(doing).await {
                return Err(error.say(doing, &self.place));
            }
        }
    }

    /// None where it did not happen, whatever the reason.
    async fn shared<'e, T, W>(&self, tenant: &str, work: &mut W) -> Option<T>
    where
        W: Work<'e, (T, Vec<Record>)>,
    {
        let mut shared = match self.lines.turn(tenant).await? {
            Turn::Begin(helm) => Shared::begin(self, tenant, helm).await?,
            Turn::Join(shared) => shared,
        };
        let (value, records) = work(&mut shared.transaction, Outlives::default()).await.ok()?;
        let noted = records.into_iter().map(|record| (self.acting.clone(), record));
        shared.noted.extend(noted);
        match shared.pass_on() {
            Ok(committed) => committed.await.ok()?,
            Err(shared) => shared.commit().await.ok()?,
        }
        Some(value)
    }

    async fn alone<'e, T, W>(&self, tenant: &str, work: &mut W) -> Outcome<T>
    where
        W: Work<'e, (T, Vec<Record>)>,
    {
        let access = Access::Transaction { exclusive: None };
        let mut held = self.begin(Scope::Tenant(tenant), access).await?;
        let db = held.connection();
        let (value, records) = work(db, Outlives::default()).await?;
        audit::append_all_in(db, &self.acting, &records).await?;
        held.commit().await?;
        Ok(value)
    }
}
