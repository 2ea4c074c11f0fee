//! Who knows the messages of the project's connections, with their files as they are now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use weir_control::hooks::Receivers;
use weir_control::{DEFAULT_TENANT, Store};
use weir_protocol::hook::Receiver;
use weir_protocol::{Error, ErrorKind, Result};

use crate::commands::Context;
use crate::wiring::Wiring;

/// Files and secrets are looked at again after so long.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// Connections whose receivers are kept; more are made anew for each message.
const KEPT_MAX: usize = 1_000;

/// When it was made, and what; or why not: nobody without a token makes the files be read again and again.
type Kept = (Instant, Made);
type Made = std::result::Result<Arc<dyn Receiver>, ErrorKind>;

pub(crate) struct ProjectReceivers {
    context: Arc<Context>,
    store: Store,
    kept: Mutex<BTreeMap<String, Kept>>,
}

impl ProjectReceivers {
    pub(crate) fn new(context: Arc<Context>, store: Store) -> Self {
        Self {
            context,
            store,
            kept: Mutex::default(),
        }
    }

    fn kept(&self, connection: &str) -> Option<Made> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (made_at, made) = kept.get(connection)?;
        (made_at.elapsed() < KEPT_FOR).then(|| made.clone())
    }

    fn keep(&self, connection: &str, made: Made) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (made_at, _)| made_at.elapsed() < KEPT_FOR);
        if kept.len() < KEPT_MAX {
            kept.insert(connection.to_owned(), (Instant::now(), made));
        }
    }

    async fn make(&self, connection: &str) -> Result<Arc<dyn Receiver>> {
        let wiring = Wiring::open(&self.context)?.over(self.store.clone());
        let spec = wiring.connection(connection)?;
        let wiring = wiring.with_production(&spec.connector).await?;
        let connector = wiring.connector(&spec)?;
        if connector.spec.hook.is_none() {
            return Err(receives_nothing(connection));
        }
        let resolved = wiring.resolved(&spec).await?;
        let made = crate::engine::receiver(connector, &resolved)?;
        Ok(Arc::new(made.ok_or_else(|| receives_nothing(connection))?))
    }
}

#[async_trait]
impl Receivers for ProjectReceivers {
    async fn receiver(&self, tenant: &str, connection: &str) -> Result<Arc<dyn Receiver>> {
        if tenant != DEFAULT_TENANT {
            return Err(receives_nothing(connection));
        }
        if let Some(kept) = self.kept(connection) {
            return kept.map_err(|kind| {
                Error::new(kind, format!("connection '{connection}' cannot receive"))
                    .hint("the log said why a moment ago")
            });
        }
        let made = self.make(connection).await;
        self.keep(connection, made.as_ref().map(Clone::clone).map_err(Error::kind));
        made
    }
}

fn receives_nothing(connection: &str) -> Error {
    Error::not_found(format!("connection '{connection}' receives no messages"))
        .hint("use a connection whose connector declares `hook`")
}
