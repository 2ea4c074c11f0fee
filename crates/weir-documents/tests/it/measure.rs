//! Precision and recall over labels.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use weir_documents::{Document, Limits, NoOcr, Ocr, examine};

/// What stands in a document, as a person reads it. Each mention of a date or an amount counts.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Labels {
    pub(crate) parties: Vec<String>,
    /// `YYYY-MM-DD`; a Hijri date without a Gregorian one as `H1445-09-05`.
    pub(crate) dates: Vec<String>,
    /// `<value> <currency>`.
    pub(crate) amounts: Vec<String>,
    /// Was not read by who wrote the rules before they were measured first.
    #[serde(default)]
    pub(crate) held_out: bool,
}

/// Right, wrongly found, missed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Score {
    pub(crate) right: usize,
    pub(crate) wrong: usize,
    pub(crate) missed: usize,
}

impl Score {
    pub(crate) fn precision(self) -> f64 {
        ratio(self.right, self.right + self.wrong)
    }

    pub(crate) fn recall(self) -> f64 {
        ratio(self.right, self.right + self.missed)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a test")]
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}

/// Scores of several documents by kind of finding.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) scores: BTreeMap<&'static str, Score>,
    pub(crate) faults: Vec<String>,
}

impl Table {
    pub(crate) fn add(&mut self, name: &str, labels: &Labels, document: &Document) {
        let found = &document.findings;
        let parties = found.parties.iter().map(|party| plain(&party.name)).collect();
        let wanted = labels.parties.iter().map(|name| plain(name)).collect();
        self.compare(name, "parties", wanted, parties);
        let dates = found.dates.iter().map(|date| match (&date.value, &date.hijri) {
            (Some(value), _) => value.clone(),
            (None, Some(hijri)) => format!("H{hijri}"),
            (None, None) => String::new(),
        });
        self.compare(name, "dates", labels.dates.clone(), dates.collect());
        let amounts = found
            .amounts
            .iter()
            .map(|amount| format!("{} {}", amount.value, amount.currency));
        self.compare(name, "amounts", labels.amounts.clone(), amounts.collect());
    }

    fn compare(&mut self, name: &str, kind: &'static str, mut wanted: Vec<String>, found: Vec<String>) {
        let score = self.scores.entry(kind).or_default();
        for one in found {
            match wanted.iter().position(|label| *label == one) {
                Some(at) => {
                    wanted.swap_remove(at);
                    score.right += 1;
                }
                None => {
                    score.wrong += 1;
                    self.faults.push(format!("{name}: {kind} found wrongly: {one}"));
                }
            }
        }
        score.missed += wanted.len();
        self.faults
            .extend(wanted.iter().map(|one| format!("{name}: {kind} missed: {one}")));
    }

    pub(crate) fn print(&self, title: &str) {
        println!("{title}");
        for (kind, score) in &self.scores {
            println!(
                "  {kind:<8} precision {:>5.1} %  recall {:>5.1} %  ({} right, {} wrong, {} missed)",
                score.precision() * 100.0,
                score.recall() * 100.0,
                score.right,
                score.wrong,
                score.missed
            );
        }
        for fault in &self.faults {
            println!("    {fault}");
        }
    }

    /// Fails where a kind is below.
    pub(crate) fn at_least(&self, least: f64) {
        for (kind, score) in &self.scores {
            assert!(
                score.precision() >= least,
                "{kind}: precision {}",
                score.precision()
            );
            assert!(score.recall() >= least, "{kind}: recall {}", score.recall());
        }
    }
}

/// A name without case and punctuation.
fn plain(name: &str) -> String {
    let words = name.to_lowercase();
    let words = words
        .split(|char: char| !char.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

pub(crate) fn labels(text: &str) -> BTreeMap<String, Labels> {
    serde_json::from_str(text).expect("labels are JSON")
}

pub(crate) fn read(path: &Path) -> Document {
    read_with(path, &NoOcr)
}

pub(crate) fn read_with(path: &Path, ocr: &dyn Ocr) -> Document {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    examine(&bytes, ocr, &Limits::default()).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()))
}
