//! JSON Lines: one JSON text a line, blank lines ignored.

use bytes::Bytes;
use weir_protocol::Result;

use super::json::may_begin_json;
use super::{Decoded, not_in_format, offset};

pub(super) fn decode(text: Bytes, content_type: Option<&str>) -> Result<Decoded> {
    offset(text.len())?;
    let mut lines = Vec::new();
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', &text).chain(std::iter::once(text.len()));
    for (index, end) in ends.enumerate() {
        let raw = text.get(start..end).unwrap_or_default();
        let line = raw.trim_ascii();
        if let Some(first) = line.first() {
            if !may_begin_json(*first) {
                return Err(not_in_format("JSON Lines", line, content_type).with("line", index + 1));
            }
            let from = start + (raw.len() - raw.trim_ascii_start().len());
            lines.push(offset(from)?..offset(from + line.len())?);
        }
        start = end + 1;
    }
    Ok(Decoded::Lines(text, lines))
}
