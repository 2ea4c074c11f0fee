//! The binary: commands, configuration and the only composition root.

mod airbyte;
mod allocator;
mod applied;
mod audit_trail;
mod board;
mod commands;
mod config;
mod core_dumps;
mod demo;
mod engine;
mod errors;
mod failpoint;
mod grants;
mod interrupt;
mod lake_keys;
mod logging;
mod login;
mod messenger;
mod output;
mod parts;
mod performer;
mod places;
mod process_limits;
mod progress;
mod project;
mod receivers;
mod remote;
mod renewals;
mod spools;
mod supplies;
mod telemetry;
mod tesseract;
mod tools;
mod upstream;
mod vaults;
mod vendors;
mod wiring;
mod writers;

use std::process::ExitCode;

use clap::Parser as _;

use crate::commands::Cli;
use crate::config::Settings;
use crate::telemetry::Telemetry;

fn main() -> ExitCode {
    allocator::set();
    core_dumps::forbid();
    let settings = Settings::from_environment();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && commands::is_source(std::env::args().skip(1)) => {
            return airbyte::broken(&errors::of_usage(&error));
        }
        Err(error) => return errors::usage(&error, settings.log_format),
    };
    if cli.is_source() {
        logging::start_messages(&cli.global, &settings);
        return match cli.run(settings) {
            Ok(code) => code,
            Err(error) => airbyte::broken(&error),
        };
    }
    let log_format = cli.global.log_format.unwrap_or(settings.log_format);
    let telemetry = Telemetry::start(settings.traces);
    logging::start(
        &cli.global,
        log_format,
        &settings,
        telemetry.as_ref().ok().and_then(Option::as_ref),
    );
    let telemetry = telemetry.unwrap_or_else(|error| {
        // What weir does is worth more than what is told of it.
        tracing::warn!(%error, next = error.next_step(), "no traces are sent");
        None
    });
    let done = cli.run(settings);
    if let Some(telemetry) = telemetry {
        telemetry.flush();
    }
    match done {
        Ok(code) => code,
        Err(error) => errors::report(&error, log_format),
    }
}
