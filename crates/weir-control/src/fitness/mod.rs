//! Whether a server may take new work: its store has to be one that it understands, with secrets that it can read. Both
//! can change while it runs: another server migrates the store, or somebody exchanges the master key. Work that it took
//! then would fail, and a run that fails for its configuration is not tried again; so it waits for a server that can.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_protocol::{Error, ErrorKind, Result};

use crate::Store;
use crate::secrets::{self, Vault};

/// So often the master key is asked for though the secrets need no other than before: its file may be another one now,
/// and a command that gives it is no cheap one.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What the last look found; nothing where all is well, or nobody looks.
#[derive(Debug, Default)]
pub(crate) struct Fitness(Mutex<Option<Unfit>>);

/// An error that can be told to everybody who asks.
#[derive(Debug, Clone)]
struct Unfit {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    next_step: String,
}

impl Unfit {
    fn new(error: &Error) -> Self {
        Self {
            kind: error.kind(),
            message: error.message().to_owned(),
            context: error.context().to_vec(),
            next_step: error.next_step().unwrap_or_default().to_owned(),
        }
    }

    fn error(self) -> Error {
        let error = Error::new(self.kind, self.message).hint(self.next_step);
        self.context
            .into_iter()
            .fold(error, |error, (key, value)| error.with(key, value))
    }
}

impl Fitness {
    fn last(&self) -> MutexGuard<'_, Option<Unfit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a look found, and tells it where it is another than before.
    fn found(&self, refusal: Option<&Error>) {
        let before = std::mem::replace(&mut *self.last(), refusal.map(Unfit::new));
        match (before, refusal) {
            (None, Some(error)) => {
                let next = error.next_step().unwrap_or_default();
                tracing::error!(%error, next, "this server takes no new work");
            }
            (Some(_), None) => tracing::info!("this server takes new work again"),
            _ => {}
        }
    }
}

impl Store {
    /// Refuses where the last look found that this server is not to take new work.
    pub fn fit(&self) -> Result<()> {
        let unfit = self.fitness().last().clone();
        unfit.map_or(Ok(()), |unfit| Err(unfit.error()))
    }
}

/// Refuses to serve a store that a newer weir made, or whose secrets the master key at hand does not open.
pub async fn require(store: &Store, tenant: &str, vault: &dyn Vault) -> Result<()> {
    Look::default()
        .again(store, tenant, vault)
        .await?
        .map_or(Ok(()), Err)
}

/// Looks again and again until `stop` is called. A server that is not fit goes on with what it has, and is fit again
/// once nothing is wrong any more.
pub async fn keep(
    store: Store,
    tenant: String,
    vault: Arc<dyn Vault>,
    every: Duration,
    stop: CancellationToken,
) {
    let mut look = Look::default();
    loop {
        if tokio::time::timeout(every, stop.cancelled()).await.is_ok() {
            return;
        }
        let looked = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            looked = look.again(&store, &tenant, vault.as_ref()) => looked,
        };
        match looked {
            Ok(refusal) => store.fitness().found(refusal.as_ref()),
            // What was known before is known still.
            Err(error) => tracing::error!(%error, "cannot look whether new work may be taken"),
        }
    }
}

/// One look after another.
#[derive(Debug, Default)]
struct Look {
    /// The keys that the secrets needed when they could last be read, and when that was.
    opened: Option<(Vec<String>, Instant)>,
}

impl Look {
    /// What keeps the server from new work. An error: it cannot be told.
    async fn again(&mut self, store: &Store, tenant: &str, vault: &dyn Vault) -> Result<Option<Error>> {
        if let Some(newer) = store.newer().await? {
            return Ok(Some(newer));
        }
        let needed = secrets::needed_keys(store, tenant).await?;
        // Without secrets nothing needs a key, and none is made.
        if needed.is_empty() {
            return Ok(None);
        }
        if let Some((known, at)) = &self.opened
            && *known == needed
            && at.elapsed() < ASK_AGAIN
        {
            return Ok(None);
        }
        match vault.open(store, tenant).await {
            Ok(_) => {
                self.opened = Some((needed, Instant::now()));
                Ok(None)
            }
            Err(error) => {
                self.opened = None;
                Ok(Some(error))
            }
        }
    }
}
