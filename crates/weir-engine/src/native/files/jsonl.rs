//! JSON Lines: a record a line. A line is taken as it is; the lake judges whether it is a record.

use std::io::{BufRead, BufReader, Read};
use std::ops::Range;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;
use weir_protocol::Result;

use super::failure;
use super::sink::{self, Sink};

const BUFFER_BYTES: usize = 256 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) fn read(
    content: impl Read,
    offset: u64,
    file: &str,
    cursor: Option<&str>,
    sink: &mut Sink,
) -> Result<()> {
    let mut content = BufReader::with_capacity(BUFFER_BYTES, content);
    let mut offset = offset;
    loop {
        let start = sink.body().len();
        let taken = read_line(&mut content, file, sink.body())?;
        if taken == 0 {
            return sink.finish();
        }
        if offset == 0 && sink.body()[start..].starts_with(BYTE_ORDER_MARK) {
            sink.body().drain(start..start + BYTE_ORDER_MARK.len());
        }
        offset += taken;
        let body = sink.body();
        let end = body[start..].trim_ascii_end().len() + start;
        body.truncate(end);
        if body[start..].trim_ascii().is_empty() {
            body.truncate(start);
        } else {
            let cursor = cursor
                .and_then(|field| find(&body[start..], field))
                .map(|found| found.start + start..found.end + start);
            sink.record(start, cursor)?;
        }
        if sink.is_full() {
            sink.flush(json!({ "offset": offset }))?;
        }
    }
}

/// Appends one line with its end; 0 at the end of the file.
fn read_line(content: &mut impl BufRead, file: &str, body: &mut Vec<u8>) -> Result<u64> {
    let limit = sink::RECORD_BYTES_MAX as u64 + 1;
    let taken = content
        .take(limit)
        .read_until(b'\n', body)
        .map_err(|error| failure::reading(error, file))?;
    sink::check_record_size(taken, file)?;
    Ok(taken as u64)
}

/// Where the value of a top-level field lies in a record's text.
pub(super) fn find(record: &[u8], field: &str) -> Option<Range<usize>> {
    struct Find<'a>(&'a str);
    impl<'de> Visitor<'de> for Find<'_> {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                if key == self.0 {
                    found = Some(map.next_value::<&RawValue>()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    let mut parser = serde_json::Deserializer::from_slice(record);
    let raw = parser.deserialize_map(Find(field)).ok()??.get();
    let start = raw.as_ptr() as usize - record.as_ptr() as usize;
    (raw != "null").then(|| start..start + raw.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_cursor_where_it_is() {
        let record = br#"{"a":{"t":1},"t" : "2024","b":2}"#;
        let found = find(record, "t").unwrap();
        assert_eq!(&record[found], br#""2024""#);
        assert_eq!(find(record, "x"), None);
        assert_eq!(find(br#"{"t":null}"#, "t"), None);
        assert_eq!(find(b"not json", "t"), None);
    }
}
