//! A rebuilt table in the place of the one that it was rebuilt for, or of one that is gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use futures::FutureExt;
use weir_protocol::Result;

use super::rebuild::Rebuilt;
use super::scratch::Scratch;
use crate::children::{self, Next};
use crate::failpoint;
use crate::quarantine::Ledger;
use crate::storage::Storage;
use crate::table::columns;
use crate::table::file_writer::{Layout, Purpose};
use crate::table::{Attempt, DataFile, Table, schema};
use crate::upsert::Outcome;
use crate::writer::state::StateRecord;
use crate::writer::{checkpoint, staging};

/// A scratch table that is whole.
pub(super) struct Replayed {
    /// None where it is gone: Bronze alone is left of the stream.
    pub(super) main: Option<Table>,
    pub(super) record: StateRecord,
    pub(super) scratch: Scratch,
    pub(super) ledger: Option<Ledger>,
    pub(super) rejected: u64,
    pub(super) storage: Storage,
}

impl Replayed {
    /// Ids of the held records that land with the exchange.
    pub(super) fn released(&mut self) -> BTreeSet<String> {
        self.ledger.take().map(Ledger::released).unwrap_or_default()
    }

    /// Puts the scratch table's rows in the place of the main table's.
    pub(super) async fn exchange(mut self, application: Option<String>) -> Result<Rebuilt> {
        let storage = self.storage.clone();
        let mut record = self.record.clone();
        record.sequence += 1;
        record.books = weir_protocol::Books::default();
        let before = self.main.is_some().then_some(self.record.sequence);
        let adds = self.adds(&mut record).boxed().await?;
        let outcome = Outcome {
            adds,
            removes: self
                .main
                .as_ref()
                .map(Table::files)
                .transpose()?
                .unwrap_or_default(),
            ..Outcome::default()
        };
        // The numbers go on; the Bronze of the checkpoints before stays what the rows come from.
        let mut change = checkpoint::change("REBUILD", &outcome, &record)?;
        let columns = self.columns();
        let shape = &self.scratch.shape;
        change.transactions.extend(application.map(|id| (id, 1)));
        failpoint::reach("lake.in_rebuild")?;
        let attempt = match &mut self.main {
            Some(main) => {
                change.schema = Some(columns.as_ref().clone());
                change.properties = shape.properties();
                main.try_commit(&change).boxed().await?
            }
            None => {
                let (folder, partitions) = (&shape.folder, shape.partition_columns());
                let properties = shape.properties();
                // Where no record lands, nothing tells a partition column's type.
                shape.check_partitions(&columns)?;
                Table::create_with(&storage, folder, &columns, &partitions, &properties, &change)
                    .boxed()
                    .await?
            }
        };
        let version = match attempt {
            Attempt::Committed(version) => version,
            Attempt::Lost => {
                if let Some(family) = &shape.family {
                    family.roll_back(&storage, before).boxed().await?;
                }
                return Err(super::scratch::outrun(&shape.name));
            }
        };
        match &shape.family {
            // Its rows were written again without their lists.
            Some(_) => storage.delete_folder(&self.scratch.folder).await?,
            None => staging::drop_log(&storage, &self.scratch.folder).await?,
        }
        Ok(Rebuilt {
            rows: outcome.adds.iter().map(|file| file.rows).sum(),
            released: 0,
            rejected: self.rejected,
            version,
            oldest_sequence: 0,
            is_new: before.is_none(),
        })
    }

    /// The files that become the main table's. Child tables are committed ahead of it.
    async fn adds(&self, record: &mut StateRecord) -> Result<Vec<DataFile>> {
        let shape = &self.scratch.shape;
        record.children.clear();
        if let (Some(family), Some(scratch)) = (&shape.family, self.scratch.table()) {
            let next = Next {
                sequence: record.sequence,
                after: self.main.is_some().then_some(self.record.sequence),
            };
            let memory_bytes = self.scratch.memory_bytes();
            let layout = Layout {
                store: self.storage.within(&shape.folder),
                below: String::new(),
                schema: family.exploder.parent_schema(scratch.schema()),
                partitions: shape.partition_columns(),
                purpose: Purpose::Table,
            };
            let split = children::split(family, scratch, layout, memory_bytes)
                .boxed()
                .await?;
            let done = split.children.commit(scratch.schema(), next).boxed().await?;
            record.children = done.versions;
            return Ok(split.parents);
        }
        let folder = self.scratch.name();
        let files = self.scratch.files()?.into_iter().map(|file| DataFile {
            path: format!("{folder}/{}", file.path),
            ..file
        });
        Ok(files.collect())
    }

    /// The columns of the exchanged table. Those that the table had stay, without values where no
    /// line of Bronze has any: what reads them must not break.
    fn columns(&self) -> SchemaRef {
        let shape = &self.scratch.shape;
        let data = match &self.main {
            Some(main) => columns::data_schema(main.schema()),
            None => Arc::new(Schema::empty()),
        };
        let columns = match self.scratch.schema() {
            Some(schema) => schema::widened(&schema, &data),
            None => {
                let lineage = crate::typed::lineage_fields();
                let lineage = lineage.iter().map(|field| field.as_ref().clone());
                shape.table_schema(&columns::with(&data, lineage))
            }
        };
        match &shape.family {
            Some(family) => family.exploder.parent_schema(&columns),
            None => columns,
        }
    }
}
