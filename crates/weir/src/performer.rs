//! Carries out what a worker took from the queue, with the project's files as they are now.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use weir_control::permits::Urgency;
use weir_control::runs::Begin;
use weir_control::runs::queue::Claimed;
use weir_control::slices::{Helper, Sharing, Tools};
use weir_control::sync::Silent;
use weir_control::worker::Performer;
use weir_control::{Acting, DEFAULT_TENANT, Owner, Store, SyncOptions, SyncOutcome, SyncPlan, schedules};
use weir_lake::Lake;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, ErrorKind, Result};

use crate::commands::Context;
use crate::supplies::refuse_without_files;
use crate::wiring::{Wiring, chosen_streams, registered};
use crate::writers::refuse_shared;

pub(crate) struct ProjectPerformer {
    context: Arc<Context>,
    store: Store,
    memory_bytes: u64,
    hung_after: Duration,
}

impl ProjectPerformer {
    /// `memory_bytes` is what each run may hold.
    pub(crate) fn new(context: Arc<Context>, store: Store, memory_bytes: u64, hung_after: Duration) -> Self {
        Self {
            context,
            store,
            memory_bytes,
            hung_after,
        }
    }

    /// What is read for a run is noted as read for it.
    fn acting(&self, run: &str) -> Acting {
        Acting {
            correlation_id: Some(run.to_owned()),
            ..self.store.acting().clone()
        }
    }

    async fn plan(&self, claimed: &Claimed, cancel: CancellationToken) -> Result<SyncPlan> {
        refuse_without_files(claimed)?;
        // Opened anew each time, so that an edited file counts from the next run on.
        let wiring = Wiring::open(&self.context)?.over(self.store.acting_as(self.acting(&claimed.run)));
        let connection = wiring.connection(&claimed.connection)?;
        let wiring = wiring
            .within(self.memory_bytes)
            .with_production(&connection.connector)
            .await?;
        let source = wiring.source_for(&connection, Urgency::Sync).await?;
        let asked = &claimed.options;
        let streams = chosen_streams(source.as_ref(), &connection, &asked.streams).await?;
        refuse_shared(&wiring.project, &wiring.catalog, &connection, &streams)?;
        let lake = Arc::new(wiring.lake()?);
        Ok(SyncPlan {
            connection: registered(&connection),
            source,
            destination: lake.clone(),
            streams,
            options: SyncOptions {
                full: asked.full,
                from: asked.from.clone(),
                to: asked.to.clone(),
                memory_bytes: self.memory_bytes,
                hung_after: self.hung_after,
                ..SyncOptions::default()
            },
            begin: Begin::Claimed(claimed.run.clone()),
            owner: Owner::this_process(),
            cancel,
            observer: Arc::new(Silent),
            sharing: Some(sharing(&connection, lake)),
        })
    }
}

/// Other workers that the connection's file allows to read its slices; none where it does not say.
pub(crate) fn sharing(connection: &ConnectionSpec, lake: Arc<Lake>) -> Sharing {
    let workers = connection.workers.map_or(1, |workers| u32::from(workers.get()));
    Sharing {
        workers,
        spools: lake,
    }
}

#[async_trait]
impl Helper for ProjectPerformer {
    async fn tools(&self, run: &Claimed) -> Result<Tools> {
        refuse_without_files(run)?;
        let wiring = Wiring::open(&self.context)?.over(self.store.acting_as(self.acting(&run.run)));
        let connection = wiring.connection(&run.connection)?;
        let wiring = wiring
            .within(self.memory_bytes)
            .with_production(&connection.connector)
            .await?;
        Ok(Tools {
            source: wiring.source_for(&connection, Urgency::Sync).await?,
            spools: Arc::new(wiring.lake()?),
            hung_after: self.hung_after,
        })
    }
}

#[async_trait]
impl Performer for ProjectPerformer {
    async fn perform(&self, claimed: &Claimed, cancel: CancellationToken) -> Result<()> {
        let plan = self.plan(claimed, cancel).await?;
        let outcome = Box::pin(weir_control::sync(&self.store, plan)).await?;
        log_failures(&outcome);
        Ok(())
    }
}

pub(crate) fn log_failures(outcome: &SyncOutcome) {
    for stream in &outcome.streams {
        if let Some(error) = &stream.error {
            tracing::error!(run = outcome.run, stream = stream.stream, %error, "stream failed");
        }
    }
}

/// What became of the schedules that the connections' files ask for.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Connections that have one.
    pub(crate) scheduled: usize,
    /// Connections whose schedule stays as it was, and why.
    pub(crate) refused: Vec<(String, Error)>,
}

impl Taken {
    /// Fails where a file was refused; the reasons are told already.
    pub(crate) fn all(&self) -> Result<()> {
        let names: Vec<&str> = self.refused.iter().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("the schedules of {} connections stay as they were", names.len()),
        )
        .with("connections", names.join(", "))
        .hint("mend their files: `weir validate` shows each mistake"))
    }
}

/// Makes the schedules in the store what the connections' files say. A file that cannot be read
/// keeps the schedule it had, and does not keep the others from theirs.
pub(crate) async fn take_schedules(wiring: &Wiring, store: &Store) -> Result<Taken> {
    let mut all = Taken::default();
    let files = wiring.project.connection_files()?;
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    schedules::keep_only(store, DEFAULT_TENANT, &names).await?;
    for (name, _) in files {
        let taken = match wiring.connection(&name) {
            Ok(spec) => {
                all.scheduled += usize::from(spec.schedule.is_some());
                schedules::put(store, &registered(&spec), spec.schedule.as_ref()).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            let next = error.next_step().unwrap_or_default();
            tracing::warn!(connection = name, %error, next, "its schedule stays as it was");
            all.refused.push((name, error));
        }
    }
    Ok(all)
}
