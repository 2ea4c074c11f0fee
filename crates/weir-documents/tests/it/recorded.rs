//! The recorded contracts: real texts under their own licences, which are not in this repository. Without them these
//! tests say so and end.

use std::path::{Path, PathBuf};

use crate::measure::{Labels, Table, labels, read};

const LABELS: &str = include_str!("labels/recorded.json");
/// Where they lie, below a folder that is beside or above the project.
const FOLDER: &str = "shared/recordings/contracts";

fn recordings() -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join(FOLDER))
        .find(|folder| folder.is_dir());
    if found.is_none() {
        println!("skipped: no folder {FOLDER} above the project");
    }
    found
}

fn path(folder: &Path, name: &str) -> PathBuf {
    let owner = if name.starts_with("Series_Seed") {
        "seriesseed"
    } else {
        "accordproject"
    };
    folder.join(owner).join(format!("{name}.md"))
}

fn measured(folder: &Path, wanted: impl Fn(&Labels) -> bool) -> Table {
    let mut table = Table::default();
    for (name, labels) in labels(LABELS) {
        if wanted(&labels) {
            table.add(&name, &labels, &read(&path(folder, &name)));
        }
    }
    table
}

#[test]
fn parties_dates_and_amounts_are_right() {
    let Some(folder) = recordings() else {
        return;
    };
    let known = measured(&folder, |labels| !labels.held_out);
    known.print("texts that the rules were made with");
    let held_out = measured(&folder, |labels| labels.held_out);
    held_out.print("texts that were held out");
    known.at_least(0.95);
    held_out.at_least(0.95);
}
