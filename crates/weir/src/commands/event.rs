mod schema;

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;
use weir_control::deliveries::{self, Delivery, DeliveryFilter};
use weir_control::events::{self, Envelope, EventFilter};
use weir_control::{DEFAULT_TENANT, Store};
use weir_protocol::Result;

use super::Context;
use crate::messenger;
use crate::output::{Sheet, line, raw, time};
use crate::wiring::Wiring;

/// What happened, as CloudEvents: list, show, deliveries, replay, schema
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir event list --family 'run.*'\n  weir event deliveries --status dead\n  weir event schema check events/shop.order_paid/2.json"
)]
pub(crate) struct EventArgs {
    #[command(subcommand)]
    command: EventCommand,
}

#[derive(Debug, Subcommand)]
enum EventCommand {
    /// Events that are kept, newest first
    #[command(after_help = "Example:\n  weir event list --family 'run.*' --subject connection:github")]
    List {
        /// Only this family; `run.*` for all that begin so
        #[arg(long)]
        family: Option<String>,
        /// Only about this, as in connection:github
        #[arg(long)]
        subject: Option<String>,
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
    },
    /// One event as it is sent, and to whom it went
    #[command(after_help = "Example:\n  weir event show 01976c3e-…")]
    Show {
        id: String,
    },
    /// Events on their way to webhooks and channels, or given up
    #[command(after_help = "Example:\n  weir event deliveries --status dead")]
    Deliveries {
        /// waiting, delivered or dead
        #[arg(long, value_parser = ["waiting", "delivered", "dead"])]
        status: Option<String>,
        /// webhook:NAME or channel:NAME
        #[arg(long)]
        target: Option<String>,
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
    },
    /// Send an event again
    #[command(after_help = "Example:\n  weir event replay 01976c3e-… --to webhook:ops")]
    Replay {
        id: String,
        /// Only to this one, webhook:NAME or channel:NAME; to all that it went to where it is left out
        #[arg(long, value_name = "TARGET")]
        to: Option<String>,
    },
    Schema(schema::SchemaArgs),
}

pub(crate) async fn run(args: &EventArgs, context: &Context) -> Result<()> {
    let wiring = Arc::new(Wiring::open(context)?);
    let store = wiring.store().await?;
    match &args.command {
        EventCommand::List {
            family,
            subject,
            limit,
        } => {
            let filter = EventFilter {
                family: family.clone(),
                subject: subject.clone(),
                limit: *limit,
                ..EventFilter::default()
            };
            let mut sheet = Sheet::new(["id", "family", "subject", "time", "data"]);
            for event in events::list(&store, DEFAULT_TENANT, &filter).await? {
                sheet.push([
                    event.id.into(),
                    event.family.into(),
                    event.subject.into(),
                    time(Some(event.happened_at_ms)),
                    serde_json::Value::Object(event.data),
                ]);
            }
            sheet.print(context.format())?;
        }
        EventCommand::Show { id } => {
            let event = events::get(&store, DEFAULT_TENANT, id).await?;
            let sent = of_event(&store, &event.id).await?;
            let shown = json!({ "event": Envelope::from(event), "deliveries": sent });
            raw(&format!("{shown:#}\n"));
        }
        EventCommand::Deliveries {
            status,
            target,
            limit,
        } => {
            let filter = DeliveryFilter {
                status: status.clone(),
                target: target.clone(),
                limit: *limit,
                ..DeliveryFilter::default()
            };
            list(&deliveries::list(&store, DEFAULT_TENANT, &filter).await?, context)?;
        }
        EventCommand::Replay { id, to } => {
            deliveries::replay(&store, DEFAULT_TENANT, id, to.as_deref()).await?;
            list(&messenger::send_now(&wiring, &store, id).await?, context)?;
        }
        EventCommand::Schema(args) => schema::run(args, context, &wiring, &store).await?,
    }
    store.close().await;
    Ok(())
}

async fn of_event(store: &Store, event: &str) -> Result<Vec<Delivery>> {
    let filter = DeliveryFilter {
        event: Some(event.to_owned()),
        limit: 100,
        ..DeliveryFilter::default()
    };
    deliveries::list(store, DEFAULT_TENANT, &filter).await
}

fn list(found: &[Delivery], context: &Context) -> Result<()> {
    let mut sheet = Sheet::new([
        "event", "target", "status", "failed", "next", "answer", "ended", "error",
    ]);
    for delivery in found {
        let is_waiting = delivery.status == "waiting";
        sheet.push([
            delivery.event.as_str().into(),
            delivery.target.as_str().into(),
            delivery.status.as_str().into(),
            delivery.attempts.into(),
            time(Some(delivery.not_before_ms).filter(|_| is_waiting)),
            delivery.answer.into(),
            time(delivery.ended_at_ms),
            delivery.error.clone().into(),
        ]);
    }
    sheet.print(context.format())?;
    if found.is_empty() {
        line("nothing was sent to anybody");
    }
    Ok(())
}
