//! From a written location to an object store.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::{ObjectStore, path::Path};
use url::Url;
use weir_protocol::{Error, Result};

use super::local::Local;
use super::unusable;

type Opened = (Url, Arc<dyn ObjectStore>, Path);

pub(super) fn open(location: &str, options: &BTreeMap<String, String>) -> Result<Opened> {
    match location.split_once("://") {
        None => local(PathBuf::from(location)),
        Some(("file", _)) => {
            let url = Url::parse(location).map_err(|error| unusable(location).caused_by(error))?;
            local(url.to_file_path().map_err(|()| unusable(location))?)
        }
        Some((scheme, _)) => remote(scheme, location, options),
    }
}

fn local(folder: PathBuf) -> Result<Opened> {
    let shown = folder.display().to_string();
    std::fs::create_dir_all(&folder)
        .and_then(|()| folder.canonicalize())
        .map_err(|error| unusable(&shown).caused_by(error))
        .and_then(|folder| {
            nameable(&folder)?;
            let url = Url::from_directory_path(&folder).map_err(|()| unusable(&shown))?;
            let prefix =
                Path::from_absolute_path(&folder).map_err(|error| unusable(&shown).caused_by(error))?;
            let root: Arc<dyn ObjectStore> = Arc::new(Local::new());
            Ok((url, root, prefix))
        })
}

/// Object stores write such characters of a path as `%XX`, and then do not find their own files again.
fn nameable(folder: &std::path::Path) -> Result<()> {
    let shown = folder.display().to_string();
    let Some(found) = shown.chars().find(|each| matches!(each, '%' | '\\')) else {
        return Ok(());
    };
    Err(Error::spec(format!("'{shown}' cannot be used as the lake's location: it has a {found}"))
        .hint("a lake cannot lie below a folder whose name has a % or a backslash: move it, or name another `lake: location`"))
}

fn remote(scheme: &str, location: &str, options: &BTreeMap<String, String>) -> Result<Opened> {
    let mut url = Url::parse(location).map_err(|error| unusable(location).caused_by(error))?;
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    let root: Arc<dyn ObjectStore> = match scheme {
        "s3" | "s3a" => s3(&url, options)?,
        #[cfg(feature = "cloud")]
        "gs" => gcs(&url, options)?,
        #[cfg(feature = "cloud")]
        "az" | "abfs" | "abfss" => azure(&url, options)?,
        _ => {
            let known = if cfg!(feature = "cloud") {
                "use a folder, s3://, gs:// or az://"
            } else {
                "use a folder or s3://; gs:// and az:// need a build with the feature `cloud`"
            };
            let message = format!("the lake cannot lie at '{location}': '{scheme}' is not supported");
            return Err(Error::spec(message).hint(known));
        }
    };
    let prefix = Path::from_url_path(url.path()).map_err(|error| unusable(location).caused_by(error))?;
    Ok((url, root, prefix))
}

/// Turns each option into the key type of its builder; an unknown one is named.
fn keyed<'a, K: FromStr>(
    options: &'a BTreeMap<String, String>,
    example: &'static str,
) -> impl Iterator<Item = Result<(K, &'a String)>> {
    options.iter().map(move |(name, value)| {
        let key = name.parse::<K>().map_err(|_| {
            Error::spec(format!("the lake has an unknown option '{name}'")).hint(format!(
                "options of this kind of storage are for example {example}"
            ))
        })?;
        Ok((key, value))
    })
}

fn s3(url: &Url, options: &BTreeMap<String, String>) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::new()
        .with_url(url.as_str())
        // Commits are safe only if a version can be created by one writer alone.
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    for option in keyed::<AmazonS3ConfigKey>(
        options,
        "endpoint, region, access_key_id, secret_access_key, allow_http",
    ) {
        let (key, value) = option?;
        builder = builder.with_config(key, value);
    }
    let store = builder
        .build()
        .map_err(|error| unusable(url.as_str()).caused_by(error))?;
    Ok(Arc::new(store))
}

#[cfg(feature = "cloud")]
fn gcs(url: &Url, options: &BTreeMap<String, String>) -> Result<Arc<dyn ObjectStore>> {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

    let mut builder = GoogleCloudStorageBuilder::new().with_url(url.as_str());
    for option in keyed::<GoogleConfigKey>(options, "service_account, service_account_key") {
        let (key, value) = option?;
        builder = builder.with_config(key, value);
    }
    let store = builder
        .build()
        .map_err(|error| unusable(url.as_str()).caused_by(error))?;
    Ok(Arc::new(store))
}

#[cfg(feature = "cloud")]
fn azure(url: &Url, options: &BTreeMap<String, String>) -> Result<Arc<dyn ObjectStore>> {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

    let mut builder = MicrosoftAzureBuilder::new().with_url(url.as_str());
    for option in keyed::<AzureConfigKey>(options, "account_name, account_key, endpoint") {
        let (key, value) = option?;
        builder = builder.with_config(key, value);
    }
    let store = builder
        .build()
        .map_err(|error| unusable(url.as_str()).caused_by(error))?;
    Ok(Arc::new(store))
}

#[cfg(all(test, feature = "cloud"))]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn places_of_every_cloud_are_opened_with_their_prefix() {
        let azure = options(&[("account_name", "acme"), ("account_key", "a2V5")]);
        for location in ["az://lake/a/b", "abfss://lake@acme.dfs.core.windows.net/a/b/"] {
            let (url, root, prefix) = open(location, &azure).unwrap();
            assert_eq!(prefix, Path::from("a/b"), "{location}");
            assert!(url.path().ends_with("/a/b/"), "{location}");
            assert!(root.to_string().contains("lake"), "{root}");
        }
        let google = options(&[("skip_signature", "true")]);
        let (_, root, prefix) = open("gs://lake/a/b", &google).unwrap();
        assert_eq!(prefix, Path::from("a/b"));
        assert!(root.to_string().contains("lake"), "{root}");
    }

    #[test]
    fn an_unknown_option_is_named() {
        for location in ["gs://lake/a", "az://lake/a"] {
            let error = open(location, &options(&[("acount", "x")])).unwrap_err();
            assert!(error.message().contains("acount"), "{error}");
            assert!(error.next_step().is_some());
        }
    }
}
