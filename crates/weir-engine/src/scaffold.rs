//! The folder of a new connector: small, commented, and good enough to pass the standard suite.

use std::path::{Path, PathBuf};

use weir_protocol::{Error, Result, name};

/// File by path in the folder; `{key}` and `{name}` are replaced.
const FILES: [(&str, &str); 6] = [
    ("connector.yaml", include_str!("scaffold/connector.yaml")),
    ("README.md", include_str!("scaffold/README.md")),
    ("schemas/items.json", include_str!("scaffold/items.json")),
    (
        "fixtures/connection.yaml",
        include_str!("scaffold/connection.yaml"),
    ),
    ("fixtures/pages.http", include_str!("scaffold/pages.http")),
    (
        "fixtures/expected/pages.items.jsonl",
        include_str!("scaffold/pages.items.jsonl"),
    ),
];

/// Writes a new connector into `folder/<key>` and returns the files made. Nothing that is there
/// already is touched.
pub fn write(folder: &Path, key: &str) -> Result<Vec<PathBuf>> {
    name::check("connector", key)?;
    let root = folder.join(key);
    if root.exists() {
        return Err(Error::usage(format!("{} exists already", root.display()))
            .hint("choose another key, or remove the folder"));
    }
    let mut made = Vec::new();
    for (path, text) in FILES {
        let target = root.join(path);
        let text = text.replace("{key}", key).replace("{name}", &title(key));
        write_file(&target, &text).map_err(|error| {
            Error::usage(format!("cannot write {}", target.display()))
                .caused_by(error)
                .hint("check that the folder may be written")
        })?;
        made.push(target);
    }
    Ok(made)
}

fn write_file(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text)
}

/// `acme_billing` → `Acme billing`.
fn title(key: &str) -> String {
    let words = key.replace('_', " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn it_is_a_sound_connector() {
        let folder = tempfile::tempdir().unwrap();
        let made = write(folder.path(), "acme_billing").unwrap();
        assert_eq!(made.len(), FILES.len());
        let catalog = Catalog::open(&[folder.path().to_owned()]).unwrap();
        assert_eq!(
            catalog.problems().map(|problem| problem.error.to_string()).next(),
            None
        );
        assert_eq!(
            catalog.get("acme_billing").unwrap().spec.name["en"],
            "Acme billing"
        );
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "acme").unwrap();
        assert!(
            write(folder.path(), "acme")
                .unwrap_err()
                .to_string()
                .contains("exists already")
        );
        assert!(write(folder.path(), "Acme Inc").is_err());
    }
}
