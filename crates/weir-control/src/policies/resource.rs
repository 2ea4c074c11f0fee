//! What a request is about, as policies see it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::spec::Effect;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, ErrorKind, Result};

use crate::{Store, alerts, backfills, bundles, calls, connections, events, runs};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// All that a tenant has: what lists and new things are asked of.
    Tenant,
    Connector,
    Connection,
    Stream,
    /// Calls of an action, named `connection/action`.
    Call,
    Run,
    Secret,
    Token,
    /// Whatever else has a name: its kind stands before it, as in `webhooks/audit`.
    Thing,
}

impl ResourceKind {
    pub const ALL: [Self; 9] = [
        Self::Tenant,
        Self::Connector,
        Self::Connection,
        Self::Stream,
        Self::Call,
        Self::Run,
        Self::Secret,
        Self::Token,
        Self::Thing,
    ];

    /// As Cedar names its type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "Tenant",
            Self::Connector => "Connector",
            Self::Connection => "Connection",
            Self::Stream => "Stream",
            Self::Call => "Call",
            Self::Run => "Run",
            Self::Secret => "Secret",
            Self::Token => "Token",
            Self::Thing => "Thing",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ResourceKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str);
            let error = Error::usage(format!("policies know no kind of resource '{text}'"));
            match closest(text, &names) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint(format!("use one of {}", names.join(", "))),
            }
        })
    }
}

/// What a route names, before anything is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    Tenant,
    Connector(String),
    Connection(String),
    Stream(String, String),
    Action {
        connection: String,
        action: String,
        effect: Effect,
    },
    /// A call, which is as the action that it calls.
    Call(String),
    Run(String),
    /// A run of a bundle, which is as the bundle.
    BundleRun(String),
    /// A thing below its connection.
    Backfill(String),
    /// About a connection, most of them.
    Event(String),
    Alert(String),
    Silence(String),
    Secret(String),
    Token(String),
    Thing(String),
}

/// A resource with its attributes. What it does not have is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    pub kind: ResourceKind,
    pub name: String,
    #[serde(default = "default_tenant")]
    pub tenant: String,
    #[serde(default)]
    pub connection: String,
    #[serde(default)]
    pub connector: String,
    #[serde(default)]
    pub classification: String,
    #[serde(default)]
    pub environment: String,
    /// Of an action: `read`, `write`, `destructive`, `money`, `message`.
    #[serde(default)]
    pub effect: String,
}

fn default_tenant() -> String {
    crate::DEFAULT_TENANT.to_owned()
}

impl Resource {
    pub fn new(kind: ResourceKind, tenant: &str, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            tenant: tenant.to_owned(),
            connection: String::new(),
            connector: String::new(),
            classification: String::new(),
            environment: String::new(),
            effect: String::new(),
        }
    }
}

/// What this weir knows besides its store.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// As `weir.yaml` says: `production` if it says nothing.
    pub environment: String,
    /// By key of the connector: `public`, `internal`, `confidential`, `restricted`.
    pub classifications: BTreeMap<String, String>,
}

impl Surroundings {
    /// Finds what a request is about. None where the tenant has no such run: there is nothing to protect.
    pub async fn find(&self, store: &Store, tenant: &str, target: &Target) -> Result<Option<Resource>> {
        let plain = |kind, name: &str| self.complete(Resource::new(kind, tenant, name));
        Ok(Some(match target {
            Target::Tenant => plain(ResourceKind::Tenant, tenant),
            Target::Connector(key) => {
                let mut found = Resource::new(ResourceKind::Connector, tenant, key);
                found.connector.clone_from(key);
                self.complete(found)
            }
            Target::Connection(name) => {
                self.of_connection(store, tenant, name, (ResourceKind::Connection, name))
                    .await?
            }
            Target::Stream(connection, stream) => {
                let name = format!("{connection}/{stream}");
                self.of_connection(store, tenant, connection, (ResourceKind::Stream, &name))
                    .await?
            }
            Target::Action {
                connection,
                action,
                effect,
            } => {
                self.of_action(store, tenant, (connection, action), *effect)
                    .await?
            }
            Target::Call(id) => return self.of_call(store, tenant, id).await,
            Target::Run(id) => match there(runs::get(store, tenant, id).await)? {
                None => return Ok(None),
                Some(run) => {
                    self.of_connection(store, tenant, &run.connection, (ResourceKind::Run, &run.id))
                        .await?
                }
            },
            Target::BundleRun(id) => plain(ResourceKind::Thing, &bundle_of(store, tenant, id).await?),
            Target::Backfill(id) => match there(backfills::get(store, tenant, id).await)? {
                None => return Ok(None),
                Some(found) => {
                    self.thing(store, tenant, &format!("backfills/{id}"), Some(&found.connection))
                        .await?
                }
            },
            Target::Event(id) => match there(events::get(store, tenant, id).await)? {
                None => return Ok(None),
                Some(event) => {
                    self.thing(store, tenant, &format!("events/{}", event.id), event.connection())
                        .await?
                }
            },
            Target::Alert(id) => match there(alerts::get(store, tenant, id).await)? {
                None => return Ok(None),
                Some(alert) => {
                    let connection = alert.connection.as_deref();
                    self.thing(store, tenant, &format!("alerts/{}", alert.id), connection)
                        .await?
                }
            },
            Target::Silence(id) => match there(alerts::silence_of(store, tenant, id).await)? {
                None => return Ok(None),
                Some(silence) => {
                    let connection = silence.connection.as_deref();
                    self.thing(store, tenant, &format!("silences/{}", silence.id), connection)
                        .await?
                }
            },
            Target::Secret(name) => plain(ResourceKind::Secret, name),
            Target::Token(id) => plain(ResourceKind::Token, id),
            Target::Thing(name) => plain(ResourceKind::Thing, name),
        }))
    }

    async fn thing(
        &self,
        store: &Store,
        tenant: &str,
        name: &str,
        connection: Option<&str>,
    ) -> Result<Resource> {
        match connection {
            Some(connection) => {
                self.of_connection(store, tenant, connection, (ResourceKind::Thing, name))
                    .await
            }
            None => Ok(self.complete(Resource::new(ResourceKind::Thing, tenant, name))),
        }
    }

    async fn of_call(&self, store: &Store, tenant: &str, id: &str) -> Result<Option<Resource>> {
        let Some(call) = calls::find(store, tenant, id).await? else {
            return Ok(None);
        };
        let named = (call.connection.as_str(), call.action.as_str());
        self.of_action(store, tenant, named, call.effect).await.map(Some)
    }

    async fn of_action(
        &self,
        store: &Store,
        tenant: &str,
        (connection, action): (&str, &str),
        effect: Effect,
    ) -> Result<Resource> {
        let name = format!("{connection}/{action}");
        let mut found = self
            .of_connection(store, tenant, connection, (ResourceKind::Call, &name))
            .await?;
        effect.as_str().clone_into(&mut found.effect);
        Ok(found)
    }

    async fn of_connection(
        &self,
        store: &Store,
        tenant: &str,
        connection: &str,
        (kind, name): (ResourceKind, &str),
    ) -> Result<Resource> {
        let mut found = Resource::new(kind, tenant, name);
        connection.clone_into(&mut found.connection);
        match connections::get(store, tenant, connection).await {
            Ok(known) => found.connector = known.connector,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(self.complete(found))
    }

    fn complete(&self, mut resource: Resource) -> Resource {
        resource.environment.clone_from(&self.environment);
        if let Some(classification) = self.classifications.get(&resource.connector) {
            resource.classification.clone_from(classification);
        }
        resource
    }
}

/// What a run of a bundle is about: its bundle, if there is such a run.
async fn bundle_of(store: &Store, tenant: &str, run: &str) -> Result<String> {
    let found = bundles::find(store, tenant, run).await?;
    Ok(match found {
        Some(run) => format!("bundles/{}", run.bundle),
        None => format!("bundle-runs/{run}"),
    })
}

/// None where there is no such thing, or its name is no name.
fn there<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Usage) => Ok(None),
        Err(error) => Err(error),
    }
}
