//! Tools of MCP servers behind connections. A tool is offered while it is what somebody accepted; what a server
//! changed, added or took away waits until a person has looked at it.

mod rules;
mod sql;
#[cfg(test)]
mod tests;

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;
use sqlx::AnyConnection;
use weir_protocol::tools::{SeenTool, ToolWatch};
use weir_protocol::{Error, ErrorKind, Result};

use crate::Store;
use crate::audit::{self, Record};
use crate::events::{self, Event, Family};
use crate::projects::Line;
use crate::store::{Outcome, Scope};

pub use rules::{digest_of, states};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody accepted it yet.
    New,
    /// It is what was accepted.
    Accepted,
    /// The server changed it after it was accepted.
    Changed,
    /// The server does not have it any more.
    Gone,
    /// It can never be offered; its problem says why.
    Refused,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Accepted => "accepted",
            Self::Changed => "changed",
            Self::Gone => "gone",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A tool of the server behind a connection. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tool {
    pub connection: String,
    /// As the server has it.
    pub tool: String,
    pub state: State,
    /// As the server has it now; None where it does not.
    pub seen: Option<SeenTool>,
    /// When it became so.
    pub seen_at_ms: i64,
    pub accepted: Option<SeenTool>,
    pub accepted_by: Option<String>,
    pub accepted_at_ms: Option<i64>,
}

impl Tool {
    /// Lines of the definition, from what was accepted to what the server has.
    pub fn difference(&self) -> Vec<Line> {
        rules::difference(self.accepted.as_ref(), self.seen.as_ref())
    }
}

/// Which tools of a connection are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// All that the server has; what it has no more is forgotten.
    All,
    Named(Vec<String>),
}

/// What a server has, for whoever asks it: kept, and told where somebody should look at it.
#[derive(Debug, Clone)]
pub struct Watch {
    store: Store,
    tenant: String,
    connection: String,
}

impl Watch {
    pub fn new(store: &Store, tenant: &str, connection: &str) -> Self {
        Self {
            store: store.clone(),
            tenant: tenant.to_owned(),
            connection: connection.to_owned(),
        }
    }
}

#[async_trait]
impl ToolWatch for Watch {
    async fn seen(&self, tools: &[SeenTool]) -> Result<()> {
        let known = list(&self.store, &self.tenant, Some(&self.connection)).await?;
        // Mostly nothing changed, and then nobody waits for anybody.
        if rules::news(&known, tools).is_empty() {
            return Ok(());
        }
        let of = (self.tenant.as_str(), self.connection.as_str());
        let turn = format!("tools of {}", self.connection);
        let occasion = uuid::Uuid::now_v7().to_string();
        let occasion = occasion.as_str();
        self.store
            .write_alone(
                Scope::Tenant(&self.tenant),
                &turn,
                "keep what the server has",
                |db, _| Box::pin(keep_in(db, of, tools, occasion)),
            )
            .await
    }
}

async fn keep_in(
    db: &mut AnyConnection,
    (tenant, connection): (&str, &str),
    tools: &[SeenTool],
    occasion: &str,
) -> Outcome<()> {
    let known = sql::list(db, tenant, Some(connection)).await?;
    let news = rules::news(&known, tools);
    for tool in news.put() {
        sql::see(db, (tenant, connection), &tool.definition.name, Some(tool)).await?;
    }
    for tool in &news.gone {
        sql::see(db, (tenant, connection), tool, None).await?;
    }
    sql::forget(db, (tenant, connection)).await?;
    // A server that nobody uses yet changes nothing that somebody relies on.
    if known.iter().any(|tool| tool.accepted.is_some()) && !news.is_empty() {
        let names = |tools: &[&SeenTool]| -> Vec<String> {
            tools.iter().map(|tool| tool.definition.name.clone()).collect()
        };
        let event = Event::of_connection(tenant, Family::ToolsChanged, connection)
            .with("added", names(&news.added))
            .with("changed", names(&news.changed))
            .with("gone", news.gone.clone())
            .once(occasion);
        events::append_in(db, &event).await?;
    }
    Ok(())
}

/// Tools of one connection, or of all, by name.
pub async fn list(store: &Store, tenant: &str, connection: Option<&str>) -> Result<Vec<Tool>> {
    store
        .read(Scope::Tenant(tenant), "list tools", |db, _| {
            Box::pin(async move { sql::list(db, tenant, connection).await })
        })
        .await
}

pub async fn get(store: &Store, tenant: &str, connection: &str, tool: &str) -> Result<Tool> {
    let all = list(store, tenant, Some(connection)).await?;
    all.into_iter()
        .find(|found| found.tool == tool)
        .ok_or_else(|| no_such_tool(connection, tool))
}

/// Tools that are what somebody accepted.
pub async fn accepted(store: &Store, tenant: &str, connection: &str) -> Result<Vec<SeenTool>> {
    let all = list(store, tenant, Some(connection)).await?;
    let is_good = |tool: &Tool| tool.state == State::Accepted;
    Ok(all
        .into_iter()
        .filter(is_good)
        .filter_map(|tool| tool.accepted)
        .collect())
}

/// Says that tools are right as the server has them now. `digest` names what was looked at: where the server
/// changed something since, nothing is accepted. Gives back what there is then.
///
/// # Errors
///
/// `conflict` where the digest is another one, `gate` where a named tool can never be offered.
pub async fn accept(
    store: &Store,
    tenant: &str,
    connection: &str,
    chosen: &Chosen,
    digest: &str,
) -> Result<Vec<Tool>> {
    let (acting, of) = (store.acting(), (tenant, connection));
    let turn = format!("tools of {connection}");
    // Made once: a transaction that is tried again notes nothing twice.
    let record = &Record::new(tenant, "tools.accept", format!("connection:{connection}"));
    let told = &Event::of_connection(tenant, Family::ToolsAccepted, connection);
    store
        .write_alone(Scope::Tenant(tenant), &turn, "accept the tools", |db, _| {
            Box::pin(async move {
                let known = sql::list(db, tenant, Some(connection)).await?;
                let wanted = match rules::wanted(&known, chosen, digest) {
                    Ok(wanted) => wanted,
                    Err(error) => return Ok(Err(error)),
                };
                let (mut named, mut forgotten) = (Vec::new(), Vec::new());
                for tool in wanted {
                    match &tool.seen {
                        Some(seen) => named.push(format!("{} {}", tool.tool, seen.digest)),
                        None => forgotten.push(tool.tool.clone()),
                    }
                    sql::accept(db, of, &tool.tool, &acting.principal).await?;
                }
                sql::forget(db, of).await?;
                let record = record
                    .clone()
                    .with("accepted", named)
                    .with("forgotten", forgotten);
                audit::append_in(db, acting, &record).await?;
                let all = sql::list(db, tenant, Some(connection)).await?;
                if !all
                    .iter()
                    .any(|tool| matches!(tool.state, State::Changed | State::Gone))
                {
                    events::append_in(db, told).await?;
                }
                Ok(Ok(all))
            })
        })
        .await?
}

fn no_such_tool(connection: &str, tool: &str) -> Error {
    Error::not_found(format!("no tool '{tool}' of '{connection}' was seen")).hint(format!(
        "`weir tool refresh {connection}` asks its server, `weir tool list` shows what it has"
    ))
}

fn other_digest(now: &str) -> Error {
    Error::new(ErrorKind::Conflict, "this is not what the server has now")
        .with("digest now", now)
        .hint("look at it again with `weir tool list` and `weir tool show`, then accept what you saw")
}
