//! One parse a record: simd-json's tape over a reused scratch buffer, and the way back from a node
//! of the tape to the record's own text.

use std::mem;

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, StaticNode, Tape};

use super::big_number;

/// Objects and lists nested deeper than this are refused.
pub(crate) const DEPTH_MAX: usize = 64;

/// Parses records one after another without allocating for each.
pub(crate) struct Parser {
    scratch: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
    spans: Spans,
}

/// A record parsed ahead, to be looked at more than once. The texts in it lie in a buffer of its own.
pub(crate) struct Kept<'t> {
    nodes: Vec<Node<'t>>,
    structurals: Vec<u32>,
}

/// A parsed record.
pub(crate) struct Parsed<'a> {
    pub(crate) nodes: &'a [Node<'a>],
    raw: &'a [u8],
    structurals: &'a [u32],
    spans: &'a mut Spans,
}

/// Why a record cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Invalid,
    Utf8,
    Depth,
}

impl Unreadable {
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Invalid => "the record is not valid JSON".to_owned(),
            Self::Utf8 => "the record is not valid UTF-8".to_owned(),
            Self::Depth => format!("the record is nested deeper than {DEPTH_MAX} levels"),
        }
    }
}

impl Parser {
    pub(crate) fn new() -> Self {
        Self {
            scratch: Vec::new(),
            buffers: Buffers::with_max_depth(4096, DEPTH_MAX),
            tape: Tape(Vec::new()),
            spans: Spans::default(),
        }
    }

    /// Parses `raw` and hands the result to `use_it`.
    pub(crate) fn parse<R>(
        &mut self,
        raw: &[u8],
        use_it: impl FnOnce(&mut Parsed<'_>) -> R,
    ) -> Result<R, Unreadable> {
        match self.try_parse(raw, raw, &[], use_it) {
            Ok(result) => Ok(result),
            // The parser knows no number beyond 64 bits, JSON does.
            Err((use_it, Unreadable::Invalid)) => match big_number::blank(raw) {
                Some((blanked, starts)) => self
                    .try_parse(raw, &blanked, &starts, use_it)
                    .map_err(|(_, why)| why),
                None => Err(Unreadable::Invalid),
            },
            Err((_, why)) => Err(why),
        }
    }

    /// Parses `raw` to be looked at later; `scratch` holds its texts. One with numbers beyond 64 bits
    /// is not kept, nor is one that cannot be parsed.
    pub(crate) fn keep<'t>(&mut self, raw: &[u8], scratch: &'t mut Vec<u8>) -> Option<Kept<'t>> {
        scratch.reserve_exact(raw.len() + INPUT_PADDING);
        scratch.extend_from_slice(raw);
        scratch.resize(raw.len() + INPUT_PADDING, b' ');
        if raw.is_empty() {
            return None;
        }
        let mut tape = Tape(Vec::new());
        simd_json::fill_tape_padded(scratch, raw.len(), &mut self.buffers, &mut tape).ok()?;
        Some(Kept {
            nodes: tape.0,
            structurals: self.buffers.structural_indexes().to_vec(),
        })
    }

    /// As [`Parser::parse`], without parsing what was kept.
    pub(crate) fn parse_unless_kept<R>(
        &mut self,
        kept: Option<&Kept<'_>>,
        raw: &[u8],
        use_it: impl FnOnce(&mut Parsed<'_>) -> R,
    ) -> Result<R, Unreadable> {
        let Some(kept) = kept else {
            return self.parse(raw, use_it);
        };
        self.spans.built = false;
        let mut parsed = Parsed {
            nodes: &kept.nodes,
            raw,
            structurals: &kept.structurals,
            spans: &mut self.spans,
        };
        Ok(use_it(&mut parsed))
    }

    /// `text` is what is parsed: `raw`, or `raw` with its big numbers (at `big`) blanked out.
    fn try_parse<R, F: FnOnce(&mut Parsed<'_>) -> R>(
        &mut self,
        raw: &[u8],
        text: &[u8],
        big: &[u32],
        use_it: F,
    ) -> Result<R, (F, Unreadable)> {
        self.scratch.clear();
        self.scratch.extend_from_slice(text);
        self.scratch.resize(text.len() + INPUT_PADDING, b' ');
        let mut tape = mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let filled = if text.is_empty() {
            Err(Unreadable::Invalid)
        } else {
            simd_json::fill_tape_padded(&mut self.scratch, text.len(), &mut self.buffers, &mut tape)
                .map_err(|error| unreadable(error.error(), raw))
        };
        let result = match filled {
            Ok(()) => {
                self.spans.built = false;
                if !big.is_empty() {
                    self.spans.build(raw, self.buffers.structural_indexes());
                    mark_big(&mut tape.0, &self.spans, big);
                }
                let mut parsed = Parsed {
                    nodes: &tape.0,
                    raw,
                    structurals: self.buffers.structural_indexes(),
                    spans: &mut self.spans,
                };
                Ok(use_it(&mut parsed))
            }
            Err(why) => Err((use_it, why)),
        };
        self.tape = tape.reset();
        result
    }
}

/// A number that only its text holds stands in the tape as NaN, which no JSON text can be.
fn mark_big(nodes: &mut [Node<'_>], spans: &Spans, big: &[u32]) {
    for start in big {
        let node = spans
            .starts
            .binary_search(start)
            .ok()
            .and_then(|index| nodes.get_mut(index));
        if let Some(node) = node {
            *node = Node::Static(StaticNode::F64(f64::NAN));
        }
    }
}

fn unreadable(kind: &ErrorType, raw: &[u8]) -> Unreadable {
    match kind {
        ErrorType::DepthLimitExceeded => Unreadable::Depth,
        _ if std::str::from_utf8(raw).is_err() => Unreadable::Utf8,
        _ => Unreadable::Invalid,
    }
}

impl<'a> Parsed<'a> {
    /// The fields of the object at `at`: each key with its value's node. Empty for anything else.
    pub(crate) fn members(&self, at: usize) -> Members<'a> {
        let left = match self.nodes.get(at) {
            Some(Node::Object { len, .. }) => *len,
            _ => 0,
        };
        Members {
            nodes: self.nodes,
            at: at + 1,
            left,
        }
    }

    /// The elements of the list at `at`.
    pub(crate) fn elements(&self, at: usize) -> Elements<'a> {
        let left = match self.nodes.get(at) {
            Some(Node::Array { len, .. }) => *len,
            _ => 0,
        };
        Elements {
            nodes: self.nodes,
            at: at + 1,
            left,
        }
    }

    /// The value at a path of fields from the record's root; the last of repeated keys counts.
    pub(crate) fn find(&self, path: &[String]) -> Option<usize> {
        path.iter().try_fold(0, |at, key| {
            self.members(at)
                .filter(|(name, _)| *name == key.as_str())
                .last()
                .map(|(_, value)| value)
        })
    }

    /// Whether the value holds nothing that a type could be told from: null, `[]`, `{}`, or only such.
    pub(crate) fn is_hollow(&self, at: usize) -> bool {
        match self.nodes.get(at) {
            None | Some(Node::Static(StaticNode::Null)) => true,
            Some(Node::Array { .. }) => self.elements(at).all(|item| self.is_hollow(item)),
            Some(Node::Object { .. }) => self.members(at).all(|(_, value)| self.is_hollow(value)),
            Some(_) => false,
        }
    }

    /// The value's own JSON text, exactly as received.
    pub(crate) fn text(&mut self, at: usize) -> &'a str {
        if !self.spans.built {
            self.spans.build(self.raw, self.structurals);
        }
        let start = self.spans.starts.get(at).map_or(0, |start| *start as usize);
        let end = match self.spans.ends.get(at) {
            Some(0) | None => scalar_end(self.raw, start),
            Some(end) => *end as usize,
        };
        // The parser has proven the whole to be UTF-8, and both ends lie at ASCII characters.
        self.raw
            .get(start..end)
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or_default()
    }

    /// The word for the value's type in messages.
    pub(crate) fn type_word(&self, at: usize) -> &'static str {
        match self.nodes.get(at) {
            None | Some(Node::Static(StaticNode::Null)) => "null",
            Some(Node::String(_)) => "text",
            Some(Node::Object { .. }) => "object",
            Some(Node::Array { .. }) => "list",
            Some(Node::Static(StaticNode::Bool(_))) => "boolean",
            Some(Node::Static(StaticNode::F64(number))) if number.is_nan() => "number beyond 64 bits",
            Some(Node::Static(StaticNode::F64(_))) => "number",
            Some(Node::Static(StaticNode::I64(_) | StaticNode::U64(_))) => "integer",
        }
    }
}

fn after(nodes: &[Node<'_>], at: usize) -> usize {
    match nodes.get(at) {
        Some(Node::Object { count, .. } | Node::Array { count, .. }) => at + count + 1,
        _ => at + 1,
    }
}

/// Walks the fields of an object.
pub(crate) struct Members<'a> {
    nodes: &'a [Node<'a>],
    at: usize,
    left: usize,
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, usize);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let Some(Node::String(key)) = self.nodes.get(self.at) else {
            return None;
        };
        let value = self.at + 1;
        self.at = after(self.nodes, value);
        Some((*key, value))
    }
}

/// Walks the elements of a list.
pub(crate) struct Elements<'a> {
    nodes: &'a [Node<'a>],
    at: usize,
    left: usize,
}

impl Iterator for Elements<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let value = self.at;
        self.at = after(self.nodes, value);
        Some(value)
    }
}

/// Where each node's text lies in the record; made only for records that need it.
#[derive(Default)]
struct Spans {
    built: bool,
    starts: Vec<u32>,
    /// End of an object or list; 0 for scalars, whose end is found when asked for.
    ends: Vec<u32>,
    open: Vec<usize>,
}

impl Spans {
    /// Nodes stand in the tape in the order of their first characters, and each first character is
    /// one of the positions that the parser's first stage found.
    fn build(&mut self, raw: &[u8], structurals: &[u32]) {
        self.starts.clear();
        self.ends.clear();
        self.open.clear();
        for &at in structurals {
            let Some(byte) = raw.get(at as usize) else { break };
            match byte {
                b',' | b':' => {}
                b'}' | b']' => {
                    if let Some(end) = self.open.pop().and_then(|index| self.ends.get_mut(index)) {
                        *end = at + 1;
                    }
                }
                _ => {
                    if matches!(byte, b'{' | b'[') {
                        self.open.push(self.starts.len());
                    }
                    self.starts.push(at);
                    self.ends.push(0);
                }
            }
        }
        self.built = true;
    }
}

fn scalar_end(raw: &[u8], start: usize) -> usize {
    let rest = raw.get(start..).unwrap_or_default();
    if rest.first() != Some(&b'"') {
        let length = rest
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
        return start + length.unwrap_or(rest.len());
    }
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return start + at + 1,
            _ => at += 1,
        }
    }
    raw.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_node_knows_its_text() {
        let raw = br#" {"a" : [1, -2.50e1 ,{"b":"x\"],"}] , "c":null,"d":12345678901234567890123} "#;
        let texts = Parser::new()
            .parse(raw, |record| {
                (0..record.nodes.len())
                    .map(|at| record.text(at).to_owned())
                    .collect::<Vec<_>>()
            })
            .unwrap();
        assert_eq!(
            texts[1..],
            [
                "\"a\"",
                r#"[1, -2.50e1 ,{"b":"x\"],"}]"#,
                "1",
                "-2.50e1",
                r#"{"b":"x\"],"}"#,
                "\"b\"",
                r#""x\"],""#,
                "\"c\"",
                "null",
                "\"d\"",
                "12345678901234567890123",
            ]
        );
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let mut parser = Parser::new();
        for raw in [
            "",
            "{",
            "{\"a\":1}x",
            "nul",
            "{\"a\":01}",
            "{\"a\":1e}",
            "{'a':1}",
        ] {
            assert_eq!(
                parser.parse(raw.as_bytes(), |_| ()),
                Err(Unreadable::Invalid),
                "{raw}"
            );
        }
        assert_eq!(parser.parse(b"{\"a\":\"\xff\"}", |_| ()), Err(Unreadable::Utf8));
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        assert_eq!(parser.parse(deep.as_bytes(), |_| ()), Err(Unreadable::Depth));
        let allowed = format!("{}{}", "[".repeat(60), "]".repeat(60));
        assert_eq!(parser.parse(allowed.as_bytes(), |_| ()), Ok(()));
    }

    proptest! {
        #[test]
        fn texts_parse_to_the_same_values(value in crate::typed::any_json::value()) {
            let raw = serde_json::to_vec_pretty(&value).unwrap();
            let texts = Parser::new()
                .parse(&raw, |record| (0..record.nodes.len()).map(|at| record.text(at).to_owned()).collect::<Vec<_>>())
                .unwrap();
            let whole: Value = serde_json::from_str(&texts[0]).unwrap();
            // Through the same parser, which rounds the last digit of some floats.
            prop_assert_eq!(whole, serde_json::from_slice::<Value>(&raw).unwrap());
            for text in texts {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            }
        }
    }
}
