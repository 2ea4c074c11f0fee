//! Gold models: SQL files with a front matter, built in the order that their SQL asks for.

mod bind;
mod build;
mod check;
mod front_matter;
mod graph;
mod lake_types;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use datafusion::common::TableReference;
use datafusion::sql::parser::Statement;
use datafusion::sql::resolve::resolve_table_references;
use sha2::{Digest, Sha256};
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

pub use bind::bind;
pub use check::{CheckResult, CheckSpec, Severity};
pub use front_matter::{Materialize, ModelSpec, Target};
pub use graph::{Graph, Node};
pub use run::{ModelRun, ModelStatus, RunOptions};

use crate::failure::explain;
use crate::functions::{columns_asked, makes_rows};
use crate::guard;
use crate::tables::Layer;

/// One model: what its file says.
#[derive(Debug, Clone)]
pub struct Model {
    pub name: String,
    pub file: PathBuf,
    pub spec: ModelSpec,
    pub sql: String,
    /// Tables and models that the SQL reads, without their layer.
    pub reads: BTreeSet<String>,
    /// Columns that it asks `weir_last` about.
    pub(crate) asks_last: BTreeSet<String>,
    /// Changes when the SQL does.
    pub digest: String,
}

impl Model {
    /// Reads a model from the text of its file, which is named after it.
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        let name = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default()
            .to_owned();
        weir_protocol::name::check_gold(&name).map_err(|error| error.with("file", file.display()))?;
        let (spec, sql) = front_matter::split(file, text)?;
        let in_file = |error: Error| error.with("file", file.display());
        let statement = guard::query_only(&sql).map_err(in_file)?;
        let reads = tables_of(&statement).map_err(in_file)?;
        let asks_last = columns_asked(&statement);
        if !asks_last.is_empty() && spec.materialize != Materialize::Incremental {
            return Err(in_file(
                Error::spec(format!("model '{name}' uses weir_last but is not incremental"))
                    .hint("set `materialize: incremental` and a `unique_key`, or leave weir_last out"),
            ));
        }
        let digest = Sha256::digest(sql.trim().as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            name,
            file: file.to_owned(),
            spec,
            sql,
            reads,
            asks_last,
            digest,
        })
    }
}

/// Names of the tables and models that a query reads, without their schemas. Refuses what is no query.
pub fn reads(sql: &str) -> Result<BTreeSet<String>> {
    tables_of(&guard::query_only(sql)?)
}

fn tables_of(statement: &Statement) -> Result<BTreeSet<String>> {
    let (references, _) = resolve_table_references(statement, true).map_err(explain)?;
    let tables = references.iter().map(TableReference::table);
    Ok(tables
        .filter(|name| !makes_rows(name))
        .map(str::to_owned)
        .collect())
}

/// All models of a project, without circles.
#[derive(Debug, Clone, Default)]
pub struct Models {
    by_name: BTreeMap<String, Model>,
    /// Names, each after those it reads.
    order: Vec<String>,
}

impl Models {
    /// Takes files as `(path, text)`: the project's `models/**/*.sql` and connectors' `gold/*.sql`.
    pub fn load(files: impl IntoIterator<Item = (PathBuf, String)>) -> Result<Self> {
        let mut by_name: BTreeMap<String, Model> = BTreeMap::new();
        for (file, text) in files {
            let model = Model::parse(&file, &text)?;
            if let Some(other) = by_name.get(&model.name) {
                return Err(Error::spec(format!("model '{}' is defined twice", model.name))
                    .with("first", other.file.display())
                    .with("second", file.display())
                    .hint("rename or remove one of the files"));
            }
            by_name.insert(model.name.clone(), model);
        }
        let order = graph::order(&by_name)?;
        Ok(Self { by_name, order })
    }

    /// In the order they are built.
    pub fn iter(&self) -> impl Iterator<Item = &Model> {
        self.order.iter().filter_map(|name| self.by_name.get(name))
    }

    pub fn get(&self, name: &str) -> Result<&Model> {
        self.by_name.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.order.iter().map(String::as_str).collect();
            let error = Error::not_found(format!("there is no model '{name}'"));
            match closest(name, &names) {
                Some(nearest) => error.hint(format!("did you mean '{nearest}'?")),
                None => error.hint("`weir model list` shows the models of this project"),
            }
        })
    }

    pub fn graph(&self) -> Graph {
        graph::of(self)
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.iter()
            .filter(|model| model.spec.materialize == Materialize::View)
            .map(|model| (model.name.clone(), model.sql.clone()))
    }

    /// The models chosen, in build order: all where none is named; with `downstream`, those that read them too.
    pub fn select(&self, names: &[String], downstream: bool) -> Result<Vec<&Model>> {
        let mut chosen: BTreeSet<&str> = BTreeSet::new();
        for name in names {
            chosen.insert(&self.get(name)?.name);
        }
        if names.is_empty() {
            return Ok(self.iter().collect());
        }
        if downstream {
            for model in self.iter() {
                if model.reads.iter().any(|read| chosen.contains(read.as_str())) {
                    chosen.insert(&model.name);
                }
            }
        }
        Ok(self
            .iter()
            .filter(|model| chosen.contains(model.name.as_str()))
            .collect())
    }

    pub(crate) fn holds(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }
}

/// The layer that a name which is no model lies in, by the naming rules.
pub(crate) fn layer_of(name: &str) -> Layer {
    if name.starts_with("raw_") {
        Layer::Bronze
    } else {
        Layer::Silver
    }
}
