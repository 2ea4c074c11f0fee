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
mod interrupt;
mod lake_keys;
mod logging;
mod output;
mod parts;
mod performer;
mod progress;
mod project;
mod remote;
mod supplies;
mod vaults;
mod wiring;
mod writers;

use std::process::ExitCode;

use clap::Parser as _;

use crate::commands::Cli;
use crate::config::Settings;

fn main() -> ExitCode {
    allocator::share_pools();
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
    logging::start(&cli.global, log_format, &settings);
    match cli.run(settings) {
        Ok(code) => code,
        Err(error) => errors::report(&error, log_format),
    }
}
