//! Asks connections whether they answer now, politely: not all at once, and not again and again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use weir_protocol::{Error, Result};

use super::Health;
use crate::runs::Failure;
use crate::{Connection, Store, connections};

/// So long is waited for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// So long an answer counts for whoever asks next.
const FRESH: Duration = Duration::from_secs(30);
/// So many connections are asked at the same time.
const AT_ONCE: usize = 8;

/// Whether a connection's outside system answers and takes its credential.
#[async_trait]
pub trait Check: Send + Sync {
    async fn check(&self, connection: &Connection) -> Result<()>;
}

/// What a connection said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probed {
    pub connection: String,
    pub connector: String,
    pub status: Health,
    pub checked_at_ms: i64,
    pub error: Option<Failure>,
}

type Answers = HashMap<(String, String), (Instant, Probed)>;

/// Asks, and remembers the answers for a while.
#[derive(Clone)]
pub struct Prober {
    check: Arc<dyn Check>,
    answers: Arc<Mutex<Answers>>,
}

impl Prober {
    pub fn new(check: Arc<dyn Check>) -> Self {
        Self {
            check,
            answers: Arc::default(),
        }
    }

    /// How all connections of a tenant are now. Others who ask meanwhile wait for the same answers.
    pub async fn probe(&self, store: &Store, tenant: &str) -> Result<Vec<Probed>> {
        let known = connections::list(store, tenant).await?;
        let now_ms = store.now_ms().await?;
        let mut answers = self.answers.lock().await;
        answers.retain(|_, (at, _)| at.elapsed() < FRESH);
        let stale: Vec<Connection> = known
            .iter()
            .filter(|connection| !answers.contains_key(&key(connection)))
            .cloned()
            .collect();
        let asked: Vec<(Connection, Probed)> = stream::iter(stale)
            .map(|connection| self.ask(connection, now_ms))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (connection, probed) in asked {
            answers.insert(key(&connection), (Instant::now(), probed));
        }
        let answer =
            |connection: &Connection| answers.get(&key(connection)).map(|(_, probed)| probed.clone());
        Ok(known.iter().filter_map(answer).collect())
    }

    async fn ask(&self, connection: Connection, now_ms: i64) -> (Connection, Probed) {
        let answer = timeout(ANSWER_MAX, self.check.check(&connection)).await;
        let error = answer.unwrap_or_else(|_| {
            Err(
                Error::timeout(format!("no answer within {} seconds", ANSWER_MAX.as_secs()))
                    .hint("check that the outside system can be reached from here"),
            )
        });
        let failure = error.err().map(|error| Failure {
            kind: error.kind().to_string(),
            message: error.message().to_owned(),
            hint: error.next_step().map(ToOwned::to_owned),
        });
        let probed = Probed {
            connection: connection.name.clone(),
            connector: connection.connector.clone(),
            status: failure.as_ref().map_or(Health::Ok, |_| Health::Error),
            checked_at_ms: now_ms,
            error: failure,
        };
        (connection, probed)
    }
}

fn key(connection: &Connection) -> (String, String) {
    (connection.tenant.clone(), connection.name.clone())
}
