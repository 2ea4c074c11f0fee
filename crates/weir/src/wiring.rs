//! The composition root: which parts a command gets, made from the project's files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OnceCell;
use weir_control::audit::SealKey;
use weir_control::hooks::StoredInbox;
use weir_control::lifecycle::Stage;
use weir_control::permits::{ConnectionPermits, Urgency};
use weir_control::policies::{InForce, Policies, Surroundings, Target};
use weir_control::principals::{Access, Permission};
use weir_control::secrets::{MasterKeys, Reference, Secrets};
use weir_control::{Connection, DEFAULT_TENANT, Place, Store, lifecycle, maintenance};
use weir_engine::catalog::{Catalog, Connector};
use weir_lake::{Lake, LakeConfig};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::hook::Inbox;
use weir_protocol::permits::Permits;
use weir_protocol::{Error, ErrorKind, Result, Secret, Source, StreamDescriptor, name};
use weir_query::models::{Model, Models};
use weir_query::{LakeTables, QueryEngine, Tables};

use crate::audit_trail;
use crate::commands::Context;
use crate::commands::lifecycle::{lay_out, new_version};
use crate::config::{Settings, variable};
use crate::engine::Supplied;
use crate::grants;
use crate::project::Project;
use crate::vaults::{self, Candidate};

/// A project with the connectors that it can use.
pub(crate) struct Wiring {
    pub(crate) project: Project,
    pub(crate) catalog: Catalog,
    settings: Settings,
    /// What a run may hold, in bytes; none where nothing is run.
    memory_bytes: Option<u64>,
    /// Opened by the first who needs it.
    store: OnceCell<Store>,
}

/// A connector's key, and how what it brings is classified.
fn classified(connector: &Connector) -> (String, String) {
    let classification = serde_json::json!(connector.spec.governance.classification);
    let word = classification.as_str().unwrap_or_default().to_owned();
    (connector.key().to_owned(), word)
}

impl Wiring {
    pub(crate) fn open(context: &Context) -> Result<Self> {
        let project = context.project()?;
        let catalog = Catalog::open(&[project.connector_folder()])?;
        Ok(Self {
            project,
            catalog,
            settings: context.settings.clone(),
            memory_bytes: None,
            store: OnceCell::new(),
        })
    }

    /// The same over a store that is open already.
    pub(crate) fn over(mut self, store: Store) -> Self {
        self.store = OnceCell::new_with(Some(store));
        self
    }

    /// The same for runs that may hold `memory_bytes`.
    pub(crate) fn within(mut self, memory_bytes: u64) -> Self {
        self.memory_bytes = Some(memory_bytes);
        self
    }

    pub(crate) fn connection(&self, name: &str) -> Result<ConnectionSpec> {
        let check = |connection: &ConnectionSpec, file: &Path, text: &str| {
            check_file(&self.catalog, connection, file, text)
        };
        self.project.connection(name, &variable, &check)
    }

    /// The connector of a connection. A wrong key is a fault of the connection's file.
    pub(crate) fn connector(&self, connection: &ConnectionSpec) -> Result<&Connector> {
        self.catalog.get(&connection.connector).map_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                let hint = error.next_step().unwrap_or_default().to_owned();
                Error::spec(error.message())
                    .with("connection", &connection.connection)
                    .hint(hint)
            } else {
                error
            }
        })
    }

    /// The same with the connector's version in production, wherever the project's folder stands.
    pub(crate) async fn with_production(mut self, key: &str) -> Result<Self> {
        let store = self.store().await?;
        let Some(version) = lifecycle::production(&store, DEFAULT_TENANT, key).await? else {
            return Ok(self);
        };
        if let Ok(connector) = self.catalog.get(key)
            && new_version(connector).is_ok_and(|own| own.digest == version.digest)
        {
            return Ok(self);
        }
        let folder = self.project.own_path("connectors").join(&version.digest);
        lay_out(&folder, &version)?;
        self.catalog = Catalog::open(&[self.project.connector_folder(), folder])?;
        Ok(self)
    }

    /// The connection's source, with what its `secret:` references stand for, for somebody who waits for
    /// its answers.
    pub(crate) async fn source(&self, connection: &ConnectionSpec) -> Result<Arc<dyn Source>> {
        self.source_for(connection, Urgency::Interactive).await
    }

    /// The same for whom it may be less urgent to.
    pub(crate) async fn source_for(
        &self,
        connection: &ConnectionSpec,
        urgency: Urgency,
    ) -> Result<Arc<dyn Source>> {
        let resolved = self.resolved(connection).await?;
        self.connect(connection, &resolved, urgency).await
    }

    async fn connect(
        &self,
        connection: &ConnectionSpec,
        resolved: &ConnectionSpec,
        urgency: Urgency,
    ) -> Result<Arc<dyn Source>> {
        let connector = self.connector(connection)?;
        let supplied = Supplied {
            tokens: grants::tokens(self, resolved).await?,
            permits: self.permits(connection, urgency).await?,
            inbox: self.inbox(connection).await?,
            account: match urgency {
                Urgency::Sync => self.account(resolved).await?,
                // Nobody reads a part of it elsewhere.
                Urgency::Interactive => String::new(),
            },
            memory_bytes: self.memory_bytes,
            ..Supplied::default()
        };
        crate::engine::connect_with(connector, resolved, supplied)
    }

    /// Who keeps what the connection was sent. Nobody where there is no store yet: then nothing was.
    async fn inbox(&self, connection: &ConnectionSpec) -> Result<Option<Arc<dyn Inbox>>> {
        let Some(store) = self.store_if_any().await? else {
            return Ok(None);
        };
        let inbox = StoredInbox::new(&store, DEFAULT_TENANT, &connection.connection);
        Ok(Some(Arc::new(inbox)))
    }

    /// None where the project has no store yet, and looking at it makes none.
    pub(crate) async fn store_if_any(&self) -> Result<Option<Store>> {
        if let Place::Sqlite(path) = self.store_place()?
            && self.store.get().is_none()
            && !path.exists()
        {
            return Ok(None);
        }
        self.store().await.map(Some)
    }

    /// Who counts the connection's requests. Nobody where the project has no store yet: then nothing else
    /// works for it, and looking at a connection makes no store.
    pub(crate) async fn permits(
        &self,
        connection: &ConnectionSpec,
        urgency: Urgency,
    ) -> Result<Option<Arc<dyn Permits>>> {
        let Some(store) = self.store_if_any().await? else {
            return Ok(None);
        };
        let permits = ConnectionPermits::new(&store, DEFAULT_TENANT, &connection.connection, urgency);
        Ok(Some(Arc::new(permits)))
    }

    /// The connection with its settings and credential as they are at this moment, here and for workers
    /// elsewhere.
    pub(crate) async fn resolved(&self, connection: &ConnectionSpec) -> Result<ConnectionSpec> {
        self.resolved_with(connection, None).await
    }

    /// Names whose account a connection is, whose secrets are in it.
    pub(crate) async fn account(&self, resolved: &ConnectionSpec) -> Result<String> {
        let consents = grants::consents(self, resolved).await?;
        weir_engine::account(&self.pii_key()?, resolved, consents)
    }

    /// Whether the connection works with another value of one of its secrets.
    pub(crate) async fn check_with(&self, connection: &ConnectionSpec, candidate: &Candidate) -> Result<()> {
        let resolved = self.resolved_with(connection, Some(candidate)).await?;
        let source = self.connect(connection, &resolved, Urgency::Interactive).await?;
        source.check().await
    }

    async fn resolved_with(
        &self,
        connection: &ConnectionSpec,
        candidate: Option<&Candidate>,
    ) -> Result<ConnectionSpec> {
        let mut resolved = connection.clone();
        let references = vaults::references(connection);
        if references.is_empty() {
            return Ok(resolved);
        }
        let store = self.store().await?;
        let wants_own = references.iter().any(Reference::is_own);
        let keepers = vaults::keepers(&self.project, &self.settings, &store, wants_own).await?;
        let done = vaults::resolve(&mut resolved, &keepers, candidate).await;
        done.map_err(|error| error.with("connection", &connection.connection))?;
        Ok(resolved)
    }

    /// The store's secrets, with the master key.
    pub(crate) async fn own_secrets(&self) -> Result<Secrets> {
        vaults::own(&self.project, &self.settings, &self.store().await?).await
    }

    /// The keys that the store's secrets are under.
    pub(crate) async fn master_keys(&self) -> Result<MasterKeys> {
        vaults::master_keys(&self.project, &self.settings, &self.store().await?).await
    }

    /// The value that a `secret:` reference names.
    pub(crate) async fn read_secret(&self, reference: &Reference) -> Result<Secret> {
        let store = self.store().await?;
        let keepers = vaults::keepers(&self.project, &self.settings, &store, reference.is_own()).await?;
        keepers.read(reference).await
    }

    pub(crate) async fn rotate_master_key(&self) -> Result<u64> {
        vaults::rotate_master_key(&self.project, &self.settings, &self.store().await?).await
    }

    pub(crate) fn lake(&self) -> Result<Lake> {
        Lake::open(LakeConfig {
            location: self.project.lake_location(),
            options: self.project.lake_options(),
            pii_key: self.pii_key()?,
        })
    }

    /// The key that personal fields are hashed with.
    pub(crate) fn pii_key(&self) -> Result<Secret> {
        self.project.pii_key(self.settings.pii_key.as_deref())
    }

    /// Where browsers find the server, if somebody said.
    pub(crate) fn public_url(&self) -> Option<&str> {
        self.settings.public_url.as_deref()
    }

    /// Where the control store is: what `WEIR_DATABASE_URL` says, else a file in the project folder.
    pub(crate) fn store_place(&self) -> Result<Place> {
        match &self.settings.database_url {
            Some(url) => Place::parse(url),
            None => Ok(Place::Sqlite(self.project.store())),
        }
    }

    pub(crate) async fn store(&self) -> Result<Store> {
        let open = async || -> Result<Store> {
            let store = Store::connect(&self.store_place()?).await?;
            Ok(store.acting_as(audit_trail::person(&self.settings)))
        };
        self.store.get_or_try_init(open).await.cloned()
    }

    /// Does `work` on a stream's table while no sync can come between.
    pub(crate) async fn hold<T>(
        &self,
        connection: &Connection,
        stream: &str,
        kind: maintenance::Kind,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let store = self.store().await?;
        Box::pin(maintenance::hold(&store, connection, stream, kind, work)).await
    }

    /// The key that signs the audit trail.
    pub(crate) fn audit_key(&self) -> Result<SealKey> {
        audit_trail::key(&self.project, &self.settings)
    }

    /// The public keys with which the trail may be signed: today's, and those before it.
    pub(crate) fn audit_keys(&self) -> Result<Vec<String>> {
        let mut keys = vec![self.audit_key()?.public()];
        keys.extend(self.settings.audit_keys_old.iter().cloned());
        Ok(keys)
    }

    /// What policies know of the project and its connectors: of those under the lifecycle, the version in production.
    pub(crate) async fn surroundings(&self) -> Result<Surroundings> {
        let mut classifications: BTreeMap<String, String> = self.catalog.list().map(classified).collect();
        if let Some(store) = self.store_if_any().await? {
            for version in lifecycle::list(&store, DEFAULT_TENANT).await? {
                if version.stage == Stage::Production {
                    let (key, files) = (version.connector, version.files);
                    classifications.extend([classified(&Connector::carried(&key, files)?)]);
                }
            }
        }
        Ok(Surroundings {
            environment: self.project.file.environment.clone(),
            classifications,
        })
    }

    /// The project's policies, as one command decides with them.
    pub(crate) async fn in_force(&self) -> Result<InForce> {
        let policies = Policies::read(self.project.policy_files()?)?;
        Ok(InForce::new(policies, self.surroundings().await?))
    }

    /// Refuses what the project's policies take away from who uses the command line.
    pub(crate) async fn allow(&self, tenant: &str, permission: Permission, target: &Target) -> Result<()> {
        let in_force = self.in_force().await?;
        let access = Access::command_line(tenant);
        let store = self.store().await?;
        in_force.check(&store, &access, permission, target, "cli").await
    }

    /// Answers SQL over the lake and knows the models.
    pub(crate) async fn query_engine(&self) -> Result<QueryEngine> {
        let tables: Arc<dyn Tables> = Arc::new(LakeTables::new(self.lake()?));
        let files = self.model_files()?;
        let mut known: BTreeSet<String> = tables.list().await?.into_iter().map(|table| table.name).collect();
        known.extend(files.own.iter().map(|(path, _)| stem(path)));
        let offered = usable(files.offered, known);
        let models = Models::load(files.own.into_iter().chain(offered))?;
        Ok(QueryEngine::new(tables, models, weir_query::Settings::default()))
    }

    /// SQL files of the project, then those that the connectors in use offer. A model of the
    /// project replaces a connector's of the same name.
    pub(crate) fn model_files(&self) -> Result<ModelFiles> {
        let own = self.project.models()?;
        let mut names: BTreeSet<String> = own.iter().map(|(path, _)| stem(path)).collect();
        let mut offered = Vec::new();
        for (_, path) in self.project.connection_files()? {
            // A connection that cannot be read offers nothing; using it says what is wrong with it.
            let Ok(connection) =
                self.project
                    .read_connection(&path, &|name| Some(name.to_owned()), &|_, _, _| Ok(()))
            else {
                continue;
            };
            let Ok(connector) = self.catalog.get(&connection.connector) else {
                continue;
            };
            let bound = names_for(connector, connection.source());
            for (name, sql) in &connector.models {
                let name = bound.get(name).unwrap_or(name);
                if names.insert(name.clone()) {
                    let shown = format!("connectors/{}/gold/{name}.sql", connector.key());
                    offered.push((PathBuf::from(shown), weir_query::models::bind(sql, &bound)));
                }
            }
        }
        Ok(ModelFiles { own, offered })
    }
}

/// The names in a connector's models as they are for a source of another name: its tables, and the
/// models themselves, which would else be the same for two sources.
fn names_for(connector: &Connector, source: &str) -> BTreeMap<String, String> {
    let key = connector.key();
    if source == key {
        return BTreeMap::new();
    }
    let tables = connector.spec.streams.iter().flat_map(|stream| {
        let silver = |source: &str| name::silver(source, stream.entity());
        let raw = |source: &str| name::bronze(source, &stream.name);
        let children = stream.explode.iter().map(move |field| {
            let field = name::sanitize(field);
            (
                format!("{}_{field}", silver(key)),
                format!("{}_{field}", silver(source)),
            )
        });
        let children: Vec<_> = children.collect();
        [(silver(key), silver(source)), (raw(key), raw(source))]
            .into_iter()
            .chain(children)
    });
    let models = connector.models.keys();
    let models = models.map(|model| (model.clone(), format!("{model}_{source}")));
    tables.chain(models).collect()
}

/// Reads what only the connector knows of a connection's file. A connector that does not exist is
/// told elsewhere.
pub(crate) fn check_file(
    catalog: &Catalog,
    connection: &ConnectionSpec,
    file: &Path,
    text: &str,
) -> Result<()> {
    match catalog.get(&connection.connector) {
        Ok(connector) => weir_engine::check_file(connector, connection, file, text),
        Err(_) => Ok(()),
    }
}

/// Path and text of models.
pub(crate) struct ModelFiles {
    pub(crate) own: Vec<(PathBuf, String)>,
    /// By connectors; they count only where the tables they read exist.
    pub(crate) offered: Vec<(PathBuf, String)>,
}

/// The offered models whose tables (or models) all exist. One that cannot be read stays, so that
/// loading it says what is wrong.
fn usable(offered: Vec<(PathBuf, String)>, mut known: BTreeSet<String>) -> Vec<(PathBuf, String)> {
    let mut waiting = offered;
    let mut usable = Vec::new();
    loop {
        let before = waiting.len();
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(path, sql)| {
            Model::parse(path, sql).map_or(true, |model| model.reads.iter().all(|read| known.contains(read)))
        });
        known.extend(ready.iter().map(|(path, _)| stem(path)));
        usable.extend(ready);
        waiting = rest;
        if waiting.len() == before {
            return usable;
        }
    }
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default()
        .to_owned()
}

/// A connection as the control store knows it.
pub(crate) fn registered(connection: &ConnectionSpec) -> Connection {
    Connection::new(&connection.connection, &connection.connector, connection.source())
}

/// The streams of a connection: those named, else those that its file chooses, else all.
pub(crate) async fn chosen_streams(
    source: &dyn Source,
    connection: &ConnectionSpec,
    named: &[String],
) -> Result<Vec<StreamDescriptor>> {
    let all = source.discover().await?;
    let names: Vec<&str> = all.iter().map(|stream| stream.name.as_str()).collect();
    let wanted: Vec<&str> = if named.is_empty() {
        connection.streams.keys().map(String::as_str).collect()
    } else {
        named.iter().map(String::as_str).collect()
    };
    for name in &wanted {
        if !names.contains(name) {
            let error = Error::new(
                if named.is_empty() {
                    ErrorKind::Spec
                } else {
                    ErrorKind::NotFound
                },
                format!("connection '{}' has no stream '{name}'", connection.connection),
            );
            return Err(match weir_protocol::yaml::closest(name, &names) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint(format!("its streams are {}", names.join(", "))),
            });
        }
    }
    let mut streams = all;
    if !wanted.is_empty() {
        let wanted: BTreeSet<String> = wanted.into_iter().map(ToOwned::to_owned).collect();
        streams.retain(|stream| wanted.contains(&stream.name));
    }
    Ok(streams)
}
