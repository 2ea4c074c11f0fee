use clap::{Args, Subcommand};
use serde_json::json;
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_control::schedules::{self, Compliance};
use weir_control::{DEFAULT_TENANT, Store};
use weir_protocol::Result;
use weir_protocol::units::Span;

use super::Context;
use crate::output::{Sheet, line, time};
use crate::performer::take_schedules;
use crate::wiring::Wiring;

/// When connections are synced by themselves, and how well that was kept
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir schedule list\n  weir schedule pause github")]
pub(crate) struct ScheduleArgs {
    #[command(subcommand)]
    command: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// All schedules, with what was kept of their promise
    #[command(after_help = "Example:\n  weir schedule list --since 7d")]
    List {
        /// What was due so long ago and since is counted
        #[arg(long, default_value = "30d", value_name = "TIME")]
        since: Span,
    },
    /// Sync a connection no longer by itself, until `resume`
    #[command(after_help = "Example:\n  weir schedule pause github")]
    Pause { connection: String },
    /// Go on; what was due meanwhile is caught up as `catch_up` says
    #[command(after_help = "Example:\n  weir schedule resume github")]
    Resume { connection: String },
}

pub(crate) async fn run(args: &ScheduleArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?;
    let taken = take_schedules(&wiring, &store).await?;
    match &args.command {
        ScheduleCommand::List { since } => {
            list(&store, *since, context).await?;
            taken.all()?;
        }
        ScheduleCommand::Pause { connection } => {
            allow(&wiring, connection).await?;
            schedules::pause(&store, DEFAULT_TENANT, connection, true).await?;
            line(format!(
                "{connection} is paused; `weir schedule resume {connection}` lets it go on"
            ));
        }
        ScheduleCommand::Resume { connection } => {
            allow(&wiring, connection).await?;
            schedules::pause(&store, DEFAULT_TENANT, connection, false).await?;
            line(format!("{connection} goes on"));
        }
    }
    store.close().await;
    Ok(())
}

async fn allow(wiring: &Wiring, connection: &str) -> Result<()> {
    let target = Target::Connection(connection.to_owned());
    let permission = Permission::SchedulesWrite;
    wiring.allow(DEFAULT_TENANT, permission, &target).await
}

async fn list(store: &Store, since: Span, context: &Context) -> Result<()> {
    let ago = i64::try_from(since.get().as_millis()).unwrap_or(i64::MAX);
    let since_ms = store.now_ms().await?.saturating_sub(ago);
    let kept = schedules::compliance(store, DEFAULT_TENANT, since_ms).await?;
    let mut sheet = Sheet::new([
        "connection",
        "tier",
        "cron",
        "time_zone",
        "next_due",
        "paused",
        "due",
        "kept_percent",
        "success_percent",
    ]);
    for schedule in schedules::list(store, DEFAULT_TENANT).await? {
        let found = kept
            .iter()
            .find(|(connection, _)| *connection == schedule.connection);
        let compliance = found.map_or(Compliance::default(), |(_, compliance)| *compliance);
        let percent = |share: f64| json!((share * 1000.0).round() / 10.0);
        sheet.push([
            schedule.connection.as_str().into(),
            schedule.timing.tier.as_str().into(),
            schedule.timing.cron.as_str().into(),
            schedule.timing.time_zone.as_str().into(),
            time(Some(schedule.next_due_at_ms)),
            time(schedule.paused_at_ms),
            compliance.due.into(),
            percent(compliance.kept_share()),
            percent(compliance.success_share()),
        ]);
    }
    sheet.print(context.format())
}
