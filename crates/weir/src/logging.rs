//! Logs go to standard error, as text or as JSON lines; a source that speaks messages logs in them.

mod flat;

use std::io::IsTerminal as _;

use serde_json::json;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use crate::commands::GlobalArgs;
use crate::config::{LogFormat, Settings};
use crate::telemetry::Telemetry;

use flat::FlatJson;

/// Engine rooms of libraries whose errors come back to weir, which tells them itself.
const SILENT: &str = "delta_kernel=off,deltalake_core=off,datafusion=off,buoyant_kernel=off";

/// Parts of libraries that write whole conversations, logins included.
const TELLTALES: [&str; 2] = ["async_imap", "async_imap::imap_stream"];

/// Starts logging. What is logged: `WEIR_LOG`, else warnings; `-v`, `-vv` and `-q` change that.
pub(crate) fn start(
    global: &GlobalArgs,
    format: LogFormat,
    settings: &Settings,
    telemetry: Option<&Telemetry>,
) {
    let filter = filter(global, settings);
    let logs = fmt::layer().with_writer(std::io::stderr);
    let logs = match format {
        LogFormat::Json => logs
            .fmt_fields(JsonFields::new())
            .event_format(FlatJson)
            .with_filter(filter)
            .boxed(),
        LogFormat::Text => logs
            .compact()
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal() && !settings.no_color)
            .with_filter(filter)
            .boxed(),
    };
    let traces = telemetry.map(Telemetry::layer);
    let started = tracing_subscriber::registry().with(logs).with(traces).try_init();
    // A second start (there is none) would only leave the first one in place.
    if let Err(error) = started {
        tracing::warn!(%error, "logging was started already");
    }
}

/// Starts logging as messages of the Airbyte protocol on standard output.
pub(crate) fn start_messages(global: &GlobalArgs, settings: &Settings) {
    let logs = fmt()
        .with_env_filter(filter(global, settings))
        .event_format(AsMessage)
        .with_writer(std::io::stdout);
    if let Err(error) = logs.try_init() {
        tracing::warn!(%error, "logging was started already");
    }
}

fn filter(global: &GlobalArgs, settings: &Settings) -> EnvFilter {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info,sqlx=warn",
        (false, 2) => "debug,sqlx=warn,hyper_util=info,reqwest=info",
        (false, _) => "trace",
    };
    let usual = match global.verbose {
        0 | 1 => format!("{level},{SILENT}"),
        _ => level.to_owned(),
    };
    let asked = settings.log.as_deref().unwrap_or(&usual);
    let filter = EnvFilter::try_new(asked).unwrap_or_else(|_| EnvFilter::new(usual));
    // Whatever is asked for: what they write at this level has passwords in it.
    TELLTALES
        .iter()
        .filter_map(|target| format!("{target}=off").parse().ok())
        .fold(filter, EnvFilter::add_directive)
}

/// An event as `{"type":"LOG","log":{"level":…,"message":…}}`.
struct AsMessage;

impl<S, N> FormatEvent<S, N> for AsMessage
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut message = String::new();
        context.format_fields(Writer::new(&mut message), event)?;
        let level = event.metadata().level().as_str();
        let log = json!({ "type": "LOG", "log": { "level": level, "message": message } });
        writeln!(out, "{log}")
    }
}
