use clap::{Args, Subcommand};
use serde_json::json;
use weir_protocol::{Error, Result};

use super::Context;
use crate::output::{Sheet, raw};
use crate::vendors::offers;
use crate::wiring::Wiring;

/// What connections offer to do: list, show
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir action list\n  weir action show notify send")]
pub(crate) struct ActionArgs {
    #[command(subcommand)]
    command: ActionCommand,
}

#[derive(Debug, Subcommand)]
enum ActionCommand {
    /// All actions of all connections, with what they do to the world
    #[command(after_help = "Example:\n  weir action list --format json")]
    List,
    /// One action with the schemas of its input and output
    #[command(after_help = "Example:\n  weir action show notify send")]
    Show {
        /// Name of the connection
        connection: String,
        action: String,
    },
}

pub(crate) async fn run(args: &ActionArgs, context: &Context) -> Result<()> {
    let all = offers(&Wiring::open(context)?).await?;
    match &args.command {
        ActionCommand::List => {
            let mut sheet = Sheet::new([
                "connection",
                "action",
                "title",
                "effect",
                "approval",
                "connector",
                "version",
            ]);
            for offer in all {
                sheet.push([
                    offer.connection.into(),
                    offer.action.into(),
                    offer.title.into(),
                    offer.effect.as_str().into(),
                    json!(offer.approval),
                    offer.connector.into(),
                    offer.version.into(),
                ]);
            }
            sheet.print(context.format())
        }
        ActionCommand::Show { connection, action } => {
            let found = all
                .iter()
                .find(|offer| offer.connection == *connection && offer.action == *action);
            let found = found.ok_or_else(|| {
                Error::not_found(format!("there is no action '{action}' of '{connection}'"))
                    .hint("`weir action list` shows those there are")
            })?;
            raw(&format!("{:#}\n", json!(found)));
            Ok(())
        }
    }
}
