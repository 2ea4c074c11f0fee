//! A manifest with a connection's settings, as a source that can be read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;
use weir_protocol::connection::StreamChoice;
use weir_protocol::spec::{Reliability, StreamPolicy};
use weir_protocol::state::WHOLE;
use weir_protocol::{
    Error, ForeignState, ReadEvent, ReadRequest, Result, Source, StreamDescriptor, StreamState, SyncMode,
};

use super::check;
use super::config;
use super::dynamic::{self, Declared};
use super::env::{Env, EnvParts, patience};
use super::known;
use super::live::OnSettings;
use super::manifest::Manifest;
use super::node::Node;
use super::request::Budget;
use super::slice_reader::SliceReader;
use super::stream::{Stream, StreamRead};
use super::template::Scope;
use super::time::Moment;
use super::turns::Turns;
use crate::EngineSettings;
use crate::http::{ClientSettings, HostRules};

/// Pages that wait for the reader; each may be large.
const PAGES_WAITING: usize = 8;
/// Slices read at once where the manifest says nothing.
const CONCURRENCY: usize = 4;
/// Slices read at once, whatever the manifest says.
const CONCURRENCY_MAX: usize = 20;

/// What a connection decides besides its settings.
#[derive(Clone, Default)]
pub struct SourceSettings {
    pub engine: EngineSettings,
    pub reliability: Reliability,
    /// Hosts that requests may reach; all public ones where none is named.
    pub hosts: Vec<String>,
    pub allow_private_hosts: bool,
    /// The manifest's folder, for schemas in files.
    pub folder: Option<PathBuf>,
    /// The streams that the connection chooses, and what differs for them; all where it names none.
    pub choices: BTreeMap<String, StreamChoice>,
    /// What a reader's catalog says of streams, by their names.
    pub catalog: BTreeMap<String, Configured>,
    /// Is told when the source replaced a token of the settings.
    pub on_settings: Option<OnSettings>,
}

/// A stream in a reader's catalog.
#[derive(Debug, Clone, Default)]
pub struct Configured {
    pub schema: Value,
    pub cursor_field: Vec<String>,
}

/// A low-code connector for one account.
#[derive(Clone)]
pub struct AirbyteSource {
    manifest: Manifest,
    env: Arc<Env>,
    concurrency: usize,
    choices: Arc<BTreeMap<String, StreamChoice>>,
    settings: Arc<SourceSettings>,
}

impl AirbyteSource {
    /// Checks the settings and prepares the client. Sends nothing yet.
    pub fn new(manifest: &Manifest, config: Value, settings: &SourceSettings) -> Result<Self> {
        let root = Node::root(manifest);
        known::check_fields(&root)?;
        let now = Moment::of(settings.engine.clock.now());
        let (config, migrated) = config::prepare(&root, config, now)?;
        if let (Some(on_settings), Some(migrated)) = (&settings.on_settings, &migrated) {
            on_settings(migrated);
        }
        Self::prepared(manifest, config, settings)
    }

    /// With settings that are migrated, transformed and validated.
    fn prepared(manifest: &Manifest, config: Value, settings: &SourceSettings) -> Result<Self> {
        let root = Node::root(manifest);
        let clock = settings.engine.clock.clone();
        let now = Moment::of(clock.now());
        let config = Arc::new(config);
        let secrets = config::secrets(&root, &config);
        let scope = Scope::new(now, &config);
        let budget = root
            .get("api_budget")
            .map(|node| Budget::new(&scope, &node))
            .transpose()?;
        let settings_of_client = client(settings)?;
        let budget =
            budget.map(|budget| budget.share(settings.engine.permits.as_ref(), &settings_of_client.clock));
        let concurrency = concurrency(&root, &scope)?;
        let turns = Turns::new(&root, &scope)?;
        let env = Env::new(EnvParts {
            clock,
            settings: settings_of_client,
            secrets,
            budget,
            parents: dynamic::parents(&root),
            folder: settings.folder.clone(),
            config: config.clone(),
            catalog: settings.catalog.clone(),
            on_settings: settings.on_settings.clone(),
            turns,
        });
        Ok(Self {
            manifest: manifest.clone(),
            env: Arc::new(env),
            concurrency,
            choices: Arc::new(settings.choices.clone()),
            settings: Arc::new(settings.clone()),
        })
    }

    /// What the protocol's `spec` tells.
    pub fn specification(manifest: &Manifest) -> Value {
        config::specification(&Node::root(manifest))
    }

    fn listed(&self) -> Result<Vec<Declared>> {
        dynamic::listed(&Node::root(&self.manifest), &self.env.config, self.env.now())
    }

    async fn declared(&self, name: &str) -> Result<Declared> {
        let mut all = self.listed()?;
        if !all.iter().any(|stream| stream.name() == name) {
            all.extend(dynamic::made(&self.env, &Node::root(&self.manifest)).await?);
        }
        dynamic::named(all, name)
    }

    async fn drive(self, request: ReadRequest, out: mpsc::Sender<Result<ReadEvent>>) {
        if let Err(error) = self.try_drive(request, &out).await {
            // A closed channel means that nobody reads any more.
            let _closed = out.send(Err(error)).await;
        }
    }

    async fn try_drive(&self, request: ReadRequest, out: &mpsc::Sender<Result<ReadEvent>>) -> Result<()> {
        let declared = self.declared(&request.stream).await?;
        let _turns = self.env.turns.stream(&request.stream, &declared.value).await;
        let root = Node::root(&self.manifest);
        let state = request
            .state
            .as_ref()
            .and_then(|state| state.cursor_of(WHOLE))
            .cloned();
        let stream = Stream::new(
            &self.env,
            &declared.node(&root),
            &state.unwrap_or_default(),
            false,
        )?;
        let mut read = StreamRead::new(Arc::new(stream))?;
        let mut tasks: JoinSet<Result<()>> = JoinSet::new();
        let reader = SliceReader::new(read.tracking().clone(), out.clone(), &request);
        while let Some(slice) = Box::pin(read.next_slice()).await? {
            while tasks.len() >= self.concurrency {
                ended(tasks.join_next().await)?;
            }
            if reader.is_full() || out.is_closed() {
                break;
            }
            tasks.spawn(reader.clone().read(slice).in_current_span());
        }
        while let Some(one) = tasks.join_next().await {
            ended(Some(one))?;
        }
        if reader.is_full() {
            return Ok(());
        }
        if let Some(names) = self.env.live.untold() {
            let notice = weir_protocol::source::Notice {
                message: format!("the source replaced settings: {names}"),
                hint: Some("they hold for this run only; weir does not write into the connection's file. Sign in anew if the next run is refused".to_owned()),
            };
            let _closed = out.send(Ok(ReadEvent::Notice(notice))).await;
        }
        if let Some(notice) = reader.notice() {
            let _closed = out.send(Ok(ReadEvent::Notice(notice))).await;
        }
        read.finish();
        let _closed = out.send(Ok(ReadEvent::Advance(reader.complete()))).await;
        Ok(())
    }
}

/// Whether a member of that name stands anywhere.
fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(known, below)| known == name || mentions(below, name)),
        Value::Array(items) => items.iter().any(|item| mentions(item, name)),
        _ => false,
    }
}

fn ended(joined: Option<Result<Result<()>, tokio::task::JoinError>>) -> Result<()> {
    match joined {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(Error::internal("the reading of a slice broke off")
            .caused_by(error)
            .hint("report this as a bug of weir; running again reads on")),
    }
}

fn client(settings: &SourceSettings) -> Result<ClientSettings> {
    let rules = if settings.hosts.is_empty() {
        HostRules::open(settings.allow_private_hosts)
    } else {
        HostRules::new(&settings.hosts, settings.allow_private_hosts)?
    };
    let patience = patience(&settings.reliability, &settings.engine.defaults)?;
    let mut client = ClientSettings::new(rules, patience);
    client
        .extra_roots_pem
        .clone_from(&settings.engine.extra_roots_pem);
    if let Some(agent) = &settings.engine.user_agent {
        client.user_agent.clone_from(agent);
    }
    if let Some(clock) = &settings.engine.http_clock {
        client.clock = clock.clone();
    }
    client.share(settings.engine.permits.clone());
    Ok(client)
}

fn concurrency(root: &Node<'_>, scope: &Scope<'_>) -> Result<usize> {
    let Some(level) = root.get("concurrency_level") else {
        return Ok(CONCURRENCY);
    };
    let Some(text) = level.text("default_concurrency")? else {
        return Ok(CONCURRENCY);
    };
    let wanted = text
        .eval_text(scope)?
        .trim()
        .parse::<usize>()
        .unwrap_or(CONCURRENCY);
    let most = level
        .int("max_concurrency")
        .and_then(|most| usize::try_from(most).ok());
    Ok(wanted
        .min(most.unwrap_or(CONCURRENCY_MAX))
        .clamp(1, CONCURRENCY_MAX))
}

#[async_trait]
impl Source for AirbyteSource {
    async fn check(&self) -> Result<()> {
        let root = Node::root(&self.manifest);
        let overrides = root.get("check").and_then(|check| check.get("config_overrides"));
        let Some(overrides) = overrides.filter(|overrides| !overrides.members().is_empty()) else {
            return check::check(&self.env, &root, self.listed()?).await;
        };
        // A replaced token would have to be told together with settings that are for the check alone.
        if mentions(root.value, "refresh_token_updater") {
            return Err(overrides
                .error("config_overrides of the check do not go with a refresh_token_updater")
                .hint("leave one of them out of the manifest"));
        }
        let mut config = self.env.config.as_ref().clone();
        if let Value::Object(config) = &mut config {
            for (name, value) in overrides.members() {
                config.insert(name.to_owned(), value.value.clone());
            }
        }
        let settings = SourceSettings {
            on_settings: None,
            ..self.settings.as_ref().clone()
        };
        let other = Self::prepared(&self.manifest, config, &settings)?;
        check::check(&other.env, &root, other.listed()?).await
    }

    async fn discover(&self) -> Result<Vec<StreamDescriptor>> {
        let root = Node::root(&self.manifest);
        let mut all = self.listed()?;
        all.extend(dynamic::made(&self.env, &root).await?);
        let mut found = Vec::with_capacity(all.len());
        for declared in &all {
            let name = declared.name();
            if !self.choices.is_empty() && !self.choices.contains_key(&name) {
                continue;
            }
            let stream = Stream::new(&self.env, &declared.node(&root), &Value::Null, false)?;
            let choice = self.choices.get(&name).cloned().unwrap_or_default();
            let schema = Box::pin(stream.schema()).await?.as_ref().clone();
            choice
                .keeps_cursor(stream.cursor_field())
                .map_err(|error| error.with("stream", &name))?;
            found.push(descriptor(&stream, choice, schema));
        }
        Ok(found)
    }

    fn read(&self, request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        let (out, waiting) = mpsc::channel(PAGES_WAITING);
        let task = AbortOnDropHandle::new(tokio::spawn(self.clone().drive(request, out).in_current_span()));
        stream::unfold((waiting, task), |(mut waiting, task)| async move {
            let event = waiting.recv().await?;
            Some((event, (waiting, task)))
        })
        .boxed()
    }

    fn foreign_state(&self, stream: &str, state: &ForeignState) -> Result<StreamState> {
        if state.shared.is_some() {
            return Err(Error::state("a manifest's streams share no state")
                .with("stream", stream)
                .hint("the file is of another connector"));
        }
        Ok(StreamState {
            floor: Some(state.state.clone()),
            complete: true,
            ..StreamState::default()
        })
    }
}

fn descriptor(stream: &Stream, choice: StreamChoice, schema: Value) -> StreamDescriptor {
    let declared = stream.primary_key.iter().map(|path| path.join("."));
    let primary_key = choice.primary_key.unwrap_or_else(|| declared.collect());
    let cursor_field = stream.cursor_field().map(str::to_owned);
    let usual = SyncMode::default_for(!primary_key.is_empty(), cursor_field.is_some());
    let mut policy = StreamPolicy::default();
    policy.contract = choice.contract.unwrap_or(policy.contract);
    policy.pii.extend(choice.pii.unwrap_or_default());
    policy.partition_by = choice.partition_by.unwrap_or(policy.partition_by);
    policy.explode = choice.explode.unwrap_or(policy.explode);
    StreamDescriptor {
        name: stream.name().to_owned(),
        entity: entity(stream.name()),
        description: None,
        schema: choice.schema.or(Some(schema)),
        primary_key,
        cursor_field,
        mode: Some(choice.mode.unwrap_or(usual)),
        is_received: false,
        policy,
    }
}

/// A stream's name as part of a table's.
fn entity(name: &str) -> String {
    let mut entity = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            entity.push(c.to_ascii_lowercase());
        } else if !entity.is_empty() && !entity.ends_with('_') {
            entity.push('_');
        }
    }
    entity.trim_end_matches('_').to_owned()
}
