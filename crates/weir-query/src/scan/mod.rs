//! A Silver or Gold table as DataFusion reads it: a Parquet scan over exactly the snapshot's files.
//!
//! delta-rs has a provider of its own; why this one is here stands in
//! `docs/decisions/20261121-own-delta-scan.md`.

mod partition;
mod stats;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::{DFSchema, ScalarValue, Statistics, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result as DfResult;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use object_store::ObjectMeta;
use weir_protocol::{Error, Result};

use crate::tables::{DataFile, Snapshot, TableName};

/// Reader features that change nothing about which rows a Parquet file holds.
const HARMLESS_FEATURES: &[&str] = &[
    "deletionVectors", // known of each file: see `PlannedFile::open`
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "variantType",
];

pub(crate) struct LakeTable {
    name: TableName,
    version: i64,
    /// Columns in the table's own order, as users see them.
    schema: SchemaRef,
    /// Columns in the scan's order: those in files, then those of the partition.
    scanned: TableSchema,
    /// For each column of `schema` its place in `scanned`.
    order: Vec<usize>,
    files: Vec<PlannedFile>,
    store_url: ObjectStoreUrl,
}

struct PlannedFile {
    file: DataFile,
    partition: Vec<ScalarValue>,
}

impl std::fmt::Debug for LakeTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "LakeTable({} version {}, {} files)",
            self.name,
            self.version,
            self.files.len()
        )
    }
}

impl LakeTable {
    /// `store_url` is where the snapshot's store is registered.
    pub(crate) fn new(snapshot: Snapshot, store_url: ObjectStoreUrl) -> Result<Self> {
        check_readable(&snapshot)?;
        let is_partition = |name: &String| snapshot.partition_columns.contains(name);
        let (partition, data): (Vec<FieldRef>, Vec<FieldRef>) = snapshot
            .schema
            .fields()
            .iter()
            .cloned()
            .partition(|field| is_partition(field.name()));
        let scanned = TableSchema::builder(Arc::new(Schema::new(data)))
            .with_table_partition_cols(partition)
            .build();
        let order = places(&snapshot.schema, scanned.table_schema())?;
        let files = snapshot
            .files
            .into_iter()
            .map(|file| {
                let partition = partition::values(&snapshot.table, &file, scanned.table_partition_cols())?;
                Ok(PlannedFile { file, partition })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            name: snapshot.table,
            version: snapshot.version,
            schema: snapshot.schema,
            scanned,
            order,
            files,
            store_url,
        })
    }

    /// The files that may hold a row which passes all filters.
    fn candidates(&self, state: &dyn Session, filters: &[Expr]) -> DfResult<Vec<(&PlannedFile, Statistics)>> {
        let schema = self.scanned.table_schema();
        let files = self
            .files
            .iter()
            .map(|planned| (planned, stats::of_file(&planned.file, schema, &planned.partition)));
        let Some(filter) = conjunction(filters.iter().cloned()) else {
            return Ok(files.collect());
        };
        let columns = DFSchema::try_from(schema.as_ref().clone())?;
        let filter = state.create_physical_expr(filter, &columns)?;
        let predicate = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(schema))
            .try_build(filter)?;
        let files: Vec<_> = files.collect();
        let statistics = files
            .iter()
            .map(|(_, statistics)| Arc::new(statistics.clone()))
            .collect();
        let keep = predicate.prune(&PrunableStatistics::new(statistics, Arc::clone(schema)))?;
        tracing::debug!(table = %self.name, files = files.len(), kept = keep.iter().filter(|k| **k).count(), "pruned");
        Ok(files
            .into_iter()
            .zip(keep)
            .filter_map(|(file, keep)| keep.then_some(file))
            .collect())
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        // Files and row groups are left out by statistics; single rows are still filtered above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let candidates = self.candidates(state, filters)?;
        if candidates.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(
                &self.schema,
                projection,
            )?)));
        }
        let statistics = candidates.iter().map(|(_, statistics)| statistics);
        let whole = Statistics::try_merge_iter(statistics, self.scanned.table_schema())?;
        let files = candidates
            .into_iter()
            .map(|(planned, statistics)| planned.open(statistics))
            .collect();
        let groups = FileGroup::new(files).split_files(state.config().target_partitions().max(1));
        let columns = match projection {
            Some(chosen) => chosen.iter().map(|index| self.order[*index]).collect(),
            None => self.order.clone(),
        };
        let source = Arc::new(ParquetSource::new(self.scanned.clone()));
        let config = FileScanConfigBuilder::new(self.store_url.clone(), source)
            .with_file_groups(groups)
            .with_statistics(Arc::unwrap_or_clone(stats::estimates(whole)))
            .with_projection_indices(Some(columns))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

impl PlannedFile {
    fn open(&self, statistics: Statistics) -> PartitionedFile {
        let mut file = PartitionedFile::new_from_meta(ObjectMeta {
            location: self.file.path.clone(),
            last_modified: Default::default(),
            size: self.file.size_bytes,
            e_tag: None,
            version: None,
        });
        file.partition_values.clone_from(&self.partition);
        // Set directly: the builder method would claim that partition values are never null.
        file.statistics = Some(stats::estimates(statistics));
        if let Some(live) = &self.file.live {
            file.extensions.insert(ParquetRowSelection::new(live.clone()));
        }
        file
    }
}

fn places(shown: &Schema, scanned: &Schema) -> Result<Vec<usize>> {
    let place = |name: &str| {
        scanned.index_of(name).map_err(|error| {
            Error::internal(format!("column '{name}' got lost"))
                .caused_by(error)
                .hint("report this")
        })
    };
    shown.fields().iter().map(|field| place(field.name())).collect()
}

fn check_readable(snapshot: &Snapshot) -> Result<()> {
    let unknown: Vec<&str> = snapshot
        .reader_features
        .iter()
        .map(String::as_str)
        .filter(|feature| !HARMLESS_FEATURES.contains(feature))
        .collect();
    if !unknown.is_empty() {
        return Err(Error::destination(format!(
            "table '{}' needs reader features that the query engine does not know: {}",
            snapshot.table,
            unknown.join(", ")
        ))
        .with("version", snapshot.version)
        .hint("write the table anew without these features (`weir lake rebuild` does it for Silver)"));
    }
    Ok(())
}
