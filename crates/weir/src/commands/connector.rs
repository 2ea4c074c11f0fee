use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weir_engine::catalog::{Catalog, Connector, Origin};
use weir_engine::{fixtures, scaffold};
use weir_protocol::{Error, ErrorKind, Result};

use super::{Context, lifecycle};
use crate::engine;
use crate::output::{Format, Sheet, line};

/// List, show, make and test connectors
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir connector list\n  weir connector show github\n  weir connector new acme"
)]
pub(crate) struct ConnectorArgs {
    #[command(subcommand)]
    command: ConnectorCommand,
}

#[derive(Debug, Subcommand)]
enum ConnectorCommand {
    /// All connectors: those in this binary and those of the project
    #[command(after_help = "Example:\n  weir connector list --format json")]
    List,
    /// One connector: its streams, settings and auth methods
    #[command(after_help = "Example:\n  weir connector show github")]
    Show {
        /// Key of the connector
        key: String,
    },
    /// Run the standard suite over a connector's fixtures
    #[command(after_help = "Example:\n  weir connector test github")]
    Test {
        /// Key of the connector
        key: String,
    },
    /// Make a connector's folder that passes its own tests
    #[command(after_help = "Example:\n  weir connector new acme")]
    New {
        /// Key of the connector: lower-case letters, digits and underscores
        key: String,
    },
    /// Move the project's version of a connector one step on: draft, approved, staging, production
    #[command(after_help = "Example:\n  weir connector promote acme")]
    Promote {
        /// Key of the connector
        key: String,
        /// Take it into production without a staged sync, for this reason
        #[arg(long, value_name = "REASON")]
        without_staging: Option<String>,
    },
    /// Sync the version in staging beside production, and compare the two
    #[command(after_help = "Example:\n  weir connector stage acme shop")]
    Stage {
        /// Key of the connector
        key: String,
        /// A connection of it
        connection: String,
    },
    /// Put the version before back into production
    #[command(after_help = "Example:\n  weir connector rollback acme")]
    Rollback {
        /// Key of the connector
        key: String,
    },
    /// Put a connector that others made into the project
    #[command(after_help = "Example:\n  weir connector add airbyte ./source-shop")]
    Add {
        #[command(subcommand)]
        what: AddedConnector,
    },
}

#[derive(Debug, Subcommand)]
enum AddedConnector {
    /// An Airbyte low-code manifest
    Airbyte {
        /// The manifest, or the folder that holds manifest.yaml
        path: PathBuf,
        /// Key of the connector; from the file's or folder's name by default
        #[arg(long)]
        key: Option<String>,
    },
}

pub(crate) async fn run(args: &ConnectorArgs, context: &Context) -> Result<()> {
    match &args.command {
        ConnectorCommand::List => list(context),
        ConnectorCommand::Show { key } => {
            show(key, context)?;
            if context.format() == Format::Table {
                lifecycle::show(key, context).await?;
            }
            Ok(())
        }
        ConnectorCommand::Promote { key, without_staging } => {
            lifecycle::promote(key, without_staging.as_deref(), context).await
        }
        ConnectorCommand::Stage { key, connection } => {
            Box::pin(lifecycle::stage(key, connection, context)).await
        }
        ConnectorCommand::Rollback { key } => lifecycle::rollback(key, context).await,
        ConnectorCommand::Test { key } => test(key, context).await,
        ConnectorCommand::New { key } => new(key, context),
        ConnectorCommand::Add {
            what: AddedConnector::Airbyte { path, key },
        } => add_manifest(path, key.as_deref(), context),
    }
}

/// Connectors of the project where there is one, of the binary alone elsewhere.
fn catalog(context: &Context) -> Result<Catalog> {
    Catalog::open(&[folder(context)])
}

fn folder(context: &Context) -> PathBuf {
    match context.project() {
        Ok(project) => project.connector_folder(),
        Err(_) => context.folder().join("connectors"),
    }
}

fn list(context: &Context) -> Result<()> {
    let catalog = catalog(context)?;
    let mut sheet = Sheet::new([
        "connector",
        "name",
        "version",
        "streams",
        "actions",
        "origin",
        "problem",
    ]);
    for connector in catalog.list() {
        let spec = &connector.spec;
        sheet.push([
            spec.connector.as_str().into(),
            spec.name.get("en").cloned().into(),
            spec.version.as_str().into(),
            streams(connector),
            spec.actions.len().into(),
            origin(&connector.origin).into(),
            Value::Null,
        ]);
    }
    for problem in catalog.problems() {
        let text = problem.error.to_string();
        let key = problem.connector.as_str();
        sheet.push([
            key.into(),
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            text.into(),
        ]);
    }
    sheet.print(context.format())
}

/// The number of streams; a native connector finds them in the connection.
fn streams(connector: &Connector) -> Value {
    if connector.spec.native.is_some() {
        "by connection".into()
    } else {
        connector.spec.streams.len().into()
    }
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Embedded => "built in".to_owned(),
        Origin::Carried(_) => "sent by a server".to_owned(),
        Origin::Folder(path) => path.display().to_string(),
    }
}

fn show(key: &str, context: &Context) -> Result<()> {
    let catalog = catalog(context)?;
    let connector = catalog.get(key)?;
    if context.format() == Format::Json {
        crate::output::raw(&format!("{:#}\n", json!(connector.spec)));
        return Ok(());
    }
    let spec = &connector.spec;
    let name = spec.name.get("en").map_or(key, String::as_str);
    line(format!(
        "{name} ({key} {}, {})",
        spec.version,
        origin(&connector.origin)
    ));
    if let Some(docs) = &spec.docs {
        line(docs);
    }
    let methods: Vec<&str> = spec
        .auth
        .iter()
        .map(weir_protocol::spec::AuthSpec::method)
        .collect();
    if !methods.is_empty() {
        line(format!("auth: {}", methods.join(", ")));
    }
    print_settings(spec.config.as_ref(), context)?;
    if spec.streams.is_empty() {
        return Ok(());
    }
    let mut sheet = Sheet::new(["stream", "mode", "primary key", "cursor", "description"]);
    for stream in &spec.streams {
        sheet.push([
            stream.name.as_str().into(),
            stream.default_mode().as_str().into(),
            stream.primary_key.join(", ").into(),
            stream.cursor.as_ref().map(|cursor| cursor.field.as_str()).into(),
            stream.description.as_deref().into(),
        ]);
    }
    sheet.print(context.format())
}

fn print_settings(schema: Option<&Value>, context: &Context) -> Result<()> {
    let Some(properties) = schema.and_then(|schema| schema["properties"].as_object()) else {
        return Ok(());
    };
    let required = |name: &str| {
        let names = schema.and_then(|schema| schema["required"].as_array());
        names.is_some_and(|names| names.iter().any(|other| other == name))
    };
    let mut sheet = Sheet::new(["setting", "type", "required", "default", "about"]);
    for (name, property) in properties {
        let about = property["description"].as_str().or(property["title"].as_str());
        sheet.push([
            name.as_str().into(),
            property["type"].clone(),
            if required(name) { "yes" } else { "" }.into(),
            property.get("default").cloned().unwrap_or_default(),
            about.into(),
        ]);
    }
    sheet.print(context.format())
}

async fn test(key: &str, context: &Context) -> Result<()> {
    let catalog = catalog(context)?;
    let settings = engine::settings()?;
    let suite = fixtures::run(catalog.get(key)?, &settings);
    let report = Box::pin(suite).await?;
    let mut sheet = Sheet::new(["check", "ok", "detail"]);
    for check in &report.checks {
        let ok = if check.ok { "ok" } else { "FAILED" };
        sheet.push([
            check.name.as_str().into(),
            ok.into(),
            check.detail.as_str().into(),
        ]);
    }
    sheet.print(context.format())?;
    match report.failures().count() {
        0 => Ok(()),
        failed => Err(Error::new(
            ErrorKind::Gate,
            format!(
                "{failed} of {} checks of connector '{key}' failed",
                report.checks.len()
            ),
        )
        .hint("docs/reference/fixtures.md says how fixtures are written")),
    }
}

fn add_manifest(path: &Path, key: Option<&str>, context: &Context) -> Result<()> {
    let made = weir_engine::airbyte::add(&folder(context), path, key)?;
    for path in &made {
        line(path.display().to_string());
    }
    let key = made
        .first()
        .and_then(|path| path.parent())
        .and_then(Path::file_name);
    let key = key
        .map(|key| key.to_string_lossy().into_owned())
        .unwrap_or_default();
    line(format!(
        "next: write connections/{key}.yaml with connector: {key} and its config, then `weir check {key}`"
    ));
    Ok(())
}

fn new(key: &str, context: &Context) -> Result<()> {
    let folder = folder(context);
    let written = scaffold::write(&folder, key)?;
    let folder = folder.join(key);
    for path in written {
        line(path.display().to_string());
    }
    line(format!(
        "next: edit {}/connector.yaml, then `weir connector test {key}`",
        folder.display()
    ));
    Ok(())
}
