//! Numbers, lengths, counts and patterns.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Difference;

type Words = Map<String, Value>;

pub(super) fn compare(
    types: &BTreeSet<&str>,
    writes: &Words,
    reads: &Words,
    field: &str,
    found: &mut Vec<Difference>,
) {
    let is_number = types.contains("number") || types.contains("integer");
    if is_number {
        numbers(writes, reads, field, found);
    }
    for (kind, least, most) in [
        ("string", "minLength", "maxLength"),
        ("array", "minItems", "maxItems"),
        ("object", "minProperties", "maxProperties"),
    ] {
        if types.contains(kind) {
            let (has_least, has_most) = (number(writes, least), number(writes, most));
            // Nothing is shorter than 0.
            if let Some(wanted) = number(reads, least).filter(|wanted| has_least.unwrap_or(0.0) < *wanted) {
                found.push(outside(least, wanted, "less", field));
            }
            if let Some(wanted) = number(reads, most)
                && has_most.is_none_or(|has| has > wanted)
            {
                found.push(outside(most, wanted, "more", field));
            }
        }
    }
    if types.contains("string") {
        for word in ["pattern", "format", "contentEncoding", "contentMediaType"] {
            same(word, writes, reads, field, found);
        }
    }
    if types.contains("array") && reads.get("uniqueItems") == Some(&Value::Bool(true)) {
        same("uniqueItems", writes, reads, field, found);
    }
}

fn number(words: &Words, word: &str) -> Option<f64> {
    words.get(word).and_then(Value::as_f64)
}

/// A bound, and whether the bound itself is outside.
fn bound(words: &Words, inclusive: &str, exclusive: &str, is_least: bool) -> Option<(f64, bool)> {
    let open = number(words, exclusive).map(|at| (at, true));
    let closed = number(words, inclusive).map(|at| (at, false));
    match (open, closed) {
        (Some(open), Some(closed)) => {
            let is_open_narrower = if is_least {
                open.0 >= closed.0
            } else {
                open.0 <= closed.0
            };
            Some(if is_open_narrower { open } else { closed })
        }
        (open, closed) => open.or(closed),
    }
}

fn numbers(writes: &Words, reads: &Words, field: &str, found: &mut Vec<Difference>) {
    let least = |words| bound(words, "minimum", "exclusiveMinimum", true);
    if let Some((wanted, is_open)) = least(reads) {
        let is_within = least(writes)
            .is_some_and(|(has, has_open)| has > wanted || (has >= wanted && (has_open || !is_open)));
        if !is_within {
            found.push(outside("minimum", wanted, "less", field));
        }
    }
    let most = |words| bound(words, "maximum", "exclusiveMaximum", false);
    if let Some((wanted, is_open)) = most(reads) {
        let is_within = most(writes)
            .is_some_and(|(has, has_open)| has < wanted || (has <= wanted && (has_open || !is_open)));
        if !is_within {
            found.push(outside("maximum", wanted, "more", field));
        }
    }
    if let Some(wanted) = number(reads, "multipleOf") {
        let is_multiple = number(writes, "multipleOf").is_some_and(|has| {
            let ratio = has / wanted;
            ratio.is_finite() && (ratio - ratio.round()).abs() < 1e-9
        });
        if !is_multiple {
            found.push(Difference {
                field: field.to_owned(),
                rule: "multipleOf",
                writes: "may be another number".to_owned(),
                wants: format!("requires a multiple of {wanted}"),
                mend_reader: "drop `multipleOf`, or choose a divisor of the one before".to_owned(),
                mend_writer: "keep `multipleOf`, or choose a multiple of it".to_owned(),
            });
        }
    }
}

fn outside(rule: &'static str, wanted: f64, way: &str, field: &str) -> Difference {
    Difference {
        field: field.to_owned(),
        rule,
        writes: format!("may have {way} here"),
        wants: format!("requires `{rule}: {wanted}`"),
        mend_reader: format!("keep `{rule}` as wide as it was, or wider"),
        mend_writer: format!("keep `{rule}` as narrow as it was, or narrower"),
    }
}

fn same(word: &'static str, writes: &Words, reads: &Words, field: &str, found: &mut Vec<Difference>) {
    let Some(wanted) = reads.get(word) else { return };
    if writes.get(word) == Some(wanted) {
        return;
    }
    found.push(Difference {
        field: field.to_owned(),
        rule: word,
        writes: "need not have it".to_owned(),
        wants: format!("requires `{word}: {wanted}`"),
        mend_reader: format!("drop `{word}`, or leave it as it was"),
        mend_writer: format!("keep `{word}` as it was"),
    });
}
