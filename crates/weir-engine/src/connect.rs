//! From a connector and a connection to a source that can be read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_protocol::action::Actions;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::hook::Inbox;
use weir_protocol::oauth::{AccessTokens, AuthorizationServer};
use weir_protocol::permits::Permits;
use weir_protocol::spec::ConnectorSpec;
use weir_protocol::tools::{SeenTool, ToolWatch};
use weir_protocol::{Error, Result, Source, StreamDescriptor};

use crate::action::{self, HttpActions};
use crate::auth::{self, AuthInput, OnRotated, OwnTokens, Render};
use crate::catalog::Connector;
use crate::clock::Clock;
use crate::config;
use crate::declarative::{DeclarativeSource, Parts, describe};
use crate::fingerprint;
use crate::hook::{self, WithInbox};
use crate::http::{self, Client, ClientSettings, HostRules, Patience, ReliabilityDefaults, Transport};
use crate::interpolate::{Scope, Templates};
use crate::native::mcp::ToolActions;
use crate::native::{self, Native};

/// What the program that uses the engine decides.
#[derive(Clone, Default)]
pub struct EngineSettings {
    pub clock: Clock,
    /// Where neither connector nor connection says how patient to be.
    pub defaults: ReliabilityDefaults,
    /// Default: `weir/<version>`.
    pub user_agent: Option<String>,
    /// Further root certificates, PEM.
    pub extra_roots_pem: Option<Vec<u8>>,
    /// How the HTTP client waits and draws; the machine's clock where none is given.
    pub http_clock: Option<Arc<dyn http::Clock>>,
    /// Told when a vendor replaces a refresh token.
    pub on_rotated: Option<OnRotated>,
    /// Who keeps the connection's tokens; without one, each process fetches its own.
    pub tokens: Option<Arc<dyn AccessTokens>>,
    /// Who counts the connection's requests over all processes; without one, each counts its own.
    pub permits: Option<Arc<dyn Permits>>,
    /// What was received for the connection; without one, its stream of messages cannot be read.
    pub inbox: Option<Arc<dyn Inbox>>,
    /// Names the trace of what is done at the moment, for vendors that are to be told.
    pub traceparent: Option<http::Traceparent>,
    /// Names whose account the connection is, without telling its secrets; empty where nobody asks.
    pub account: String,
    /// Tools of the server behind a connection that somebody accepted.
    pub accepted_tools: Vec<SeenTool>,
    /// Told what the server behind a connection has.
    pub tool_watch: Option<Arc<dyn ToolWatch>>,
    /// The program that reads documents when it is called with `read-document FILE`; weir itself.
    pub document_reader: Option<PathBuf>,
    /// Variables of the environment that programs get besides those that a connection names.
    pub process_env: BTreeMap<String, String>,
}

/// Validates the connection's settings and makes its source. Sends nothing yet.
pub fn connect(
    connector: &Connector,
    connection: &ConnectionSpec,
    settings: &EngineSettings,
) -> Result<Arc<dyn Source>> {
    make(connector, connection, settings).map_err(|error| error.with("connection", &connection.connection))
}

fn make(
    connector: &Connector,
    connection: &ConnectionSpec,
    settings: &EngineSettings,
) -> Result<Arc<dyn Source>> {
    let mut connection = connection.clone();
    connection.config = config::validate(connector.spec.config.as_ref(), &connection.config)?;
    if !connection.hook.is_empty() && connector.spec.hook.is_none() {
        let error = Error::spec("hook is for connectors that take messages; this one takes none");
        return Err(error.hint("remove hook"));
    }
    match &connector.spec.native {
        None => declared(connector, &connection, settings),
        Some(name) => match native::resolve(name, connector, &connection, settings)? {
            Native::Source(_) if !connection.tls.is_empty() => Err(Error::spec(
                "tls is for connectors that speak HTTP by their spec; this one does not use it",
            )
            .hint("remove tls, and add the certificate to the machine's own")),
            Native::Source(source) | Native::Client(source) | Native::Described(_, source) => Ok(source),
            Native::Declared(connector) => declared(&connector, &connection, settings),
        },
    }
}

fn declared(
    connector: &Connector,
    connection: &ConnectionSpec,
    settings: &EngineSettings,
) -> Result<Arc<dyn Source>> {
    let spec = &connector.spec;
    let templates = Templates::new(&settings.clock);
    action::check_specs(&templates, spec)?;
    let (client, scope) = signed(spec, connection, settings, &templates)?;
    let reliability = &connection.reliability;
    let source = DeclarativeSource::new(Parts {
        spec,
        templates: &templates,
        scope,
        client: Arc::new(client),
        clock: settings.clock.clone(),
        pages_max: reliability.pages_max.or(spec.reliability.pages_max),
        descriptors: describe(connector, connection)?,
        read_as: fingerprint::of_reading(spec, connection, &settings.account),
    })?;
    let Some(hook) = &spec.hook else {
        return Ok(Arc::new(source));
    };
    hook::check_spec(&templates, hook)?;
    Ok(Arc::new(WithInbox {
        inner: Arc::new(source),
        inbox: settings.inbox.clone(),
        stream: hook::descriptor(hook, connection),
        has_more: spec.check.is_some() || !spec.streams.is_empty(),
    }))
}

/// What performs a connection's actions. Validates its settings; sends nothing yet.
pub fn actions(
    connector: &Connector,
    connection: &ConnectionSpec,
    settings: &EngineSettings,
) -> Result<Arc<dyn Actions>> {
    if native::mcp::is_of(connector) {
        return Ok(Arc::new(ToolActions::connect(connector, connection, settings)?));
    }
    Ok(Arc::new(HttpActions::connect(connector, connection, settings)?))
}

/// Whether connections of this connector may have actions.
pub fn has_actions(connector: &Connector) -> bool {
    !connector.spec.actions.is_empty() || native::mcp::is_of(connector)
}

/// Who speaks to the authorization server of a connection, where its method keeps what one grants.
/// Sends nothing yet.
pub fn authorization_server(
    connector: &Connector,
    connection: &ConnectionSpec,
    settings: &EngineSettings,
) -> Result<Option<Arc<dyn AuthorizationServer>>> {
    asked_of_auth(connector, connection, settings, auth::authorization_server)
}

/// The tokens that a connection's method makes without a person, where it makes such. Sends nothing yet.
pub fn own_tokens(
    connector: &Connector,
    connection: &ConnectionSpec,
    settings: &EngineSettings,
) -> Result<Option<OwnTokens>> {
    asked_of_auth(connector, connection, settings, auth::own_tokens)
}

/// What a connection's auth method has besides signatures; None where it is not declared.
fn asked_of_auth<T>(
    connector: &Connector,
    connection: &ConnectionSpec,
    settings: &EngineSettings,
    ask: impl FnOnce(&AuthInput<'_>) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut connection = connection.clone();
    connection.config = config::validate(connector.spec.config.as_ref(), &connection.config)?;
    let resolved = match &connector.spec.native {
        None => connector.clone(),
        // Code reads it, and it signs by its spec.
        Some(_) if !connector.spec.auth.is_empty() => connector.clone(),
        Some(name) => match native::resolve(name, connector, &connection, settings)? {
            Native::Source(_) | Native::Client(_) => return Ok(None),
            Native::Declared(connector) | Native::Described(connector, _) => *connector,
        },
    };
    let spec = &resolved.spec;
    // A program is asked for nothing over the network.
    if spec.hosts.is_empty() {
        return Ok(None);
    }
    let templates = Templates::new(&settings.clock);
    let scope = base_scope(&connection);
    let (_, found) = with_auth(spec, &connection, settings, (&templates, &scope), ask)?;
    Ok(found)
}

/// The streams that connector and connection declare, without asking the source. None where only
/// the source knows them.
pub fn declared_streams(
    connector: &Connector,
    connection: &ConnectionSpec,
    settings: &EngineSettings,
) -> Result<Option<Vec<StreamDescriptor>>> {
    let Some(name) = &connector.spec.native else {
        let mut all = describe(connector, connection)?;
        let received = connector.spec.hook.as_ref();
        all.extend(received.map(|hook| hook::descriptor(hook, connection)));
        return Ok(Some(all));
    };
    match native::resolve(name, connector, connection, settings)? {
        Native::Source(_) | Native::Client(_) => Ok(None),
        Native::Described(..) => Ok(Some(Vec::new())),
        Native::Declared(connector) => describe(&connector, connection).map(Some),
    }
}

/// Reads the parts of a connection's file that only its connector knows once more where they stand,
/// so that an error names the line.
pub fn check_file(connector: &Connector, connection: &ConnectionSpec, file: &Path, text: &str) -> Result<()> {
    match &connector.spec.native {
        Some(name) => native::check_file(name, connection, file, text),
        None => Ok(()),
    }
}

/// Root certificates that the connection trusts besides those of the machine.
fn roots(connection: &ConnectionSpec, settings: &EngineSettings) -> Result<Option<Vec<u8>>> {
    let Some(file) = &connection.tls.ca_file else {
        return Ok(settings.extra_roots_pem.clone());
    };
    let mut pem = settings.extra_roots_pem.clone().unwrap_or_default();
    let own = std::fs::read(file).map_err(|error| {
        Error::spec(format!("tls.ca_file {} cannot be read", file.display()))
            .caused_by(error)
            .hint("name a file with certificates in PEM form; a relative path begins at the project's folder")
    })?;
    pem.extend_from_slice(&own);
    Ok(Some(pem))
}

/// The client of a connection, and what the templates of its actions may name. Validates its settings.
pub(crate) fn client_of(
    spec: &ConnectorSpec,
    connection: &ConnectionSpec,
    settings: &EngineSettings,
    templates: &Templates,
) -> Result<(Client, Scope)> {
    let mut connection = connection.clone();
    connection.config = config::validate(spec.config.as_ref(), &connection.config)?;
    signed(spec, &connection, settings, templates)
}

fn signed(
    spec: &ConnectorSpec,
    connection: &ConnectionSpec,
    settings: &EngineSettings,
    templates: &Templates,
) -> Result<(Client, Scope)> {
    let scope = base_scope(connection);
    let client = client(spec, connection, settings, templates, &scope)?;
    Ok((client, scope))
}

pub(crate) fn base_scope(connection: &ConnectionSpec) -> Scope {
    let credential: BTreeMap<&str, &str> = connection
        .credential
        .iter()
        .flat_map(|credential| &credential.values)
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    Scope::new()
        .with("config", &connection.config)
        .with("credential", credential)
}

fn client(
    spec: &ConnectorSpec,
    connection: &ConnectionSpec,
    settings: &EngineSettings,
    templates: &Templates,
    scope: &Scope,
) -> Result<Client> {
    let (parts, authenticator) = with_auth(spec, connection, settings, (templates, scope), |input| {
        auth::build(input)
    })?;
    let (settings, transport) = parts;
    let carrier = native::carrier(spec, connection, &settings)?;
    let client = Client::new(&settings, transport, authenticator);
    Ok(match carrier {
        Some(carrier) => client.carried_by(carrier),
        None => client,
    })
}

/// Whether a connector has anything to send. Without hosts, nothing that tried would be let through.
fn asks_somebody(spec: &ConnectorSpec) -> bool {
    spec.native.is_none() || spec.actions.iter().any(|action| action.native.is_none())
}

/// Makes what all requests go through, and with it whoever signs them or asks for what they are signed with.
fn with_auth<T>(
    spec: &ConnectorSpec,
    connection: &ConnectionSpec,
    settings: &EngineSettings,
    (templates, scope): (&Templates, &Scope),
    make: impl FnOnce(&AuthInput<'_>) -> Result<T>,
) -> Result<((ClientSettings, Arc<Transport>), T)> {
    let render_now = |field: String, text: &str| templates.compile(field, text)?.render_text(scope);
    let hosts: Vec<String> = spec
        .hosts
        .iter()
        .map(|host| render_now("hosts".to_owned(), host))
        .collect::<Result<_>>()?;
    if hosts.is_empty() && asks_somebody(spec) {
        return Err(Error::spec("hosts is empty, so no request could be sent")
            .hint("list the API's hosts in connector.yaml, as in hosts: [api.example.com]"));
    }
    let base_url = render_now("http.base_url".to_owned(), &spec.http.base_url)?;
    let patience = Patience::resolve(&spec.reliability, &connection.reliability, &settings.defaults)?;
    let mut client = ClientSettings::new(HostRules::new(&hosts, connection.allow_private_hosts)?, patience);
    client.extra_roots_pem = roots(connection, settings)?;
    client.secrets.clone_from(&connection.secrets);
    if let Some(agent) = &settings.user_agent {
        client.user_agent.clone_from(agent);
    }
    if let Some(clock) = &settings.http_clock {
        client.clock = clock.clone();
    }
    client.traceparent = settings.traceparent.filter(|_| spec.http.traceparent);
    client.share(settings.permits.clone());
    let transport = Transport::new(&client)?;
    let render: Render = {
        let (templates, scope) = (templates.clone(), scope.clone());
        Arc::new(move |text, more| {
            let mut scope = scope.clone();
            for (name, value) in more {
                scope.set(name.clone(), value);
            }
            templates.compile("auth", text)?.render_text(&scope)
        })
    };
    let made = make(&AuthInput {
        specs: &spec.auth,
        credential: connection.credential.as_ref(),
        connection: &connection.connection,
        base_url: &base_url,
        render,
        transport: transport.clone(),
        on_rotated: settings.on_rotated.clone(),
        tokens: settings.tokens.clone(),
    })?;
    Ok(((client, transport), made))
}
