//! The commands, one file each, and what they have in common.

mod access;
mod action;
mod alert;
mod apply;
mod approval;
mod audit;
mod auth;
mod backfill;
mod bundle;
mod call;
mod check;
mod completions;
mod connector;
mod demo;
mod discover;
mod doctor;
mod event;
mod export;
mod init;
mod lake;
pub(crate) mod lifecycle;
mod mcp;
#[cfg(test)]
mod mentions;
mod migrate;
mod model;
mod plan;
mod policy;
pub(crate) mod preview;
mod quarantine;
mod query;
mod read_document;
mod reconcile;
mod run;
mod schedule;
mod schema;
mod secret;
mod serve;
mod session;
mod source;
mod state;
mod sync;
mod tenant;
mod token;
mod tool;
mod validate;
mod webhook;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand};
use weir_protocol::{Error, Result};

use crate::allocator;
use crate::config::{LogFormat, Settings, variable};
use crate::failpoint;
use crate::output::Format;
use crate::project::Project;

/// A self-hosted connector platform: data from the systems you use into a lakehouse you own.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  weir demo                          the whole path, no account needed\n  weir init shop && cd shop          a new project folder\n  weir sync github                   read a connection into the lake\n  weir query \"SELECT count(*) FROM github_issues\""
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Project folder; without it, the nearest one above that holds weir.yaml
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
    /// How rows are printed
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// How logs and errors are printed on standard error [default: text]
    #[arg(long, global = true, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// Log more; twice for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Log errors only, no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// No progress bars
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Init(init::InitArgs),
    Validate(validate::ValidateArgs),
    Plan(plan::PlanArgs),
    Apply(apply::ApplyArgs),
    Export(export::ExportArgs),
    Connector(connector::ConnectorArgs),
    Schema(schema::SchemaArgs),
    Check(check::CheckArgs),
    Discover(discover::DiscoverArgs),
    Preview(preview::PreviewArgs),
    Sync(sync::SyncArgs),
    Run(run::RunArgs),
    Schedule(schedule::ScheduleArgs),
    Backfill(backfill::BackfillArgs),
    Action(action::ActionArgs),
    Tool(tool::ToolArgs),
    Call(call::CallArgs),
    Bundle(bundle::BundleArgs),
    Approval(approval::ApprovalArgs),
    State(state::StateArgs),
    Audit(audit::AuditArgs),
    Alert(alert::AlertArgs),
    Event(event::EventArgs),
    Webhook(webhook::WebhookArgs),
    Secret(secret::SecretArgs),
    Auth(auth::AuthArgs),
    Reconcile(reconcile::ReconcileArgs),
    Query(query::QueryArgs),
    Lake(lake::LakeArgs),
    Model(model::ModelArgs),
    Quarantine(quarantine::QuarantineArgs),
    #[command(hide = true)]
    ReadDocument(read_document::ReadDocumentArgs),
    Source(source::SourceArgs),
    Serve(serve::ServeArgs),
    Worker(worker::WorkerArgs),
    Mcp(mcp::McpArgs),
    Token(token::TokenArgs),
    Session(session::SessionArgs),
    Access(access::AccessArgs),
    Policy(policy::PolicyArgs),
    Tenant(tenant::TenantArgs),
    Migrate(migrate::MigrateArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
}

/// Whether a command line that could not be parsed is one of `weir source`, whose reader
/// understands messages only.
pub(crate) fn is_source(args: impl Iterator<Item = String>) -> bool {
    let command = Cli::command();
    let mut named = args.filter_map(|arg| Some(command.find_subcommand(&arg)?.get_name() == "source"));
    named.next().unwrap_or(false)
}

impl Cli {
    pub(crate) fn is_source(&self) -> bool {
        matches!(self.command, Command::Source(_))
    }

    pub(crate) fn run(self, settings: Settings) -> Result<ExitCode> {
        if let Some(point) = &settings.failpoint {
            failpoint::arm(point)?;
        }
        let context = Arc::new(Context {
            settings,
            global: self.global,
        });
        let done: Result<()> = match self.command {
            Command::Demo(args) => wait(demo::run(&args, &context)),
            Command::Init(args) => init::run(&args, &context),
            Command::Validate(args) => validate::run(&args, &context),
            Command::Plan(args) => return wait(plan::run(&args, &context)),
            Command::Apply(args) => wait(apply::run(&args, &context)),
            Command::Export(args) => wait(export::run(&args, &context)),
            Command::Connector(args) => wait(connector::run(&args, &context)),
            Command::Schema(args) => schema::run(&args),
            Command::Check(args) => wait(check::run(&args, &context)),
            Command::Discover(args) => wait(discover::run(&args, &context)),
            Command::Preview(args) => wait(preview::run(&args, &context)),
            Command::Sync(args) => wait(sync::run(&args, &context)),
            Command::Run(args) => wait(run::run(&args, &context)),
            Command::Schedule(args) => wait(schedule::run(&args, &context)),
            Command::Backfill(args) => wait(backfill::run(&args, &context)),
            Command::Action(args) => wait(action::run(&args, &context)),
            Command::Tool(args) => wait(tool::run(&args, &context)),
            Command::Call(args) => wait(call::run(&args, &context)),
            Command::Bundle(args) => wait(bundle::run(&args, &context)),
            Command::Approval(args) => wait(approval::run(&args, &context)),
            Command::State(args) => wait(state::run(&args, &context)),
            Command::Audit(args) => wait(audit::run(&args, &context)),
            Command::Alert(args) => wait(alert::run(&args, &context)),
            Command::Event(args) => wait(event::run(&args, &context)),
            Command::Webhook(args) => wait(webhook::run(&args, &context)),
            Command::Secret(args) => wait(secret::run(&args, &context)),
            Command::Auth(args) => wait(auth::run(&args, &context)),
            Command::Reconcile(args) => wait(reconcile::run(&args, &context)),
            Command::Quarantine(args) => wait(quarantine::run(&args, &context)),
            Command::Query(args) => wait(query::run(&args, &context)),
            Command::Lake(args) => wait(lake::run(&args, &context)),
            Command::Model(args) => wait(model::run(&args, &context)),
            Command::ReadDocument(args) => read_document::run(&args),
            Command::Source(args) => wait(source::run(&args)),
            Command::Serve(args) => wait(serve::run(&args, &context)),
            Command::Worker(args) => wait(worker::run(&args, &context)),
            Command::Mcp(args) => wait(mcp::run(&args, &context)),
            Command::Token(args) => wait(token::run(&args, &context)),
            Command::Session(args) => wait(session::run(&args, &context)),
            Command::Access(args) => wait(access::run(&args, &context)),
            Command::Policy(args) => wait(policy::run(&args, &context)),
            Command::Tenant(args) => wait(tenant::run(&args, &context)),
            Command::Migrate(args) => wait(migrate::run(&args, &context)),
            Command::Doctor(args) => wait(doctor::run(&args, &context)),
            Command::Completions(args) => completions::run(&args),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

/// What every command is given.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) global: GlobalArgs,
}

impl Context {
    pub(crate) fn format(&self) -> Format {
        self.global.format
    }

    pub(crate) fn logs_json(&self) -> bool {
        self.global.log_format.unwrap_or(self.settings.log_format) == LogFormat::Json
    }

    /// Where the project is looked for.
    pub(crate) fn folder(&self) -> PathBuf {
        self.global
            .project
            .clone()
            .or_else(|| self.settings.project.clone())
            .unwrap_or_else(|| PathBuf::from("."))
    }

    pub(crate) fn project(&self) -> Result<Project> {
        Project::find(&self.folder(), &variable)
    }
}

/// Runs to the end what needs a runtime. Commands that need none start without one.
fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    allocator::keep_small();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Error::internal("cannot start the runtime")
                .caused_by(error)
                .hint("the system is out of threads or file descriptors; close something and try again")
        })?
        .block_on(Box::pin(async {
            let outcome = work.await;
            // The runtime ends here, and cuts off what it still carries.
            weir_control::oauth::settled().await;
            outcome
        }))
}
