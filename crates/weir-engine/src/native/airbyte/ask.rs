//! The questions that have one answer: specification, connection status, catalog.

use serde::Serialize;
use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use super::super::process::{Argument, Line, Program, Running, named};
use super::catalog::Catalog;
use super::failure::Failures;
use super::messages::{Control, Message, Status, Trace, log, part, told};

const CONFIG: &str = "config.json";

/// JSON Schema of the program's settings.
pub(super) async fn specification(program: &Program) -> Result<Value> {
    let spec = ask(program, &[Argument::Word("spec")], None::<&()>, "SPEC").await?;
    let schema = spec.get("connectionSpecification").cloned();
    Ok(schema.unwrap_or_else(|| serde_json::json!({ "type": "object" })))
}

pub(super) async fn check(program: &Program, settings: &Map<String, Value>) -> Result<()> {
    let status = ask(
        program,
        &with_config("check"),
        Some(settings),
        "CONNECTION_STATUS",
    )
    .await?;
    let status: Status = serde_json::from_value(status).map_err(|error| {
        Error::decode("the program's connection status is not as the protocol has it")
            .caused_by(error)
            .hint("look at the program's version; it may speak another protocol")
    })?;
    if status.status == "SUCCEEDED" {
        return Ok(());
    }
    let message = status.message.unwrap_or_else(|| "it does not say why".to_owned());
    let message = program.redactor().excerpt(message.as_bytes(), 2_000);
    Err(
        Error::source_failed(format!("'{}' refuses the connection: {message}", program.name()))
            .hint("mend config.settings, and look whether the system can be reached"),
    )
}

pub(super) async fn catalog(program: &Program, settings: &Map<String, Value>) -> Result<Catalog> {
    let catalog = ask(program, &with_config("discover"), Some(settings), "CATALOG").await?;
    Catalog::parse(catalog)
}

fn with_config(verb: &str) -> [Argument<'_>; 3] {
    [
        Argument::Word(verb),
        Argument::Word("--config"),
        Argument::File(CONFIG),
    ]
}

/// Runs the program to its end and gives the last answer of that kind.
async fn ask(
    program: &Program,
    arguments: &[Argument<'_>],
    settings: Option<&impl Serialize>,
    wanted: &str,
) -> Result<Value> {
    let folder = program.folder()?;
    if let Some(settings) = settings {
        folder.write(CONFIG, settings)?;
    }
    let mut running = program.start(folder, arguments)?;
    let mut answer = None;
    let mut failures = Failures::default();
    let redactor = program.redactor();
    loop {
        let noise = {
            let (line, is_cut) = match running.next_line().await? {
                None => break,
                Some(Line::Whole(line)) => (line, false),
                Some(Line::Cut(line)) => (line, true),
            };
            match told(line, is_cut, |line| redactor.excerpt(line, 200))? {
                Some(message) => {
                    let found = answer_of(&message, wanted)?;
                    answer = found.or(answer);
                    hide_changed(program, &message);
                    Aside::of(&message).map(Ok)
                }
                None => Some(Err(line.to_vec())),
            }
        };
        match noise {
            Some(Ok(aside)) => aside.take(&running, &mut failures),
            Some(Err(line)) => tracing::info!(target: "weir::process", "{}", running.note(&line)),
            None => {}
        }
    }
    let ended = running.end().await;
    // A check may say no and end with a failure: its answer says more.
    if let Some(answer) = answer
        && (ended.is_ok() || wanted == "CONNECTION_STATUS")
    {
        return Ok(answer);
    }
    failures.result(ended, redactor)?;
    Err(running.with_tail(
        Error::source_failed(format!("'{}' ended without a {wanted} message", program.name()))
            .hint("look whether it is a source that speaks the Airbyte protocol"),
    ))
}

/// A program may replace a token before it is asked to read: the new one is as secret as the old.
fn hide_changed(program: &Program, message: &Message<'_>) {
    let Some(raw) = message.control.filter(|_| message.kind == "CONTROL") else {
        return;
    };
    match part::<Control>("CONTROL", raw) {
        Ok(told) => {
            let changed = told.connector_config.map(|changed| changed.config);
            program.hide(named(&Value::Object(changed.unwrap_or_default())));
        }
        Err(error) => tracing::debug!(%error, "a message that the answer does not need"),
    }
}

fn answer_of(message: &Message<'_>, wanted: &str) -> Result<Option<Value>> {
    if message.kind != wanted {
        return Ok(None);
    }
    let (what, raw) = match wanted {
        "SPEC" => ("SPEC", message.spec),
        "CATALOG" => ("CATALOG", message.catalog),
        _ => ("CONNECTION_STATUS", message.status),
    };
    raw.map(|raw| part(what, raw)).transpose()
}

/// What may be told beside any answer.
enum Aside {
    Log(Box<serde_json::value::RawValue>),
    Trace(Box<Trace>),
}

impl Aside {
    fn of(message: &Message<'_>) -> Option<Self> {
        match (message.kind.as_ref(), message.log, message.trace) {
            ("LOG", Some(raw), _) => Some(Self::Log(raw.to_owned())),
            ("TRACE", _, Some(raw)) => Some(Self::Trace(Box::new(Trace::of(raw)))),
            _ => None,
        }
    }

    fn take(self, running: &Running, failures: &mut Failures) {
        match self {
            Self::Log(raw) => log(running, &raw),
            Self::Trace(trace) => failures.take(*trace),
        }
    }
}
