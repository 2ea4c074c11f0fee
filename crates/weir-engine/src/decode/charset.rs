//! Text in any character set → UTF-8, without a byte order mark. UTF-8 is checked, not copied.

use std::borrow::Cow;

use bytes::Bytes;
use encoding_rs::{Encoding, UTF_8};
use weir_protocol::{Error, Result};

/// A byte order mark decides, then the spec, then the content type; else it is UTF-8.
pub(super) fn to_utf8(bytes: &Bytes, declared: Option<&str>, content_type: Option<&str>) -> Result<Bytes> {
    let (encoding, mark) = match Encoding::for_bom(bytes) {
        Some((encoding, mark)) => (encoding, mark),
        None => (chosen(declared, content_type)?, 0),
    };
    let text = bytes.slice(mark..);
    if encoding == UTF_8 {
        return match std::str::from_utf8(&text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Error::decode("the answer is not valid UTF-8")
                .with("at byte", mark + error.valid_up_to())
                .hint("set decode.charset to the answer's character set, as in windows-1252")),
        };
    }
    let (decoded, malformed) = encoding.decode_without_bom_handling(&text);
    if malformed {
        return Err(
            Error::decode(format!("the answer is not valid {}", encoding.name()))
                .hint("set decode.charset to the answer's character set"),
        );
    }
    Ok(match decoded {
        // Nothing but ASCII was in it.
        Cow::Borrowed(_) => text,
        Cow::Owned(decoded) => decoded.into(),
    })
}

fn chosen(declared: Option<&str>, content_type: Option<&str>) -> Result<&'static Encoding> {
    if let Some(name) = declared {
        return Encoding::for_label(name.as_bytes()).ok_or_else(|| {
            Error::spec(format!("charset '{name}' is unknown"))
                .hint("use a WHATWG name such as windows-1252 or utf-16le")
        });
    }
    let named = content_type.and_then(charset_of);
    // An unknown name of the server's is no reason to fail where the text is plain UTF-8.
    Ok(named
        .and_then(|name| Encoding::for_label(name.as_bytes()))
        .unwrap_or(UTF_8))
}

fn charset_of(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"'))
    })
}
