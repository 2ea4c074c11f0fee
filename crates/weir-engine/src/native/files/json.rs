//! One JSON document: an array of records, or records one after the other. Read as a stream: only
//! one record is held at a time.

use std::io::{BufRead, BufReader, Read};

use serde_json::json;
use weir_protocol::{Error, Result};

use super::failure;
use super::jsonl::find;
use super::sink::{self, Sink};

const BUFFER_BYTES: usize = 256 << 10;

/// Splits a document into its records, byte by byte. Knows strings and nesting, nothing else: what
/// is inside a record is judged by the lake.
#[derive(Debug, Default)]
struct Splitter {
    /// Whether the records stand in an array.
    in_array: bool,
    begun: bool,
    depth: u32,
    in_string: bool,
    escaped: bool,
    in_record: bool,
    ended: bool,
}

enum Step {
    /// The byte belongs to the record.
    Take,
    /// It is the record's last byte.
    TakeAndEnd,
    /// The record ended before it (a bare value).
    End,
    /// It lies between records.
    Skip,
}

impl Splitter {
    fn step(&mut self, byte: u8) -> Step {
        if self.in_string {
            return self.step_in_string(byte);
        }
        match byte {
            b'\xef' | b'\xbb' | b'\xbf' if !self.begun => Step::Skip,
            b'[' if !self.begun => {
                self.begun = true;
                self.in_array = true;
                Step::Skip
            }
            b' ' | b'\t' | b'\r' | b'\n' | b',' if self.depth == 0 => self.end_bare(),
            b']' if self.depth == 0 && self.in_array => {
                self.ended = true;
                self.end_bare()
            }
            b'{' | b'[' => self.enter(1, false),
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.leave()
            }
            b'"' => self.enter(0, true),
            _ => self.enter(0, false),
        }
    }

    fn step_in_string(&mut self, byte: u8) -> Step {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => {
                self.in_string = false;
                return self.leave();
            }
            _ => {}
        }
        Step::Take
    }

    fn enter(&mut self, deeper: u32, in_string: bool) -> Step {
        self.begun = true;
        self.in_record = true;
        self.depth += deeper;
        self.in_string = in_string;
        Step::Take
    }

    fn leave(&mut self) -> Step {
        if self.depth > 0 {
            return Step::Take;
        }
        self.in_record = false;
        Step::TakeAndEnd
    }

    fn end_bare(&mut self) -> Step {
        if std::mem::take(&mut self.in_record) {
            Step::End
        } else {
            Step::Skip
        }
    }
}

pub(super) fn read(
    content: impl Read,
    offset: u64,
    file: &str,
    cursor: Option<&str>,
    sink: &mut Sink,
) -> Result<()> {
    let mut content = BufReader::with_capacity(BUFFER_BYTES, content);
    let mut splitter = Splitter {
        // A read that goes on is past the opening bracket.
        in_array: offset > 0,
        begun: offset > 0,
        ..Splitter::default()
    };
    let mut offset = offset;
    let mut start = sink.body().len();
    loop {
        let piece = content
            .fill_buf()
            .map_err(|error| failure::reading(error, file))?;
        if piece.is_empty() {
            break;
        }
        let length = piece.len();
        for (index, byte) in piece.iter().enumerate() {
            let step = splitter.step(*byte);
            if matches!(step, Step::Take | Step::TakeAndEnd) {
                sink.body().push(*byte);
            }
            if matches!(step, Step::End | Step::TakeAndEnd) {
                end_record(start, cursor, sink)?;
                if sink.is_full() {
                    sink.flush(json!({ "offset": offset + index as u64 + 1 }))?;
                }
                start = sink.body().len();
            }
        }
        sink::check_record_size(sink.body().len() - start, file)?;
        offset += length as u64;
        content.consume(length);
    }
    if splitter.in_array && !splitter.ended {
        return Err(Error::decode(format!("'{file}' ends within its JSON array"))
            .hint("the file is cut off; write it again"));
    }
    if sink.body().len() > start {
        end_record(start, cursor, sink)?;
    }
    sink.finish()
}

fn end_record(start: usize, cursor: Option<&str>, sink: &mut Sink) -> Result<()> {
    let found = cursor
        .and_then(|field| find(&sink.body()[start..], field))
        .map(|found| found.start + start..found.end + start);
    sink.record(start, found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> Vec<String> {
        let mut splitter = Splitter::default();
        let (mut out, mut current) = (Vec::new(), Vec::new());
        for byte in text.bytes() {
            let step = splitter.step(byte);
            if matches!(step, Step::Take | Step::TakeAndEnd) {
                current.push(byte);
            }
            if matches!(step, Step::End | Step::TakeAndEnd) {
                out.push(String::from_utf8(std::mem::take(&mut current)).unwrap());
            }
        }
        if !current.is_empty() {
            out.push(String::from_utf8(current).unwrap());
        }
        out
    }

    #[test]
    fn one_object_is_one_record() {
        assert_eq!(split(r#" {"a":[1,{"b":"]}"}]} "#), [r#"{"a":[1,{"b":"]}"}]}"#]);
        assert_eq!(split("{\"a\":1}\n{\"a\":2}"), [r#"{"a":1}"#, r#"{"a":2}"#]);
        assert_eq!(split("[]"), [""; 0]);
        assert_eq!(split(r#"["a", 1, null]"#), [r#""a""#, "1", "null"]);
    }

    proptest! {
        #[test]
        fn an_array_comes_apart_as_it_was_put_together(texts in prop::collection::vec(".*", 0..8)) {
            let records: Vec<_> = texts.iter().map(|text| serde_json::json!({ "t": text, "n": [[1], {}] })).collect();
            let found = split(&serde_json::to_string_pretty(&records).unwrap());
            let found: Vec<serde_json::Value> = found.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(found, records);
        }
    }
}
