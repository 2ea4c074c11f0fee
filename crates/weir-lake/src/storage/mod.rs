//! Where the lake lies: a local folder or a bucket, and nothing above this module knows which.

mod local;
mod location;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use futures::TryStreamExt;
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};
use url::Url;
use weir_protocol::{Error, Result};

/// Stands for the URL of a store that has none.
const ANYWHERE: &str = "memory:///";

/// The lake's place. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Storage {
    /// URL of the lake's folder, ending in a slash.
    url: Url,
    /// Rooted at the file system or the bucket.
    root: Arc<dyn ObjectStore>,
    /// The lake's folder in `root`.
    prefix: Path,
    /// Rooted at the lake's folder.
    store: Arc<dyn ObjectStore>,
}

impl Storage {
    /// `location` is a path, or a URL of a scheme that this build knows. `options` are the
    /// settings of its object store: `endpoint`, `region`, `access_key_id`, `secret_access_key`, `allow_http`.
    pub fn open(location: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        let (url, root, prefix) = location::open(location, options)?;
        let store: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(root.clone(), prefix.clone()));
        Ok(Self {
            url,
            root,
            prefix,
            store,
        })
    }

    /// The root of a store that was opened elsewhere.
    pub fn over(store: Arc<dyn ObjectStore>) -> Result<Self> {
        let url = Url::parse(ANYWHERE).map_err(|error| unusable(ANYWHERE).caused_by(error))?;
        Ok(Self {
            url,
            root: store.clone(),
            prefix: Path::default(),
            store,
        })
    }

    /// Rooted at the lake's folder: paths are those that the lake's objects name.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Rooted at the file system or the bucket, for engines that register stores by URL.
    pub fn root(&self) -> &Arc<dyn ObjectStore> {
        &self.root
    }

    /// The lake's folder in [`Self::root`].
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// URL of the lake's folder, ending in a slash.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// A store rooted at a folder of the lake.
    pub(crate) fn within(&self, folder: &Path) -> Arc<dyn ObjectStore> {
        Arc::new(PrefixStore::new(self.store.clone(), folder.clone()))
    }

    /// The Delta log of the table in a folder of the lake.
    pub(crate) fn log_store(&self, folder: &Path) -> Result<LogStoreRef> {
        let url = self
            .url
            .join(&format!("{folder}/"))
            .map_err(|error| unusable(self.url.as_str()).caused_by(error))?;
        let config = StorageConfig::default();
        Ok(default_logstore(
            self.within(folder),
            self.root.clone(),
            &url,
            &config,
        ))
    }

    /// Every object below a folder.
    pub(crate) async fn list(&self, folder: &Path) -> Result<Vec<ObjectMeta>> {
        self.store
            .list(Some(folder))
            .try_collect()
            .await
            .map_err(|error| failed("list", folder, error))
    }

    /// Names of the folders directly below a folder.
    pub(crate) async fn folders(&self, folder: &Path) -> Result<Vec<String>> {
        let listed = self
            .store
            .list_with_delimiter(Some(folder))
            .await
            .map_err(|error| failed("list", folder, error))?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        Ok(names.map(str::to_owned).collect())
    }

    /// Deletes an object; one that is not there is no error.
    pub(crate) async fn delete(&self, path: &Path) -> Result<()> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", path, error)),
        }
    }

    /// Moves an object to `set_aside/`, which nothing in weir reads or empties, under its own path.
    pub(crate) async fn set_aside(&self, path: &Path) -> Result<()> {
        let place: Path = std::iter::once("set_aside".into()).chain(path.parts()).collect();
        self.store
            .rename(path, &place)
            .await
            .map_err(|error| failed("set aside", path, error))
    }

    /// Deletes everything below a folder.
    pub(crate) async fn delete_folder(&self, folder: &Path) -> Result<()> {
        for object in self.list(folder).await? {
            self.delete(&object.location).await?;
        }
        Ok(())
    }

    /// As [`Self::delete_folder`], and the empty folders that a local file system keeps.
    pub(crate) async fn remove_folder(&self, folder: &Path) -> Result<()> {
        self.delete_folder(folder).await?;
        let Some(path) = self.local(folder) else {
            // Object stores know no folders.
            return Ok(());
        };
        if let Err(error) = std::fs::remove_dir_all(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            // No object is in it any more: nothing reads it.
            tracing::debug!(folder = %path.display(), %error, "an empty folder stays");
        }
        Ok(())
    }

    /// Where a folder lies, in a lake on a local file system.
    fn local(&self, folder: &Path) -> Option<PathBuf> {
        let mut url = self.url.clone();
        if url.scheme() != "file" {
            return None;
        }
        // Part by part: a name may have a character that means something in a URL.
        let names = folder.parts();
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .extend(names.map(|name| name.as_ref().to_owned()));
        url.to_file_path().ok()
    }

    /// Reads an object as a whole.
    pub(crate) async fn get(&self, path: &Path) -> Result<Bytes> {
        let found = self
            .store
            .get(path)
            .await
            .map_err(|error| failed("read", path, error))?;
        found.bytes().await.map_err(|error| failed("read", path, error))
    }

    /// Writes a small object as a whole.
    pub(crate) async fn put(&self, path: &Path, body: Bytes) -> Result<()> {
        self.store
            .put(path, body.into())
            .await
            .map_err(|error| failed("write", path, error))?;
        Ok(())
    }
}

pub(crate) fn failed(verb: &'static str, path: &Path, error: object_store::Error) -> Error {
    Error::destination(format!("cannot {verb} '{path}' in the lake"))
        .hint("check that the lake's location is reachable, writable and has room; `weir doctor` tests it")
        .caused_by(error)
}

fn unusable(location: &str) -> Error {
    Error::spec(format!("'{location}' cannot be used as the lake's location"))
        .hint("give a folder, or s3://bucket/prefix with its options")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_would_not_be_found_again_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["50%25", "back\\slash"] {
            let place = folder.path().join(name);
            let error = Storage::open(place.to_str().unwrap(), &BTreeMap::new()).unwrap_err();
            assert!(
                error.next_step().is_some_and(|hint| hint.contains("location")),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn a_local_folder_is_made_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("new lake");
        let storage = Storage::open(at.to_str().unwrap(), &BTreeMap::new()).unwrap();
        storage
            .put(&Path::from("a/b/c.txt"), Bytes::from_static(b"x"))
            .await
            .unwrap();
        assert_eq!(storage.folders(&Path::from("a")).await.unwrap(), ["b"]);
        storage.delete_folder(&Path::from("a")).await.unwrap();
        assert!(storage.list(&Path::from("a")).await.unwrap().is_empty());
        storage.delete(&Path::from("a/b/c.txt")).await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_is_removed_and_never_its_neighbour() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
        let (odd, plain) = (Path::from("a/b?c#d"), Path::from("a/b"));
        for folder in [&odd, &plain] {
            let object = folder.clone().join("x");
            storage.put(&object, Bytes::from_static(b"x")).await.unwrap();
        }
        storage.remove_folder(&odd).await.unwrap();
        assert_eq!(storage.list(&plain).await.unwrap().len(), 1);
        assert_eq!(storage.folders(&Path::from("a")).await.unwrap(), ["b"]);
        storage.remove_folder(&plain).await.unwrap();
        assert!(!dir.path().join("a/b").exists());
    }

    #[test]
    fn wrong_places_are_refused_with_a_hint() {
        let none = BTreeMap::new();
        let error = Storage::open("ftp://x/y", &none).unwrap_err();
        insta::assert_snapshot!(error.message(), @"the lake cannot lie at 'ftp://x/y': 'ftp' is not supported");
        // Which places there are depends on the build.
        assert!(
            error.next_step().unwrap().starts_with("use a folder"),
            "{error:?}"
        );
        let wrong: BTreeMap<_, _> = [("regoin".to_owned(), "x".to_owned())].into();
        let error = Storage::open("s3://bucket/lake", &wrong).unwrap_err();
        insta::assert_snapshot!(format!("{error:?}"), @"[spec] the lake has an unknown option 'regoin' -> options of this kind of storage are for example endpoint, region, access_key_id, secret_access_key, allow_http");
    }
}
