use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;
use weir_control::approvals::{self, Approval, ApprovalFilter, Decision, Verdict};
use weir_control::bundles;
use weir_control::calls::Call;
use weir_protocol::Result;

use super::Context;
use super::call::{ended, tell};
use crate::output::{Format, Sheet, line, raw, time};
use crate::vendors::bundle_desk;
use crate::wiring::Wiring;

/// Calls that wait for people: list, show, approve, reject, review
#[derive(Debug, Args)]
#[command(
    after_help = "Nobody approves their own call. With WEIR_TOKEN it is decided as that token's principal.\n\nExamples:\n  weir approval list\n  WEIR_TOKEN=weir_… weir approval approve 01976c3e-…"
)]
pub(crate) struct ApprovalArgs {
    #[command(subcommand)]
    command: ApprovalCommand,
}

#[derive(Debug, Subcommand)]
enum ApprovalCommand {
    /// Approvals, newest first
    #[command(after_help = "Example:\n  weir approval list --status pending")]
    List {
        #[arg(long, value_parser = ["pending", "approved", "rejected", "expired", "used", "void"])]
        status: Option<String>,
        /// Only those that one person approved alone, and nobody looked at
        #[arg(long)]
        to_review: bool,
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
    },
    /// One with its call, the request as it will be sent, and the votes
    #[command(after_help = "Example:\n  weir approval show 01976c3e-…")]
    Show {
        /// Id of the call
        id: String,
    },
    /// Approve a call; where that is enough, it is made at once
    #[command(
        after_help = "Example:\n  weir approval approve 01976c3e-… --reason 'checked with the customer'"
    )]
    Approve {
        /// Id of the call
        id: String,
        #[arg(long)]
        reason: Option<String>,
        /// The call's digest as it was shown; another one refuses the approval
        #[arg(long, value_name = "SHA256")]
        digest: Option<String>,
        /// Approve alone, in an emergency that the reason names
        #[arg(long, requires = "reason")]
        break_glass: bool,
    },
    /// Reject a call; nothing is sent
    #[command(after_help = "Example:\n  weir approval reject 01976c3e-… --reason 'wrong customer'")]
    Reject {
        /// Id of the call
        id: String,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Say what you found about a call that somebody approved alone
    #[command(after_help = "Example:\n  weir approval review 01976c3e-… --found 'it was an emergency'")]
    Review {
        /// Id of the call
        id: String,
        #[arg(long, value_name = "TEXT")]
        found: String,
    },
}

pub(crate) async fn run(args: &ApprovalArgs, context: &Arc<Context>) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?;
    let (access, bundles) = bundle_desk(context, &wiring).await?;
    let desk = bundles.calls();
    let acting = desk.acting().clone();
    let noting = store.acting_as(acting);
    let format = context.format();
    match &args.command {
        ApprovalCommand::List {
            status,
            to_review,
            limit,
        } => {
            let filter = ApprovalFilter {
                status: status.as_deref().map(str::parse).transpose()?,
                to_review: *to_review,
                limit: *limit,
                ..ApprovalFilter::default()
            };
            list(&approvals::list(&noting, &access, &filter).await?, format)?;
        }
        ApprovalCommand::Show { id } => {
            raw(&format!(
                "{:#}\n",
                json!(approvals::get(&noting, &access, id).await?)
            ));
        }
        ApprovalCommand::Approve {
            id,
            reason,
            digest,
            break_glass,
        } => {
            let decision = Decision {
                verdict: Verdict::Approve,
                reason: reason.clone(),
                break_glass: *break_glass,
                digest: digest.clone(),
            };
            let decided = desk.decide(&access, id, &decision).await?;
            if decided.status != approvals::Status::Approved {
                show(&decided, format);
            } else {
                let call = Box::pin(desk.proceed(id)).await?;
                go_on(&bundles, &call).await?;
                tell(&call, format);
                store.close().await;
                return ended(&call);
            }
        }
        ApprovalCommand::Reject { id, reason } => {
            let decision = Decision {
                verdict: Verdict::Reject,
                reason: reason.clone(),
                break_glass: false,
                digest: None,
            };
            let decided = desk.decide(&access, id, &decision).await?;
            go_on(&bundles, &decided.call).await?;
            show(&decided, format);
        }
        ApprovalCommand::Review { id, found } => {
            show(&approvals::review(&noting, &access, id, found).await?, format);
        }
    }
    store.close().await;
    Ok(())
}

/// Goes on with the bundle that a call is a step of, where no server is running.
async fn go_on(bundles: &bundles::Desk, call: &Call) -> Result<()> {
    if let Some(run) = &call.correlation_id {
        Box::pin(bundles.proceed(run)).await?;
    }
    Ok(())
}

fn show(approval: &Approval, format: Format) {
    if format == Format::Json {
        raw(&format!("{:#}\n", json!(approval)));
        return;
    }
    let approved = approval
        .votes
        .iter()
        .filter(|vote| vote.verdict == Verdict::Approve);
    line(format!(
        "approval of call {}: {}, {} of {} approved",
        approval.id,
        approval.status,
        approved.count(),
        approval.needed
    ));
}

fn list(all: &[Approval], format: Format) -> Result<()> {
    let mut sheet = Sheet::new([
        "id",
        "connection",
        "action",
        "effect",
        "principal",
        "status",
        "votes",
        "needed",
        "expires",
        "rules",
    ]);
    for approval in all {
        sheet.push([
            approval.id.as_str().into(),
            approval.call.connection.as_str().into(),
            approval.call.action.as_str().into(),
            approval.call.effect.as_str().into(),
            approval.call.principal.as_str().into(),
            approval.status.as_str().into(),
            approval.votes.len().into(),
            approval.needed.into(),
            time(Some(approval.expires_at_ms)),
            approval.rules.join(" ").into(),
        ]);
    }
    sheet.print(format)
}
