//! Another MCP server behind a connection: its tools, as far as they were accepted and the connection says what they
//! do to the world, are the connection's actions. `docs/guides/gateway.md`

mod answer;
mod headers;
mod http;
mod line;
mod message;
mod offered;
mod program;
mod settings;
#[cfg(test)]
mod tests;
mod tools;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use weir_protocol::action::{Actions, Call, Performed, Reply, Shown};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::{ActionSpec, Approval, ConnectorSpec, Effect};
use weir_protocol::tools::{SeenTool, ToolWatch};
use weir_protocol::{Error, ErrorKind, ReadEvent, ReadRequest, Result, Source, StreamDescriptor};

use super::process::{ProcessSettings, Program};
use crate::EngineSettings;
use crate::catalog::Connector;
use crate::connect::client_of;
use crate::http::{Delivery, Patience};
use crate::interpolate::Templates;
use crate::{config, fingerprint};
use http::HttpLine;
use line::{Ask, Line};
use offered::Offered;
use program::ProgramLine;
use settings::{Place, Settings};

/// The word for it in `native:`.
pub(super) const NAME: &str = "mcp";
/// What a server has is looked at again after so long, before the next call.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Longest line that a program may write.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Whether connections of this connector offer the tools of a server.
pub fn is_of(connector: &Connector) -> bool {
    connector.spec.native.as_deref() == Some(NAME)
}

/// The actions that accepted tools are for a connection. Asks nobody.
pub fn offered(connection: &ConnectionSpec, accepted: &[SeenTool]) -> Result<Vec<ActionSpec>> {
    offered::specs(&Settings::of(&connection.config)?, accepted)
}

/// What each tool does to the world, as the connection says.
pub fn effects(connection: &ConnectionSpec) -> Result<BTreeMap<String, Effect>> {
    Ok(Settings::of(&connection.config)?.effects)
}

/// The spec by which a connection's client is made and its tokens are asked for.
pub(super) fn declared(connector: &Connector, connection: &ConnectionSpec) -> Result<Connector> {
    Ok(Connector {
        spec: settings::spec_of(&connector.spec, connection)?,
        ..connector.clone()
    })
}

/// A server behind a connection, and what of it was accepted.
pub struct ToolActions {
    connection: String,
    connector: (String, String),
    fingerprint: String,
    approval: Approval,
    line: Line,
    offered: BTreeMap<String, Offered>,
    deadline: Duration,
    watch: Option<Arc<dyn ToolWatch>>,
    /// When the server was looked at, and the digests of what it had.
    looked: Mutex<Option<(Instant, BTreeMap<String, String>)>>,
}

impl ToolActions {
    /// Validates the connection's settings. Asks the server nothing yet.
    pub fn connect(
        connector: &Connector,
        connection: &ConnectionSpec,
        settings: &EngineSettings,
    ) -> Result<Self> {
        Self::make(connector, connection, settings)
            .map_err(|error| error.with("connection", &connection.connection))
    }

    fn make(connector: &Connector, connection: &ConnectionSpec, engine: &EngineSettings) -> Result<Self> {
        let mut connection = connection.clone();
        connection.config = config::validate(connector.spec.config.as_ref(), &connection.config)?;
        let connection = &connection;
        let settings = Settings::of(&connection.config)?;
        let (line, deadline) = line(connector, connection, (&settings, engine))?;
        let offered = offered::all(&settings, &engine.accepted_tools, deadline)?;
        // As if the connector had declared them: another tool is another connector to calls that wait.
        let actions = offered.values().map(|tool| tool.spec.clone()).collect();
        let bound = ConnectorSpec {
            actions,
            ..connector.spec.clone()
        };
        Ok(Self {
            connection: connection.connection.clone(),
            connector: (connector.spec.connector.clone(), connector.spec.version.clone()),
            fingerprint: fingerprint::of_calls(&bound, connection, &engine.account),
            approval: connector.spec.governance.approval,
            line,
            offered,
            deadline,
            watch: engine.tool_watch.clone(),
            looked: Mutex::new(None),
        })
    }

    /// Asks the server for its tools, and tells whoever watches.
    pub async fn look(&self) -> Result<Vec<SeenTool>> {
        let found = tools::list(&self.line).await;
        let found = found.map_err(|error| error.with("connection", &self.connection))?;
        if let Some(watch) = &self.watch {
            watch.seen(&found).await?;
        }
        Ok(found)
    }

    /// Refuses a tool that is not what was accepted, as far as it was looked at within [`LOOK_AGAIN`].
    async fn check_accepted(&self, offered: &Offered) -> Result<()> {
        let mut looked = self.looked.lock().await;
        let is_old = looked.as_ref().is_none_or(|(at, _)| at.elapsed() >= LOOK_AGAIN);
        if is_old {
            let digests = self.look().await?.into_iter();
            let digests = digests.map(|tool| (tool.definition.name, tool.digest)).collect();
            *looked = Some((Instant::now(), digests));
        }
        let found = looked
            .as_ref()
            .and_then(|(_, digests)| digests.get(&offered.tool));
        match found {
            Some(digest) if *digest == offered.digest => Ok(()),
            Some(_) => Err(Error::new(
                ErrorKind::Gate,
                "the server changed the tool after it was accepted",
            )
            .with("tool", &offered.tool)
            .hint("read what changed with `weir tool show`, then accept it with `weir tool accept`")),
            None => Err(
                Error::new(ErrorKind::Gate, "the server does not have the tool any more")
                    .with("tool", &offered.tool)
                    .hint("ask whoever keeps the server; `weir tool refresh` looks again"),
            ),
        }
    }

    async fn exchange(&self, offered: &Offered, call: &Call, delivery: &Delivery) -> Result<Reply> {
        self.check_accepted(offered).await?;
        let ask = Ask {
            method: "tools/call",
            params: json!({ "name": offered.tool, "arguments": call.input }),
            headers: headers::of_call(&offered.tool, &offered.params, &call.input),
            correlation_id: Some(&call.correlation_id),
            repeatable: offered.spec.is_repeatable(),
            delivery: delivery.clone(),
        };
        let result = self.line.ask(&ask).await?;
        let reply = answer::reply(offered, &result, delivery, |text| self.line.said(text))?;
        Ok(Reply {
            output: self.line.clean(reply.output),
            ..reply
        })
    }

    fn offered(&self, action: &str) -> Result<&Offered> {
        self.offered.get(action).ok_or_else(|| {
            Error::not_found(format!(
                "connection '{}' offers no tool '{action}'",
                self.connection
            ))
            .hint("`weir tool list` shows what its server has, and what keeps each tool from being offered")
        })
    }

    fn named(&self, error: Error, call: &Call) -> Error {
        error
            .with("connection", &self.connection)
            .with("action", &call.action)
    }
}

/// The way to the server, and how long a call may take.
fn line(
    connector: &Connector,
    connection: &ConnectionSpec,
    (settings, engine): (&Settings, &EngineSettings),
) -> Result<(Line, Duration)> {
    let Place::Http(url) = settings.place()? else {
        let patience = Patience::resolve(
            &connector.spec.reliability,
            &connection.reliability,
            &engine.defaults,
        )?;
        let given = ProcessSettings::of(connection)?;
        let program = Program::new(&given, connection, engine)?.with_lines_of(LINE_BYTES_MAX);
        program.hide(connection.secrets.iter().cloned());
        let line = ProgramLine::new(program, patience.timeout);
        // A call waits for its turn, for the program to begin, and for its answer, each so long at most.
        return Ok((Line::Program(Box::new(line)), patience.timeout * 3));
    };
    let templates = Templates::new(&engine.clock);
    let mut spec = settings::spec_of(&connector.spec, connection)?;
    // Validated already, by the schema of the connector that the catalog has.
    spec.config = None;
    let (client, scope) = client_of(&spec, connection, engine, &templates)?;
    let headers = spec.http.headers.iter();
    let headers = headers
        .map(|(name, text)| {
            let value = templates.compile(format!("config.headers.{name}"), text)?;
            Ok((name.clone(), value.render_text(&scope)?))
        })
        .collect::<Result<_>>()?;
    let deadline = client.patience().timeout;
    let line = HttpLine::new(Arc::new(client), url, headers);
    Ok((Line::Http(Box::new(line)), deadline))
}

#[async_trait]
impl Actions for ToolActions {
    fn connector(&self) -> (&str, &str) {
        (&self.connector.0, &self.connector.1)
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn specs(&self) -> Vec<&ActionSpec> {
        self.offered.values().map(|offered| &offered.spec).collect()
    }

    fn spec(&self, action: &str) -> Result<&ActionSpec> {
        Ok(&self.offered(action)?.spec)
    }

    fn approval(&self) -> Approval {
        self.approval
    }

    fn check(&self, action: &str, input: &Map<String, Value>) -> Result<Map<String, Value>> {
        let checked = self.offered(action)?.input.check(input);
        checked.map_err(|error| error.with("connection", &self.connection).with("action", action))
    }

    fn show(&self, call: &Call) -> Result<Shown> {
        let offered = self.offered(&call.action)?;
        Ok(Shown {
            method: "POST".to_owned(),
            url: self.line.place(),
            headers: Vec::new(),
            body: Some(json!({
                "method": "tools/call",
                "params": { "name": offered.tool, "arguments": call.input },
            })),
        })
    }

    fn shut(&self, action: &str) -> Option<Error> {
        let error = self.line.shut()?;
        Some(error.with("connection", &self.connection).with("action", action))
    }

    async fn perform(&self, call: &Call) -> Performed {
        let delivery = Delivery::default();
        let offered = match self.offered(&call.action) {
            Ok(offered) => offered,
            Err(error) => return Performed::Failed(error),
        };
        let exchange = self.exchange(offered, call, &delivery);
        let told = match tokio::time::timeout(self.deadline, exchange).await {
            Ok(told) => told,
            Err(_) => Err(Error::timeout("the call did not end in time")
                .with("limit", format!("{} s", self.deadline.as_secs()))
                .hint("raise reliability.timeout of the connection if the tool is always so slow")),
        };
        match told {
            Ok(reply) => Performed::Done(reply),
            Err(error) => {
                let error = self.named(error, call);
                if delivery.may_have_arrived() && offered.spec.effect != Effect::Read {
                    Performed::Uncertain(error)
                } else {
                    Performed::Failed(error)
                }
            }
        }
    }

    async fn look_up(&self, call: &Call) -> Result<Option<Reply>> {
        Err(self.named(
            Error::usage("a tool says nothing of earlier calls").hint("find out at the server itself"),
            call,
        ))
    }
}

/// A server has tools, and no streams.
pub(super) struct ToolSource(ToolActions);

impl ToolSource {
    pub(super) fn connect(
        connector: &Connector,
        connection: &ConnectionSpec,
        settings: &EngineSettings,
    ) -> Result<Self> {
        ToolActions::make(connector, connection, settings).map(Self)
    }
}

#[async_trait]
impl Source for ToolSource {
    async fn check(&self) -> Result<()> {
        self.0.look().await.map(drop)
    }

    async fn discover(&self) -> Result<Vec<StreamDescriptor>> {
        Ok(Vec::new())
    }

    fn read(&self, request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        let error = Error::not_found(format!("there is no stream '{}'", request.stream))
            .hint("an MCP server has tools: `weir tool list` shows them");
        stream::once(async { Err(error) }).boxed()
    }
}
