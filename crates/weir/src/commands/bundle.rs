use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;
use weir_control::Access;
use weir_control::bundles::{self, Desk, Offer, Run, RunFilter, Settled, Status, Wanted};
use weir_protocol::units::Span;
use weir_protocol::{Error, ErrorKind, Result};

use super::Context;
use super::call::input;
use crate::output::{Format, Sheet, line, raw, time};
use crate::vendors::bundle_desk;
use crate::wiring::Wiring;

/// How policies see who asks.
const VIA: &str = "cli";
const LOOK: Duration = Duration::from_secs(1);

/// Several calls as one, taken back where one fails: run, list, runs, show, cancel, retry, settle
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir bundle list\n  weir bundle run onboard --input '{\"email\": \"a@example.com\"}' --idempotency-key order-7\n  weir bundle runs --status parked"
)]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    /// Make all steps of a bundle; where one fails, take back what is done
    #[command(
        after_help = "A step that people have to approve waits, and the run with it: `weir serve` goes on, or the same command with --wait.\n\nExample:\n  weir bundle run onboard --input customer.json --idempotency-key order-7 --wait 5m"
    )]
    Run {
        bundle: String,
        /// The input: JSON, the path of a file with it, or - for standard input
        #[arg(long, value_name = "JSON", default_value = "{}")]
        input: String,
        /// Check the input and who may, show the steps; send nothing
        #[arg(long)]
        dry_run: bool,
        /// The same key again gives the same run, and no second effect
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        /// Where it has to wait for people or for an outcome, wait so long
        #[arg(long, value_name = "TIME")]
        wait: Option<Span>,
    },
    /// The bundles of the project, with the step from which on nothing takes them back
    #[command(after_help = "Example:\n  weir bundle list --format json")]
    List,
    /// Runs of bundles, newest first
    #[command(after_help = "Example:\n  weir bundle runs --bundle onboard --status parked")]
    Runs {
        #[arg(long)]
        bundle: Option<String>,
        #[arg(long, value_parser = ["running", "compensating", "parked", "done", "failed", "compensated"])]
        status: Option<String>,
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
    },
    /// A bundle by its name, or one run by its id, step by step
    #[command(after_help = "Examples:\n  weir bundle show onboard\n  weir bundle show 01976c3e-…")]
    Show { id: String },
    /// Cancel a run: what is done is taken back
    #[command(after_help = "Example:\n  weir bundle cancel 01976c3e-…")]
    Cancel { id: String },
    /// Let a parked run try again what did not work
    #[command(after_help = "Example:\n  weir bundle retry 01976c3e-…")]
    Retry { id: String },
    /// Say what became of a parked run's step, once you looked at the vendor or mended it by hand
    #[command(
        after_help = "Examples:\n  weir bundle settle 01976c3e-… --happened --remote-id re_9 --reason 'refund re_9 is in the dashboard'\n  weir bundle settle 01976c3e-… --reason 'customer deleted by hand'"
    )]
    Settle {
        id: String,
        /// The uncertain call happened
        #[arg(long, conflicts_with = "not_happened")]
        happened: bool,
        /// The uncertain call did not happen
        #[arg(long)]
        not_happened: bool,
        /// Where you looked and what you saw, or what you did
        #[arg(long)]
        reason: String,
        /// The vendor's id of what was made or changed
        #[arg(long)]
        remote_id: Option<String>,
    },
}

pub(crate) async fn run(args: &BundleArgs, context: &Arc<Context>) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?;
    let (access, desk) = bundle_desk(context, &wiring).await?;
    let done = Box::pin(carry_out(args, context, (&access, &desk))).await;
    store.close().await;
    done
}

async fn carry_out(args: &BundleArgs, context: &Context, (access, desk): (&Access, &Desk)) -> Result<()> {
    let format = context.format();
    match &args.command {
        BundleCommand::Run {
            bundle,
            input: given,
            dry_run,
            idempotency_key,
            wait,
        } => {
            let wanted = Wanted {
                bundle: bundle.clone(),
                input: input(given)?,
            };
            if *dry_run {
                let (offer, input) = desk.dry_run(access, &wanted, VIA).await?;
                raw(&format!("{:#}\n", json!({ "bundle": offer, "input": input })));
                return Ok(());
            }
            let asked = desk.ask(access, &wanted, idempotency_key.as_deref(), VIA);
            let mut run = Box::pin(asked).await?.run;
            if let Some(wait) = wait {
                run = wait_for(desk, run, wait.get()).await?;
            }
            tell(&run, format);
            ended(&run)
        }
        BundleCommand::List => list(&desk.offers(access).await?, format),
        BundleCommand::Runs {
            bundle,
            status,
            limit,
        } => {
            let filter = RunFilter {
                bundle: bundle.clone(),
                status: status.as_deref().map(str::parse).transpose()?,
                limit: *limit,
                ..RunFilter::default()
            };
            runs(&bundles::list(desk.store(), access, &filter).await?, format)
        }
        BundleCommand::Show { id } => show(desk, access, id).await,
        BundleCommand::Cancel { id } => {
            tell(&Box::pin(desk.cancel(access, id)).await?, format);
            Ok(())
        }
        BundleCommand::Retry { id } => {
            let run = Box::pin(desk.retry(access, id)).await?;
            tell(&run, format);
            parked(&run)
        }
        BundleCommand::Settle {
            id,
            happened,
            not_happened,
            reason,
            remote_id,
        } => {
            let settled = Settled {
                reason: reason.clone(),
                happened: (*happened || *not_happened).then_some(*happened),
                remote_id: remote_id.clone(),
            };
            let run = Box::pin(desk.settle(access, id, &settled)).await?;
            tell(&run, format);
            parked(&run)
        }
    }
}

/// Goes on with the run until nothing changes it any more but a person, or the time is over.
async fn wait_for(desk: &Desk, mut run: Run, wait: Duration) -> Result<Run> {
    let began = Instant::now();
    while !run.status.is_over() && run.status != Status::Parked && began.elapsed() < wait {
        tokio::time::sleep(LOOK).await;
        run = Box::pin(desk.proceed(&run.id)).await?;
    }
    Ok(run)
}

/// What has the form of an id is a run's.
async fn show(desk: &Desk, access: &Access, id: &str) -> Result<()> {
    let offers = desk.offers(access).await?;
    let value = match offers.iter().find(|offer| offer.bundle == id) {
        Some(offer) => json!(offer),
        None => json!(bundles::get(desk.store(), access, id).await?),
    };
    raw(&format!("{value:#}\n"));
    Ok(())
}

/// Prints a run in a few words, or whole.
fn tell(run: &Run, format: Format) {
    if format == Format::Json {
        raw(&format!("{:#}\n", json!(run)));
        return;
    }
    line(format!(
        "run {} of bundle '{}' is {}",
        run.id, run.bundle, run.status
    ));
    for step in &run.steps {
        let call = step.call.as_deref().unwrap_or("-");
        line(format!("  {:<20} {:<10} call {call}", step.name, step.status));
    }
    if let Some(call) = &run.waits_for {
        line(format!("  it waits for call {call}: `weir call show {call}`"));
    }
    if let Some(output) = &run.output {
        raw(&format!("{output:#}\n"));
    }
}

/// A run that did not go well fails the command.
fn ended(run: &Run) -> Result<()> {
    match run.status {
        Status::Failed | Status::Compensated | Status::Parked => Err(problem(run)),
        Status::Running | Status::Compensating | Status::Done => Ok(()),
    }
}

/// A person let it go on, and it needs one again.
fn parked(run: &Run) -> Result<()> {
    match run.status {
        Status::Parked => Err(problem(run)),
        _ => Ok(()),
    }
}

fn problem(run: &Run) -> Error {
    let failure = run.failure();
    let kind = failure.and_then(|failure| serde_json::from_value(failure.kind.as_str().into()).ok());
    let message = failure.map_or("it did not end well", |failure| failure.message.as_str());
    let error = Error::new(
        kind.unwrap_or(ErrorKind::Internal),
        format!("the bundle is {}: {message}", run.status),
    );
    let hint = failure.and_then(|failure| failure.hint.as_deref());
    error
        .with("run", &run.id)
        .hint(hint.unwrap_or("`weir bundle show` has all of it"))
}

fn list(all: &[Offer], format: Format) -> Result<()> {
    let mut sheet = Sheet::new(["bundle", "title", "effect", "steps", "pivot"]);
    for offer in all {
        sheet.push([
            offer.bundle.as_str().into(),
            offer.title.as_str().into(),
            offer.effect.as_str().into(),
            offer.steps.len().into(),
            offer.pivot.as_deref().into(),
        ]);
    }
    sheet.print(format)
}

fn runs(all: &[Run], format: Format) -> Result<()> {
    let mut sheet = Sheet::new([
        "id",
        "bundle",
        "effect",
        "status",
        "principal",
        "created",
        "parked_for",
        "waits_for",
        "error",
    ]);
    for run in all {
        sheet.push([
            run.id.as_str().into(),
            run.bundle.as_str().into(),
            run.effect.as_str().into(),
            run.status.as_str().into(),
            run.principal.as_str().into(),
            time(Some(run.created_at_ms)),
            run.parked_for.map(bundles::Parked::as_str).into(),
            run.waits_for.as_deref().into(),
            run.failure().map(|failure| failure.message.as_str()).into(),
        ]);
    }
    sheet.print(format)
}
