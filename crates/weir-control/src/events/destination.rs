//! How full the lake's disk is, told when it changes.

use weir_protocol::Result;

use super::{Event, Family, append_in, newest_of};
use crate::Store;
use crate::store::Scope;

/// So far it has to fall below the limit again before it counts as eased.
const EASED_PERCENT: u8 = 5;

/// A disk as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Where the lake lies.
    pub location: String,
    pub used_percent: u8,
    pub free_bytes: u64,
}

/// Tells that the disk fills up, or has room again, once each time it changes. Gives back whether it did.
pub async fn tell_disk(store: &Store, tenant: &str, disk: &Disk, full_at_percent: u8) -> Result<bool> {
    let subject = &format!("destination:{}", disk.location);
    let is_filling = disk.used_percent >= full_at_percent;
    let is_eased = disk.used_percent < full_at_percent.saturating_sub(EASED_PERCENT);
    let family = match (is_filling, is_eased) {
        (true, _) => Family::DestinationFilling,
        (false, true) => Family::DestinationEased,
        // In between, what was told stands.
        (false, false) => return Ok(false),
    };
    let event = &Event::new(tenant, family, subject)
        .with("location", disk.location.as_str())
        .with("used_percent", disk.used_percent)
        .with("free_bytes", disk.free_bytes);
    let last = store
        .read(
            Scope::Tenant(tenant),
            "read the last event of the disk",
            |db, _| Box::pin(async move { newest_of(db, tenant, "destination.", subject).await }),
        )
        .await?;
    let is_known = last.as_ref().is_some_and(|last| last.family == family.as_str());
    let was_never_full = last.is_none() && is_eased;
    if is_known || was_never_full {
        return Ok(false);
    }
    store
        .statement(Scope::Tenant(tenant), "store the event", |db, _| {
            Box::pin(append_in(db, event))
        })
        .await
}
