//! The drawing in ARCHITECTURE.md, enforced: which crate may name which, who may name a library,
//! and where a connector's name may occur.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A crate and the crates of the house that it may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("weir-protocol", &[]),
    ("weir-documents", &["weir-protocol"]),
    ("weir-engine", &["weir-protocol"]),
    ("weir-lake", &["weir-protocol"]),
    ("weir-query", &["weir-protocol", "weir-lake"]),
    ("weir-control", &["weir-protocol", "weir-engine"]),
    ("weir-server", &["weir-protocol", "weir-engine", "weir-control"]),
    (
        "weir",
        &[
            "weir-protocol",
            "weir-engine",
            "weir-lake",
            "weir-query",
            "weir-control",
            "weir-server",
            "weir-documents",
        ],
    ),
];

/// A library's name (or its beginning) and the only crates that may depend on it.
const OWNERS: &[(&str, &[&str])] = &[
    ("datafusion", &["weir-query"]),
    ("deltalake", &["weir-lake"]),
    ("arrow", &["weir-lake", "weir-query"]),
    ("sqlx", &["weir-control"]),
    ("reqwest", &["weir-engine"]),
    ("minijinja", &["weir-engine"]),
    ("clap", &["weir"]),
    ("rmcp", &["weir-server"]),
    ("pdf-extract", &["weir-documents"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Crate name to the names of its dependencies (without those for tests).
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let names = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| dependency["name"].as_str().expect("name").to_owned())
                .collect();
            (package["name"].as_str().expect("name").to_owned(), names)
        })
        .collect()
}

#[test]
fn the_house_has_eight_crates_and_no_other_edges() {
    let found = dependencies();
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    assert_eq!(
        found.keys().map(String::as_str).collect::<Vec<_>>(),
        allowed.keys().copied().collect::<Vec<_>>(),
        "crates of the house"
    );
    for (name, dependencies) in &found {
        for dependency in dependencies
            .iter()
            .filter(|name| allowed.contains_key(name.as_str()))
        {
            assert!(
                allowed[name.as_str()].contains(&dependency.as_str()),
                "{name} depends on {dependency}: ARCHITECTURE.md has no such edge"
            );
        }
    }
}

#[test]
fn a_library_is_named_only_by_its_owners() {
    for (name, dependencies) in dependencies() {
        for (library, owners) in OWNERS {
            let uses = dependencies
                .iter()
                .any(|dependency| dependency == library || dependency.starts_with(&format!("{library}-")));
            assert!(
                !uses || owners.contains(&name.as_str()),
                "{name} depends on {library}, which belongs to {owners:?}"
            );
        }
    }
}

/// Every `.rs` file below `folder`, tests left out.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("folder is readable") {
        let path = entry.expect("entry").path();
        if path.is_dir() && !path.ends_with("tests") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// A file's text up to its inline tests.
fn own_text(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("file is readable");
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

#[test]
fn no_file_is_too_long() {
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    let long: Vec<_> = files
        .iter()
        .map(|path| (own_text(path).lines().count(), path))
        .filter(|(lines, _)| *lines > 500)
        .collect();
    assert!(long.is_empty(), "files over 500 own lines: {long:#?}");
}

/// Connectors whose key is a noun of weir's own as well: events go to webhooks, whatever connectors there are.
const NOUNS_TOO: [&str; 1] = ["webhook"];

#[test]
fn no_connector_is_named_in_code() {
    // Keys of native connectors are the words that `native/` dispatches by, and common ones at that.
    let keys: Vec<String> = std::fs::read_dir(root().join("connectors"))
        .expect("connectors/ is readable")
        .map(|entry| entry.expect("entry").path())
        .filter(|folder| {
            let spec = std::fs::read_to_string(folder.join("connector.yaml")).unwrap_or_default();
            !spec.lines().any(|line| line.starts_with("native:"))
        })
        .filter_map(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()))
        .filter(|key| !NOUNS_TOO.contains(&key.as_str()))
        .collect();
    let mut files = Vec::new();
    for name in [
        "weir-protocol",
        "weir-engine",
        "weir-lake",
        "weir-query",
        "weir-control",
        "weir-server",
    ] {
        rust_files(&root().join("crates").join(name).join("src"), &mut files);
    }
    for path in files
        .iter()
        .filter(|path| !path.components().any(|part| part.as_os_str() == "native"))
    {
        for line in own_text(path)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for key in &keys {
                assert!(
                    !line.contains(&format!("\"{key}\"")),
                    "{} names the connector '{key}': {line}",
                    path.display()
                );
            }
        }
    }
}
