//! How far runs came with a stream, for those that find its table gone.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::AnyConnection;
use weir_protocol::Result;

use crate::Store;
use crate::store::{Scope, count};

/// Of those of the runs that the store knows, the number of the newest checkpoint of a stream; 0 where
/// it made none.
pub async fn reached(
    store: &Store,
    tenant: &str,
    stream: &str,
    runs: &BTreeSet<String>,
) -> Result<BTreeMap<String, u64>> {
    store
        .read(Scope::Tenant(tenant), "read how far runs came", |db, _| {
            Box::pin(async move {
                let mut reached = BTreeMap::new();
                for run in runs {
                    if let Some(newest) = newest(db, (tenant, run), stream).await? {
                        reached.insert(run.clone(), count(newest));
                    }
                }
                Ok(reached)
            })
        })
        .await
}

async fn newest(
    db: &mut AnyConnection,
    (tenant, run): (&str, &str),
    stream: &str,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "SELECT coalesce(s.sequence, 0) FROM run_streams s JOIN runs r ON r.id = s.run
         WHERE r.tenant = $1 AND s.run = $2 AND s.stream = $3",
    )
    .bind(tenant)
    .bind(run)
    .bind(stream)
    .fetch_optional(db)
    .await
}
