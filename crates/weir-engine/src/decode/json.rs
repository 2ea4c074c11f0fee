//! JSON: looked at, not parsed and not copied.

use bytes::Bytes;
use weir_protocol::Result;

use super::{Decoded, not_in_format};

pub(super) fn decode(text: Bytes, content_type: Option<&str>) -> Result<Decoded> {
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        // 204, or a 200 without a body: nothing there.
        None => Ok(Decoded::nothing()),
        Some(byte) if may_begin_json(*byte) => Ok(Decoded::Document(text)),
        Some(_) => Err(not_in_format("JSON", &text, content_type)),
    }
}

pub(super) fn may_begin_json(byte: u8) -> bool {
    matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
}
