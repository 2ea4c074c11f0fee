//! Errors as people and programs read them, and the exit code.

use std::error::Error as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use weir_protocol::{Error, ErrorKind};

use clap::CommandFactory as _;

use crate::commands::Cli;
use crate::config::LogFormat;

const USAGE_EXIT: u8 = 2;

/// Prints the error and gives the exit code of its kind.
pub(crate) fn report(error: &Error, format: LogFormat) -> ExitCode {
    let text = match format {
        LogFormat::Text => text(error),
        LogFormat::Json => format!("{}\n", object(error)),
    };
    write(&text);
    ExitCode::from(error.kind().exit_code())
}

/// Prints what clap says: help and version to standard output, anything else as an error of usage.
pub(crate) fn usage(error: &clap::Error, default: LogFormat) -> ExitCode {
    if !error.use_stderr() {
        crate::output::raw(&error.render().to_string());
        return ExitCode::SUCCESS;
    }
    // The command line could not be parsed, so the wish for JSON is looked for by hand.
    let mut args = std::env::args().peekable();
    let mut format = default;
    while let Some(arg) = args.next() {
        if arg == "--log-format=json" || (arg == "--log-format" && args.peek().is_some_and(|a| a == "json")) {
            format = LogFormat::Json;
        }
    }
    let said = error.render().to_string();
    let args: Vec<String> = std::env::args().skip(1).collect();
    write(&said_with_next(&said, &next_of_usage(&args), format));
    ExitCode::from(USAGE_EXIT)
}

/// The same as an error of ours.
pub(crate) fn of_usage(error: &clap::Error) -> Error {
    let said = error.render().to_string();
    let said = said.split("\n\n").next().unwrap_or(&said);
    let args: Vec<String> = std::env::args().skip(1).collect();
    Error::usage(said.trim().trim_start_matches("error: ")).hint(next_of_usage(&args))
}

/// Clap's words with the next step in the form that all errors have.
fn said_with_next(said: &str, next: &str, format: LogFormat) -> String {
    let said = said.split("\nFor more information").next().unwrap_or(said).trim();
    match format {
        LogFormat::Text => format!("{said}\n\nnext: {next}\n"),
        LogFormat::Json => {
            let message = said.trim_start_matches("error: ");
            let kind = ErrorKind::Usage.as_str();
            let value = json!({ "level": "ERROR", "kind": kind, "message": message, "next": next });
            format!("{value}\n")
        }
    }
}

/// The help of the innermost command that the arguments name.
fn next_of_usage(args: &[String]) -> String {
    let mut command = Cli::command();
    let mut path = String::from("weir");
    for arg in args {
        if let Some(below) = command.find_subcommand(arg) {
            path = format!("{path} {}", below.get_name());
            command = below.clone();
        }
    }
    format!("`{path} --help` shows the arguments, with examples")
}

/// What, the values, the causes, and the next step, a line each.
pub(crate) fn text(error: &Error) -> String {
    let mut out = format!("error: {}\n", error.message());
    for (key, value) in error.context() {
        out.push_str(&format!("  {key}: {value}\n"));
    }
    for cause in causes(error) {
        out.push_str(&format!("  cause: {cause}\n"));
    }
    out.push_str(&format!("next: {}\n", next(error)));
    out
}

/// The same for programs.
pub(crate) fn object(error: &Error) -> Value {
    let values: Map<String, Value> = error
        .context()
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str())))
        .collect();
    json!({
        "level": "ERROR",
        "kind": error.kind().as_str(),
        "message": error.message(),
        "values": values,
        "causes": causes(error),
        "next": next(error),
    })
}

/// An error of reading or writing a file of the project.
pub(crate) fn file(doing: &str, path: &Path, error: std::io::Error) -> Error {
    Error::spec(format!("cannot {doing} {}", path.display()))
        .caused_by(error)
        .hint("check that the path exists, may be read and written, and that the disk is not full")
}

fn causes(error: &Error) -> Vec<String> {
    let mut found = Vec::new();
    let mut cause = error.source();
    while let Some(next) = cause {
        found.push(next.to_string());
        // An `Error` below already prints its own causes.
        cause = if next.is::<Error>() { None } else { next.source() };
    }
    found
}

fn next(error: &Error) -> &str {
    let nearest = || {
        let mut cause = error.source();
        while let Some(below) = cause {
            if let Some(step) = below.downcast_ref::<Error>().and_then(Error::next_step) {
                return Some(step);
            }
            cause = below.source();
        }
        None
    };
    error
        .next_step()
        .or_else(nearest)
        .unwrap_or("run it again with -vv to see more, and report it if the cause stays unclear")
}

/// Standard error is the last resort: where it is closed there is nobody to tell.
fn write(text: &str) {
    if std::io::stderr().write_all(text.as_bytes()).is_err() {
        tracing::error!("standard error is closed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Error {
        Error::auth("the source refused the credential")
            .with("status", 401)
            .caused_by(Error::unavailable("inner").with("host", "api.example.com"))
            .hint("set GITHUB_TOKEN")
    }

    #[test]
    fn says_what_values_cause_and_next() {
        insta::assert_snapshot!(text(&sample()), @r"
        error: the source refused the credential
          status: 401
          cause: inner (host: api.example.com)
        next: set GITHUB_TOKEN
        ");
    }

    #[test]
    fn says_the_same_in_json() {
        insta::assert_snapshot!(object(&sample()), @r#"{"level":"ERROR","kind":"auth","message":"the source refused the credential","values":{"status":"401"},"causes":["inner (host: api.example.com)"],"next":"set GITHUB_TOKEN"}"#);
    }

    #[test]
    fn a_wrong_command_line_gets_a_next_step() {
        let next =
            |args: &[&str]| next_of_usage(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            next(&["snyc"]),
            "`weir --help` shows the arguments, with examples"
        );
        assert!(next(&["-q", "state", "set", "x"]).starts_with("`weir state set --help`"));
        let said = "error: unexpected argument\n\nUsage: weir sync\n\nFor more information, try '--help'.\n";
        insta::assert_snapshot!(said_with_next(said, "help", LogFormat::Text), @"
        error: unexpected argument

        Usage: weir sync

        next: help
        ");
        let json: Value = serde_json::from_str(&said_with_next(said, "help", LogFormat::Json)).unwrap();
        assert_eq!(json["message"], "unexpected argument\n\nUsage: weir sync");
        assert_eq!((&json["kind"], &json["next"]), (&"usage".into(), &"help".into()));
    }

    #[test]
    fn a_hint_of_the_cause_is_used_where_there_is_none() {
        let error = Error::internal("outer").caused_by(Error::spec("inner").hint("mend it"));
        assert!(text(&error).ends_with("next: mend it\n"));
    }
}
