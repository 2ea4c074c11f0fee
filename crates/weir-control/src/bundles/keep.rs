//! How long what runs of bundles said is kept: as long as calls.

use weir_protocol::Result;

use super::sql;
use crate::Store;
use crate::audit::{self, Record};
use crate::store::Scope;

/// Runs of one transaction.
const AT_ONCE: i64 = 200;

/// Erases inputs, outputs and keys of runs that ended before. Gives back of how many.
pub(crate) async fn erase(store: &Store, before_ms: i64) -> Result<u64> {
    let tenants = store
        .read(Scope::Everyone, "look for old runs of bundles", |db, _| {
            Box::pin(async move { Ok(sql::tenants_to_erase(db, before_ms).await?) })
        })
        .await?;
    let mut erased = 0;
    for tenant in &tenants {
        loop {
            let some = of_tenant(store, tenant, before_ms).await?;
            erased += some;
            if some == 0 {
                break;
            }
        }
    }
    Ok(erased)
}

async fn of_tenant(store: &Store, tenant: &str, before_ms: i64) -> Result<u64> {
    let record = &Record::new(tenant, "bundle.erase", "bundles").with("before_ms", before_ms);
    let acting = store.acting();
    store
        .write(Scope::Tenant(tenant), "erase old runs of bundles", |db, _| {
            Box::pin(async move {
                let erased = sql::erase(db, tenant, before_ms, AT_ONCE).await?;
                if erased > 0 {
                    audit::append_in(db, acting, &record.clone().with("runs", erased)).await?;
                }
                Ok(erased)
            })
        })
        .await
}
