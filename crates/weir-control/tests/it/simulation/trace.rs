//! What happened, with names that do not depend on the moment.

use std::collections::BTreeMap;

/// Digits of an id that is written without dashes, and places of the dashes where it has some.
const DIGITS: usize = 32;
const DASHES: [usize; 4] = [8, 13, 18, 23];

#[derive(Debug, Default)]
pub(super) struct Trace {
    lines: Vec<String>,
    ids: BTreeMap<String, usize>,
}

impl Trace {
    pub(super) fn push(&mut self, line: &str) {
        let line = self.named(line);
        self.lines.push(line);
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines
    }

    /// The line with each id that was drawn at random replaced by the order of its first appearance.
    fn named(&mut self, line: &str) -> String {
        let mut out = String::new();
        let mut rest = line;
        while let Some(next) = rest.chars().next() {
            let length = id_length(rest.as_bytes());
            if length == 0 {
                out.push(next);
                rest = rest.split_at(next.len_utf8()).1;
                continue;
            }
            let (id, after) = rest.split_at(length);
            let count = self.ids.len();
            let number = *self.ids.entry(id.replace('-', "")).or_insert(count);
            out.push_str(&format!("#{number}"));
            rest = after;
        }
        out
    }
}

/// Bytes of the id that a text begins with.
fn id_length(text: &[u8]) -> usize {
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == DIGITS {
        return DIGITS;
    }
    let dashed = DIGITS + DASHES.len();
    let is_id = digits == DASHES[0]
        && text.len() >= dashed
        && text
            .iter()
            .take(dashed)
            .enumerate()
            .all(|(place, byte)| match DASHES.contains(&place) {
                true => *byte == b'-',
                false => byte.is_ascii_hexdigit(),
            });
    if is_id { dashed } else { 0 }
}

#[test]
fn ids_are_named_in_the_order_of_their_appearance() {
    let mut trace = Trace::default();
    trace.push("put a/0000000001-019abcde-0000-7000-8000-0123456789ab-0000.zst");
    trace.push("get b/build019abcde000070008000fffffffffff0.parquet of 019abcde-0000-7000-8000-0123456789ab");
    assert_eq!(
        trace.into_lines(),
        ["put a/0000000001-#0-0000.zst", "get b/build#1.parquet of #0"]
    );
}
