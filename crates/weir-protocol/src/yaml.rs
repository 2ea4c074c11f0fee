//! YAML into types, strictly: an error names the file, line and field, what is allowed there, and
//! the nearest right spelling.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Parses one document. `file` is only for messages.
pub fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| explain(file, text, &error))
}

/// YAML 1.2: only `true` and `false` are booleans. `no` is a country, `on` and `y` are words.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

fn explain(file: &Path, text: &str, error: &serde_saphyr::Error) -> Error {
    let plain = error.without_snippet();
    let (line, column) = plain
        .location()
        .map_or((1, 1), |location| (location.line(), location.column()));
    let message = plain.to_string();
    // The library repeats the place at the message's end; ours names it once, with the file.
    let message = message
        .split(" at line ")
        .next()
        .unwrap_or(&message)
        .trim_end_matches(',');
    let message = SHAPES
        .iter()
        .find(|(theirs, _)| *theirs == message)
        .map_or(message, |(_, ours)| ours)
        .to_owned();
    let mut found = Error::spec(format!("{}:{line}:{column}: {message}", file.display()));
    if let Some(source_line) = usize::try_from(line)
        .ok()
        .and_then(|line| text.lines().nth(line.saturating_sub(1)))
    {
        found = found.with("line", source_line.trim());
    }
    match nearest(&message) {
        Some(hint) => found.hint(hint),
        None => {
            found.hint("`weir schema connector` and `weir schema connection` print what is allowed where")
        }
    }
}

/// "unknown field `x`, expected one of a, b" → the spelling that was probably meant.
fn nearest(message: &str) -> Option<String> {
    let (problem, allowed) = message.split_once(", expected ")?;
    let wrong = problem.strip_prefix("unknown ")?.split('`').nth(1)?;
    let allowed: Vec<&str> = allowed
        .trim_start_matches("one of ")
        .split([',', ' ', '`'])
        .filter(|word| !word.is_empty() && *word != "or")
        .collect();
    let best = closest(wrong, &allowed)?;
    Some(format!("did you mean '{best}'?"))
}

/// The parser's own words for shapes, in ours.
const SHAPES: &[(&str, &str)] = &[
    ("expected mapping start", "expected fields (name: value)"),
    (
        "expected sequence start",
        "expected a list ([a, b] or lines that begin with -)",
    ),
    ("expected string scalar", "expected text"),
    ("expected scalar", "expected a single value"),
];

/// The candidate that is spelled most like `wrong`, if any is close.
pub fn closest<'a>(wrong: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(wrong, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3 + 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn only_true_and_false_are_booleans() {
        let text = "countries: [no, NO, n, y, yes, on, off]\nyes: true\nother: false\n";
        let found: Value = parse(Path::new("x.yaml"), text).unwrap();
        assert_eq!(
            found,
            json!({ "countries": ["no", "NO", "n", "y", "yes", "on", "off"], "yes": true, "other": false })
        );
    }

    #[test]
    fn a_word_where_a_boolean_belongs_is_named() {
        let found = parse::<std::collections::BTreeMap<String, bool>>(Path::new("x.yaml"), "etag: yes\n");
        insta::assert_snapshot!(format!("{:?}", found.unwrap_err()), @"[spec] x.yaml:1:7: invalid boolean (strict mode expects true/false) (line: etag: yes) -> `weir schema connector` and `weir schema connection` print what is allowed where");
    }
}
