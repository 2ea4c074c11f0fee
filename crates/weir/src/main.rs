//! The binary: commands, configuration and the only composition root.

mod airbyte;
mod commands;
mod config;
mod demo;
mod engine;
mod errors;
mod failpoint;
mod interrupt;
mod lake_keys;
mod logging;
mod output;
mod progress;
mod project;
mod wiring;

use std::process::ExitCode;

use clap::Parser as _;

use crate::commands::Cli;
use crate::config::Settings;

fn main() -> ExitCode {
    let settings = Settings::from_environment();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return errors::usage(&error, settings.log_format),
    };
    let log_format = cli.global.log_format.unwrap_or(settings.log_format);
    logging::start(&cli.global, log_format, &settings);
    match cli.run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => errors::report(&error, log_format),
    }
}
