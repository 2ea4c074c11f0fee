use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;
use weir_control::event_schemas::{self, Mode};
use weir_control::{DEFAULT_TENANT, Store};
use weir_protocol::{Error, ErrorKind, Result};

use crate::commands::Context;
use crate::errors;
use crate::output::{Sheet, line, raw};
use crate::wiring::Wiring;

/// Versions of what events hold: list, show, check, register
#[derive(Debug, Args)]
#[command(
    after_help = "A project's own families are JSON Schemas in events/<family>/<version>.json.\n\nExamples:\n  weir event schema list\n  weir event schema register"
)]
pub(crate) struct SchemaArgs {
    #[command(subcommand)]
    command: SchemaCommand,
}

#[derive(Debug, Subcommand)]
enum SchemaCommand {
    /// Every version of every family, weir's own and the project's
    #[command(after_help = "Example:\n  weir event schema list")]
    List,
    /// One version's JSON Schema; the newest where none is named
    #[command(after_help = "Example:\n  weir event schema show run.failed")]
    Show {
        family: String,
        #[arg(value_name = "VERSION")]
        number: Option<u32>,
    },
    /// Whether a file could be its family's next version, and every reason why not
    #[command(
        after_help = "Example:\n  weir event schema check events/shop.order_paid/2.json --compatibility full"
    )]
    Check {
        file: PathBuf,
        /// none, backward, backward_transitive, forward, forward_transitive, full or full_transitive; as the family has it where it is left out
        #[arg(long, value_parser = str::parse::<Mode>)]
        compatibility: Option<Mode>,
        /// Its family, where the file's folder is not named after it
        #[arg(long)]
        family: Option<String>,
    },
    /// Register a file as its family's next version; all of the project's where none is named
    #[command(
        after_help = "Example:\n  weir event schema register events/shop.order_paid/1.json --compatibility full_transitive"
    )]
    Register {
        file: Option<PathBuf>,
        /// Counts for the family from now on; backward for a new one where it is left out
        #[arg(long, value_parser = str::parse::<Mode>)]
        compatibility: Option<Mode>,
        /// Its family, where the file's folder is not named after it
        #[arg(long, requires = "file")]
        family: Option<String>,
    },
}

pub(super) async fn run(args: &SchemaArgs, context: &Context, wiring: &Wiring, store: &Store) -> Result<()> {
    match &args.command {
        SchemaCommand::List => {
            let mut sheet = Sheet::new(["family", "version", "compatibility", "origin", "about"]);
            for known in event_schemas::list(store, DEFAULT_TENANT).await? {
                let about = known.schema.get("description").cloned().unwrap_or_default();
                sheet.push([
                    known.family.into(),
                    known.version.into(),
                    known.compatibility.as_str().into(),
                    known.origin.into(),
                    about,
                ]);
            }
            sheet.print(context.format())
        }
        SchemaCommand::Show { family, number } => {
            let found = event_schemas::get(store, DEFAULT_TENANT, family, *number).await?;
            raw(&format!("{:#}\n", found.schema));
            Ok(())
        }
        SchemaCommand::Check {
            file,
            compatibility,
            family,
        } => {
            let family = family_of(file, family.as_deref())?;
            check(store, &family, &read(file)?, *compatibility, context).await
        }
        SchemaCommand::Register {
            file: Some(file),
            compatibility,
            family,
        } => {
            let family = family_of(file, family.as_deref())?;
            register(store, &family, file, *compatibility).await
        }
        SchemaCommand::Register {
            file: None,
            compatibility,
            ..
        } => {
            let files = wiring.project.event_schemas()?;
            if files.is_empty() {
                return Err(Error::not_found("the project has no schemas of events")
                    .hint("write one as events/<family>/<version>.json"));
            }
            for (family, _, path) in files {
                register(store, &family, &path, *compatibility).await?;
            }
            Ok(())
        }
    }
}

async fn check(
    store: &Store,
    family: &str,
    schema: &Value,
    mode: Option<Mode>,
    context: &Context,
) -> Result<()> {
    let verdict = event_schemas::check(store, DEFAULT_TENANT, family, schema, mode).await?;
    if let Some(version) = verdict.same_as {
        line(format!("{family} has this schema already: version {version}"));
        return Ok(());
    }
    if verdict.breaches.is_empty() {
        line(format!(
            "it could be the next version of {family} ({})",
            verdict.compatibility
        ));
        return Ok(());
    }
    let mut sheet = Sheet::new(["field", "rule", "version", "why", "next"]);
    for breach in &verdict.breaches {
        sheet.push([
            breach.field.as_str().into(),
            breach.rule.as_str().into(),
            breach.version.into(),
            breach.message.as_str().into(),
            breach.next.as_str().into(),
        ]);
    }
    sheet.print(context.format())?;
    Err(Error::new(
        ErrorKind::Gate,
        format!("it does not fit the versions of {family} before it"),
    )
    .with("compatibility", verdict.compatibility)
    .with("reasons", verdict.breaches.len())
    .hint("mend what the rows say, or begin a new family"))
}

async fn register(store: &Store, family: &str, file: &Path, mode: Option<Mode>) -> Result<()> {
    let schema = read(file)?;
    let made = event_schemas::register(store, DEFAULT_TENANT, family, &schema, mode).await;
    let made = made.map_err(|error| error.with("file", file.display()))?;
    line(format!(
        "{family} version {} ({})",
        made.version, made.compatibility
    ));
    Ok(())
}

fn read(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file).map_err(|error| errors::file("read", file, error))?;
    serde_json::from_str(&text).map_err(|error| {
        Error::spec(format!("{} is not JSON: {error}", file.display()))
            .hint("check quotes, commas and brackets")
    })
}

/// The name of the file's folder, unless another is named.
fn family_of(file: &Path, named: Option<&str>) -> Result<String> {
    let folder = std::path::absolute(file).map_err(|error| errors::file("find", file, error))?;
    let folder = folder.parent().and_then(|folder| folder.file_name());
    named
        .or_else(|| folder.and_then(|folder| folder.to_str()))
        .map(ToOwned::to_owned)
        .ok_or_else(|| {
            Error::usage("the file's folder names no family").hint("name it: --family shop.order_paid")
        })
}
