//! A folder for the files that a program is given: settings with secrets, catalog, state.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Once;

use serde::Serialize;
use tempfile::TempDir;
use weir_protocol::{Error, Result};

/// Beginning of the folders' names; the id of the process that made it follows.
const PREFIX: &str = "weir-process-";
/// Inside, so that a container may read it while nobody else gets through the folder around it.
const INNER: &str = "files";

/// Removed with everything in it when it is dropped.
pub(in crate::native) struct PrivateFolder {
    outer: TempDir,
    is_shared: bool,
}

impl PrivateFolder {
    /// `is_shared`: the program runs as another user, behind a mount.
    pub(in crate::native) fn new(is_shared: bool) -> Result<Self> {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(|| sweep(&std::env::temp_dir()));
        let made = make(is_shared).map_err(|error| {
            Error::internal("no folder for a program's settings can be made")
                .with("folder", std::env::temp_dir().display())
                .caused_by(error)
                .hint("make room there, or set TMPDIR to a folder that may be written")
        })?;
        Ok(Self {
            outer: made,
            is_shared,
        })
    }

    /// The folder whose removal removes everything.
    pub(super) fn root(&self) -> &Path {
        self.outer.path()
    }

    pub(super) fn inner(&self) -> PathBuf {
        self.outer.path().join(INNER)
    }

    pub(in crate::native) fn write(&self, name: &str, content: &impl Serialize) -> Result<()> {
        let text = serde_json::to_vec(content).map_err(|error| {
            Error::internal(format!("{name} cannot be written as JSON"))
                .caused_by(error)
                .hint("report it")
        })?;
        self.write_bytes(name, &text)
    }

    /// Bytes as they are.
    pub(in crate::native) fn write_bytes(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.inner().join(name);
        create(&path, self.is_shared)
            .and_then(|mut file| file.write_all(content))
            .map_err(|error| {
                Error::internal(format!("{} cannot be written", path.display()))
                    .caused_by(error)
                    .hint("make room in the folder for temporary files")
            })
    }
}

#[cfg(unix)]
fn make(is_shared: bool) -> std::io::Result<TempDir> {
    use std::fs::{DirBuilder, Permissions};
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};

    let outer = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .permissions(Permissions::from_mode(0o700))
        .tempdir()?;
    let inner = outer.path().join(INNER);
    let mode = if is_shared { 0o755 } else { 0o700 };
    DirBuilder::new().mode(mode).create(inner)?;
    Ok(outer)
}

#[cfg(not(unix))]
fn make(_is_shared: bool) -> std::io::Result<TempDir> {
    let outer = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir()?;
    std::fs::create_dir(outer.path().join(INNER))?;
    Ok(outer)
}

#[cfg(unix)]
fn create(path: &Path, is_shared: bool) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let mode = if is_shared { 0o644 } else { 0o600 };
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

#[cfg(not(unix))]
fn create(path: &Path, _is_shared: bool) -> std::io::Result<std::fs::File> {
    std::fs::File::create_new(path)
}

/// Removes what processes left that are no more.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(owner) else {
            continue;
        };
        if super::lifeline::is_alive(owner) {
            continue;
        }
        if let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::debug!(folder = %entry.path().display(), %error, "a folder that a killed run left stays");
        }
    }
}

fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_user_reads_it_and_nothing_stays() {
        let folder = PrivateFolder::new(false).unwrap();
        folder
            .write("config.json", &serde_json::json!({ "token": "t" }))
            .unwrap();
        let file = folder.inner().join("config.json");
        assert_eq!(
            (mode(folder.root()), mode(&folder.inner()), mode(&file)),
            (0o700, 0o700, 0o600)
        );
        drop(folder);
        assert!(!file.exists());
        let shared = PrivateFolder::new(true).unwrap();
        shared.write("config.json", &1).unwrap();
        assert_eq!((mode(shared.root()), mode(&shared.inner())), (0o700, 0o755));
    }

    #[test]
    fn what_a_dead_process_left_is_swept() {
        let around = tempfile::tempdir().unwrap();
        let ours = around.path().join(format!("{PREFIX}{}-x", std::process::id()));
        // Beyond what a system gives out.
        let dead = around.path().join(format!("{PREFIX}{}-x", i32::MAX));
        let other = around.path().join("weir-process-notes");
        for folder in [&ours, &dead, &other] {
            std::fs::create_dir(folder).unwrap();
        }
        sweep(around.path());
        assert!(ours.exists() && other.exists());
        assert!(!dead.exists());
    }
}
