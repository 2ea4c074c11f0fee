//! A lake in a temporary folder, batches from JSON, and tables as sorted lines.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use futures::TryStreamExt;
use serde_json::{Value, json};
use weir_lake::{AsOf, Lake, LakeConfig};
use weir_protocol::source::StreamDescriptor;
use weir_protocol::{
    Batch, Destination, Receipt, Record, Result, Secret, SliceState, StateChange, StreamState, StreamWriter,
    SyncMode, WritePlan,
};

pub(crate) struct TestLake {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) lake: Lake,
}

impl TestLake {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::open(LakeConfig {
            location: dir.path().to_str().unwrap().to_owned(),
            options: BTreeMap::new(),
            pii_key: Secret::new("a key for tests only, 32 bytes long"),
        })
        .unwrap();
        Self { dir, lake }
    }

    pub(crate) async fn open(&self, plan: &WritePlan) -> Box<dyn StreamWriter> {
        self.lake.open(plan.clone()).await.unwrap()
    }

    pub(crate) async fn lake_open_error(&self, plan: &WritePlan) -> weir_protocol::Error {
        self.lake.open(plan.clone()).await.err().unwrap()
    }

    /// One run: one batch a checkpoint, then the end.
    pub(crate) async fn sync(&self, plan: &WritePlan, pages: &[&[Value]]) -> Receipt {
        let mut writer = self.open(plan).await;
        for (page, records) in pages.iter().enumerate() {
            writer.write(batch(records)).await.unwrap();
            writer.checkpoint(&partly(page)).await.unwrap();
        }
        writer
            .finish(&complete(pages.len()))
            .await
            .unwrap()
            .published()
            .unwrap()
    }

    /// The rows of a table, each as JSON of the named columns, sorted.
    pub(crate) async fn rows(&self, table: &str, columns: &[&str]) -> Vec<String> {
        self.rows_at(table, columns, None).await.unwrap()
    }

    pub(crate) async fn rows_at(
        &self,
        table: &str,
        columns: &[&str],
        as_of: Option<AsOf>,
    ) -> Result<Vec<String>> {
        let batches: Vec<RecordBatch> = self.lake.rows(table, as_of).await?.try_collect().await?;
        let mut lines = Vec::new();
        for batch in &batches {
            let indices: Vec<usize> = columns
                .iter()
                .map(|name| batch.schema().index_of(name).unwrap())
                .collect();
            let mut writer = LineDelimitedWriter::new(Vec::new());
            writer.write(&batch.project(&indices).unwrap()).unwrap();
            writer.finish().unwrap();
            let text = String::from_utf8(writer.into_inner()).unwrap();
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.sort();
        Ok(lines)
    }
}

pub(crate) fn plan(mode: SyncMode, run: &str) -> WritePlan {
    WritePlan {
        run: run.to_owned(),
        connection: "shop".to_owned(),
        source: "acme".to_owned(),
        stream: StreamDescriptor {
            name: "orders".to_owned(),
            entity: "orders".to_owned(),
            primary_key: vec!["id".to_owned()],
            cursor_field: Some("at".to_owned()),
            ..StreamDescriptor::default()
        },
        mode,
        restart: false,
        known_sequence: 0,
        memory_bytes: 64 << 20,
        started_at: "2026-11-21T00:00:00Z".parse().unwrap(),
    }
}

pub(crate) fn batch(records: &[Value]) -> Batch {
    batch_at(records, "2026-11-21T10:00:00Z")
}

pub(crate) fn batch_at(records: &[Value], emitted_at: &str) -> Batch {
    let texts: Vec<String> = records.iter().map(Value::to_string).collect();
    raw_batch(&texts, emitted_at)
}

/// Records as they are, with the cursor found by its field `at`.
pub(crate) fn raw_batch(texts: &[String], emitted_at: &str) -> Batch {
    let mut body = String::new();
    let mut records = Vec::new();
    for text in texts {
        let start = body.len();
        let cursor = serde_json::from_str::<Value>(text)
            .ok()
            .and_then(|record| record.get("at").filter(|at| !at.is_null()).map(Value::to_string));
        let place = cursor
            .as_ref()
            .and_then(|cursor| text.find(&format!("\"at\":{cursor}")).map(|at| at + 5));
        records.push(Record {
            start: start as u32,
            len: text.len() as u32,
            cursor_start: place.map_or(0, |at| (start + at) as u32),
            cursor_len: place.and(cursor.as_ref()).map_or(0, |cursor| cursor.len() as u32),
        });
        body.push_str(text);
        body.push('\n');
    }
    Batch {
        slice: Arc::from(""),
        body: Bytes::from(body),
        records,
        filtered: 0,
        deduplicated: 0,
        emitted_at: emitted_at.parse().unwrap(),
    }
}

pub(crate) fn order(id: i64, at: &str, total: f64) -> Value {
    json!({ "id": id, "at": format!("2026-{at}T00:00:00Z"), "total": total })
}

/// The state after page `page` of a read that goes on.
pub(crate) fn partly(page: usize) -> StreamState {
    let mut state = StreamState::default();
    state.apply(StateChange::Slice {
        key: Arc::from(""),
        state: SliceState {
            page: Some(json!(page)),
            ..SliceState::default()
        },
    });
    state
}

/// The state after the end of a read.
pub(crate) fn complete(mark: usize) -> StreamState {
    StreamState {
        floor: Some(json!(mark)),
        complete: true,
        ..StreamState::default()
    }
}
