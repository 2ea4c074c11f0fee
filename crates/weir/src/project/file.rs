//! What `weir.yaml` says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_protocol::{Result, name, yaml};

/// `weir.yaml`. `${NAME}` in any text is replaced by the environment variable of that name.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectFile {
    /// Name of the project.
    pub(crate) project: String,
    /// First part of the names of packaged connectors.
    #[serde(default = "prefix")]
    pub(crate) prefix: String,
    /// What the project is for, as policies see it: `production`, `staging`, `test`.
    #[serde(default = "environment")]
    pub(crate) environment: String,
    #[serde(default)]
    pub(crate) lake: LakeFile,
    /// The control store: a SQLite file, from the project's folder on.
    #[serde(default = "store")]
    pub(crate) store: PathBuf,
    /// Key of hashed personal fields. Made where there is none; keep it, or hashes change.
    #[serde(default = "pii_key")]
    pub(crate) pii_key: PathBuf,
}

/// Where the lake lies.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LakeFile {
    /// A folder, or `s3://bucket/prefix` (`gs://` and `az://` in builds with the feature `cloud`).
    pub(crate) location: String,
    /// Settings of the object store, as `endpoint`, `region`, `access_key_id`, `secret_access_key`, `allow_http`.
    pub(crate) options: BTreeMap<String, String>,
}

impl Default for LakeFile {
    fn default() -> Self {
        Self {
            location: "./lake".to_owned(),
            options: BTreeMap::new(),
        }
    }
}

impl ProjectFile {
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self> {
        let found: Self = yaml::parse(file, text)?;
        name::check("project", &found.project)
            .and_then(|()| name::check("prefix", &found.prefix))
            .and_then(|()| name::check("environment", &found.environment))
            .map_err(|error| error.with("file", file.display()))?;
        Ok(found)
    }
}

fn prefix() -> String {
    "weir".to_owned()
}
fn environment() -> String {
    "production".to_owned()
}
fn store() -> PathBuf {
    PathBuf::from(".weir/weir.db")
}
fn pii_key() -> PathBuf {
    PathBuf::from(".weir/pii.key")
}
