//! A Bronze stream as a table: its zstd JSON Lines objects, decoded as they are read.

use std::io::{BufRead, BufReader};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;
use jiff::Timestamp;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use weir_protocol::{Error, Result};

use crate::failure::{explain, wrap};
use crate::tables::BronzeObjects;

const BATCH_ROWS_MAX: usize = 8192;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Batches that wait for the query; more and the decoder waits.
const BATCHES_AHEAD: usize = 2;

#[derive(Deserialize)]
struct Line<'a> {
    emitted_at: Timestamp,
    source: std::borrow::Cow<'a, str>,
    stream: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    cursor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    record: Option<&'a RawValue>,
    /// What was received and is not JSON stands here, as text or base64.
    #[serde(borrow, default)]
    raw: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    raw_base64: Option<std::borrow::Cow<'a, str>>,
}

/// The table; `until` leaves out what was received later.
pub(crate) fn table(
    found: BronzeObjects,
    until: Option<Timestamp>,
    partitions: usize,
) -> Result<StreamingTable> {
    let schema = schema();
    let per_partition = found.objects.len().div_ceil(partitions.max(1)).max(1);
    let parts: Vec<Arc<dyn PartitionStream>> = found
        .objects
        .chunks(per_partition)
        .map(|objects| {
            Arc::new(Part {
                schema: Arc::clone(&schema),
                store: Arc::clone(&found.store),
                objects: objects.to_vec(),
                until,
            }) as Arc<dyn PartitionStream>
        })
        .collect();
    let parts = if parts.is_empty() {
        let empty = Part {
            schema: Arc::clone(&schema),
            store: found.store,
            objects: Vec::new(),
            until,
        };
        vec![Arc::new(empty) as Arc<dyn PartitionStream>]
    } else {
        parts
    };
    StreamingTable::try_new(schema, parts).map_err(explain)
}

fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("emitted_at", at, true),
        text("source"),
        text("stream"),
        text("cursor"),
        text("record"),
    ]))
}

/// Objects that one task reads, one after the other.
struct Part {
    schema: SchemaRef,
    store: Arc<dyn ObjectStore>,
    objects: Vec<ObjectMeta>,
    until: Option<Timestamp>,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bronze({} objects)", self.objects.len())
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), BATCHES_AHEAD);
        let (store, objects, until) = (Arc::clone(&self.store), self.objects.clone(), self.until);
        let schema = Arc::clone(&self.schema);
        let out = builder.tx();
        builder.spawn(async move {
            for object in objects {
                let bytes = store.get(&object.location).await?.bytes().await?;
                let (schema, out) = (Arc::clone(&schema), out.clone());
                let decoding = tokio::task::spawn_blocking(move || {
                    decode(&bytes, &object, until, &schema, |batch| {
                        out.blocking_send(Ok(batch)).is_ok()
                    })
                });
                let open = decoding
                    .await
                    .map_err(|error| datafusion::error::DataFusionError::ExecutionJoin(Box::new(error)))??;
                if !open {
                    break;
                }
            }
            Ok(())
        });
        builder.build()
    }
}

/// Sends the object's rows in batches. False where nobody listens any more.
fn decode(
    bytes: &[u8],
    object: &ObjectMeta,
    until: Option<Timestamp>,
    schema: &SchemaRef,
    send: impl Fn(RecordBatch) -> bool,
) -> DfResult<bool> {
    let damaged = |number: u64, cause: Box<dyn std::error::Error + Send + Sync>| {
        wrap(
            Error::decode("a Bronze object is damaged")
                .with("object", &object.location)
                .with("line", number)
                .caused_by(cause)
                .hint("move the object away (its records are read again by `weir sync --full`)"),
        )
    };
    let unpacked = zstd::stream::read::Decoder::new(bytes).map_err(|error| damaged(0, error.into()))?;
    let mut lines = BufReader::new(unpacked);
    let (mut text, mut number, mut rows) = (Vec::new(), 0_u64, Columns::default());
    loop {
        text.clear();
        number += 1;
        let length = lines
            .read_until(b'\n', &mut text)
            .map_err(|error| damaged(number, error.into()))?;
        if length == 0 {
            break;
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_slice(&text).map_err(|error| damaged(number, error.into()))?;
        if until.is_some_and(|until| line.emitted_at > until) {
            continue;
        }
        rows.push(&line);
        if rows.full() && !send(rows.finish(schema)?) {
            return Ok(false);
        }
    }
    Ok(rows.count == 0 || send(rows.finish(schema)?))
}

#[derive(Default)]
struct Columns {
    emitted_at: TimestampMicrosecondBuilder,
    source: StringBuilder,
    stream: StringBuilder,
    cursor: StringBuilder,
    record: StringBuilder,
    count: usize,
    bytes: usize,
}

impl Columns {
    fn push(&mut self, line: &Line<'_>) {
        self.emitted_at.append_value(line.emitted_at.as_microsecond());
        self.source.append_value(&line.source);
        self.stream.append_value(&line.stream);
        let cursor = line.cursor.map(RawValue::get).filter(|cursor| *cursor != "null");
        // A text cursor reads better without its quotes.
        let plain = cursor.map(|raw| serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned()));
        self.cursor.append_option(plain);
        let json = line.record.map(RawValue::get);
        let record = json.or(line.raw.as_deref()).or(line.raw_base64.as_deref());
        self.record.append_option(record);
        self.count += 1;
        self.bytes += record.map_or(0, str::len);
    }

    fn full(&self) -> bool {
        self.count >= BATCH_ROWS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    fn finish(&mut self, schema: &SchemaRef) -> DfResult<RecordBatch> {
        let emitted_at = self.emitted_at.finish().with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(emitted_at),
            Arc::new(self.source.finish()),
            Arc::new(self.stream.finish()),
            Arc::new(self.cursor.finish()),
            Arc::new(self.record.finish()),
        ];
        (self.count, self.bytes) = (0, 0);
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}
