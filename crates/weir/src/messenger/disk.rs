//! Looks how full the disk of a lake in a folder is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_control::events::{Disk, tell_disk};
use weir_control::{DEFAULT_TENANT, Store};
use weir_protocol::Result;

use crate::errors;
use crate::project::Project;
use crate::wiring::Wiring;

const LOOKED_EVERY: Duration = Duration::from_secs(60);
const FULL_AT_PERCENT: u8 = 90;

/// Looks from time to time until `stop` is called.
pub(crate) async fn watch(wiring: Arc<Wiring>, store: Store, stop: CancellationToken) {
    loop {
        if let Err(error) = look(&wiring.project, &store).await {
            tracing::error!(%error, "cannot look how full the lake's disk is");
        }
        if tokio::time::timeout(LOOKED_EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

pub(super) async fn look(project: &Project, store: &Store) -> Result<()> {
    let location = project.lake_location();
    let folder = Path::new(&location);
    // An object store has no end, and a lake that nothing was written to has no disk yet.
    if location.contains("://") || !folder.is_dir() {
        return Ok(());
    }
    let found = rustix::fs::statvfs(folder)
        .map_err(|error| errors::file("look at", folder, std::io::Error::from(error)))?;
    let used = found.f_blocks.saturating_sub(found.f_bfree);
    // As `df` counts: what is kept back for the system is not there.
    let all = used.saturating_add(found.f_bavail).max(1);
    let percent = (u128::from(used) * 100).div_ceil(u128::from(all));
    let disk = Disk {
        location,
        used_percent: u8::try_from(percent).unwrap_or(100).min(100),
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
    };
    let full_at = project.file.events.disk_full_at.unwrap_or(FULL_AT_PERCENT);
    tell_disk(store, DEFAULT_TENANT, &disk, full_at).await?;
    Ok(())
}
