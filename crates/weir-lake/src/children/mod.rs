//! Child tables: an exploded list's elements, in a Delta table of their own beside the parent's.
//!
//! Two tables have two logs, so one commit cannot cover both. The parent's commit is the truth:
//!
//! 1. The children of a checkpoint are committed first, each with the number of the parent's next
//!    checkpoint and the version that the child had before ([`mark::Mark`]).
//! 2. Then the parent commits rows, transaction and state, and names the versions of its children.
//! 3. A child that is ahead of its parent belongs to a checkpoint that never happened. It is taken
//!    back to the version before, when the stream is next opened and before every commit.
//!
//! A reader of the child may see it ahead for the moment between the two commits, and until the
//! next sync where a writer died there.

mod commit;
mod mark;
mod rows;
mod split;
pub(crate) mod together;

use std::collections::BTreeMap;

use arrow::datatypes::{Schema, SchemaRef};
use object_store::path::Path;
use weir_protocol::{Error, Result, WriteMode, WritePlan, name};

pub(crate) use commit::{Children, Next};
pub(crate) use mark::ChildTable;
pub(crate) use rows::{ChildRows, ChildRule};
pub(crate) use split::split;

use crate::lake::{Layer, folder};
use crate::storage::Storage;
use crate::table::{Table, columns};
use crate::typed::Exploder;
use crate::upsert::SPILL_FOLDER;
use crate::writer::state::StateRecord;

/// The child tables of one stream's table.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    /// Name of the parent's table.
    pub(crate) parent: String,
    pub(crate) connection: String,
    pub(crate) stream: String,
    pub(crate) exploder: Exploder,
    /// Exploded field to table name.
    names: BTreeMap<String, String>,
    write: WriteMode,
}

impl Family {
    /// None where the stream explodes nothing.
    pub(crate) fn new(plan: &WritePlan, parent: &str) -> Result<Option<Self>> {
        let stream = &plan.stream;
        let Some(exploder) = Exploder::new(&stream.policy.explode, &stream.primary_key) else {
            return Ok(None);
        };
        let mut names = BTreeMap::new();
        for field in exploder.fields() {
            let suffix = name::sanitize(field);
            let table = format!("{parent}_{suffix}");
            if suffix.is_empty() || names.values().any(|other| *other == table) {
                return Err(Error::spec(format!(
                    "the exploded field '{field}' gives no table name of its own"
                ))
                .with("stream", &stream.name)
                .hint("rename the field in the stream's transform, or remove it from explode"));
            }
            names.insert(field.to_owned(), table);
        }
        Ok(Some(Self {
            parent: parent.to_owned(),
            connection: plan.connection.clone(),
            stream: stream.name.clone(),
            exploder,
            names,
            write: plan.mode.write(),
        }))
    }

    /// What a commit of rows that are not the whole table does with the children of known parents.
    pub(crate) fn rule(&self) -> ChildRule {
        match self.write {
            WriteMode::Append => ChildRule::Append,
            WriteMode::Merge | WriteMode::Replace => ChildRule::Merge,
            WriteMode::History => ChildRule::History,
        }
    }

    /// Exploded field and its table.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&str, ChildTable)> {
        self.names
            .iter()
            .map(|(field, name)| (field.as_str(), self.table_named(name)))
    }

    fn table_named(&self, name: &str) -> ChildTable {
        ChildTable {
            name: name.to_owned(),
            parent: self.parent.clone(),
            connection: self.connection.clone(),
            stream: self.stream.clone(),
        }
    }

    /// A table's columns with those of the lists that go to child tables.
    pub(crate) fn load_schema(&self, table: &SchemaRef, rows: &Schema) -> SchemaRef {
        let lists: Vec<_> = self
            .exploder
            .lists(rows)
            .map(|(_, field)| field.clone())
            .collect();
        crate::table::schema::merge(table, &Schema::new(lists))
    }

    /// Takes children that are ahead of the parent's checkpoint `sequence` back, and gives the
    /// element columns of those that exist.
    pub(crate) async fn recover(
        &self,
        storage: &Storage,
        sequence: Option<u64>,
    ) -> Result<Vec<(String, SchemaRef)>> {
        let mut schemas = Vec::new();
        for (field, child) in self.tables() {
            storage.delete_folder(&child.folder().join(SPILL_FOLDER)).await?;
            let Some(mut table) = child.find(storage).await? else {
                continue;
            };
            child.roll_back(&mut table, sequence).await?;
            schemas.push((field.to_owned(), columns::data_schema(table.schema())));
        }
        Ok(schemas)
    }

    /// As [`Family::recover`], where a child that the parent's state names must be there: what was in
    /// it could not be told from what never was.
    pub(crate) async fn open(
        &self,
        storage: &Storage,
        last: Option<&StateRecord>,
    ) -> Result<Vec<(String, SchemaRef)>> {
        if let Some(last) = last {
            // One that is exploded no more may have been removed.
            let ours = |name: &&String| self.names.values().any(|other| other == *name);
            let names = last.children.keys().filter(ours);
            together::check_whole(storage, &self.parent, last, names).await?;
        }
        self.recover(storage, last.map(|record| record.sequence)).await
    }

    /// Whether the next full refresh fills the children wholly.
    pub(crate) fn is_replaced(&self) -> bool {
        self.write == WriteMode::Replace
    }

    /// As [`Family::recover`], for a commit that is tried again.
    pub(crate) async fn roll_back(&self, storage: &Storage, sequence: Option<u64>) -> Result<()> {
        self.recover(storage, sequence).await.map(drop)
    }
}

/// The folder of a child table.
fn child_folder(name: &str) -> Path {
    folder(Layer::Silver, name)
}

/// The checkpoint that a stream's parent table holds.
pub(crate) async fn sequence_of(table: &Table, application: &str) -> Result<Option<u64>> {
    let found = table.transaction(application).await?;
    Ok(found.and_then(|found| u64::try_from(found).ok()))
}
