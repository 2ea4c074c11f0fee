//! How a stream's rows stand in its table, as its plan says.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use object_store::path::Path;
use weir_protocol::{Error, Result, SyncMode, WriteMode, WritePlan, name};

use crate::children::Family;
use crate::lake::{Layer, folder};
use crate::table::columns::{self, CHILDREN_DIGEST};
use crate::table::deletion;
use crate::table::partition::{self, PartitionBy};
use crate::upsert::{Keys, Rule};

pub(crate) const PRIMARY_KEY: &str = "weir.primaryKey";
const CONNECTION: &str = "weir.connection";
const STREAM: &str = "weir.stream";

/// The primary key that a table's properties name.
pub(crate) fn primary_key(properties: &BTreeMap<String, String>) -> Vec<String> {
    let text = properties.get(PRIMARY_KEY).map_or("", String::as_str);
    text.split(',')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The connection and stream that a table's properties name.
pub(crate) fn stream_of(properties: &BTreeMap<String, String>) -> Option<(String, String)> {
    Some((
        properties.get(CONNECTION)?.clone(),
        properties.get(STREAM)?.clone(),
    ))
}

/// The fixed properties of one stream's table.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) folder: Path,
    pub(crate) mode: SyncMode,
    pub(crate) by: Vec<PartitionBy>,
    /// Rows that go are marked instead of written away with their file.
    pub(crate) marks_rows: bool,
    pub(crate) primary_key: Vec<String>,
    pub(crate) cursor: Option<String>,
    pub(crate) connection: String,
    pub(crate) stream: String,
    /// Its child tables, if it explodes lists.
    pub(crate) family: Option<Arc<Family>>,
    /// Rows keep their lists: they wait, and are exploded when they are published.
    pub(crate) keeps_lists: bool,
}

impl Shape {
    pub(crate) fn new(plan: &WritePlan) -> Result<Self> {
        let stream = &plan.stream;
        let name = name::silver(&plan.source, &stream.entity);
        if plan.mode.needs_primary_key() && stream.primary_key.is_empty() {
            return Err(Error::spec(format!("mode {} needs a primary key", plan.mode))
                .with("stream", &stream.name)
                .hint("add primary_key to the stream, or choose an append or replace mode"));
        }
        let by = stream.policy.partition_by.iter();
        Ok(Self {
            family: Family::new(plan, &name)?.map(Arc::new),
            keeps_lists: false,
            folder: folder(Layer::Silver, &name),
            name,
            mode: plan.mode,
            marks_rows: stream.policy.deletion_vectors,
            by: by.map(|text| PartitionBy::parse(text)).collect::<Result<_>>()?,
            primary_key: stream.primary_key.clone(),
            cursor: stream.cursor_field.clone(),
            connection: plan.connection.clone(),
            stream: stream.name.clone(),
        })
    }

    /// The same for rows that wait with their lists.
    pub(crate) fn with_lists(&self) -> Self {
        Self {
            keeps_lists: true,
            ..self.clone()
        }
    }

    /// The child tables that rows are exploded into when they are written.
    pub(crate) fn children(&self) -> Option<&Arc<Family>> {
        self.family.as_ref().filter(|_| !self.keeps_lists)
    }

    /// Whether rows wait in a staging table until the read is complete.
    pub(crate) fn is_staged(&self) -> bool {
        self.mode.read() == weir_protocol::ReadMode::FullRefresh && self.mode.write() != WriteMode::Append
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::new(self.primary_key.clone(), self.cursor.clone())
    }

    /// What a checkpoint does with rows of known keys; none where every row is simply added.
    pub(crate) fn rule(&self) -> Option<Rule> {
        if self.primary_key.is_empty() {
            return None;
        }
        match self.mode {
            SyncMode::IncrementalMerge | SyncMode::FullRefreshMerge => Some(Rule::Merge),
            SyncMode::IncrementalHistory | SyncMode::FullRefreshHistory => Some(Rule::History),
            // Without a cursor two versions of a row cannot be told apart from a repeated read.
            SyncMode::IncrementalAppend => self.cursor.is_some().then_some(Rule::Distinct),
            SyncMode::FullRefreshAppend | SyncMode::FullRefreshReplace => None,
        }
    }

    /// The columns of the table for rows of these columns.
    pub(crate) fn table_schema(&self, rows: &Schema) -> SchemaRef {
        let whole = self.whole_schema(rows);
        match self.children() {
            Some(family) => family.exploder.parent_schema(&whole),
            None => whole,
        }
    }

    /// As [`Shape::table_schema`], with the lists that go to child tables.
    pub(crate) fn whole_schema(&self, rows: &Schema) -> SchemaRef {
        let mut extra: Vec<Field> = self.by.iter().filter_map(PartitionBy::derived_field).collect();
        if self.mode.write() == WriteMode::History {
            extra.extend(columns::history());
        }
        if self.family.is_some() {
            extra.push(Field::new(CHILDREN_DIGEST, DataType::Utf8, true));
        }
        extra.push(columns::deleted_at());
        columns::with(rows, extra)
    }

    pub(crate) fn partition_columns(&self) -> Vec<String> {
        self.by.iter().map(|by| by.column.clone()).collect()
    }

    /// What the table's properties say about its stream.
    pub(crate) fn properties(&self) -> Vec<(String, String)> {
        let mut properties = vec![
            (PRIMARY_KEY.to_owned(), self.primary_key.join(",")),
            (CONNECTION.to_owned(), self.connection.clone()),
            (STREAM.to_owned(), self.stream.clone()),
        ];
        if self.marks_rows {
            properties.push((deletion::ENABLED.to_owned(), "true".to_owned()));
        }
        properties
    }

    /// Refuses a partitioning that the columns do not allow.
    pub(crate) fn check_partitions(&self, schema: &Schema) -> Result<()> {
        self.by.iter().try_for_each(|by| by.check(schema))
    }

    /// Typed rows as rows of the table, still with their lists.
    pub(crate) fn rows(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let mut batch = partition::derive(batch, &self.by)?;
        if let Some(family) = &self.family {
            let digests = Arc::new(family.exploder.digests(&batch)?);
            batch = columns::and(&batch, CHILDREN_DIGEST, digests)?;
        }
        let schema = self.whole_schema(batch.schema_ref());
        crate::table::adapt::adapt(&batch, &Arc::clone(&schema))
    }
}
