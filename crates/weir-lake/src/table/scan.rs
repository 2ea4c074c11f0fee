//! Rows out of a table's files.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::ObjectStore;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use weir_protocol::{Error, Result};

use super::adapt::adapt;
use super::deletion::Gone;
use super::original::Original;
use super::{DataFile, partition};

/// Rows may be wide, and several batches are in memory at once.
pub(crate) const BATCH_ROWS: usize = 2048;

pub(crate) type Rows = BoxStream<'static, Result<RecordBatch>>;

/// The rows of one file in their order, with exactly the columns of `schema` (a part of the
/// table's columns, or all). `selection` picks rows by their place among those not marked as gone.
pub(crate) async fn read(
    store: &Arc<dyn ObjectStore>,
    file: &DataFile,
    schema: &SchemaRef,
    selection: Option<RowSelection>,
) -> Result<Rows> {
    read_in(store, file, schema, selection, BATCH_ROWS).await
}

/// As [`read`], so many rows at a time.
pub(crate) async fn read_in(
    store: &Arc<dyn ObjectStore>,
    file: &DataFile,
    schema: &SchemaRef,
    selection: Option<RowSelection>,
    batch_rows: usize,
) -> Result<Rows> {
    let original = Original::open(store, file).await?;
    read_of(&original, schema, selection, batch_rows).await
}

/// As [`read_in`] from a file whose footer is known.
pub(crate) async fn read_of(
    original: &Original,
    schema: &SchemaRef,
    selection: Option<RowSelection>,
    batch_rows: usize,
) -> Result<Rows> {
    let file = &original.file;
    let path = file.path.clone();
    let (object, metadata) = (original.object(), original.metadata());
    let mut builder =
        ParquetRecordBatchStreamBuilder::new_with_metadata(object, metadata).with_batch_size(batch_rows);
    let roots: Vec<usize> = builder
        .schema()
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| schema.column_with_name(field.name()).is_some())
        .map(|(index, _)| index)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    builder = builder.with_projection(mask);
    let rows = builder.metadata().file_metadata().num_rows();
    if let Some(live) = live(&original.store, file, rows).await? {
        builder = builder.with_row_selection(match selection {
            Some(selection) => live.and_then(&padded(&selection, live.row_count())),
            None => live,
        });
    } else if let Some(selection) = selection {
        builder = builder.with_row_selection(selection);
    }
    let stream = builder.build().map_err(|error| failed(&path, error))?;
    let file = file.clone();
    let schema = schema.clone();
    let rows = stream
        .map_err(move |error| failed(&path, error))
        .map(move |batch| whole(&batch?, &file, &schema));
    Ok(rows.boxed())
}

/// The rows at these places, which ascend.
pub(crate) fn ranges(places: &[Range<u32>]) -> RowSelection {
    let mut selectors = Vec::new();
    let mut next = 0;
    for range in places {
        selectors.push(RowSelector::skip((range.start - next) as usize));
        selectors.push(RowSelector::select(range.len()));
        next = range.end;
    }
    RowSelection::from(selectors)
}

/// A selection that speaks of every one of `rows` rows.
fn padded(selection: &RowSelection, rows: usize) -> RowSelection {
    let mut selectors: Vec<RowSelector> = selection.iter().copied().collect();
    let said: usize = selectors.iter().map(|selector| selector.row_count).sum();
    selectors.push(RowSelector::skip(rows.saturating_sub(said)));
    RowSelection::from(selectors)
}

/// The rows that are left of a file of which some are marked as gone.
async fn live(store: &Arc<dyn ObjectStore>, file: &DataFile, rows: i64) -> Result<Option<RowSelection>> {
    if file.deletion_vector.is_none() {
        return Ok(None);
    }
    let gone = Gone::of(store, file).await?;
    Ok(Some(gone.live(u64::try_from(rows).unwrap_or_default())))
}

/// The batch with the file's partition values as columns.
fn whole(batch: &RecordBatch, file: &DataFile, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut fields = batch.schema_ref().fields().to_vec();
    let mut columns = batch.columns().to_vec();
    for (name, value) in &file.partition {
        if let Ok(field) = schema.field_with_name(name) {
            let constant = partition::constant(value.as_deref(), field, batch.num_rows())?;
            fields.push(Arc::new(field.clone()));
            columns.push(constant);
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| Error::destination("a file's columns do not fit together").caused_by(error))?;
    adapt(&batch, schema)
}

/// All rows of several files, one file after the other.
pub(crate) fn read_all(store: Arc<dyn ObjectStore>, files: Vec<DataFile>, schema: SchemaRef) -> Rows {
    futures::stream::iter(files.into_iter().map(Ok))
        .and_then(move |file| {
            let (store, schema) = (store.clone(), schema.clone());
            async move { read(&store, &file, &schema, None).await }
        })
        .try_flatten()
        .boxed()
}

fn failed(path: &str, error: parquet::errors::ParquetError) -> Error {
    Error::destination(format!("cannot read the data file '{path}'"))
        .hint("if the file is gone, restore it from a backup or run `weir lake rebuild` for this table")
        .caused_by(error)
}
