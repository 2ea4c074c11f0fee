//! The same contracts as DOCX, PDF and scans. `tests/forms.py` makes them of the texts; some are kept here, and what it
//! makes of the recorded contracts is measured where `WEIR_CONTRACT_FORMS` names its folder.

use std::path::{Path, PathBuf};

use weir_documents::{Format, Ocr, OcrPage, tsv_page};
use weir_protocol::{Error, Result};

use crate::measure::{Labels, Table, labels, read, read_with};

const OWN: &str = include_str!("labels/own.json");
const RECORDED: &str = include_str!("labels/recorded.json");

/// What tesseract said of a scan before: the file `<scan>.<page>.tsv`.
struct Said(PathBuf);

impl Ocr for Said {
    fn is_there(&self) -> bool {
        true
    }

    fn pages(&self, _file: &[u8], _format: Format, pages: &[u32]) -> Result<Vec<OcrPage>> {
        let said = |page: &u32| {
            let path = format!("{}.{page}.tsv", self.0.display());
            let table = std::fs::read_to_string(&path).map_err(|error| {
                Error::not_found(path)
                    .caused_by(error)
                    .hint("make it by tests/forms.py")
            })?;
            Ok(tsv_page(*page, &table))
        };
        pages.iter().map(said).collect()
    }
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/contracts")
}

/// The contracts of a folder in one form, as far as they are there.
fn measured(folder: &Path, all: &str, form: &str, wanted: impl Fn(&str, &Labels) -> bool) -> Table {
    let mut table = Table::default();
    for (name, labels) in labels(all) {
        let path = folder.join(format!("{name}.{form}"));
        if !path.is_file() || !wanted(&name, &labels) {
            continue;
        }
        let document = if form.starts_with("scan") {
            if !Path::new(&format!("{}.1.tsv", path.display())).is_file() {
                continue;
            }
            read_with(&path, &Said(path.clone()))
        } else {
            read(&path)
        };
        table.add(&name, &labels, &document);
    }
    table
}

#[test]
fn word_files_give_what_the_text_gives() {
    let table = measured(&kept(), OWN, "docx", |_, _| true);
    table.print("own contracts, DOCX");
    table.at_least(0.95);
}

#[test]
fn pdf_files_give_what_the_text_gives() {
    for ending in ["-en", "-ar"] {
        let table = measured(&kept(), OWN, "pdf", |name, _| name.ends_with(ending));
        table.print(&format!("own contracts, PDF, {ending}"));
        table.at_least(0.95);
    }
}

/// Prints; the figures stand in docs/guides/contracts.md.
#[test]
#[ignore = "needs what tests/forms.py makes"]
#[expect(
    clippy::disallowed_methods,
    reason = "where a measurement's files are, which no configuration names"
)]
fn all_forms_are_measured() {
    let Some(folder) = std::env::var_os("WEIR_CONTRACT_FORMS").map(PathBuf::from) else {
        println!("skipped: WEIR_CONTRACT_FORMS names no folder");
        return;
    };
    for form in ["docx", "pdf", "scan.pdf"] {
        for ending in ["-en", "-ar"] {
            let table = measured(&folder.join("own"), OWN, form, |name, _| name.ends_with(ending));
            table.print(&format!("own contracts, {form}, {ending}"));
        }
        let table = measured(&folder.join("recorded"), RECORDED, form, |_, _| true);
        table.print(&format!("recorded contracts, {form}"));
    }
}
