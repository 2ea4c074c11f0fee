//! Data that its checks kept from being published.

use weir_protocol::Result;

use super::{Event, Family, append_in};
use crate::Store;
use crate::store::Scope;

/// A table or model that was built and not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    pub table: String,
    /// Checks that failed, as they are written.
    pub failed: Vec<String>,
}

/// Tells that data was refused, each time it is.
pub async fn tell_gate(store: &Store, tenant: &str, gate: &Gate) -> Result<()> {
    let event = &Event::new(tenant, Family::GateFailed, format!("table:{}", gate.table))
        .with("table", gate.table.as_str())
        .with("failed", gate.failed.clone());
    store
        .statement(Scope::Tenant(tenant), "store the event", |db, _| {
            Box::pin(append_in(db, event))
        })
        .await
        .map(drop)
}
