use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use weir_engine::catalog::{Catalog, Connector};
use weir_lake::Lake;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result, StreamDescriptor, SyncMode, WritePlan};
use weir_query::models::{Model, Models};

use super::Context;
use crate::config::variable;
use crate::output::{line, raw};
use crate::project::{BundleFile, Project, check_schedule};
use crate::vaults;
use crate::wiring::check_file;
use crate::writers::{Writer, clashes};
use crate::{engine, errors};

/// Check everything in the project, and say all that is wrong at once
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir validate && weir sync github")]
pub(crate) struct ValidateArgs {}

pub(crate) fn run(_args: &ValidateArgs, context: &Context) -> Result<()> {
    let project = context.project()?;
    let catalog = Catalog::open(&[project.connector_folder()])?;
    let mut problems: Vec<Error> = Vec::new();
    for problem in catalog.problems() {
        let text = format!("connector '{}': {}", problem.connector, problem.error);
        let hint = problem.error.next_step().unwrap_or("mend the file named");
        problems.push(Error::spec(text).hint(hint));
    }
    let connections = connections(&project, &catalog, &mut problems)?;
    let writers: Vec<Writer> = connections
        .iter()
        .filter_map(|connection| Writer::new(&catalog, connection))
        .collect();
    problems.extend(clashes(&writers));
    problems.extend(project.literal_secrets(&catalog)?);
    let bundles = project.bundles(&catalog)?;
    problems.extend(refused(&bundles));
    let models = project.models()?;
    problems.extend(broken_models(&models));
    if problems.is_empty() {
        if !bundles.is_empty() {
            line(format!("{} bundles are right", bundles.len()));
        }
        line(format!(
            "{}: {} connections, {} connectors and {} models are right",
            project.file.project,
            connections.len(),
            catalog.list().count(),
            models.len()
        ));
        return Ok(());
    }
    for problem in &problems {
        raw(&format!("{}\n", errors::text(problem)));
    }
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    Err(Error::spec(format!("the project has {count} {noun}"))
        .hint("mend what is listed above and validate again"))
}

/// Bundles that cannot be used. Of the others it is said from where on nothing takes them back.
fn refused(bundles: &[BundleFile]) -> Vec<Error> {
    for bundle in bundles {
        bundle.notes().into_iter().for_each(line);
    }
    let refused = bundles.iter().filter_map(BundleFile::problem);
    refused.collect()
}

/// Models that cannot be read, that stand twice, or that read each other in a circle.
fn broken_models(models: &[(PathBuf, String)]) -> Vec<Error> {
    let single = models
        .iter()
        .filter_map(|(file, sql)| Model::parse(file, sql).err());
    let mut problems: Vec<Error> = single.collect();
    if problems.is_empty() {
        problems.extend(Models::load(models.iter().cloned()).err());
    }
    problems
}

/// Reads every connection. Variables that are not set do not keep the rest from being checked.
fn connections(
    project: &Project,
    catalog: &Catalog,
    problems: &mut Vec<Error>,
) -> Result<Vec<ConnectionSpec>> {
    let mut found = Vec::new();
    for (name, path) in project.connection_files()? {
        let unset = RefCell::new(BTreeSet::new());
        let environment = |name: &str| {
            Some(variable(name).unwrap_or_else(|| {
                unset.borrow_mut().insert(name.to_owned());
                name.to_owned()
            }))
        };
        let check = |connection: &ConnectionSpec, file: &Path, text: &str| {
            // A value that is not known here is of no type either, and no time.
            if unset.borrow().is_empty() {
                check_schedule(connection, file, text)?;
                check_file(catalog, connection, file, text)
            } else if is_timed_by(connection, &unset.borrow()) {
                Ok(())
            } else {
                check_schedule(connection, file, text)
            }
        };
        let connection = match project.read_connection(&path, &environment, &check) {
            Ok(connection) => connection,
            Err(error) => {
                problems.push(error);
                continue;
            }
        };
        for variable in unset.borrow().iter() {
            line(format!(
                "note: connection '{name}' needs the environment variable {variable}, which is not set here"
            ));
        }
        match catalog.get(&connection.connector) {
            Ok(connector) => {
                let before = problems.len();
                let named = |error: Error| error.with("connection", &name);
                problems.extend(unknown_streams(&connection, connector).into_iter().map(named));
                problems.extend(unknown_method(&connection, connector).map(named));
                // Settings can be judged only when every variable has its value, and no secret is read here.
                let is_whole = unset.borrow().is_empty() && vaults::references(&connection).is_empty();
                if problems.len() == before && is_whole {
                    problems.extend(unusable(connector, &connection));
                }
            }
            Err(error) => problems.push(error.with("connection", &name)),
        }
        found.push(connection);
    }
    Ok(found)
}

/// Whether one of the variables says when the connection is due.
fn is_timed_by(connection: &ConnectionSpec, variables: &BTreeSet<String>) -> bool {
    let schedule = connection.schedule.iter();
    let mut texts = schedule.flat_map(|schedule| schedule.cron.iter().chain(&schedule.time_zone));
    texts.any(|text| variables.iter().any(|name| text.contains(name.as_str())))
}

/// What a sync of the connection would refuse before its first request.
fn unusable(connector: &Connector, connection: &ConnectionSpec) -> Vec<Error> {
    if let Err(error) = engine::connect_to_look(connector, connection) {
        return vec![error];
    }
    let streams = match engine::declared_streams(connector, connection) {
        Ok(streams) => streams.unwrap_or_default(),
        Err(error) => return vec![error],
    };
    let chosen = |stream: &StreamDescriptor| {
        connection.streams.is_empty() || connection.streams.contains_key(&stream.name)
    };
    streams
        .into_iter()
        .filter(chosen)
        .filter_map(|stream| {
            let mode = stream.mode.unwrap_or_else(|| {
                SyncMode::default_for(!stream.primary_key.is_empty(), stream.cursor_field.is_some())
            });
            let plan = WritePlan {
                run: String::new(),
                connection: connection.connection.clone(),
                source: connection.source().to_owned(),
                stream,
                mode,
                restart: false,
                known_sequence: 0,
                memory_bytes: 0,
                started_at: jiff::Timestamp::UNIX_EPOCH,
            };
            Lake::check(&plan).err()
        })
        .map(|error| error.with("connection", &connection.connection))
        .collect()
}

fn unknown_streams(connection: &ConnectionSpec, connector: &Connector) -> Vec<Error> {
    if connector.spec.native.is_some() {
        return Vec::new();
    }
    let names = connection.streams.keys();
    names
        .filter_map(|stream| connector.spec.stream(stream).err())
        .collect()
}

fn unknown_method(connection: &ConnectionSpec, connector: &Connector) -> Option<Error> {
    let method = connection.credential.as_ref()?.method.as_deref()?;
    let known: Vec<&str> = connector
        .spec
        .auth
        .iter()
        .map(weir_protocol::spec::AuthSpec::method)
        .collect();
    if connector.spec.native.is_some() || known.contains(&method) {
        return None;
    }
    let error = Error::spec(format!(
        "connector '{}' has no auth method '{method}'",
        connector.key()
    ));
    Some(match closest(method, &known) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint(format!("its methods are {}", known.join(", "))),
    })
}
