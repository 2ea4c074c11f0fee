//! The side of a server: checks who calls and for what, and answers from the store.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_protocol::hook::{self, Inbox as _};
use weir_protocol::oauth::AccessToken;
use weir_protocol::permits::{Drawn, Permits as _};
use weir_protocol::{Error, ErrorKind, Result, Secret};

use super::calls::{
    Asked, Assignment, Begin, Call, Carried, Claim, ClaimSlices, Finish, Handed, Heartbeat, Hello, Incoming,
    Landed, Lend, Lent, ModeOf, Papers, Quota, Received, Renew, RenewSlices, ReportSlice, SliceAssignment,
    Slices, Stand, Token, Welcome, Write,
};
use super::{PROTOCOL, Sender};
use crate::audit::{self, Record};
use crate::clocks;
use crate::hooks::StoredInbox;
use crate::leases::{self, Lease, lease_ms};
use crate::ledger::{Beginning, Begun, RunLedger, StreamLedger};
use crate::permits::{ConnectionPermits, Urgency};
use crate::principals::{Access, Permission, may};
use crate::runs::queue::{self, Claimed, Held};
use crate::runs::{Begin as How, RunStatus};
use crate::slices::{self, SliceEnd, SliceLedger as _};
use crate::workers::{self, Identity};
use crate::{Acting, Store};

/// Runs that one call takes at most.
const RUNS_MAX: usize = 64;

/// What runs are made of: the project's files and the keepers of secrets, which a server has.
#[async_trait]
pub trait Supplies: Send + Sync {
    async fn papers(&self, claimed: &Claimed) -> Result<Papers>;

    /// The connection's settings and credential as they are at this moment. Whoever reads a secret for
    /// it notes that as done by `acting`.
    async fn lend(&self, claimed: &Claimed, acting: Acting) -> Result<Lent>;

    /// An access token of the connection's grant, another one than `refused`.
    async fn token(&self, claimed: &Claimed, acting: Acting, refused: Option<&Secret>)
    -> Result<AccessToken>;
}

/// Answers workers.
#[derive(Clone)]
pub struct Office {
    store: Store,
    supplies: Arc<dyn Supplies>,
}

/// A worker whose right to call was checked.
struct Worker<'a> {
    access: &'a Access,
    identity: Identity,
}

impl Worker<'_> {
    fn tenant(&self) -> &str {
        &self.access.tenant
    }

    fn id(&self) -> &str {
        &self.identity.id
    }

    fn acting(&self, claimed: &Claimed) -> Acting {
        self.access.acting(Some(&claimed.run))
    }
}

impl Office {
    pub fn new(store: Store, supplies: Arc<dyn Supplies>) -> Self {
        Self { store, supplies }
    }

    /// Answers one call of whoever showed the right token.
    pub async fn answer(&self, access: &Access, call: &str, body: &[u8]) -> Result<Vec<u8>> {
        may(access, Permission::WorkersWrite)?;
        let Incoming { from } = read(body)?;
        from.check()?;
        let worker = &Worker {
            access,
            identity: identity(access, &from),
        };
        match call {
            Hello::NAME => write(&self.hello(worker).await?),
            Claim::NAME => write(&self.claim(worker, asked(body)?).await?),
            Heartbeat::NAME => write(&self.heartbeat(worker, asked(body)?).await?),
            Begin::NAME => write(&self.begin(worker, asked(body)?).await?),
            Renew::NAME => {
                let Renew { lease } = asked(body)?;
                write(&self.store.renew(&self.own(worker, lease).await?).await?)
            }
            Stand::NAME => {
                let Stand { lease } = asked(body)?;
                let lease = self.own(worker, lease).await?;
                leases::refuse_lost(&self.store, &lease).await?;
                write(&self.store.standing(&lease).await?)
            }
            ModeOf::NAME => {
                let ModeOf { lease, run } = asked(body)?;
                let lease = self.own(worker, lease).await?;
                write(&self.store.mode_of(&lease, &run).await?)
            }
            Write::NAME => {
                let Write { lease, entry } = asked(body)?;
                let lease = self.own(worker, lease).await?;
                write(&StreamLedger::write(&self.store, &lease, &entry).await?)
            }
            Finish::NAME => write(&self.finish(worker, asked(body)?).await?),
            Lend::NAME => write(&self.lend(worker, asked(body)?).await?),
            Token::NAME => write(&self.token(worker, asked(body)?).await?),
            Quota::NAME => write(&self.quota(worker, asked(body)?).await?),
            Received::NAME => write(&self.received(worker, asked(body)?).await?),
            Landed::NAME => write(&self.landed(worker, asked(body)?).await?),
            Slices::NAME => {
                let Slices { lease, ask } = asked(body)?;
                let lease = self.own(worker, lease).await?;
                write(&self.store.slices(&lease, &ask).await?)
            }
            ClaimSlices::NAME => write(&self.claim_slices(worker, asked(body)?).await?),
            RenewSlices::NAME => {
                let RenewSlices { held } = asked(body)?;
                write(&slices::renew(&self.store, worker.id(), &held).await?)
            }
            ReportSlice::NAME => {
                let ReportSlice { id, attempt, end } = asked(body)?;
                write(&slices::report(&self.store, worker.id(), (&id, attempt), &end).await?)
            }
            unknown => Err(Error::not_found(format!("workers cannot call '{unknown}'"))
                .hint("upgrade the server to the worker's version")),
        }
    }

    async fn hello(&self, worker: &Worker<'_>) -> Result<Welcome> {
        workers::heard(&self.store, &worker.identity).await?;
        Ok(Welcome {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tenant: worker.tenant().to_owned(),
            now_ms: Some(clocks::now_ms()),
        })
    }

    async fn claim(&self, worker: &Worker<'_>, call: Claim) -> Result<Vec<Assignment>> {
        let runs_max = call.runs_max.min(RUNS_MAX);
        let (tenant, id) = (worker.tenant(), worker.id());
        let mut claimed = queue::unheard(&self.store, tenant, id, &call.holding).await?;
        claimed.truncate(runs_max);
        let more = runs_max - claimed.len();
        // A server that could not supply the run leaves it to one that can.
        if more > 0 && self.store.fit().is_ok() {
            claimed.extend(queue::claim(&self.store, id, Some(tenant), more).await?);
        }
        let mut assignments = Vec::with_capacity(claimed.len());
        for claimed in claimed {
            match self.supplies.papers(&claimed).await {
                Ok(papers) => assignments.push(Assignment {
                    claimed,
                    lease_ms: lease_ms(),
                    papers,
                }),
                // Nobody can carry it out as it stands.
                Err(error) => {
                    tracing::error!(run = claimed.run, connection = claimed.connection, %error, "run failed");
                    queue::end(&self.store, &claimed, Err(&error)).await?;
                }
            }
        }
        Ok(assignments)
    }

    async fn claim_slices(&self, worker: &Worker<'_>, call: ClaimSlices) -> Result<Vec<SliceAssignment>> {
        let ClaimSlices { run, slices_max } = call;
        let (tenant, id) = (worker.tenant(), worker.id());
        if run.is_none() && self.store.fit().is_err() {
            return Ok(Vec::new());
        }
        let claimed = slices::claim(&self.store, id, Some(tenant), run.as_deref(), slices_max).await?;
        let mut assignments = Vec::with_capacity(claimed.len());
        for slice in claimed {
            let papers = match run {
                Some(_) => None,
                None => match self.supplies.papers(&slice.run).await {
                    Ok(papers) => Some(papers),
                    Err(error) => {
                        let end = SliceEnd::Failed(error.to_string());
                        slices::report(&self.store, id, (&slice.id, slice.attempt), &end).await?;
                        return Err(error);
                    }
                },
            };
            assignments.push(SliceAssignment { slice, papers });
        }
        Ok(assignments)
    }

    /// The run that a worker reads for at this moment: one of its own, or one that it helps.
    async fn read_for(&self, worker: &Worker<'_>, run: &str) -> Result<Claimed> {
        match queue::held_by(&self.store, worker.tenant(), worker.id(), run).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let helped = slices::helped(&self.store, worker.tenant(), worker.id(), run).await?;
                helped.ok_or(error)
            }
            held => held,
        }
    }

    async fn heartbeat(&self, worker: &Worker<'_>, call: Heartbeat) -> Result<Vec<(String, Held)>> {
        workers::heard(&self.store, &worker.identity).await?;
        if call.runs.is_empty() {
            return Ok(Vec::new());
        }
        queue::renew(&self.store, worker.id(), &call.runs).await
    }

    async fn begin(&self, worker: &Worker<'_>, call: Begin) -> Result<Begun> {
        let Beginning {
            connection, begin, ..
        } = &call.beginning;
        let How::Claimed(run) = begin else {
            return Err(Error::denied("a worker begins runs of the queue only")
                .hint("queue the run: `POST /api/v1/runs`"));
        };
        let claimed = queue::held_by(&self.store, worker.tenant(), worker.id(), run).await?;
        if connection.tenant != claimed.tenant || connection.name != claimed.connection {
            return Err(Error::denied("the run is another connection's")
                .with("run", run)
                .with("connection", &claimed.connection)
                .hint("report it"));
        }
        RunLedger::begin(&self.store, &call.beginning).await
    }

    /// The lease, if its run is this worker's. That it is held still, each write proves itself.
    async fn own(&self, worker: &Worker<'_>, lease: Lease) -> Result<Lease> {
        let lease = Lease {
            tenant: worker.tenant().to_owned(),
            ..lease
        };
        queue::refuse_others(&self.store, worker.tenant(), worker.id(), &lease.run).await?;
        Ok(lease)
    }

    async fn finish(&self, worker: &Worker<'_>, call: Finish) -> Result<()> {
        let mut ended = call.ended;
        queue::refuse_others(&self.store, worker.tenant(), worker.id(), &ended.run).await?;
        worker.tenant().clone_into(&mut ended.tenant);
        if !ended.status.is_final() || ended.status == RunStatus::Abandoned {
            return Err(Error::usage(format!("a run does not end as {}", ended.status))
                .with("run", &ended.run)
                .hint("report it"));
        }
        self.store.end(&ended).await
    }

    async fn lend(&self, worker: &Worker<'_>, call: Lend) -> Result<Lent> {
        let claimed = self.read_for(worker, &call.run).await?;
        let acting = worker.acting(&claimed);
        let lent = self.supplies.lend(&claimed, acting.clone()).await?;
        self.note_lent(worker, &claimed, acting, lent.names()).await?;
        Ok(lent)
    }

    async fn token(&self, worker: &Worker<'_>, call: Token) -> Result<Handed> {
        let claimed = self.read_for(worker, &call.run).await?;
        let acting = worker.acting(&claimed);
        let refused = call.refused.as_ref().map(|Carried(token)| token);
        let given = self.supplies.token(&claimed, acting.clone(), refused).await?;
        self.note_lent(worker, &claimed, acting, vec!["access_token".to_owned()])
            .await?;
        Ok(Handed {
            token: Carried(given.token),
            use_for_ms: given
                .use_for
                .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        })
    }

    async fn note_lent(
        &self,
        worker: &Worker<'_>,
        claimed: &Claimed,
        acting: Acting,
        names: Vec<String>,
    ) -> Result<()> {
        // The run may have been taken away meanwhile.
        self.read_for(worker, &claimed.run).await?;
        let subject = format!("connection:{}", claimed.connection);
        let record = Record::new(worker.tenant(), "secret.lend", subject)
            .with("worker", worker.id())
            .with("secrets", names);
        audit::append(&self.store.acting_as(acting), &record).await
    }

    async fn quota(&self, worker: &Worker<'_>, call: Quota) -> Result<Drawn> {
        let claimed = self.read_for(worker, &call.run).await?;
        ConnectionPermits::new(&self.store, worker.tenant(), &claimed.connection, Urgency::Sync)
            .draw(&call.draw)
            .await
    }

    async fn received(&self, worker: &Worker<'_>, call: Received) -> Result<Vec<hook::Received>> {
        self.inbox(worker, &call.run)
            .await?
            .after(call.place, call.limit)
            .await
    }

    async fn landed(&self, worker: &Worker<'_>, call: Landed) -> Result<()> {
        self.inbox(worker, &call.run).await?.landed(call.place).await
    }

    async fn inbox(&self, worker: &Worker<'_>, run: &str) -> Result<StoredInbox> {
        let claimed = queue::held_by(&self.store, worker.tenant(), worker.id(), run).await?;
        Ok(StoredInbox::new(
            &self.store,
            worker.tenant(),
            &claimed.connection,
        ))
    }
}

/// The worker as runs name it. Whoever shows another token is another worker.
fn identity(access: &Access, from: &Sender) -> Identity {
    Identity {
        id: format!("{}/{}/{}", access.principal, from.name, from.session),
        tenant: access.tenant.clone(),
        name: from.name.clone(),
        principal: Some(access.principal.clone()),
        version: from.version.clone(),
    }
}

fn asked<C: Call>(body: &[u8]) -> Result<C> {
    let Asked { call } = read(body)?;
    Ok(call)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    // What is quoted by the cause may be secret.
    serde_json::from_slice(body).map_err(|error| {
        Error::usage("the worker's call cannot be read")
            .with("line", error.line())
            .with("column", error.column())
            .hint("use a worker of the server's version")
    })
}

pub(super) fn write<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| {
        Error::internal("what is said to the other side cannot be written")
            .caused_by(error)
            .hint("report it")
    })
}
