use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use weir_control::calls::{self, Call, CallFilter, Found, Status, Wanted};
use weir_control::{Access, Store};
use weir_protocol::units::Span;
use weir_protocol::{Error, ErrorKind, Result, json};

use super::Context;
use crate::errors;
use crate::output::{Format, Sheet, line, raw, time};
use crate::vendors::{caller, desk};
use crate::wiring::Wiring;

/// How policies see who asks.
const VIA: &str = "cli";
const LOOK: Duration = Duration::from_secs(1);

/// Call an action of a connection
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "A call that people have to approve waits: `weir approval list`. With WEIR_TOKEN the call is made as that token's\nprincipal.\n\nExamples:\n  weir call notify send --input '{\"type\": \"order.paid\", \"data\": {\"id\": 7}}'\n  weir call notify.send --input order.json --dry-run\n  weir call list --status uncertain"
)]
pub(crate) struct CallArgs {
    #[command(subcommand)]
    command: Option<CallCommand>,
    /// The connection, or connection.action in one word
    #[arg(required = true)]
    connection: Option<String>,
    /// The action, where the first word does not name it
    action: Option<String>,
    /// The input: a JSON object, the path of a file with it, or - for standard input
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// Show the request and who would have to approve it; send nothing
    #[arg(long)]
    dry_run: bool,
    /// The same key again gives the same call, and no second effect
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Where people have to approve it, wait so long for what becomes of it
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
}

#[derive(Debug, Subcommand)]
enum CallCommand {
    /// Calls, newest first
    #[command(after_help = "Example:\n  weir call list --connection notify --status uncertain")]
    List {
        #[arg(long)]
        connection: Option<String>,
        #[arg(long, value_parser = ["waiting", "ready", "running", "done", "failed", "uncertain", "refused"])]
        status: Option<String>,
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
    },
    /// One call with its input and output
    #[command(after_help = "Example:\n  weir call show 01976c3e-…")]
    Show { id: String },
    /// Say of an uncertain call whether it happened, once you looked at the vendor
    #[command(
        after_help = "Example:\n  weir call settle 01976c3e-… --happened --remote-id re_9 --reason 'refund re_9 is in the dashboard'"
    )]
    Settle {
        id: String,
        /// The effect is there
        #[arg(
            long,
            required_unless_present = "not_happened",
            conflicts_with = "not_happened"
        )]
        happened: bool,
        /// It is not
        #[arg(long)]
        not_happened: bool,
        /// Where you looked, and what you saw
        #[arg(long)]
        reason: String,
        /// The vendor's id of what was made or changed
        #[arg(long)]
        remote_id: Option<String>,
    },
}

pub(crate) async fn run(args: &CallArgs, context: &Arc<Context>) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?;
    let done = match &args.command {
        None => make(args, context, &wiring).await,
        Some(command) => {
            let (access, acting) = caller(context, &store).await?;
            look(command, context, &store.acting_as(acting), &access).await
        }
    };
    store.close().await;
    done
}

async fn look(command: &CallCommand, context: &Context, store: &Store, access: &Access) -> Result<()> {
    match command {
        CallCommand::List {
            connection,
            status,
            limit,
        } => {
            let filter = CallFilter {
                connection: connection.clone(),
                status: status.as_deref().map(str::parse).transpose()?,
                limit: *limit,
                ..CallFilter::default()
            };
            list(&calls::list(store, access, &filter).await?, context.format())
        }
        CallCommand::Show { id } => {
            raw(&format!("{:#}\n", json!(calls::get(store, access, id).await?)));
            Ok(())
        }
        CallCommand::Settle {
            id,
            happened,
            reason,
            remote_id,
            ..
        } => {
            let found = Found {
                happened: *happened,
                reason: reason.clone(),
                remote_id: remote_id.clone(),
            };
            let call = calls::settle(store, access, id, &found).await?;
            tell(&call, context.format());
            Ok(())
        }
    }
}

async fn make(args: &CallArgs, context: &Arc<Context>, wiring: &Wiring) -> Result<()> {
    let (connection, action) = named(
        args.connection.as_deref().unwrap_or_default(),
        args.action.as_deref(),
    )?;
    let wanted = Wanted {
        connection,
        action,
        input: input(&args.input)?,
    };
    let (access, desk) = desk(context, wiring).await?;
    if args.dry_run {
        let dry = desk.dry_run(&access, &wanted, VIA).await?;
        raw(&format!("{:#}\n", json!(dry)));
        return Ok(());
    }
    let key = args.idempotency_key.as_deref();
    let mut call = Box::pin(desk.ask(&access, &wanted, key, VIA)).await?.call;
    if let Some(wait) = args.wait {
        call = wait_for(&wiring.store().await?, &access, call, wait.get()).await?;
    }
    tell(&call, context.format());
    ended(&call)
}

/// Looks until nobody has to do anything with the call any more, or the time is over.
async fn wait_for(store: &Store, access: &Access, mut call: Call, wait: Duration) -> Result<Call> {
    let began = Instant::now();
    while !call.status.is_over() && began.elapsed() < wait {
        tokio::time::sleep(LOOK).await;
        call = calls::get(store, access, &call.id).await?;
    }
    Ok(call)
}

/// Connection and action, as two words or as one with a point between, as tools are named.
fn named(first: &str, second: Option<&str>) -> Result<(String, String)> {
    let (connection, action) = match second {
        Some(action) => (first, action),
        None => first.split_once('.').ok_or_else(|| {
            Error::usage(format!("which action of '{first}' is to be called?")).hint(format!(
                "write `weir call {first} ACTION` or `weir call {first}.ACTION`; `weir action list` has them"
            ))
        })?,
    };
    Ok((connection.to_owned(), action.to_owned()))
}

/// What cannot be JSON is the path of a file.
pub(super) fn input(given: &str) -> Result<Map<String, Value>> {
    let text = if given == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| errors::file("read", Path::new("standard input"), error))?;
        text
    } else if is_written_out(given) {
        given.to_owned()
    } else {
        std::fs::read_to_string(given).map_err(|error| {
            Error::spec(format!("cannot read {given}"))
                .caused_by(error)
                .hint("--input takes a JSON object, the path of a file with one, or - for standard input")
        })?
    };
    match json::parse("the input", text.as_bytes())? {
        Value::Object(fields) => Ok(fields),
        other => Err(Error::usage(format!(
            "the input is {}, not a JSON object",
            kind_of(&other)
        ))
        .hint("write --input '{\"name\": \"value\"}', the path of a file with such an object, or - for standard input; `weir action show CONNECTION ACTION` has the schema")),
    }
}

/// Whether it is JSON itself, though of the wrong kind, and not the path of a file.
fn is_written_out(given: &str) -> bool {
    let begins = given.trim_start().starts_with(['{', '[', '"']);
    begins || (serde_json::from_str::<Value>(given).is_ok() && !Path::new(given).exists())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Prints a call in a few words, or whole.
pub(super) fn tell(call: &Call, format: Format) {
    if format == Format::Json {
        raw(&format!("{:#}\n", json!(call)));
        return;
    }
    line(format!(
        "call {}: {} of '{}' is {}",
        call.id, call.action, call.connection, call.status
    ));
    match call.status {
        Status::Waiting => line(format!(
            "  somebody else has to approve it: weir approval show {}",
            call.id
        )),
        Status::Done => {
            if let Some(id) = &call.remote_id {
                line(format!("  the vendor's id: {id}"));
            }
            if let Some(warning) = &call.error {
                line(format!("  warning: {}", warning.message));
            }
            if let Some(output) = &call.output {
                raw(&format!("{output:#}\n"));
            }
        }
        _ => {}
    }
}

/// A call that did not go well fails the command.
pub(super) fn ended(call: &Call) -> Result<()> {
    if !matches!(call.status, Status::Failed | Status::Uncertain | Status::Refused) {
        return Ok(());
    }
    let failure = call.error.as_ref();
    let kind = failure.and_then(|failure| serde_json::from_value(failure.kind.as_str().into()).ok());
    let message = failure.map_or("it did not end well", |failure| failure.message.as_str());
    let error = Error::new(
        kind.unwrap_or(ErrorKind::Internal),
        format!("the call is {}: {message}", call.status),
    );
    let hint = failure.and_then(|failure| failure.hint.as_deref());
    Err(error
        .with("call", &call.id)
        .hint(hint.unwrap_or("`weir call show` has all of it")))
}

fn list(all: &[Call], format: Format) -> Result<()> {
    let mut sheet = Sheet::new([
        "id",
        "connection",
        "action",
        "effect",
        "status",
        "principal",
        "created",
        "remote_id",
        "error",
    ]);
    for call in all {
        sheet.push([
            call.id.as_str().into(),
            call.connection.as_str().into(),
            call.action.as_str().into(),
            call.effect.as_str().into(),
            call.status.as_str().into(),
            call.principal.as_str().into(),
            time(Some(call.created_at_ms)),
            call.remote_id.as_deref().into(),
            call.error.as_ref().map(|error| error.message.as_str()).into(),
        ]);
    }
    sheet.print(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_named_in_two_words_or_one() {
        let pair = |connection: &str, action: &str| (connection.to_owned(), action.to_owned());
        assert_eq!(named("shop", Some("tip")).unwrap(), pair("shop", "tip"));
        assert_eq!(named("shop.tip", None).unwrap(), pair("shop", "tip"));
        let error = named("shop", None).unwrap_err();
        assert_eq!(error.message(), "which action of 'shop' is to be called?");
    }

    #[test]
    fn an_input_that_is_no_object_says_so() {
        assert_eq!(input(r#"{"a": 1}"#).unwrap()["a"], 1);
        for (given, wanted) in [
            ("[]", "the input is a list, not a JSON object"),
            ("7", "the input is a number, not a JSON object"),
            ("null", "the input is null, not a JSON object"),
            (r#""x""#, "the input is a text, not a JSON object"),
            (
                r#"{"to": "a", "to": "b"}"#,
                "the input is not clear: the key 'to' is there twice at line 1 column 16",
            ),
        ] {
            assert_eq!(input(given).unwrap_err().message(), wanted);
        }
        let error = input("no-such-file.json").unwrap_err();
        assert!(error.next_step().unwrap().contains("a JSON object"));
    }

    #[test]
    fn a_file_has_the_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input.json");
        std::fs::write(&path, r#"{"a": [1]}"#).unwrap();
        assert_eq!(input(path.to_str().unwrap()).unwrap()["a"], json!([1]));
    }
}
