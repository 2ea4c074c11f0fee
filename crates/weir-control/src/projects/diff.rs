//! How two texts differ, line by line.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lines that stand around a change.
const AROUND: usize = 3;
/// Above so many pairs of lines, a text is shown as replaced.
const PAIRS_MAX: usize = 4_000_000;

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Kept(String),
    Removed(String),
    Added(String),
    /// So many lines that are the same are left out.
    Skipped(usize),
}

/// The shortest way from one text to another, with a few lines around each change.
pub(crate) fn lines(before: &str, after: &str) -> Vec<Line> {
    let (old, new): (Vec<&str>, Vec<&str>) = (split(before), split(after));
    let head = old
        .iter()
        .zip(&new)
        .take_while(|(one, other)| one == other)
        .count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(|(one, other)| one == other)
        .count();
    let (old_middle, new_middle) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let kept = |line: &&str| Line::Kept((*line).to_owned());
    let mut all: Vec<Line> = old[..head].iter().map(kept).collect();
    all.extend(middle(old_middle, new_middle));
    all.extend(old[old.len() - tail..].iter().map(kept));
    shortened(all)
}

/// With the end of a line, so that a missing last one is a difference.
fn split(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn middle(old: &[&str], new: &[&str]) -> Vec<Line> {
    let removed = |line: &&str| Line::Removed((*line).to_owned());
    let added = |line: &&str| Line::Added((*line).to_owned());
    if old.len().saturating_mul(new.len()) > PAIRS_MAX {
        return old.iter().map(removed).chain(new.iter().map(added)).collect();
    }
    // Lengths of the longest common sequences of what follows each pair.
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for (row, one) in old.iter().enumerate().rev() {
        for (column, other) in new.iter().enumerate().rev() {
            let (below, right) = (
                common[(row + 1) * width + column],
                common[row * width + column + 1],
            );
            common[row * width + column] = if one == other {
                common[(row + 1) * width + column + 1] + 1
            } else {
                below.max(right)
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    let mut found = Vec::new();
    while row < old.len() && column < new.len() {
        if old[row] == new[column] {
            found.push(Line::Kept(old[row].to_owned()));
            (row, column) = (row + 1, column + 1);
        } else if common[(row + 1) * width + column] >= common[row * width + column + 1] {
            found.push(removed(&old[row]));
            row += 1;
        } else {
            found.push(added(&new[column]));
            column += 1;
        }
    }
    found.extend(old[row..].iter().map(removed));
    found.extend(new[column..].iter().map(added));
    found
}

/// Leaves out what is far from every change.
fn shortened(all: Vec<Line>) -> Vec<Line> {
    let is_change: Vec<bool> = all.iter().map(|line| !matches!(line, Line::Kept(_))).collect();
    let mut out = Vec::new();
    let mut skipped = 0;
    for (place, line) in all.into_iter().enumerate() {
        let from = place.saturating_sub(AROUND);
        let to = (place + AROUND + 1).min(is_change.len());
        if is_change[from..to].contains(&true) {
            if skipped > 0 {
                out.push(Line::Skipped(std::mem::take(&mut skipped)));
            }
            out.push(line);
        } else {
            skipped += 1;
        }
    }
    if skipped > 0 && !out.is_empty() {
        out.push(Line::Skipped(skipped));
    }
    out
}
