//! Gold tables: built first, published after their checks. A build is files that no version holds;
//! publishing is one commit. Readers see the published version only.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::{BoxStream, TryStreamExt};
use object_store::path::Path;
use weir_protocol::{Error, ErrorKind, Result, name};

use crate::failpoint;
use crate::lake::{Lake, Layer, TableSnapshot, folder};
use crate::table::file_writer::{self, FileWriter, Layout};
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{Attempt, Change, DataFile, Table, schema};
use crate::upsert::{Incoming, Keys, Outcome, Place, Rule, Upsert};

/// Metadata domain with the properties of the build that was published last. History alone would not
/// do: commits of maintenance come on top.
const PROPERTIES: &str = "weir.model";

/// What a build does to the rows that were published before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoldMode {
    /// They go.
    Replace,
    /// Those with the same key go.
    Merge { keys: Vec<String> },
    /// They stay.
    Append,
}

/// A model's rows, written but not yet published. Dropping it publishes nothing; its files are
/// removed by [`Lake::discard_gold`] or, later, by vacuum.
#[derive(Debug)]
pub struct GoldBuild {
    mode: GoldMode,
    properties: BTreeMap<String, String>,
    base_version: i64,
    columns: SchemaRef,
    outcome: Outcome,
    /// The table as it will be, for checks.
    pub snapshot: TableSnapshot,
    /// Rows that the build adds or changes.
    pub rows: u64,
}

impl Lake {
    /// Writes a model's rows beside its table. `properties` stand in the history of the version
    /// that publishes them.
    pub async fn build_gold(
        &self,
        model: &str,
        columns: SchemaRef,
        mut rows: BoxStream<'_, Result<RecordBatch>>,
        mode: GoldMode,
        properties: BTreeMap<String, String>,
        memory_bytes: u64,
    ) -> Result<GoldBuild> {
        name::check_gold(model)?;
        let table = self.gold_table(model, &columns).await?;
        let target = match mode {
            GoldMode::Replace => columns.clone(),
            GoldMode::Merge { .. } | GoldMode::Append => schema::merge(table.schema(), &columns),
        };
        if mode != GoldMode::Replace && schema::needs_rewrite(table.schema(), &target) {
            return Err(
                Error::schema(format!("model '{model}' changed the type of a column"))
                    .hint("run it once in full (weir model run --full), or keep the type with CAST"),
            );
        }
        let outcome = match &mode {
            GoldMode::Replace | GoldMode::Append => {
                let mut writer = FileWriter::new(Layout::of(&table, target.clone())?, memory_bytes);
                while let Some(batch) = rows.try_next().await? {
                    writer.write(&batch).await?;
                }
                let adds = writer.finish().await?;
                Outcome {
                    landed: adds.iter().map(|file| file.rows).sum(),
                    adds,
                    removes: if mode == GoldMode::Replace {
                        table.files()?
                    } else {
                        Vec::new()
                    },
                    ..Outcome::default()
                }
            }
            GoldMode::Merge { keys } => {
                let keys = Keys::new(keys.clone(), None);
                let place = Place::of(&self.storage, table.folder());
                let mut incoming = Incoming::new(keys.clone(), memory_bytes / 2, place);
                while let Some(batch) = rows.try_next().await? {
                    incoming.push(batch).await?;
                }
                let upsert = Upsert {
                    table: &table,
                    files: table.files()?,
                    schema: target.clone(),
                    keys,
                    rule: Rule::Merge,
                    vanish: None,
                    run: "",
                    memory_bytes,
                };
                let outcome = upsert.run(&mut incoming, None).await?;
                incoming.clear().await;
                outcome
            }
        };
        Ok(GoldBuild {
            snapshot: self.as_built(&table, &target, &outcome)?,
            rows: outcome.landed,
            base_version: table.version(),
            columns: target,
            mode,
            properties,
            outcome,
        })
    }

    /// Makes a build what readers see. Answers with the new version.
    pub async fn publish_gold(&self, build: GoldBuild) -> Result<i64> {
        let mut table = Table::open(&self.storage, &folder(Layer::Gold, &build.snapshot.name)).await?;
        for _ in 0..ATTEMPTS_MAX {
            let mut change = Change::new("PUBLISH MODEL");
            change.adds = build.outcome.adds.iter().map(|file| file.add(true)).collect();
            let removes = match build.mode {
                GoldMode::Replace => table.files()?,
                GoldMode::Append => Vec::new(),
                GoldMode::Merge { .. } if table.version() == build.base_version => {
                    build.outcome.removes.clone()
                }
                GoldMode::Merge { .. } => return Err(outrun(&build.snapshot.name)),
            };
            change.removes = removes.iter().map(|file| file.remove(true)).collect();
            if !schema::equal(table.schema(), &build.columns) {
                change.schema = Some(build.columns.as_ref().clone());
            }
            let notes = build.properties.iter();
            change.notes = notes
                .map(|(key, value)| (key.clone(), value.clone().into()))
                .collect();
            change.domains = vec![(PROPERTIES.to_owned(), Some(noted(&build.properties)?))];
            failpoint::reach("lake.before_gold_publish")?;
            if let Attempt::Committed(version) = table.try_commit(&change).await? {
                failpoint::reach("lake.after_gold_publish")?;
                return Ok(version);
            }
        }
        Err(table.contended())
    }

    /// Removes the files of a build whose checks failed.
    pub async fn discard_gold(&self, build: GoldBuild) {
        let folder = folder(Layer::Gold, &build.snapshot.name);
        file_writer::discard(&self.storage.within(&folder), &build.outcome.adds).await;
    }

    async fn gold_table(&self, model: &str, columns: &SchemaRef) -> Result<Table> {
        let folder: Path = folder(Layer::Gold, model);
        match Table::find(&self.storage, &folder).await? {
            Some(table) => Ok(table),
            None => Table::create(&self.storage, &folder, columns, &[], &[]).await,
        }
    }

    fn as_built(&self, table: &Table, columns: &SchemaRef, outcome: &Outcome) -> Result<TableSnapshot> {
        let gone: Vec<&str> = outcome.removes.iter().map(|file| file.path.as_str()).collect();
        let mut files: Vec<DataFile> = table.files()?;
        files.retain(|file| !gone.contains(&file.path.as_str()));
        files.extend(outcome.adds.iter().cloned());
        let mut snapshot = self.snapshot_of(Layer::Gold, table)?;
        snapshot.files = files;
        snapshot.schema = columns.clone();
        Ok(snapshot)
    }
}

/// The properties of the build that is published.
pub(crate) async fn properties(table: &Table) -> Result<BTreeMap<String, String>> {
    let Some(text) = table.domain(PROPERTIES).await? else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_str(&text).map_err(|error| {
        Error::destination(format!(
            "the properties of model '{}' are not readable",
            table.name()
        ))
        .hint("run the model once in full: that writes them anew")
        .caused_by(error)
    })
}

fn noted(properties: &BTreeMap<String, String>) -> Result<String> {
    serde_json::to_string(properties).map_err(|error| {
        Error::internal("the properties of a model do not print as JSON")
            .caused_by(error)
            .hint("report this")
    })
}

fn outrun(model: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("model '{model}' was published by another run while this one was built"),
    )
    .hint("run the model again")
}
