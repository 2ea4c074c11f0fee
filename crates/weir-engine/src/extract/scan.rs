//! A scanner over JSON text that finds where values begin and end, without building them.
//!
//! It checks what it needs to find the ends (quotes, brackets, separators), not the inside of
//! numbers and words: whoever types a record parses it once and sees the rest.

use std::ops::Range;

use memchr::memchr2;
use weir_protocol::{Error, Result};

/// Nesting beyond which an answer is refused: a parser behind this one may recurse.
const DEPTH_MAX: u32 = 256;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scanner<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn over(text: &'a [u8], range: &Range<usize>) -> Self {
        Self {
            text: &text[..range.end],
            at: range.start,
        }
    }

    /// The next byte that is not white space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    pub(crate) fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += 1;
        }
        found
    }

    /// Steps over one value and gives its place.
    pub(crate) fn value(&mut self) -> Result<Range<usize>> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'{' | b'[') => self.skip_nested()?,
            Some(b'"') => self.skip_string()?,
            Some(b'-' | b'0'..=b'9' | b'a'..=b'z') => self.skip_word(),
            _ => return Err(self.broken("a value")),
        }
        Ok(start..self.at)
    }

    /// As [`Scanner::value`], where the end of one value may be known.
    pub(crate) fn value_or(&mut self, known: Option<&Range<usize>>) -> Result<Range<usize>> {
        self.peek();
        match known.filter(|known| known.start == self.at) {
            Some(known) => {
                self.at = known.end;
                Ok(known.clone())
            }
            None => self.value(),
        }
    }

    /// A member's key (with its quotes), with the scanner standing before its value. None at the object's end.
    /// The opening brace is already taken.
    pub(crate) fn key(&mut self, first: bool) -> Result<Option<Range<usize>>> {
        if self.take(b'}') {
            return Ok(None);
        }
        if !first && !self.take(b',') {
            return Err(self.broken("',' or '}'"));
        }
        if self.peek() != Some(b'"') {
            return Err(self.broken("a member's name"));
        }
        let start = self.at;
        self.skip_string()?;
        let key = start..self.at;
        if !self.take(b':') {
            return Err(self.broken("':'"));
        }
        Ok(Some(key))
    }

    /// Whether another element follows. The opening bracket is already taken.
    pub(crate) fn element(&mut self, first: bool) -> Result<bool> {
        if self.take(b']') {
            return Ok(false);
        }
        if !first && !self.take(b',') {
            return Err(self.broken("',' or ']'"));
        }
        Ok(true)
    }

    fn skip_word(&mut self) {
        while let Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    fn skip_string(&mut self) -> Result<()> {
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(found) = memchr2(b'"', b'\\', rest) else {
                self.at = self.text.len();
                return Err(self.broken("the end of a text"));
            };
            if rest[found] == b'"' {
                self.at += found + 1;
                return Ok(());
            }
            self.at += found + 2;
        }
    }

    /// From an opening bracket to the one that closes it. The kind of each open bracket is a bit.
    fn skip_nested(&mut self) -> Result<()> {
        let mut kinds = [0_u128; 2];
        let mut depth = 0_u32;
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => {
                    if depth == DEPTH_MAX {
                        return Err(Error::limit(format!(
                            "the answer nests more than {DEPTH_MAX} levels deep"
                        ))
                        .with("byte", self.at)
                        .hint("check that the URL answers the data that is meant"));
                    }
                    set(&mut kinds, depth, *byte == b'{');
                    depth += 1;
                }
                b'}' | b']' => {
                    depth -= 1;
                    if is_set(&kinds, depth) != (*byte == b'}') {
                        return Err(self.broken("the other closing bracket"));
                    }
                    if depth == 0 {
                        self.at += 1;
                        return Ok(());
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        Err(self.broken("a closing bracket"))
    }

    pub(crate) fn broken(&self, expected: &str) -> Error {
        let from = self.at.saturating_sub(40).min(self.text.len());
        let near = String::from_utf8_lossy(&self.text[from..self.text.len().min(self.at + 40)]).into_owned();
        let what = if self.at >= self.text.len() {
            "the answer's JSON breaks off"
        } else {
            "the answer is not valid JSON"
        };
        Error::decode(format!("{what}: expected {expected}"))
            .with("byte", self.at)
            .with("near", near)
            .hint("check that the URL answers JSON and that decode.format says what it answers")
    }
}

fn set(kinds: &mut [u128; 2], depth: u32, is_object: bool) {
    let word = usize::from(depth >= 128);
    let bit = 1 << (depth % 128);
    if is_object {
        kinds[word] |= bit;
    } else {
        kinds[word] &= !bit;
    }
}

fn is_set(kinds: &[u128; 2], depth: u32) -> bool {
    kinds[usize::from(depth >= 128)] & (1 << (depth % 128)) != 0
}

/// Whether the raw key (with its quotes) reads as `name`.
pub(crate) fn key_is(text: &[u8], key: &Range<usize>, name: &str) -> bool {
    let raw = &text[key.start + 1..key.end - 1];
    if memchr::memchr(b'\\', raw).is_none() {
        return raw == name.as_bytes();
    }
    serde_json::from_slice::<String>(&text[key.clone()]).is_ok_and(|key| key == name)
}

/// The key as text.
pub(crate) fn key_text(text: &[u8], key: &Range<usize>) -> String {
    serde_json::from_slice(&text[key.clone()])
        .unwrap_or_else(|_| String::from_utf8_lossy(&text[key.clone()]).into_owned())
}
