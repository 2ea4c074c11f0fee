//! The engine with the settings that the environment gives.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use weir_engine::airbyte::{AirbyteSource, Configured, Manifest, OnSettings, SourceSettings};
use weir_engine::auth::OwnTokens;
use weir_engine::catalog::Connector;
use weir_engine::hook::HookReceiver;
use weir_engine::http::ReliabilityDefaults;
use weir_engine::native::mcp::ToolActions;
use weir_engine::rotation::Rotator;
use weir_engine::{Clock, EngineSettings};
use weir_protocol::action::Actions;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::hook::Inbox;
use weir_protocol::oauth::{AccessToken, AccessTokens, AuthorizationServer};
use weir_protocol::permits::Permits;
use weir_protocol::tools::{SeenTool, ToolWatch};
use weir_protocol::{Error, Result, Secret, Source, StreamDescriptor};

use crate::config::ConnectorDefaults;
use crate::telemetry;

/// A connection's source. Sends nothing yet.
pub(crate) fn connect(connector: &Connector, connection: &ConnectionSpec) -> Result<Arc<dyn Source>> {
    connect_with(connector, connection, Supplied::default())
}

/// What a connection has beside its files.
#[derive(Default)]
pub(crate) struct Supplied {
    /// Who keeps its tokens.
    pub(crate) tokens: Option<Arc<dyn AccessTokens>>,
    /// Who counts its requests.
    pub(crate) permits: Option<Arc<dyn Permits>>,
    /// Who keeps what it was sent.
    pub(crate) inbox: Option<Arc<dyn Inbox>>,
    /// What a run of it may hold, in bytes; none where nothing is run.
    pub(crate) memory_bytes: Option<u64>,
    /// Names whose account it is; empty where nobody asks.
    pub(crate) account: String,
    /// Tools of its server that somebody accepted.
    pub(crate) accepted_tools: Vec<SeenTool>,
    /// Told what its server has.
    pub(crate) tool_watch: Option<Arc<dyn ToolWatch>>,
}

impl Supplied {
    fn settings(self) -> Result<EngineSettings> {
        let own = settings()?;
        Ok(EngineSettings {
            defaults: match self.memory_bytes {
                Some(memory_bytes) => own.defaults.within(memory_bytes),
                None => own.defaults,
            },
            tokens: self.tokens,
            permits: self.permits,
            inbox: self.inbox,
            account: self.account,
            accepted_tools: self.accepted_tools,
            tool_watch: self.tool_watch,
            ..own
        })
    }
}

/// The same with what the connection has beside its files.
pub(crate) fn connect_with(
    connector: &Connector,
    connection: &ConnectionSpec,
    supplied: Supplied,
) -> Result<Arc<dyn Source>> {
    weir_engine::connect(connector, connection, &supplied.settings()?)
}

/// Who knows a connection's messages by their signatures; none where it receives nothing.
pub(crate) fn receiver(connector: &Connector, connection: &ConnectionSpec) -> Result<Option<HookReceiver>> {
    HookReceiver::connect(connector, connection, &settings()?)
}

/// A connection's actions. Sends nothing yet.
pub(crate) fn actions_with(
    connector: &Connector,
    connection: &ConnectionSpec,
    supplied: Supplied,
) -> Result<Arc<dyn Actions>> {
    weir_engine::actions(connector, connection, &supplied.settings()?)
}

/// The tools of the server behind a connection. Asks nothing yet.
pub(crate) fn tools_with(
    connector: &Connector,
    connection: &ConnectionSpec,
    supplied: Supplied,
) -> Result<ToolActions> {
    ToolActions::connect(connector, connection, &supplied.settings()?)
}

/// Who has the vendor exchange the connection's credential. Sends nothing yet.
pub(crate) fn rotator_with(
    connector: &Connector,
    connection: &ConnectionSpec,
    supplied: Supplied,
) -> Result<Rotator> {
    Rotator::connect(connector, connection, &supplied.settings()?)
}

/// A source that is only looked at: nobody asks it for records, and so not for tokens.
pub(crate) fn connect_to_look(connector: &Connector, connection: &ConnectionSpec) -> Result<Arc<dyn Source>> {
    let supplied = Supplied {
        tokens: Some(Arc::new(NoTokens)),
        ..Supplied::default()
    };
    connect_with(connector, connection, supplied)
}

struct NoTokens;

#[async_trait]
impl AccessTokens for NoTokens {
    async fn token(&self, _refused: Option<&Secret>) -> Result<AccessToken> {
        Err(Error::internal("a source that is only looked at was asked for records").hint("report it"))
    }
}

/// Who speaks to a connection's authorization server, where its auth method keeps what one grants.
pub(crate) fn authorization_server(
    connector: &Connector,
    connection: &ConnectionSpec,
) -> Result<Option<Arc<dyn AuthorizationServer>>> {
    weir_engine::authorization_server(connector, connection, &settings()?)
}

/// Tokens that a connection's method makes without a person, for workers elsewhere.
pub(crate) fn own_tokens(connector: &Connector, connection: &ConnectionSpec) -> Result<Option<OwnTokens>> {
    weir_engine::own_tokens(connector, connection, &settings()?)
}

/// As [`connect_with`], with certificates of private authorities that came with the connection.
pub(crate) fn connect_elsewhere(
    connector: &Connector,
    connection: &ConnectionSpec,
    roots_pem: Option<String>,
    supplied: Supplied,
) -> Result<Arc<dyn Source>> {
    let settings = EngineSettings {
        extra_roots_pem: roots_pem.map(String::into_bytes),
        ..supplied.settings()?
    };
    weir_engine::connect(connector, connection, &settings)
}

/// The streams that can be known without asking the source.
pub(crate) fn declared_streams(
    connector: &Connector,
    connection: &ConnectionSpec,
) -> Result<Option<Vec<StreamDescriptor>>> {
    weir_engine::declared_streams(connector, connection, &settings()?)
}

/// A manifest's source with settings from a file. Private hosts may be reached where the manifest or
/// the settings, which are the user's own files, name one.
/// Who reads a manifest's source, beside its settings.
#[derive(Default)]
pub(crate) struct Reader {
    /// What its catalog says of streams.
    pub(crate) catalog: BTreeMap<String, Configured>,
    pub(crate) on_settings: Option<OnSettings>,
}

pub(crate) fn open_manifest(
    manifest: &Manifest,
    path: &Path,
    config: Map<String, Value>,
    reader: Reader,
) -> Result<AirbyteSource> {
    let mut config = config;
    let asked = config
        .remove("allow_private_hosts")
        .and_then(|asked| asked.as_bool());
    let mut engine = settings()?;
    if let Some(now) = crate::config::oracle_now()? {
        engine.clock = Clock::fixed(now);
    }
    let config = Value::Object(config);
    let settings = SourceSettings {
        engine,
        allow_private_hosts: asked.unwrap_or_else(|| manifest.names_private_host(&config)),
        folder: path.parent().map(Path::to_path_buf),
        catalog: reader.catalog,
        on_settings: reader.on_settings,
        ..SourceSettings::default()
    };
    AirbyteSource::new(manifest, config, &settings)
}

pub(crate) fn settings() -> Result<EngineSettings> {
    let given = ConnectorDefaults::from_environment()?;
    let own = ReliabilityDefaults::default();
    Ok(EngineSettings {
        defaults: ReliabilityDefaults {
            retry_max_attempts: given.retry_attempts.unwrap_or(own.retry_max_attempts).max(1),
            retry_base_delay: given
                .retry_base_ms
                .map_or(own.retry_base_delay, Duration::from_millis),
            timeout: given.timeout_ms.map_or(own.timeout, Duration::from_millis),
            breaker_threshold: given.breaker_failures.unwrap_or(own.breaker_threshold),
            ..own
        },
        document_reader: std::env::current_exe().ok(),
        process_env: crate::config::for_programs(),
        traceparent: Some(telemetry::traceparent),
        ..EngineSettings::default()
    })
}
