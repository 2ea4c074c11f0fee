//! A user's manifest as a connector of the project: its file, and a small `connector.yaml` beside it for
//! governance, hosts and limits.

use std::path::{Path, PathBuf};

use weir_protocol::{Error, Result, name};

use super::known;
use super::manifest::Manifest;
use super::node::Node;

/// The manifest's file within a connector's folder.
pub const MANIFEST_FILE: &str = "manifest.yaml";
const COMPONENTS_FILE: &str = "components.py";

/// Writes `folder/<key>` and returns the files made. `path` is a manifest or the folder that holds one.
pub fn add(folder: &Path, path: &Path, key: Option<&str>) -> Result<Vec<PathBuf>> {
    let file = if path.is_dir() {
        path.join(MANIFEST_FILE)
    } else {
        path.to_owned()
    };
    let components = file.with_file_name(COMPONENTS_FILE);
    if components.exists() {
        return Err(Error::spec(format!(
            "{} is Python code, which weir does not run",
            components.display()
        ))
        .hint("run the connector as a program (connector: airbyte with command: or image:, docs/guides/airbyte-process.md), or write what it does with declarative components"));
    }
    let text = std::fs::read_to_string(&file).map_err(|error| {
        Error::usage(format!("cannot read {}", file.display()))
            .caused_by(error)
            .hint("give a manifest, or the folder that holds manifest.yaml")
    })?;
    let manifest = Manifest::parse(&file.display().to_string(), &text)?;
    known::check(&Node::root(&manifest))?;
    known::check_fields(&Node::root(&manifest))?;
    let key = key.map_or_else(|| key_of(&file), str::to_owned);
    name::check("connector", &key)?;
    let root = folder.join(&key);
    if root.exists() {
        return Err(Error::usage(format!("{} exists already", root.display()))
            .hint("choose another key with --key, or remove the folder"));
    }
    let made = [(MANIFEST_FILE, text), ("connector.yaml", spec(&key))];
    let written = made.into_iter().map(|(name, text)| {
        let target = root.join(name);
        std::fs::create_dir_all(&root)
            .and_then(|()| std::fs::write(&target, text))
            .map_err(|error| {
                Error::usage(format!("cannot write {}", target.display()))
                    .caused_by(error)
                    .hint("check that the folder may be written")
            })?;
        Ok(target)
    });
    written.collect()
}

/// `source-shop/manifest.yaml` → `shop`.
fn key_of(file: &Path) -> String {
    let stem = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let folder = file
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let name = if stem == "manifest" {
        folder.unwrap_or(stem)
    } else {
        stem
    };
    let name = name.strip_prefix("source-").unwrap_or(name);
    let name = name
        .to_lowercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    name.trim_matches('_').to_owned()
}

fn spec(key: &str) -> String {
    let mut title = key.replace('_', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!(
        "spec: 1
connector: {key}
version: 1.0.0
name: {{ en: {title} }}
# What to read stands in {MANIFEST_FILE}; here stand governance and limits.
native: airbyte
# The only hosts that requests may reach; without any, all public ones.
# hosts: [api.example.com]
governance:
  classification: internal
  approval: required
# reliability:
#   rate_limit: {{ requests: 60, per: 1m }}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_becomes_a_connector_of_the_project() {
        let folder = tempfile::tempdir().unwrap();
        let given = folder.path().join("source-our-shop");
        std::fs::create_dir(&given).unwrap();
        std::fs::write(
            given.join(MANIFEST_FILE),
            include_str!("../../tests/manifests/shop.yaml"),
        )
        .unwrap();
        let project = folder.path().join("connectors");
        let made = add(&project, &given, None).unwrap();
        assert_eq!(
            made,
            [
                project.join("our_shop/manifest.yaml"),
                project.join("our_shop/connector.yaml")
            ]
        );
        let catalog = crate::catalog::Catalog::open(std::slice::from_ref(&project)).unwrap();
        assert_eq!(
            catalog.get("our_shop").unwrap().spec.native.as_deref(),
            Some("airbyte")
        );
        assert!(add(&project, &given, None).is_err(), "nothing is overwritten");
        std::fs::write(given.join(COMPONENTS_FILE), "class Odd: pass").unwrap();
        let error = add(&project, &given, Some("other")).unwrap_err();
        assert!(error.message().contains("Python"), "{error}");
    }

    #[test]
    fn a_component_that_does_not_exist_is_refused_where_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let text = include_str!("../../tests/manifests/shop.yaml");
        let line = text
            .lines()
            .position(|line| line.contains("SimpleRetriever"))
            .unwrap();
        let file = folder.path().join("manifest.yaml");
        std::fs::write(&file, text.replacen("SimpleRetriever", "SimpelRetriever", 1)).unwrap();
        let error = add(&folder.path().join("connectors"), &file, Some("shop")).unwrap_err();
        assert!(error.message().contains("'SimpelRetriever'"), "{error}");
        assert!(
            error.to_string().contains(&format!("manifest.yaml:{line}")),
            "{error}"
        );
        assert_eq!(error.next_step(), Some("did you mean 'SimpleRetriever'?"));
        assert!(!folder.path().join("connectors").exists());
    }
}
