//! The side of a worker: asks a server, patiently where that is away for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use weir_protocol::hook::{self, Inbox};
use weir_protocol::oauth::{AccessToken, AccessTokens};
use weir_protocol::permits::{Draw, Drawn, Permits};
use weir_protocol::{Error, ErrorKind, Result, Secret, SyncMode};

use super::calls::{
    Begin, Call, Carried, Claim, ClaimSlices, Finish, Handed, Heartbeat, Hello, Landed, Lend, Lent, ModeOf,
    Outgoing, Papers, Quota, Received, Renew, RenewSlices, ReportSlice, Slices, Stand, Token, Write,
};
use super::{Carrier, Sender, office};
use crate::clocks::{self, ClockOffset};
use crate::leases::Lease;
use crate::ledger::{Beginning, Begun, Ended, Entry, Renewed, RunLedger, Standing, StreamLedger, failure};
use crate::runs::RunStatus;
use crate::runs::queue::{Claimed, Held};
use crate::slices::{ClaimedSlice, HeldSlice, SliceAnswer, SliceAsk, SliceEnd, SliceLedger, SliceSupply};
use crate::store::OUTAGE_MAX;
use crate::worker::RunSupply;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What a server says to a worker that it lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    pub version: String,
    /// Whose runs the worker carries.
    pub tenant: String,
    /// How the server's clock differs from this machine's; older servers do not say.
    pub clock: Option<ClockOffset>,
}

/// A server, as a worker sees it.
pub struct Remote {
    carrier: Arc<dyn Carrier>,
    sender: Sender,
    /// Of the runs that it has.
    papers: Mutex<HashMap<String, Papers>>,
    /// Of the runs of others that it helps, until they are asked for.
    helped: Mutex<HashMap<String, Papers>>,
}

impl Remote {
    pub fn new(carrier: Arc<dyn Carrier>, sender: Sender) -> Self {
        Self {
            carrier,
            sender,
            papers: Mutex::default(),
            helped: Mutex::default(),
        }
    }

    /// Makes the worker known to the server.
    pub async fn greet(&self) -> Result<Greeting> {
        let asked_ms = clocks::now_ms();
        let welcome = self.ask(&Hello {}).await?;
        let answered_ms = clocks::now_ms();
        Ok(Greeting {
            version: welcome.version,
            tenant: welcome.tenant,
            clock: welcome
                .now_ms
                .map(|theirs_ms| ClockOffset::between(asked_ms, theirs_ms, answered_ms)),
        })
    }

    /// What a claimed run is made of.
    pub fn papers(&self, run: &str) -> Result<Papers> {
        self.kept().get(run).cloned().ok_or_else(|| {
            Error::internal("the run came without its papers")
                .with("run", run)
                .hint("report it")
        })
    }

    /// What a run is made of that this worker begins to help; given once.
    pub fn helped_papers(&self, run: &str) -> Result<Papers> {
        let mut helped = self.helped.lock().unwrap_or_else(PoisonError::into_inner);
        helped.remove(run).ok_or_else(|| {
            Error::internal("the slice came without its run's papers")
                .with("run", run)
                .hint("report it")
        })
    }

    /// What a run needs that is to be kept to itself. Never keep it longer than the run.
    pub async fn lend(&self, run: &str) -> Result<Lent> {
        self.ask(&Lend { run: run.to_owned() }).await
    }

    /// The access tokens of a run's connection, while the run is this worker's.
    pub fn tokens(self: &Arc<Self>, run: &str) -> Arc<dyn AccessTokens> {
        Arc::new(RunTokens {
            remote: self.clone(),
            run: run.to_owned(),
        })
    }

    /// Leave to send requests for a run's connection, while the run is this worker's.
    pub fn permits(self: &Arc<Self>, run: &str) -> Arc<dyn Permits> {
        Arc::new(RunPermits {
            remote: self.clone(),
            run: run.to_owned(),
        })
    }

    /// What a run's connection was sent, while the run is this worker's.
    pub fn inbox(self: &Arc<Self>, run: &str) -> Arc<dyn Inbox> {
        Arc::new(RunInbox {
            remote: self.clone(),
            run: run.to_owned(),
        })
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Papers>> {
        // Each change under this lock is complete in itself, so a panic elsewhere leaves it sound.
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask<C: Call>(&self, call: &C) -> Result<C::Answer> {
        let body = office::write(&Outgoing {
            from: &self.sender,
            call,
        })?;
        let began = Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            let error = match self.carrier.carry(C::NAME, body.clone()).await {
                Ok(answer) => return read(&answer),
                Err(error) => error,
            };
            let may_pass = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout);
            if !C::IS_PATIENT || !may_pass || began.elapsed() + wait > OUTAGE_MAX {
                return Err(error);
            }
            tracing::warn!(call = C::NAME, %error, "the server cannot be reached, trying again");
            tokio::time::sleep(jittered(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

/// Between half of it and all of it, so that workers do not come back at one moment.
fn jittered(wait: Duration) -> Duration {
    let half = wait / 2;
    let drawn = uuid::Uuid::new_v4().as_u128() % (half.as_millis() + 1);
    half + Duration::from_millis(u64::try_from(drawn).unwrap_or(0))
}

fn read<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T> {
    // What is quoted by the cause may be secret.
    serde_json::from_slice(answer).map_err(|error| {
        Error::decode("the server's answer cannot be read")
            .with("line", error.line())
            .with("column", error.column())
            .hint("check that the address is weir's own, and use a worker of the server's version")
    })
}

struct RunTokens {
    remote: Arc<Remote>,
    run: String,
}

#[async_trait]
impl AccessTokens for RunTokens {
    async fn token(&self, refused: Option<&Secret>) -> Result<AccessToken> {
        let run = self.run.clone();
        let refused = refused.cloned().map(Carried);
        let Handed { token, use_for_ms } = self.remote.ask(&Token { run, refused }).await?;
        Ok(AccessToken {
            token: token.0,
            use_for: use_for_ms.map(Duration::from_millis),
        })
    }
}

struct RunPermits {
    remote: Arc<Remote>,
    run: String,
}

#[async_trait]
impl Permits for RunPermits {
    async fn draw(&self, draw: &Draw) -> Result<Drawn> {
        let (run, draw) = (self.run.clone(), draw.clone());
        self.remote.ask(&Quota { run, draw }).await
    }
}

struct RunInbox {
    remote: Arc<Remote>,
    run: String,
}

#[async_trait]
impl Inbox for RunInbox {
    async fn after(&self, place: i64, limit: u32) -> Result<Vec<hook::Received>> {
        let run = self.run.clone();
        self.remote.ask(&Received { run, place, limit }).await
    }

    async fn landed(&self, place: i64) -> Result<()> {
        let run = self.run.clone();
        self.remote.ask(&Landed { run, place }).await
    }
}

#[async_trait]
impl RunSupply for Remote {
    async fn claim(&self, runs_max: usize) -> Result<Vec<Claimed>> {
        let holding = self.kept().keys().cloned().collect();
        let assignments = self.ask(&Claim { runs_max, holding }).await?;
        let mut kept = self.kept();
        let claimed = assignments.into_iter().map(|assignment| {
            kept.insert(assignment.claimed.run.clone(), assignment.papers);
            assignment.claimed
        });
        Ok(claimed.collect())
    }

    async fn renew(&self, runs: &[String]) -> Result<Vec<(String, Held)>> {
        self.kept().retain(|run, _| runs.contains(run));
        self.ask(&Heartbeat { runs: runs.to_vec() }).await
    }

    async fn fail(&self, claimed: &Claimed, error: &Error) -> Result<()> {
        let ended = Ended {
            tenant: claimed.tenant.clone(),
            run: claimed.run.clone(),
            status: RunStatus::Failed,
            error: failure(Some(error)),
        };
        self.end(&ended).await
    }
}

#[async_trait]
impl RunLedger for Remote {
    async fn begin(&self, beginning: &Beginning) -> Result<Begun> {
        let beginning = beginning.clone();
        self.ask(&Begin { beginning }).await
    }

    async fn end(&self, ended: &Ended) -> Result<()> {
        self.ask(&Finish { ended: ended.clone() }).await
    }
}

#[async_trait]
impl StreamLedger for Remote {
    async fn renew(&self, lease: &Lease) -> Result<Renewed> {
        let lease = lease.clone();
        self.ask(&Renew { lease }).await
    }

    async fn standing(&self, lease: &Lease) -> Result<Standing> {
        let lease = lease.clone();
        self.ask(&Stand { lease }).await
    }

    async fn mode_of(&self, lease: &Lease, run: &str) -> Result<Option<SyncMode>> {
        let (lease, run) = (lease.clone(), run.to_owned());
        self.ask(&ModeOf { lease, run }).await
    }

    async fn write(&self, lease: &Lease, entry: &Entry) -> Result<()> {
        let (lease, entry) = (lease.clone(), entry.clone());
        self.ask(&Write { lease, entry }).await
    }
}

#[async_trait]
impl SliceLedger for Remote {
    async fn slices(&self, lease: &Lease, ask: &SliceAsk) -> Result<SliceAnswer> {
        let (lease, ask) = (lease.clone(), ask.clone());
        self.ask(&Slices { lease, ask }).await
    }
}

#[async_trait]
impl SliceSupply for Remote {
    async fn claim(&self, run: Option<&str>, slices_max: usize) -> Result<Vec<ClaimedSlice>> {
        let run = run.map(str::to_owned);
        let assignments = self.ask(&ClaimSlices { run, slices_max }).await?;
        let mut helped = self.helped.lock().unwrap_or_else(PoisonError::into_inner);
        let claimed = assignments.into_iter().map(|assignment| {
            if let Some(papers) = assignment.papers {
                helped.insert(assignment.slice.run.run.clone(), papers);
            }
            assignment.slice
        });
        Ok(claimed.collect())
    }

    async fn renew(&self, held: &[HeldSlice]) -> Result<Vec<String>> {
        self.ask(&RenewSlices { held: held.to_vec() }).await
    }

    async fn report(&self, id: &str, attempt: i64, end: SliceEnd) -> Result<()> {
        let id = id.to_owned();
        self.ask(&ReportSlice { id, attempt, end }).await
    }
}
