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

/// What is wrong with the value of a field, in the words of who judged it, with its place as [`parse`] names one: the
/// first line below `section` that has the field, else the section's own.
pub fn misplaced(file: &Path, text: &str, (section, field): (&str, &str), error: &Error) -> Error {
    let is_section = |line: &str| {
        line.strip_prefix(section)
            .is_some_and(|rest| rest.starts_with(':'))
    };
    let begins = text.lines().position(is_section).unwrap_or(0);
    let is_within = |line: &str| line.is_empty() || line.starts_with([' ', '\t', '#', '}']);
    let lines = text.lines().enumerate().skip(begins);
    let mut own = lines.take_while(|(at, line)| *at == begins || is_within(line));
    let place = own.find_map(|(at, line)| {
        let column = column_of(line, field).filter(|_| !line.trim_start().starts_with('#'))?;
        Some((at, column))
    });
    let (at, column) = place.unwrap_or((begins, 0));
    let shown = text.lines().nth(at).unwrap_or_default().trim();
    let message = format!(
        "{}:{}:{}: {}",
        file.display(),
        at + 1,
        column + 1,
        error.message()
    );
    let found = Error::new(error.kind(), message).with("line", shown);
    match error.next_step() {
        Some(hint) => found.hint(hint),
        None => found,
    }
}

/// In which column a line has a field of this name.
fn column_of(line: &str, field: &str) -> Option<usize> {
    let found = line.match_indices(field).find(|(at, _)| {
        let before = line.get(..*at).and_then(|before| before.chars().next_back());
        let after = line.get(at + field.len()..).unwrap_or_default();
        before.is_none_or(|letter| matches!(letter, ' ' | '{' | ',' | '"' | '\''))
            && after.trim_start_matches(['"', '\'', ' ']).starts_with(':')
    });
    found.map(|(at, _)| line.get(..at).unwrap_or_default().chars().count())
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
    fn a_field_that_others_judge_is_found_in_its_section() {
        let text = "attempts: 1\nschedule:\n  # attempts: 2\n  cron: '61 * * * *'\n\n  attempts: 0\nother:\n  cron: x\n";
        let error = Error::spec("wrong").hint("mend it");
        let say = |text: &str, field: &str| {
            let found = misplaced(Path::new("x.yaml"), text, ("schedule", field), &error);
            assert_eq!(found.next_step(), Some("mend it"));
            found.message().to_owned()
        };
        assert_eq!(say(text, "cron"), "x.yaml:4:3: wrong");
        assert_eq!(say(text, "attempts"), "x.yaml:6:3: wrong");
        assert_eq!(say(text, "time_zone"), "x.yaml:2:1: wrong");
        let flow = "a: 1\nschedule: { tier: critical, cron: '61 * * * *' }\ncron: x\n";
        assert_eq!(say(flow, "cron"), "x.yaml:2:29: wrong");
        assert_eq!(say("", "cron"), "x.yaml:1:1: wrong");
    }

    #[test]
    fn a_word_where_a_boolean_belongs_is_named() {
        let found = parse::<std::collections::BTreeMap<String, bool>>(Path::new("x.yaml"), "etag: yes\n");
        insta::assert_snapshot!(format!("{:?}", found.unwrap_err()), @"[spec] x.yaml:1:7: invalid boolean (strict mode expects true/false) (line: etag: yes) -> `weir schema connector` and `weir schema connection` print what is allowed where");
    }
}
