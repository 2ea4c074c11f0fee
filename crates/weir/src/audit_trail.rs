//! Who acts, for the audit trail, and the key that signs its ends.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_control::audit::{self, SealKey};
use weir_control::{Acting, DEFAULT_TENANT, Store};
use weir_protocol::Result;

use crate::config::Settings;
use crate::project::Project;

/// While a server runs, its chains are signed so often.
const SEALED_EVERY: Duration = Duration::from_secs(60);

/// And followed from their beginnings so often.
const VERIFIED_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// Whoever types commands. The name is kept apart from the record, so that it can be erased.
pub(crate) fn person(settings: &Settings) -> Acting {
    let mut acting = Acting::new("cli");
    if let Some(user) = &settings.user {
        acting.personal.insert("user".to_owned(), user.as_str().into());
    }
    acting
}

/// The signing key: from `WEIR_AUDIT_KEY`, else from the project's own file, made at first use.
pub(crate) fn key(project: &Project, settings: &Settings) -> Result<SealKey> {
    let text = match &settings.audit_key {
        Some(text) => text.clone(),
        None => project.own_key("audit.key", SealKey::generate)?.key,
    };
    SealKey::parse(&text).map_err(|error| match &settings.audit_key {
        Some(_) => error.with("variable", "WEIR_AUDIT_KEY"),
        None => error.with("file", file(project).display()),
    })
}

pub(crate) fn file(project: &Project) -> PathBuf {
    project.own_path("audit.key")
}

/// Signs the end of the project's chain. What was done stays done where that fails.
pub(crate) async fn seal(store: &Store, key: &Result<SealKey>) {
    let sealed = match key {
        Ok(key) => audit::seal(store, DEFAULT_TENANT, key).await.map(drop),
        Err(error) => {
            tracing::warn!(%error, "the audit trail is not signed");
            return;
        }
    };
    if let Err(error) = sealed {
        tracing::warn!(%error, "the audit trail is not signed");
    }
}

/// Signs the ends of all chains from time to time, and once more at the end.
pub(crate) async fn keep_sealed(store: Store, key: SealKey, stop: CancellationToken) {
    loop {
        let stopped = tokio::time::timeout(SEALED_EVERY, stop.cancelled()).await.is_ok();
        if let Err(error) = seal_all(&store, &key).await {
            tracing::error!(%error, "the audit trail is not signed");
        }
        if stopped {
            return;
        }
    }
}

/// Follows all chains from time to time; what does not verify is told of.
pub(crate) async fn keep_verified(store: Store, keys: Vec<String>, stop: CancellationToken) {
    while tokio::time::timeout(VERIFIED_EVERY, stop.cancelled())
        .await
        .is_err()
    {
        if let Err(error) = verify_all(&store, &keys).await {
            tracing::error!(%error, "the audit trail cannot be verified");
        }
    }
}

async fn verify_all(store: &Store, keys: &[String]) -> Result<()> {
    for tenant in audit::tenants(store).await? {
        if let Err(broken) = audit::verify(store, &tenant, keys, None).await? {
            tracing::error!(
                tenant,
                number = broken.number,
                why = broken.why,
                "the audit trail is broken"
            );
        }
    }
    Ok(())
}

async fn seal_all(store: &Store, key: &SealKey) -> Result<()> {
    for tenant in audit::tenants(store).await? {
        audit::seal(store, &tenant, key).await?;
    }
    Ok(())
}
