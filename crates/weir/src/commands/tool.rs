use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weir_control::policies::Target;
use weir_control::principals::{Permission, may};
use weir_control::upstreams::{self, Chosen, Tool};
use weir_control::{DEFAULT_TENANT, Store};
use weir_protocol::Result;

use super::Context;
use super::plan::difference;
use crate::output::{Format, Sheet, line, raw, time};
use crate::upstream::{effects, kept_back, look};
use crate::vendors::caller;
use crate::wiring::Wiring;

/// Tools of MCP servers behind connections: refresh, list, show, accept
#[derive(Debug, Args)]
#[command(
    after_help = "A tool is offered once its connection says under `effects` what it does, and somebody accepted it. What its\nserver changes afterwards is not offered until somebody accepts that, too.\n\nExamples:\n  weir tool refresh helper\n  weir tool show helper create_issue\n  weir tool accept helper create_issue --digest SHA256"
)]
pub(crate) struct ToolArgs {
    #[command(subcommand)]
    command: ToolCommand,
}

#[derive(Debug, Subcommand)]
enum ToolCommand {
    /// Ask a connection's server for its tools, and show them
    #[command(after_help = "Example:\n  weir tool refresh helper")]
    Refresh {
        /// Name of the connection
        connection: String,
    },
    /// Tools as they were seen last, and what keeps each from being offered
    #[command(after_help = "Example:\n  weir tool list helper --format json")]
    List {
        /// Name of the connection; of all where it is left out
        connection: Option<String>,
    },
    /// One tool, and what its server changed since it was accepted
    #[command(after_help = "Example:\n  weir tool show helper create_issue")]
    Show {
        /// Name of the connection
        connection: String,
        tool: String,
    },
    /// Say that tools are right as they were shown
    #[command(
        after_help = "Examples:\n  weir tool accept helper create_issue --digest SHA256\n  weir tool accept helper --all --digest SHA256"
    )]
    Accept {
        /// Name of the connection
        connection: String,
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        tools: Vec<String>,
        /// All that the server has; what it has no more is forgotten
        #[arg(long)]
        all: bool,
        /// What `list` or `show` said; another one accepts nothing
        #[arg(long, value_name = "SHA256")]
        digest: String,
    },
}

pub(crate) async fn run(args: &ToolArgs, context: &Arc<Context>) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?;
    match &args.command {
        ToolCommand::Refresh { connection } => {
            let store = allowed(&wiring, &store, connection, context).await?;
            look(&wiring, &store, connection).await?;
            list(&wiring, &store, Some(connection), context).await?;
        }
        ToolCommand::List { connection } => list(&wiring, &store, connection.as_deref(), context).await?,
        ToolCommand::Show { connection, tool } => {
            let found = upstreams::get(&store, DEFAULT_TENANT, connection, tool).await?;
            show(&found, context);
        }
        ToolCommand::Accept {
            connection,
            tools,
            all,
            digest,
        } => {
            let store = allowed(&wiring, &store, connection, context).await?;
            let chosen = if *all {
                Chosen::All
            } else {
                Chosen::Named(tools.clone())
            };
            let became = upstreams::accept(&store, DEFAULT_TENANT, connection, &chosen, digest).await?;
            let counts = upstreams::states(&became).into_iter();
            let counts: Vec<String> = counts.map(|(state, count)| format!("{count} {state}")).collect();
            line(format!("tools of {connection}: {}", counts.join(", ")));
        }
    }
    store.close().await;
    Ok(())
}

/// The store for who may change connections; what is done is noted as theirs.
async fn allowed(wiring: &Wiring, store: &Store, connection: &str, context: &Context) -> Result<Store> {
    let (access, acting) = caller(context, store).await?;
    may(&access, Permission::ConnectionsWrite)?;
    let target = Target::Connection(connection.to_owned());
    let in_force = wiring.in_force().await?;
    let permission = Permission::ConnectionsWrite;
    in_force.check(store, &access, permission, &target, "cli").await?;
    Ok(store.acting_as(acting))
}

async fn list(wiring: &Wiring, store: &Store, connection: Option<&str>, context: &Context) -> Result<()> {
    let all = upstreams::list(store, DEFAULT_TENANT, connection).await?;
    let mut sheet = Sheet::new([
        "connection",
        "tool",
        "effect",
        "state",
        "not offered because",
        "seen",
        "accepted by",
        "digest",
    ]);
    let mut declared = BTreeMap::new();
    for tool in &all {
        let of_connection = declared
            .entry(tool.connection.as_str())
            .or_insert_with(|| effects(wiring, &tool.connection));
        let effect = of_connection.get(&tool.tool).copied();
        sheet.push([
            tool.connection.as_str().into(),
            tool.tool.as_str().into(),
            effect.map_or(Value::Null, |effect| effect.as_str().into()),
            tool.state.as_str().into(),
            kept_back(tool, effect).into(),
            time(Some(tool.seen_at_ms)),
            tool.accepted_by.as_deref().into(),
            upstreams::digest_of(&[tool]).into(),
        ]);
    }
    sheet.print(context.format())?;
    let is_for_people = context.format() == Format::Table && !all.is_empty();
    if let (true, Some(connection)) = (is_for_people, connection) {
        let digest = upstreams::digest_of(&all.iter().collect::<Vec<_>>());
        line(format!(
            "to accept all of it: weir tool accept {connection} --all --digest {digest}"
        ));
    }
    Ok(())
}

fn show(tool: &Tool, context: &Context) {
    if context.format() == Format::Json {
        return raw(&format!("{:#}\n", json!(tool)));
    }
    line(format!("{} of {}: {}", tool.tool, tool.connection, tool.state));
    line(format!("digest: {}", upstreams::digest_of(&[tool])));
    if let Some(problem) = tool.seen.as_ref().and_then(|seen| seen.problem.as_ref()) {
        line(format!("problem: {problem}"));
    }
    let colours = std::io::stdout().is_terminal() && !context.settings.no_color;
    raw(&difference(&tool.difference(), colours));
}
