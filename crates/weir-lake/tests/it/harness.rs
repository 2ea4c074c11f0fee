//! A lake in a temporary folder and its tables as sorted lines.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::json::LineDelimitedWriter;
use futures::TryStreamExt;
use weir_lake::{AsOf, Lake, LakeConfig};
use weir_protocol::{Result, Secret};

pub(crate) struct TestLake {
    #[expect(dead_code, reason = "its drop removes the folder")]
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
