//! The pump against in-memory twins.

mod endings;
mod kills;
mod outdated;

use tokio_util::sync::CancellationToken;
use weir_protocol::StreamDescriptor;

use super::*;
use crate::runs::{Begin, Trigger};
use crate::store::testing;
use crate::twins::{Api, Lake};
use crate::{Connection, Owner};

/// One project: a store and a lake that outlive the processes working on them.
struct World {
    _folder: tempfile::TempDir,
    store: Store,
    lake: Lake,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        Self {
            _folder: folder,
            store,
            lake: Lake::default(),
        }
    }

    fn plan(&self, api: &Api, streams: &[(&str, SyncMode)]) -> SyncPlan {
        let stream = |(name, mode): &(&str, SyncMode)| StreamDescriptor {
            name: (*name).to_owned(),
            entity: (*name).to_owned(),
            primary_key: vec!["id".to_owned()],
            cursor_field: Some("updated".to_owned()),
            mode: Some(*mode),
            ..StreamDescriptor::default()
        };
        SyncPlan {
            connection: Connection::new("acme", "acme", "acme"),
            source: Arc::new(api.clone()),
            destination: Arc::new(self.lake.clone()),
            streams: streams.iter().map(stream).collect(),
            options: SyncOptions {
                // A checkpoint at every second page.
                bounds: Bounds {
                    rows: 5,
                    ..Bounds::default()
                },
                ..SyncOptions::default()
            },
            begin: Begin::Anew(Trigger::Person),
            owner: Owner::this_process(),
            cancel: CancellationToken::new(),
            observer: Arc::new(Silent),
            sharing: None,
        }
    }

    /// Of one stream, `orders`, whose records no key tells apart.
    fn keyless(&self, api: &Api, mode: SyncMode) -> SyncPlan {
        let mut plan = self.plan(api, &[("orders", mode)]);
        plan.streams[0].primary_key.clear();
        plan
    }

    async fn sync(&self, api: &Api, stream: &str, mode: SyncMode) -> SyncOutcome {
        sync(&self.store, self.plan(api, &[(stream, mode)]))
            .await
            .unwrap()
    }

    /// The ids that stand in the lake, in order.
    fn ids(&self, stream: &str) -> Vec<u64> {
        let rows = self.lake.rows(stream);
        let mut ids: Vec<u64> = rows
            .iter()
            .filter(|row| !row.deleted)
            .map(|row| row.record["id"].as_u64().unwrap())
            .collect();
        ids.sort_unstable();
        ids
    }
}

/// Items 1..=n, changed in the order of their ids.
fn items(n: u64) -> Api {
    Api::new((1..=n).map(|id| (id, id * 10)))
}
