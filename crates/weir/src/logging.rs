//! Logs go to standard error, as text or as JSON lines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::commands::GlobalArgs;
use crate::config::{LogFormat, Settings};

/// Starts logging. What is logged: `WEIR_LOG`, else warnings; `-v`, `-vv` and `-q` change that.
pub(crate) fn start(global: &GlobalArgs, format: LogFormat, settings: &Settings) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info,sqlx=warn",
        (false, 2) => "debug,sqlx=warn,hyper_util=info,reqwest=info",
        (false, _) => "trace",
    };
    let asked = settings.log.as_deref().unwrap_or(level);
    let filter = EnvFilter::try_new(asked).unwrap_or_else(|_| EnvFilter::new(level));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second start (there is none) would only leave the first one in place.
    let started = match format {
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
        LogFormat::Text => logs
            .compact()
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal() && !settings.no_color)
            .try_init(),
    };
    if let Err(error) = started {
        tracing::warn!(%error, "logging was started already");
    }
}
