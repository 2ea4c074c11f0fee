//! The lake is a destination, in every mode.

use async_trait::async_trait;
use futures::TryStreamExt;
use weir_protocol::conformance::{Place, destination};
use weir_protocol::{Destination, Result, SyncMode};

use crate::harness::TestLake;

#[async_trait]
impl Place for TestLake {
    fn destination(&self) -> &dyn Destination {
        &self.lake
    }

    async fn rows(&self) -> Result<Vec<(u64, String, bool)>> {
        let Ok(batches) = self.lake.rows("acme_items", None).await else {
            return Ok(Vec::new());
        };
        let batches: Vec<_> = batches.try_collect().await?;
        if batches.iter().all(|batch| batch.num_rows() == 0) {
            return Ok(Vec::new());
        }
        let lines = Self::rows(self, "acme_items", &["id", "text", "_deleted_at"]).await;
        let row = |line: &String| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = row["text"].as_str().unwrap_or_default().to_owned();
            (
                row["id"].as_u64().unwrap(),
                text,
                row.get("_deleted_at").is_some(),
            )
        };
        Ok(lines.iter().map(row).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lake_is_a_destination() {
    destination(|| Box::new(TestLake::new()), &SyncMode::ALL)
        .await
        .unwrap();
}
