//! Where the files lie, and which of them there are.

use std::path::Path as LocalPath;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectMeta, ObjectStore, RetryConfig};
use sha2::{Digest, Sha256};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result};

use super::config::FilesConfig;
use super::failure;

/// Most files of one connection. Each has an entry in the state.
const FILES_MAX: usize = 10_000;
/// Names of files that do not match, as messages show them.
const OTHERS_SHOWN: usize = 5;
const CONNECT_TIMEOUT_S: u64 = 10;
const RETRIES_MAX: usize = 4;
const RETRY_TIMEOUT_S: u64 = 60;
const GLOB: &[char] = &['*', '?', '['];

/// A store, and what of it is meant.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) store: Arc<dyn ObjectStore>,
    /// What is listed in the store.
    base: Option<Path>,
    /// Glob over paths relative to `base`.
    glob: Option<String>,
    /// The one file that is meant.
    single: Option<Path>,
    /// How messages name it.
    shown: String,
}

/// What a place holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<File>,
    /// Some names that the pattern leaves out, for messages.
    pub(super) others: Vec<String>,
}

/// One file as it is now.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) location: Path,
    /// Path below the base: its name in state and messages.
    pub(super) name: String,
    pub(super) size: u64,
    /// Changes whenever the content does.
    pub(super) version: String,
}

impl Place {
    pub(super) fn of(config: &FilesConfig, connection: &ConnectionSpec) -> Result<Self> {
        match config.path.strip_prefix("s3://") {
            Some(rest) => Self::s3(rest, config, connection),
            None => Self::local(&config.path),
        }
    }

    fn local(path: &str) -> Result<Self> {
        let path = path.strip_prefix("file://").unwrap_or(path);
        let (folder, glob) = split_glob(path);
        let folder = if folder.is_empty() { "." } else { folder };
        let metadata = std::fs::metadata(folder).map_err(|error| failure::local(folder, error))?;
        let root = LocalPath::new(folder)
            .canonicalize()
            .map_err(|error| failure::local(folder, error))?;
        let (root, single) = if metadata.is_file() {
            let name = root.file_name().map(|name| name.to_string_lossy().into_owned());
            let parent = root.parent().unwrap_or(LocalPath::new("/")).to_owned();
            (parent, name.map(Path::from))
        } else {
            (root, None)
        };
        let store = LocalFileSystem::new_with_prefix(&root).map_err(|error| failure::store(error, path))?;
        Ok(Self {
            store: Arc::new(store),
            base: None,
            glob: glob.map(str::to_owned),
            single,
            shown: path.to_owned(),
        })
    }

    fn s3(rest: &str, config: &FilesConfig, connection: &ConnectionSpec) -> Result<Self> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(Error::spec(format!("'{}' names no bucket", config.path))
                .hint("write s3://BUCKET or s3://BUCKET/PREFIX"));
        }
        let (folder, glob) = split_glob(prefix);
        let plain_http = check_endpoint(config.endpoint.as_deref(), connection)?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(config.region.as_deref().unwrap_or("us-east-1"))
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: RETRIES_MAX,
                retry_timeout: Duration::from_secs(RETRY_TIMEOUT_S),
            })
            .with_client_options(
                ClientOptions::new()
                    .with_allow_http(plain_http)
                    .with_connect_timeout(Duration::from_secs(CONNECT_TIMEOUT_S)),
            );
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        builder = sign(builder, connection)?;
        let store = builder
            .build()
            .map_err(|error| failure::store(error, &config.path))?;
        Ok(Self {
            store: Arc::new(store),
            base: (!folder.is_empty()).then(|| Path::from(folder)),
            glob: glob.map(str::to_owned),
            single: None,
            shown: config.path.clone(),
        })
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// All files that are meant, by name. Hidden ones (a name with `.` or `_` in front) are not.
    pub(super) async fn list(&self) -> Result<Listing> {
        if let Some(single) = &self.single {
            let meta = object_store::ObjectStoreExt::head(self.store.as_ref(), single)
                .await
                .map_err(|error| failure::store(error, &self.shown))?;
            return Ok(Listing {
                files: vec![file(meta, None)],
                ..Listing::default()
            });
        }
        let pattern = self.glob.as_deref().map(compile).transpose()?;
        let mut found = Listing::default();
        let mut listing = self.store.list(self.base.as_ref());
        while let Some(meta) = listing
            .try_next()
            .await
            .map_err(|error| failure::store(error, &self.shown))?
        {
            let file = file(meta, self.base.as_ref());
            if is_hidden(&file.name) {
                continue;
            }
            if pattern
                .as_ref()
                .is_some_and(|pattern| !pattern.matches(&file.name))
            {
                if found.others.len() < OTHERS_SHOWN {
                    found.others.push(file.name);
                }
                continue;
            }
            found.files.push(file);
            if found.files.len() > FILES_MAX {
                return Err(Error::limit(format!("more than {FILES_MAX} files in {}", self.shown))
                    .hint("name fewer files in config.path (a subfolder or a pattern), or use several connections"));
            }
        }
        if found.files.is_empty() && self.base.is_some() && self.glob.is_none() {
            found.files.extend(self.object().await?);
        }
        found.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// An S3 prefix may be the key of one object.
    async fn object(&self) -> Result<Option<File>> {
        let Some(key) = &self.base else {
            return Ok(None);
        };
        match object_store::ObjectStoreExt::head(self.store.as_ref(), key).await {
            Ok(meta) => {
                let mut file = file(meta, None);
                file.name = key.filename().unwrap_or_default().to_owned();
                Ok(Some(file))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failure::store(error, &self.shown)),
        }
    }
}

/// Whether a file, or a folder on the way to it, is not meant to be read: its name begins with `.` or `_`.
pub(in crate::native) fn is_hidden(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with(['.', '_']))
}

/// Glob whose `*` stays within a folder.
#[derive(Debug)]
pub(in crate::native) struct Pattern(glob::Pattern);

impl Pattern {
    pub(in crate::native) fn matches(&self, name: &str) -> bool {
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        self.0.matches_with(name, options)
    }
}

pub(in crate::native) fn compile(pattern: &str) -> Result<Pattern> {
    glob::Pattern::new(pattern).map(Pattern).map_err(|error| {
        Error::spec(format!("'{pattern}' is not a pattern"))
            .caused_by(error)
            .hint("use * for a part of a name, ** for folders, [ab] for one of some characters")
    })
}

fn file(meta: ObjectMeta, base: Option<&Path>) -> File {
    let name = base
        .and_then(|base| meta.location.prefix_match(base))
        .map(|parts| {
            parts
                .map(|part| part.as_ref().to_owned())
                .collect::<Vec<_>>()
                .join("/")
        })
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| meta.location.to_string());
    let version = version(&meta);
    File {
        name,
        size: meta.size,
        version,
        location: meta.location,
    }
}

/// A short digest of what the store says of the content.
fn version(meta: &ObjectMeta) -> String {
    let mut digest = Sha256::new();
    digest.update(meta.e_tag.as_deref().unwrap_or_default());
    digest.update(meta.size.to_le_bytes());
    digest.update(meta.last_modified.to_rfc3339());
    let digest = digest.finalize();
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The part before the first folder with a pattern in its name, and the pattern from there.
pub(in crate::native) fn split_glob(path: &str) -> (&str, Option<&str>) {
    let Some(first) = path.find(GLOB) else {
        return (path, None);
    };
    let (head, _) = path.split_at(first);
    match head.rfind('/') {
        Some(slash) => {
            let (folder, pattern) = path.split_at(slash);
            (
                if folder.is_empty() { "/" } else { folder },
                pattern.strip_prefix('/'),
            )
        }
        None => ("", Some(path)),
    }
}

/// Whether plain HTTP is used; refused where the connection does not allow it.
fn check_endpoint(endpoint: Option<&str>, connection: &ConnectionSpec) -> Result<bool> {
    let Some(endpoint) = endpoint else {
        return Ok(false);
    };
    let url = url::Url::parse(endpoint).map_err(|error| {
        Error::spec(format!("endpoint '{endpoint}' is not a URL"))
            .caused_by(error)
            .hint("write https://HOST or http://HOST:PORT")
    })?;
    if url.scheme() == "http" && !connection.allow_private_hosts {
        return Err(Error::denied(format!("endpoint {endpoint} is plain HTTP"))
            .with("connection", &connection.connection)
            .hint("use https, or set allow_private_hosts: true in the connection for a server of your own"));
    }
    Ok(url.scheme() == "http")
}

/// Requests are signed with the connection's credential; without one they are anonymous. The
/// machine's own cloud identity is never used.
fn sign(builder: AmazonS3Builder, connection: &ConnectionSpec) -> Result<AmazonS3Builder> {
    let Some(credential) = &connection.credential else {
        return Ok(builder.with_skip_signature(true));
    };
    let value = |name: &str| credential.values.get(name).map(weir_protocol::Secret::expose);
    let needed = |name: &'static str| {
        value(name).ok_or_else(|| {
            Error::auth(format!("the credential lacks {name}"))
                .with("connection", &connection.connection)
                .hint(format!(
                    "set credential.{name}, or remove the credential for a public bucket"
                ))
        })
    };
    let mut builder = builder
        .with_access_key_id(needed("access_key_id")?)
        .with_secret_access_key(needed("secret_access_key")?);
    if let Some(token) = value("session_token") {
        builder = builder.with_token(token);
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_begins_at_the_first_folder_with_a_sign() {
        assert_eq!(split_glob("data/2024/*.csv"), ("data/2024", Some("*.csv")));
        assert_eq!(split_glob("/data/y*/m?/x.csv"), ("/data", Some("y*/m?/x.csv")));
        assert_eq!(split_glob("*.csv"), ("", Some("*.csv")));
        assert_eq!(split_glob("/*.csv"), ("/", Some("*.csv")));
        assert_eq!(split_glob("data/x.csv"), ("data/x.csv", None));
    }

    #[test]
    fn a_star_stays_in_its_folder() {
        let pattern = compile("orders/*.csv").unwrap();
        assert!(pattern.matches("orders/a.csv"));
        assert!(!pattern.matches("orders/old/a.csv"));
        assert!(compile("orders/**/*.csv").unwrap().matches("orders/old/a.csv"));
    }
}
