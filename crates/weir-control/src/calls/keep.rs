//! How long what calls said is kept. That they were made, by whom, with which digest, and their audit records stay.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_protocol::Result;

use super::sql;
use crate::Store;
use crate::audit::{self, Record};
use crate::bundles;
use crate::store::Scope;

/// Where nobody says otherwise: as long as the audit trail at least.
pub const KEPT_DEFAULT: Duration = Duration::from_secs(90 * 24 * 3600);
/// Callers and vendors count on keys for a day: no call is erased before two.
pub const KEPT_MIN: Duration = Duration::from_secs(2 * 24 * 3600);
const EVERY: Duration = Duration::from_secs(3600);
/// Calls of one transaction.
const AT_ONCE: i64 = 200;

/// Erases from time to time until it is stopped.
pub async fn keep(store: Store, kept: Duration, stop: CancellationToken) {
    loop {
        if let Err(error) = erase(&store, kept).await {
            tracing::error!(%error, "inputs and outputs of old calls cannot be erased");
        }
        if tokio::time::timeout(EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Erases inputs, outputs, keys and shown requests of calls that ended longer ago than `kept`; of none that waits,
/// is under way, uncertain, or a step of a bundle's run that is not over. The same of such runs. Gives back of how many calls.
pub async fn erase(store: &Store, kept: Duration) -> Result<u64> {
    let kept_ms = i64::try_from(kept.max(KEPT_MIN).as_millis()).unwrap_or(i64::MAX);
    let before = store.now_ms().await?.saturating_sub(kept_ms);
    let tenants = store
        .read(Scope::Everyone, "look for old calls", |db, _| {
            Box::pin(async move { Ok(sql::tenants_to_erase(db, before).await?) })
        })
        .await?;
    let mut erased = 0;
    for tenant in &tenants {
        loop {
            let some = of_tenant(store, tenant, before).await?;
            erased += some;
            if some == 0 {
                break;
            }
        }
    }
    bundles::erase(store, before).await?;
    Ok(erased)
}

async fn of_tenant(store: &Store, tenant: &str, before: i64) -> Result<u64> {
    let record = &Record::new(tenant, "call.erase", "calls".to_owned()).with("before_ms", before);
    let acting = store.acting();
    store
        .write(Scope::Tenant(tenant), "erase old calls", |db, _| {
            Box::pin(async move {
                let erased = sql::erase(db, tenant, before, AT_ONCE).await?;
                if erased > 0 {
                    audit::append_in(db, acting, &record.clone().with("calls", erased)).await?;
                }
                Ok(erased)
            })
        })
        .await
}
