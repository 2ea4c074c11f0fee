//! A server without a project folder serves what was applied to its store: written into a folder of its
//! own, and again whenever somebody applies something newer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use weir_control::projects::{self, Files};
use weir_control::{DEFAULT_TENANT, Place, Store};
use weir_protocol::{Error, Result};

use crate::audit_trail;
use crate::commands::Context;
use crate::errors;

/// How often it is looked whether somebody applied something.
const LOOK: Duration = Duration::from_secs(5);
/// Leads to the newest version.
const CURRENT: &str = "current";

/// The folder that stands in for a project's.
pub(crate) struct StandIn {
    folder: TempDir,
    store: Store,
    version: i64,
}

/// The store that the environment names, where it names one.
pub(crate) async fn store(context: &Context) -> Result<Option<Store>> {
    let Some(url) = &context.settings.database_url else {
        return Ok(None);
    };
    let store = Store::connect(&Place::parse(url)?).await?;
    Ok(Some(store.acting_as(audit_trail::person(&context.settings))))
}

/// Where there is no project folder but a store to which one was applied: that one.
pub(crate) async fn stand_in(context: &Context) -> Result<Option<(Arc<Context>, StandIn)>> {
    let Err(no_project) = context.project() else {
        return Ok(None);
    };
    if context.global.project.is_some() || context.settings.project.is_some() {
        return Ok(None);
    }
    let Some(store) = store(context).await? else {
        return Err(no_project);
    };
    let applied = projects::current(&store, DEFAULT_TENANT).await?;
    if applied.version == 0 {
        return Err(
            Error::spec("there is no project folder here, and none was applied to the store")
                .with("store", store.place())
                .hint(
                    "start in the project folder, or run `weir apply` there with the same WEIR_DATABASE_URL",
                ),
        );
    }
    refuse_without_keys(context)?;
    let folder = TempDir::with_prefix("weir-applied-")
        .map_err(|error| errors::file("create a folder in", &std::env::temp_dir(), error))?;
    put(folder.path(), applied.version, &applied.files)?;
    let mut global = context.global.clone();
    global.project = Some(folder.path().join(CURRENT));
    let context = Arc::new(Context {
        settings: context.settings.clone(),
        global,
    });
    let project = context.project()?;
    let lake = &project.file.lake.location;
    if !lake.contains("://") && !Path::new(lake).is_absolute() {
        return Err(Error::spec("the applied project's lake is a folder beside its files")
            .with("lake.location", lake)
            .hint("write an absolute path or a URL into weir.yaml and apply it: this server has no such folder"));
    }
    tracing::info!(version = applied.version, "serving what was applied");
    let stand_in = StandIn {
        folder,
        store,
        version: applied.version,
    };
    Ok(Some((context, stand_in)))
}

/// Keys that would else be made anew in a folder that goes away.
fn refuse_without_keys(context: &Context) -> Result<()> {
    let settings = &context.settings;
    let master = &settings.master_key;
    let has_master = master.value.is_some() || master.file.is_some() || master.command.is_some();
    let missing: Vec<&str> = [
        ("WEIR_PII_KEY", settings.pii_key.is_some()),
        ("WEIR_AUDIT_KEY", settings.audit_key.is_some()),
        ("WEIR_MASTER_KEY", has_master),
    ]
    .into_iter()
    .filter_map(|(name, is_set)| (!is_set).then_some(name))
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::spec("a server without a project folder needs its keys from the environment")
        .with("missing", missing.join(", "))
        .hint("set them to the keys in the project's .weir folder, so that hashes, secrets and seals stay readable"))
}

impl StandIn {
    /// Follows what is applied until `stop` is called. A version that cannot be written changes nothing.
    pub(crate) async fn follow(mut self, stop: CancellationToken) {
        loop {
            if tokio::time::timeout(LOOK, stop.cancelled()).await.is_ok() {
                return;
            }
            if let Err(error) = self.look().await {
                tracing::error!(%error, "what was applied cannot be taken");
            }
        }
    }

    async fn look(&mut self) -> Result<()> {
        if projects::version(&self.store, DEFAULT_TENANT).await? == self.version {
            return Ok(());
        }
        let applied = projects::current(&self.store, DEFAULT_TENANT).await?;
        put(self.folder.path(), applied.version, &applied.files)?;
        self.version = applied.version;
        tracing::info!(version = applied.version, "serving what was applied");
        Ok(())
    }
}

/// Writes a version beside the others, then lets `current` lead to it in one step.
fn put(folder: &Path, version: i64, files: &Files) -> Result<()> {
    let path = folder.join(format!("v{version}"));
    if !path.exists() {
        write(&path, files)?;
    }
    let next = folder.join("next");
    let failed = |error| errors::file("link", &next, error);
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    link(&path, &next).map_err(failed)?;
    std::fs::rename(&next, folder.join(CURRENT)).map_err(failed)
}

#[cfg(unix)]
fn link(to: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn link(to: &Path, at: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_dir(to, at)
}

/// Writes files into a folder that is empty or not there.
pub(crate) fn write(folder: &Path, files: &Files) -> Result<()> {
    let holds_something = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if holds_something {
        return Err(Error::usage("the folder is not empty")
            .with("folder", folder.display())
            .hint("name another one; nothing was written"));
    }
    projects::check(files)?;
    for (path, text) in files {
        let file: PathBuf = path.split('/').fold(folder.to_owned(), |at, part| at.join(part));
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).map_err(|error| errors::file("create", parent, error))?;
        }
        std::fs::write(&file, text).map_err(|error| errors::file("write", &file, error))?;
    }
    Ok(())
}
