//! Lists the files of `connectors/`, so that the binary carries every connector.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

#[expect(
    clippy::disallowed_methods,
    reason = "cargo passes its folders by the environment"
)]
fn main() -> io::Result<()> {
    let folder = |name: &str| {
        let found = std::env::var_os(name).map(PathBuf::from);
        found.ok_or_else(|| io::Error::other(format!("{name} is not set")))
    };
    let root = folder("CARGO_MANIFEST_DIR")?.join("../../connectors");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    if root.is_dir() {
        collect(&root, &mut files)?;
    }
    files.sort();
    let mut list = String::from("&[\n");
    for path in &files {
        let inside = path
            .strip_prefix(&root)
            .map_err(io::Error::other)?
            .to_str()
            .ok_or_else(|| io::Error::other(format!("{} is not UTF-8", path.display())))?
            .replace('\\', "/");
        writeln!(
            list,
            "    ({inside:?}, include_bytes!({:?})),",
            path.canonicalize()?
        )
        .map_err(io::Error::other)?;
    }
    list.push_str("]\n");
    fs::write(folder("OUT_DIR")?.join("connectors.rs"), list)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_none_or(|name| name.starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
