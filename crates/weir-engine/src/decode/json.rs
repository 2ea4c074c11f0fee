//! JSON: looked at, not parsed and not copied.

use bytes::Bytes;
use weir_protocol::{Error, Result};

use super::{Decoded, not_in_format};

pub(super) fn decode(text: Bytes, content_type: Option<&str>) -> Result<Decoded> {
    let body = text.trim_ascii();
    // An answer that says nothing must not pass for a table that became empty (204 is told apart before).
    if body.is_empty() || body == b"null" {
        return Err(Error::decode("the answer is empty where JSON was expected")
            .with("content-type", content_type.unwrap_or("none"))
            .hint("try again later; an API that means \"no records\" by it needs an errors rule with action: ignore"));
    }
    if body.first().copied().is_some_and(may_begin_json) {
        return Ok(Decoded::Document(text));
    }
    Err(not_in_format("JSON", &text, content_type))
}

pub(super) fn may_begin_json(byte: u8) -> bool {
    matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
}
