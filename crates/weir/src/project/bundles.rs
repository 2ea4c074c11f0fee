//! The bundles of a project: `bundles/<name>.yaml`.

use std::collections::BTreeMap;

use weir_engine::Clock;
use weir_engine::bundle;
use weir_engine::catalog::Catalog;
use weir_protocol::bundle::{Bundle, BundleSpec};
use weir_protocol::spec::ActionSpec;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

use super::{Project, read, walk};

/// One file, and what it says.
#[derive(Debug)]
pub(crate) struct BundleFile {
    name: String,
    pub(crate) read: Result<Bundle>,
}

impl BundleFile {
    /// What is wrong with it.
    pub(crate) fn problem(&self) -> Option<Error> {
        let error = self.read.as_ref().err()?;
        let mut problem = Error::new(
            error.kind(),
            format!("bundle '{}': {}", self.name, error.message()),
        );
        for (key, value) in error.context() {
            if *key != "bundle" {
                problem = problem.with(key, value);
            }
        }
        Some(problem.hint(error.next_step().unwrap_or("mend the file named")))
    }

    /// From where on nothing takes it back.
    pub(crate) fn notes(&self) -> Vec<String> {
        let pivot = self.read.as_ref().ok().and_then(Bundle::pivot);
        let note = pivot.map(|step| {
            let why = step.compensation.as_ref().and_then(|one| one.none.as_deref());
            format!(
                "note: bundle '{}' goes forward only once step '{}' is done: nothing takes it back ({})",
                self.name,
                step.name,
                why.unwrap_or_default()
            )
        });
        note.into_iter().collect()
    }
}

impl Project {
    /// All bundles, with what is wrong with those that cannot be used.
    pub(crate) fn bundles(&self, catalog: &Catalog) -> Result<Vec<BundleFile>> {
        let mut paths = Vec::new();
        walk(&self.root.join("bundles"), &mut paths)?;
        paths.retain(|path| {
            path.extension()
                .is_some_and(|ending| ending == "yaml" || ending == "yml")
        });
        paths.sort();
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let connectors = self.connectors_of_connections()?;
        let find = |connection: &str, action: &str| found(catalog, &connectors, connection, action);
        let mut files: Vec<BundleFile> = Vec::new();
        for path in paths {
            let text = read(&path)?;
            let spec = BundleSpec::parse(&self.shown(&path), &text);
            let read = spec.and_then(|spec| {
                bundle::check(&spec, &Clock::system())?;
                spec.resolved(&find)
            });
            let stem = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            let read = if files.iter().any(|file| file.name == stem) {
                Err(Error::spec("two files of this name make one bundle each")
                    .hint("rename one of them: a bundle is named by its file"))
            } else {
                read
            };
            files.push(BundleFile {
                name: stem.to_owned(),
                read,
            });
        }
        Ok(files)
    }

    /// The bundle of this name, or what is wrong with it.
    pub(crate) fn bundle(&self, catalog: &Catalog, name: &str) -> Result<Bundle> {
        let files = self.bundles(catalog)?;
        let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        if let Some(file) = files.into_iter().find(|file| file.name == name) {
            return match file.problem() {
                Some(problem) => Err(problem),
                None => file.read,
            };
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let error = Error::not_found(format!("this project has no bundle '{name}'"));
        Err(match closest(name, &names) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None if names.is_empty() => {
                error.hint(format!("write bundles/{name}.yaml (`weir schema bundle`)"))
            }
            None => error.hint(format!("its bundles are {}", names.join(", "))),
        })
    }

    /// By name of the connection. One that cannot be read is left out: it has no actions either.
    fn connectors_of_connections(&self) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for (name, path) in self.connection_files()? {
            let any = |name: &str| Some(name.to_owned());
            if let Ok(connection) = self.read_connection(&path, &any, &|_, _, _| Ok(())) {
                found.insert(name, connection.connector);
            }
        }
        Ok(found)
    }
}

/// What an action of a connection says.
fn found(
    catalog: &Catalog,
    connectors: &BTreeMap<String, String>,
    connection: &str,
    action: &str,
) -> Result<ActionSpec> {
    let Some(connector) = connectors.get(connection) else {
        let names: Vec<&str> = connectors.keys().map(String::as_str).collect();
        let error = Error::spec(format!("the project has no usable connection '{connection}'"));
        return Err(match closest(connection, &names) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint("`weir action list` shows which connections have which actions"),
        });
    };
    let actions = &catalog.get(connector)?.spec.actions;
    if let Some(found) = actions.iter().find(|spec| spec.name == action) {
        return Ok(found.clone());
    }
    let names: Vec<&str> = actions.iter().map(|spec| spec.name.as_str()).collect();
    let error = Error::spec(format!("connection '{connection}' has no action '{action}'"));
    Err(match closest(action, &names) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None if names.is_empty() => error.hint("its connector declares none; use another connection"),
        None => error.hint(format!("its actions are {}", names.join(", "))),
    })
}
