//! The twins keep what the traits promise, or they prove nothing.

use async_trait::async_trait;
use weir_protocol::conformance::{Place, destination, source};
use weir_protocol::{Destination, ReadMode, Result, SyncMode};

use super::{Api, Lake};

struct Twin(Lake);

#[async_trait]
impl Place for Twin {
    fn destination(&self) -> &dyn Destination {
        &self.0
    }

    async fn rows(&self) -> Result<Vec<(u64, String, bool)>> {
        let rows = self.0.rows("items").into_iter().map(|row| {
            let text = row.record["text"].as_str().unwrap_or_default().to_owned();
            (row.record["id"].as_u64().unwrap_or_default(), text, row.deleted)
        });
        Ok(rows.collect())
    }
}

#[tokio::test]
async fn the_lake_in_memory_is_a_destination() {
    let modes = [
        SyncMode::IncrementalMerge,
        SyncMode::FullRefreshMerge,
        SyncMode::FullRefreshReplace,
        SyncMode::FullRefreshAppend,
        SyncMode::IncrementalAppend,
    ];
    destination(|| Box::new(Twin(Lake::default())), &modes)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_api_in_memory_is_a_source() {
    for pages_per_advance in [1, 2] {
        let mut api = Api::new((1..=10).map(|id| (id, id)));
        api.pages_per_advance = pages_per_advance;
        let modes = [ReadMode::FullRefresh, ReadMode::Incremental];
        source(&api, "items", &modes, 10).await.unwrap();
    }
}
