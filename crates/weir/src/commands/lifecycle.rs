//! A connector's way into production: `weir connector promote`, `stage`, `rollback`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_control::lifecycle::{self, Finding, NewVersion, Stage, Staged, StagedStream, Version};
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_control::projects::digest;
use weir_control::runs::{Begin, Trigger};
use weir_control::{DEFAULT_TENANT, Owner, Store, StreamOutcome, SyncOptions, SyncPlan};
use weir_engine::catalog::{Connector, Origin};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::query::{Query, QueryLimits, Rows};
use weir_protocol::{Error, ErrorKind, Result, StreamDescriptor, name};

use super::Context;
use crate::interrupt;
use crate::output::{Format, Sheet, line, raw, time};
use crate::progress::Watcher;
use crate::project::folder_files;
use crate::wiring::{Wiring, chosen_streams, registered};
use crate::writers::refuse_shared;

/// What stands before the source part of a staged sync's tables.
const STAGING: &str = "staging";

/// Moves the version in the project's folder one step on.
pub(super) async fn promote(key: &str, unstaged: Option<&str>, context: &Context) -> Result<()> {
    let (wiring, store) = opened(key, context).await?;
    let new = new_version(wiring.catalog.get(key)?)?;
    let promoted = lifecycle::promote(&store, DEFAULT_TENANT, &new, unstaged).await?;
    store.close().await;
    if context.format() != Format::Table {
        raw(&format!("{:#}\n", json!(promoted)));
        return Ok(());
    }
    let version = &promoted.version;
    line(format!("{key} {} is {}", version.version, version.stage));
    differences(&promoted.findings);
    line(match version.stage {
        Stage::Draft => "next: look at it, then promote again to approve it".to_owned(),
        Stage::Approved => "next: promote again to sync it in staging".to_owned(),
        Stage::Staging => format!("next: `weir connector stage {key} CONNECTION`, then promote again"),
        Stage::Production | Stage::Retired => {
            "its connections are read with it from their next run on".to_owned()
        }
    });
    Ok(())
}

fn differences(findings: &[Finding]) {
    for finding in findings {
        line(format!(
            "  {} {}: {}",
            finding.level, finding.place, finding.reason
        ));
    }
}

/// Puts the version before back into production.
pub(super) async fn rollback(key: &str, context: &Context) -> Result<()> {
    let (_, store) = opened(key, context).await?;
    let version = lifecycle::rollback(&store, DEFAULT_TENANT, key).await?;
    store.close().await;
    line(format!("{key} {} is in production again", version.version));
    Ok(())
}

/// Where a connector's versions stand, where it has any.
pub(super) async fn show(key: &str, context: &Context) -> Result<()> {
    let Ok(wiring) = Wiring::open(context) else {
        return Ok(());
    };
    let store = wiring.store().await?;
    let versions = lifecycle::versions(&store, DEFAULT_TENANT, key).await?;
    store.close().await;
    if versions.is_empty() {
        return Ok(());
    }
    let mut sheet = Sheet::new(["version", "stage", "since", "by", "replaced", "staged sync"]);
    for version in &versions {
        let staged = version
            .staged
            .as_ref()
            .map(|staged| match staged.objections().len() {
                0 => "nothing against it".to_owned(),
                count => format!("{count} objections"),
            });
        sheet.push([
            version.version.as_str().into(),
            version.stage.as_str().into(),
            time(Some(version.moved_at_ms)),
            version.moved_by.as_str().into(),
            version.replaced.as_deref().into(),
            staged.into(),
        ]);
    }
    sheet.print(context.format())
}

async fn opened(key: &str, context: &Context) -> Result<(Wiring, Store)> {
    let wiring = Wiring::open(context)?;
    let target = Target::Connector(key.to_owned());
    wiring
        .allow(DEFAULT_TENANT, Permission::ConnectorsWrite, &target)
        .await?;
    let store = wiring.store().await?;
    Ok((wiring, store))
}

/// The connector as its folder has it.
pub(crate) fn new_version(connector: &Connector) -> Result<NewVersion> {
    let Origin::Folder(path) = &connector.origin else {
        let key = connector.key();
        return Err(
            Error::usage(format!("connector '{key}' is part of this weir")).hint(format!(
                "its versions are weir's; copy it to connectors/{key} to keep one of your own"
            )),
        );
    };
    let files: BTreeMap<String, String> = folder_files(path)?;
    let mut spec = connector.spec.clone();
    for stream in &mut spec.streams {
        if stream.schema.is_none() {
            stream.schema = connector.schemas.get(&stream.name).cloned();
        }
    }
    Ok(NewVersion {
        digest: digest(&files),
        spec,
        files,
    })
}

/// Syncs the staged version of a connector in full, into tables of its own, and compares them with
/// production's.
pub(super) async fn stage(key: &str, connection: &str, context: &Context) -> Result<()> {
    let (wiring, store) = opened(key, context).await?;
    let new = new_version(wiring.catalog.get(key)?)?;
    let version = staged_version(&store, key, &new).await?;
    let spec = wiring.connection(connection)?;
    if spec.connector != key {
        return Err(Error::usage(format!(
            "connection '{connection}' is one of connector '{}'",
            spec.connector
        ))
        .hint("name a connection of the connector that is staged"));
    }
    let (run, streams) = sync_beside(&wiring, &store, &spec, context).await?;
    let engine = Wiring::open(context)?.query_engine().await?;
    let mut found = Vec::new();
    for (stream, outcome) in &streams {
        found.push(Box::pin(compared(&engine, &spec, stream, outcome)).await?);
    }
    let staged = Staged {
        digest: new.digest,
        connection: connection.to_owned(),
        run,
        at_ms: store.now_ms().await?,
        streams: found,
    };
    lifecycle::keep_staged(&store, DEFAULT_TENANT, (key, &version.version), &staged).await?;
    store.close().await;
    told(&staged, context.format())
}

async fn staged_version(store: &Store, key: &str, new: &NewVersion) -> Result<Version> {
    let all = lifecycle::versions(store, DEFAULT_TENANT, key).await?;
    let found = all
        .into_iter()
        .find(|version| version.version == new.spec.version);
    let version = found.ok_or_else(|| {
        Error::not_found(format!(
            "version {} of connector '{key}' is not known",
            new.spec.version
        ))
        .hint(format!("`weir connector promote {key}` makes it known"))
    })?;
    lifecycle::require_staging(&version)?;
    if version.digest == new.digest {
        return Ok(version);
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!(
            "the files of connector '{key}' are not those of version {}",
            version.version
        ),
    )
    .hint("raise the version: what was approved changes no more"))
}

/// The connection under another name, so that neither its state nor its tables are touched.
async fn sync_beside(
    wiring: &Wiring,
    store: &Store,
    spec: &ConnectionSpec,
    context: &Context,
) -> Result<(String, Vec<(StreamDescriptor, StreamOutcome)>)> {
    let mut staged = spec.clone();
    staged.connection = format!("{STAGING}_{}", spec.connection);
    staged.source = Some(format!("{STAGING}_{}", spec.source()));
    let source = wiring.source(&staged).await?;
    let streams = chosen_streams(source.as_ref(), &staged, &[]).await?;
    let files = wiring.project.connection_files()?;
    if let Some((name, path)) = files.iter().find(|(name, _)| *name == staged.connection) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("there is a connection '{name}', whose state and tables a staged sync would write over"),
        )
        .with("file", path.display())
        .hint("give that connection another name"));
    }
    refuse_shared(&wiring.project, &wiring.catalog, &staged, &streams)?;
    let plan = SyncPlan {
        connection: registered(&staged),
        source,
        destination: Arc::new(wiring.lake()?),
        streams: streams.clone(),
        options: SyncOptions {
            full: true,
            restart: true,
            ..SyncOptions::default()
        },
        begin: Begin::Anew(Trigger::Person),
        owner: Owner::this_process(),
        cancel: interrupt::token(),
        observer: Arc::new(Watcher::new(context)),
        sharing: None,
    };
    let outcome = Box::pin(weir_control::sync(store, plan)).await?;
    let run = outcome.run;
    Ok((run, streams.into_iter().zip(outcome.streams).collect()))
}

async fn compared(
    engine: &dyn Query,
    spec: &ConnectionSpec,
    stream: &StreamDescriptor,
    outcome: &StreamOutcome,
) -> Result<StagedStream> {
    let entity = &stream.entity;
    let ours = name::silver(&format!("{STAGING}_{}", spec.source()), entity);
    let theirs = name::silver(spec.source(), entity);
    let mut found = StagedStream {
        stream: stream.name.clone(),
        rows: 0,
        production_rows: None,
        keys_missing: 0,
        keys_new: 0,
        columns_lost: Vec::new(),
        columns_new: Vec::new(),
        error: outcome.error.as_ref().map(ToString::to_string),
    };
    let Some(columns) = columns(engine, &ours).await? else {
        return Ok(found);
    };
    found.rows = count(engine, &format!("SELECT count(*) FROM {ours}")).await?;
    let Some(before) = self::columns(engine, &theirs).await? else {
        return Ok(found);
    };
    found.production_rows = Some(count(engine, &format!("SELECT count(*) FROM {theirs}")).await?);
    for (column, kind) in &before {
        match columns.get(column) {
            Some(now) if now == kind => {}
            Some(now) => found.columns_lost.push(format!("{column} ({kind} as {now})")),
            None => found.columns_lost.push(column.clone()),
        }
    }
    let known: BTreeSet<&String> = before.keys().collect();
    found.columns_new = columns
        .keys()
        .filter(|column| !known.contains(column))
        .cloned()
        .collect();
    if !stream.primary_key.is_empty() {
        let keys: Vec<String> = stream.primary_key.iter().map(|field| column_of(field)).collect();
        let keys = keys.join(", ");
        let beyond = |one: &str, other: &str| {
            format!("SELECT count(*) FROM (SELECT {keys} FROM {one} EXCEPT SELECT {keys} FROM {other})")
        };
        found.keys_missing = count(engine, &beyond(&theirs, &ours)).await?;
        found.keys_new = count(engine, &beyond(&ours, &theirs)).await?;
    }
    Ok(found)
}

/// A key's path as SQL reads it: `user.id` is a field of a struct.
fn column_of(path: &str) -> String {
    let parts: Vec<String> = path
        .split('.')
        .map(|part| format!("\"{}\"", part.replace('"', "\"\"")))
        .collect();
    parts.join(".")
}

/// Name and type of each column; none where there is no such table.
async fn columns(engine: &dyn Query, table: &str) -> Result<Option<BTreeMap<String, String>>> {
    let sql = format!("SELECT * FROM {table} LIMIT 0");
    match engine.query(&sql, None, QueryLimits::default()).await {
        Ok(Rows { columns, .. }) => Ok(Some(
            columns
                .into_iter()
                .map(|column| (column.name, column.kind))
                .collect(),
        )),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Usage) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn count(engine: &dyn Query, sql: &str) -> Result<u64> {
    let rows = engine.query(sql, None, QueryLimits::default()).await?.rows;
    let value = rows.first().and_then(|row| row.first()).and_then(Value::as_u64);
    value.ok_or_else(|| {
        Error::internal("a count gave no number")
            .with("query", sql)
            .hint("report it")
    })
}

fn told(staged: &Staged, format: Format) -> Result<()> {
    let mut sheet = Sheet::new([
        "stream",
        "rows",
        "production",
        "keys_missing",
        "keys_new",
        "columns_lost",
        "columns_new",
        "error",
    ]);
    for stream in &staged.streams {
        sheet.push([
            stream.stream.as_str().into(),
            stream.rows.into(),
            stream.production_rows.into(),
            stream.keys_missing.into(),
            stream.keys_new.into(),
            stream.columns_lost.join(", ").into(),
            stream.columns_new.join(", ").into(),
            stream.error.as_deref().into(),
        ]);
    }
    sheet.print(format)?;
    let objections = staged.objections();
    if objections.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Gate,
        format!(
            "the staged sync speaks against production: {}",
            objections.join("; ")
        ),
    )
    .with("run", &staged.run)
    .hint("mend the connector and raise its version, or promote with --without-staging REASON"))
}

/// The files of a connector's version, written where the catalog finds them.
pub(crate) fn lay_out(folder: &Path, version: &Version) -> Result<()> {
    let place = folder.join(&version.connector);
    for (path, text) in &version.files {
        let file = path.split('/').fold(place.clone(), |at, part| at.join(part));
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).map_err(|error| crate::errors::file("create", parent, error))?;
        }
        // Others may be reading it: they find the whole file, the old one or the new one.
        let new = file.with_extension(uuid::Uuid::now_v7().simple().to_string());
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &file))
            .map_err(|error| crate::errors::file("write", &file, error))?;
    }
    Ok(())
}
