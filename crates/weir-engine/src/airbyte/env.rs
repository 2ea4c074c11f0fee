//! What all components of one read share: settings, time, the way to the outside, secrets.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::OnceCell;
use weir_protocol::spec::{Backoff, Breaker, Reliability};
use weir_protocol::{Error, Result, Secret};

use super::auth::{Auth, Unsigned};
use super::live::{Live, OnSettings};
use super::node::Node;
use super::request::Budget;
use super::source::Configured;
use super::template::Scope;
use super::time::Moment;
use super::turns::Turns;
use crate::clock::Clock;
use crate::http::{Answer, Client, ClientSettings, Patience, Transport};

/// Bytes of answers that are kept for streams which read the same parent.
const CACHE_BYTES_MAX: usize = 64 << 20;
/// Tries where an error handler says nothing, the first one included.
const ATTEMPTS: u32 = 6;

type Cached = Arc<OnceCell<Answer>>;

pub(crate) struct Env {
    pub(crate) config: Arc<Value>,
    pub(crate) clock: Clock,
    settings: ClientSettings,
    /// By the timeouts that requesters declare; most declare none.
    transports: Mutex<HashMap<Timeouts, Arc<Transport>>>,
    secrets: Arc<RwLock<Vec<Secret>>>,
    cache: Mutex<(HashMap<String, Cached>, usize)>,
    /// Authenticators by what they are made from, so that each fetches its token once.
    pub(crate) auths: Mutex<HashMap<String, Arc<Auth>>>,
    pub(crate) budget: Option<Arc<Budget>>,
    /// Streams that others name as their parent: their answers are kept.
    pub(crate) parents: Vec<String>,
    /// The manifest's folder, for schemas that lie in files.
    folder: Option<PathBuf>,
    /// What a reader's catalog says of streams.
    pub(crate) catalog: BTreeMap<String, Configured>,
    /// The settings as authenticators have changed them since.
    pub(crate) live: Live,
    pub(crate) turns: Turns,
}

/// How long a requester waits for a connection, and for more of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Timeouts {
    connect: Option<Duration>,
    read: Option<Duration>,
}

impl Timeouts {
    /// Those of the connection.
    pub(crate) const NONE: Self = Self {
        connect: None,
        read: None,
    };

    pub(crate) fn new(node: &Node<'_>) -> Result<Self> {
        let span = |field: &str| -> Result<Option<Duration>> {
            let Some(given) = node.get(field) else {
                return Ok(None);
            };
            let seconds = given.value.as_f64().filter(|seconds| *seconds > 0.0);
            let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            span.map(Some)
                .ok_or_else(|| given.error(format!("{field} must be a number of seconds above 0")))
        };
        Ok(Self {
            connect: span("connect_timeout_in_seconds")?,
            read: span("read_timeout_in_seconds")?,
        })
    }

    fn apply(self, patience: &mut Patience) {
        if let Some(connect) = self.connect {
            patience.connect_timeout = connect;
        }
        if let Some(read) = self.read {
            patience.idle_timeout = read;
            patience.answer_timeout = Some(read + patience.connect_timeout);
            patience.timeout = patience.timeout.max(read);
        }
    }
}

/// What an [`Env`] is made from.
pub(crate) struct EnvParts {
    pub(crate) config: Arc<Value>,
    pub(crate) clock: Clock,
    pub(crate) settings: ClientSettings,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) budget: Option<Arc<Budget>>,
    pub(crate) parents: Vec<String>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) catalog: BTreeMap<String, Configured>,
    pub(crate) on_settings: Option<OnSettings>,
    pub(crate) turns: Turns,
}

impl Env {
    pub(crate) fn new(parts: EnvParts) -> Self {
        Self {
            live: Live::new(&parts.config, parts.on_settings),
            turns: parts.turns,
            catalog: parts.catalog,
            config: parts.config,
            clock: parts.clock,
            transports: Mutex::default(),
            settings: parts.settings,
            secrets: Arc::new(RwLock::new(parts.secrets)),
            cache: Mutex::default(),
            auths: Mutex::default(),
            budget: parts.budget,
            parents: parts.parents,
            folder: parts.folder,
        }
    }

    /// A schema beside the manifest; the empty one where there is no such file.
    pub(crate) fn schema_file(&self, path: &Path) -> Result<Value> {
        let Some(folder) = &self.folder else {
            return Ok(json!({}));
        };
        // Paths are written from above the connector's package; only what lies in the folder is read.
        let parts: Vec<Component<'_>> = path
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        for skipped in 0..parts.len() {
            let below: PathBuf = parts.iter().skip(skipped).collect();
            let Ok(text) = std::fs::read_to_string(folder.join(&below)) else {
                continue;
            };
            return serde_json::from_str(&text).map_err(|error| {
                Error::spec(format!("{} is not JSON", below.display()))
                    .caused_by(error)
                    .hint("mend the schema file")
            });
        }
        tracing::warn!(path = %path.display(), "there is no such schema file; the schema is left open");
        Ok(json!({}))
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::of(self.clock.now())
    }

    /// What all waits go by.
    pub(crate) fn timer(&self) -> &dyn crate::http::Clock {
        self.settings.clock.as_ref()
    }

    /// The longest wait that is still waited for.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.settings.patience.longest_wait()
    }

    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope::new(self.now(), &self.config)
    }

    pub(crate) fn response_bytes_max(&self) -> u64 {
        self.settings.patience.response_max_bytes
    }

    /// From now on blotted out of every message.
    pub(crate) fn hide(&self, secret: &str) {
        if secret.len() >= 4 {
            let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
            secrets.push(Secret::new(secret.to_owned()));
        }
    }

    /// A client of its own patience over the one transport.
    pub(crate) fn client(&self, attempts: Option<u32>, timeouts: Timeouts) -> Result<Client> {
        let mut settings = self.settings.clone();
        settings.patience.attempts = attempts.unwrap_or(ATTEMPTS).max(1);
        timeouts.apply(&mut settings.patience);
        let mut transports = self.transports.lock().unwrap_or_else(PoisonError::into_inner);
        let transport = match transports.get(&timeouts) {
            Some(known) => known.clone(),
            None => {
                let made = Transport::new(&settings)?;
                transports.insert(timeouts, made.clone());
                made
            }
        };
        let unsigned = Unsigned(self.secrets.clone());
        Ok(Client::new(&settings, transport, Arc::new(unsigned)))
    }

    /// The place of an answer among those that are kept; none once they are too many.
    pub(crate) fn cached(&self, key: String) -> Option<Cached> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.1 > CACHE_BYTES_MAX && !cache.0.contains_key(&key) {
            return None;
        }
        Some(cache.0.entry(key).or_default().clone())
    }

    pub(crate) fn count_cached(&self, bytes: usize) {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).1 += bytes;
    }
}

/// How patient a manifest's requests are unless its error handlers say otherwise.
pub(crate) fn patience(
    reliability: &Reliability,
    defaults: &crate::http::ReliabilityDefaults,
) -> Result<Patience> {
    let given = reliability.clone();
    let mut patience = Patience::resolve(&Reliability::default(), &given, defaults)?;
    if given.retry.is_none() {
        patience.backoff = Backoff::Exponential;
        patience.base_delay = Duration::from_secs(1);
        patience.max_delay = Duration::from_secs(60);
        // Manifests bound the tries of each request, not their share.
        patience.budget = 1.0;
    }
    if given.timeout.is_none() {
        patience.timeout = patience.timeout.max(Duration::from_secs(300));
        patience.idle_timeout = Duration::from_secs(60);
    }
    if given.breaker.is_none() {
        patience.breaker = Breaker {
            failures: u32::MAX,
            ..Breaker::default()
        };
    }
    if given.concurrency.is_none() {
        patience.concurrency = 16;
    }
    Ok(patience)
}
