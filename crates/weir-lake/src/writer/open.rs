//! Opening a stream for writing: what an interrupted writer left is found, finished or removed.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::FutureExt;
use object_store::path::Path;
use weir_protocol::{Books, Destination, Error, Result, StreamWriter, WritePlan};

use super::generations::Generation;
use super::identity;
use super::pipeline::Pipeline;
use super::publish::Publish;
use super::raw;
use super::shape::Shape;
use super::staging::{self, Published};
use super::state::{self, StateRecord};
use super::stream::{LakeWriter, new_rows};
use crate::lake::Lake;
use crate::table::{Table, columns};
use crate::typed::Typer;
use crate::upsert::SPILL_FOLDER;

/// Of the plan's memory, each stage that holds rows may take this part.
const MEMORY_PARTS: u64 = 4;

#[async_trait]
impl Destination for Lake {
    async fn open(&self, plan: WritePlan) -> Result<Box<dyn StreamWriter>> {
        Ok(Box::new(self.open_stream(plan).await?))
    }
}

impl Lake {
    /// Refuses, without looking at any table, a stream whose spec could not be written.
    pub fn check(plan: &WritePlan) -> Result<()> {
        let named = |error: Error| error.with("stream", &plan.stream.name);
        Shape::new(plan).map_err(named)?;
        // Nothing is hashed, so no key is needed.
        Typer::new(plan, None, &[]).map_err(named).map(drop)
    }

    async fn open_stream(&self, plan: WritePlan) -> Result<LakeWriter> {
        let shape = Shape::new(&plan)?;
        let memory_bytes = (plan.memory_bytes / MEMORY_PARTS).max(1 << 20);
        let found = self.recover(&plan, &shape, memory_bytes).boxed().await?;
        let sequence = found.last.as_ref().map_or(0, |record| record.sequence);
        // A full refresh begins with the number after the main table's last one.
        let settled = found.generation.saturating_sub(1);
        let last = found.last.as_ref();
        let open = self.clear_folders(&plan, last, settled).boxed().await?;
        let raw = raw::Raw::new(self, &plan, sequence)?;
        let held = raw::Held::new(self, &plan, sequence);
        let registered = found
            .table
            .as_ref()
            .map(|table| columns::data_schema(table.schema()));
        let key = self.pii_key.expose().as_bytes();
        let known = state::inexact(found.last.as_ref(), found.table.as_ref(), &found.children)?;
        let typer = Typer::with_children(&plan, registered, &found.children, &known, key)?;
        let folder = match found.staging {
            Some(folder) => folder,
            None if shape.is_staged() => shape.folder.clone().join(staging::new_name(found.generation)),
            None => shape.folder.clone(),
        };
        let rows = new_rows(self, &shape, &folder, memory_bytes);
        Ok(LakeWriter {
            lake: self.clone(),
            pipeline: Pipeline::start(typer, shape.clone(), rows, raw, held),
            memory_bytes,
            committed: found.last.as_ref().map(StateRecord::committed),
            version: found.table.as_ref().map_or(-1, Table::version),
            generation: found.generation,
            folder,
            generations: found.generations,
            bronze_bytes: found
                .last
                .as_ref()
                .filter(|record| record.run == plan.run)
                .map_or(0, |record| record.bronze_bytes),
            last: found.last,
            plan,
            target: if shape.is_staged() {
                shape.with_lists()
            } else {
                shape.clone()
            },
            shape,
            accepted: Books::default(),
            changes: Vec::new(),
            reasons: BTreeMap::new(),
            open,
            broken: false,
        })
    }

    /// Finds the newest checkpoint. A full refresh that was complete but not published is
    /// published now; leftovers of writers that died are removed.
    async fn recover(&self, plan: &WritePlan, shape: &Shape, memory_bytes: u64) -> Result<Found> {
        self.storage
            .delete_folder(&shape.folder.clone().join(SPILL_FOLDER))
            .await?;
        let main = Table::find(&self.storage, &shape.folder).await?;
        let record = match &main {
            Some(table) => own_state(table, plan, shape).boxed().await?,
            None => None,
        };
        let mut published = Published { main, record };
        let staged = staging::find(&self.storage, shape, plan, &mut published)
            .boxed()
            .await?;
        let sequence = published.record.as_ref().map_or(0, |record| record.sequence);
        let children = self.children(shape, published.record.as_ref()).boxed().await?;
        let mut found = Found {
            children,
            table: published.main.clone(),
            generation: sequence + 1,
            staging: None,
            generations: generations(published.record.as_ref()),
            last: published.record.clone(),
        };
        let Some(staged) = staged else {
            return Ok(found);
        };
        let generation = staging::generation(&staged.table).unwrap_or(sequence + 1);
        if !staged.record.state.complete {
            found.generation = generation;
            found.staging = Some(staged.table.folder().clone());
            found.last = Some(staged.record);
            found.table = Some(staged.table);
            return Ok(found);
        }
        tracing::info!(
            table = shape.name,
            "publishing the full refresh that an earlier run completed"
        );
        let mut publish = Publish {
            storage: &self.storage,
            shape,
            staging: staged,
            memory_bytes,
            at: jiff::Timestamp::now().as_microsecond(),
            generations: found.generations.clone(),
            from: generation,
        };
        if let Some(refusal) = publish.refusal().boxed().await? {
            tracing::warn!(table = shape.name, %refusal, "the full refresh that an earlier run completed is given up");
            // It is marked as refused by now, and dropped with its records.
            staging::find(&self.storage, shape, plan, &mut published)
                .boxed()
                .await?;
            found.generation = published.record.as_ref().map_or(0, |record| record.sequence) + 1;
            found.table = published.main;
            found.last = published.record;
            return Ok(found);
        }
        let written = publish.run().boxed().await?;
        let main = Table::find(&self.storage, &shape.folder).await?;
        let last = Some(written.record);
        let children = self.children(shape, last.as_ref()).boxed().await?;
        Ok(Found {
            children,
            table: main,
            generation: last.as_ref().map_or(0, |record| record.sequence) + 1,
            staging: None,
            generations: generations(last.as_ref()),
            last,
        })
    }

    /// The columns of the child tables that there are, after those that are ahead were taken back.
    async fn children(&self, shape: &Shape, last: Option<&StateRecord>) -> Result<Vec<(String, SchemaRef)>> {
        match shape.children() {
            // A refresh that replaces all fills them wholly.
            Some(family) if family.is_replaced() => {
                let sequence = last.map(|record| record.sequence);
                family.recover(&self.storage, sequence).await
            }
            Some(family) => family.open(&self.storage, last).await,
            None => Ok(Vec::new()),
        }
    }
}

/// What the table says of this stream. Refused where it says that its rows are not this stream's, or
/// that it was written in another form.
async fn own_state(table: &Table, plan: &WritePlan, shape: &Shape) -> Result<Option<StateRecord>> {
    let last = StateRecord::read(table, &plan.connection, &plan.stream.name).await?;
    match &last {
        None => identity::check_owner(table, plan)?,
        Some(record) => record.form.iter().try_for_each(|form| form.check(shape))?,
    }
    Ok(last)
}

fn generations(last: Option<&StateRecord>) -> Vec<Generation> {
    last.map(|record| record.generations.clone()).unwrap_or_default()
}

/// Where a stream stands.
struct Found {
    /// The table that the newest checkpoint is in: the staging one, if there is one.
    table: Option<Table>,
    last: Option<StateRecord>,
    generation: u64,
    /// The folder of the staging table that goes on.
    staging: Option<Path>,
    generations: Vec<Generation>,
    /// Columns of the child tables, by exploded field.
    children: Vec<(String, SchemaRef)>,
}
