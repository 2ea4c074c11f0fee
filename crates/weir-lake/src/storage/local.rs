//! A local file system whose small reads need no other thread, where the system has the bytes in memory.
//!
//! A thread that is asked to read and wakes the one that asked costs more than the reading of a page that the
//! system holds, and who looks for a thousand keys in a hundred files reads some four hundred times. What is not
//! held is read as before: the thread that asks waits for no disk.

use std::fmt;
#[cfg(target_os = "linux")]
use std::io::IoSliceMut;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// More is left to another thread: copying takes time too.
const BYTES_MAX: u64 = 256 << 10;

#[derive(Debug)]
pub(super) struct Local {
    inner: LocalFileSystem,
    /// Whether the system says what it has in memory, as far as is known.
    is_told: AtomicBool,
}

impl Local {
    /// Rooted at the file system.
    pub(super) fn new() -> Self {
        Self {
            inner: LocalFileSystem::new(),
            is_told: AtomicBool::new(true),
        }
    }

    /// Parts of a file, if all of them are in memory. Whatever else is the case is for the usual way to tell.
    fn held(&self, location: &Path, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
        let lengths = || ranges.iter().map(|range| range.end.saturating_sub(range.start));
        let bytes = lengths().fold(0, u64::saturating_add);
        if !self.is_told.load(Relaxed) || bytes > BYTES_MAX || lengths().any(|length| length == 0) {
            return None;
        }
        let path = self.inner.path_to_filesystem(location).ok()?;
        match read_held(&path, ranges) {
            Held::All(parts) => Some(parts),
            Held::NotAll => None,
            Held::NotTold => {
                self.is_told.store(false, Relaxed);
                None
            }
        }
    }
}

/// What a system says that is asked for what it has in memory.
enum Held {
    All(Vec<Bytes>),
    NotAll,
    /// This kind of file system or system does not tell: a network's, above all.
    NotTold,
}

#[cfg(target_os = "linux")]
fn read_held(path: &std::path::Path, ranges: &[Range<u64>]) -> Held {
    use rustix::io::Errno;

    match try_read_held(path, ranges) {
        Ok(Some(parts)) => Held::All(parts),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => Held::NotTold,
        Ok(None) | Err(_) => Held::NotAll,
    }
}

#[cfg(target_os = "linux")]
fn try_read_held(path: &std::path::Path, ranges: &[Range<u64>]) -> rustix::io::Result<Option<Vec<Bytes>>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    use rustix::io::{ReadWriteFlags, preadv2};

    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED)?;
    let mut all = Vec::with_capacity(ranges.len());
    for range in ranges {
        let Ok(length) = usize::try_from(range.end.saturating_sub(range.start)) else {
            return Ok(None);
        };
        let mut bytes = vec![0; length];
        let buffers = &mut [IoSliceMut::new(&mut bytes)];
        if preadv2(&file, buffers, range.start, ReadWriteFlags::NOWAIT)? < length {
            return Ok(None);
        }
        all.push(bytes.into());
    }
    Ok(Some(all))
}

/// Only Linux can be asked for what is in memory alone.
#[cfg(not(target_os = "linux"))]
fn read_held(_: &std::path::Path, _: &[Range<u64>]) -> Held {
    Held::NotTold
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Local {
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.held(location, ranges) {
            Some(held) => {
                // Who reads much of what is held lets others have a turn, as who waits for a thread does.
                tokio::task::coop::consume_budget().await;
                Ok(held)
            }
            None => self.inner.get_ranges(location, ranges).await,
        }
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use proptest::prelude::*;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    fn place(folder: &tempfile::TempDir, name: &str) -> Path {
        Path::from_absolute_path(folder.path().canonicalize().unwrap().join(name)).unwrap()
    }

    proptest! {
        /// Parts that reach beyond the end, or begin there, come to what the usual way comes to.
        #[test]
        fn any_parts_are_those_of_the_usual_way(
            size in 0_u64..9_000,
            parts in prop::collection::vec((0_u64..10_000, 0_u64..5_000), 0..4),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let file = place(&folder, "file");
            let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let ranges: Vec<Range<u64>> = parts.iter().map(|(from, length)| *from..from + length).collect();
            runtime().block_on(async {
                let store = Local::new();
                store.put(&file, body.into()).await.unwrap();
                let told = |error: object_store::Error| error.to_string();
                let usual = store.inner.get_ranges(&file, &ranges).await.map_err(told);
                prop_assert_eq!(store.get_ranges(&file, &ranges).await.map_err(told), usual);
                Ok(())
            })?;
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_just_written_is_read_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = place(&folder, "file");
        runtime().block_on(async {
            let store = Local::new();
            store.put(&file, "some bytes".into()).await.unwrap();
            let all = store.held(&file, &[0..4, 5..10]);
            if !store.is_told.load(Relaxed) {
                // As it may be where one file system lies over another.
                println!("skipped: this system does not say what it has in memory");
                return;
            }
            assert_eq!(all, Some(vec!["some".into(), "bytes".into()]));
            assert_eq!(store.held(&file, &[0..1, 0..BYTES_MAX]), None);
        });
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let read = Local::new()
                .get_ranges(&place(&folder, "none"), std::slice::from_ref(&(0..1)))
                .await;
            assert!(matches!(read, Err(object_store::Error::NotFound { .. })));
        });
    }
}
