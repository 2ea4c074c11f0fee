//! Numbers that JSON allows and 64 bits cannot hold.

/// An integer of fewer digits fits 64 bits.
const DIGITS_SAFE_MAX: usize = 18;

/// Blanks out the numbers that 64 bits may not hold, each to `0` and spaces, so that the text keeps
/// its places; returns the new text and where they began. None where there are none.
pub(crate) fn blank(raw: &[u8]) -> Option<(Vec<u8>, Vec<u32>)> {
    let mut out = raw.to_vec();
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        match byte {
            b'"' => at = string_end(raw, at),
            b'-' | b'0'..=b'9' => {
                let end = token_end(raw, at);
                let token = raw.get(at..end).unwrap_or_default();
                if is_number(token) && is_big(token) {
                    starts.push(u32::try_from(at).ok()?);
                    let place = out.get_mut(at..end)?;
                    place.fill(b' ');
                    *place.first_mut()? = b'0';
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    (!starts.is_empty()).then_some((out, starts))
}

fn string_end(raw: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = raw.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    raw.len()
}

fn token_end(raw: &[u8], start: usize) -> usize {
    let rest = raw.get(start..).unwrap_or_default();
    let inside = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
    start + rest.iter().position(|byte| !inside(byte)).unwrap_or(rest.len())
}

/// JSON's grammar of a number.
fn is_number(token: &[u8]) -> bool {
    let unsigned = token.strip_prefix(b"-").unwrap_or(token);
    let whole = digits(unsigned);
    if whole == 0 || (whole > 1 && unsigned.first() == Some(&b'0')) {
        return false;
    }
    let mut rest = unsigned.get(whole..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = fraction.get(length..).unwrap_or_default();
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let unsigned = exponent
            .strip_prefix(b"+")
            .or_else(|| exponent.strip_prefix(b"-"))
            .unwrap_or(exponent);
        return !unsigned.is_empty() && digits(unsigned) == unsigned.len();
    }
    rest.is_empty()
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn is_big(token: &[u8]) -> bool {
    let integer = token.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
    if integer {
        return digits(token.strip_prefix(b"-").unwrap_or(token)) > DIGITS_SAFE_MAX;
    }
    let parsed = std::str::from_utf8(token)
        .ok()
        .and_then(|text| text.parse::<f64>().ok());
    parsed.is_none_or(f64::is_infinite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_big_numbers_outside_strings_are_blanked() {
        let raw = br#"{"99999999999999999999":"1e999","a":[18446744073709551616,1e999,-7,1.5]}"#;
        let (text, starts) = blank(raw).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            r#"{"99999999999999999999":"1e999","a":[0                   ,0    ,-7,1.5]}"#
        );
        assert_eq!(starts.len(), 2);
        assert!(blank(b"{\"a\":1}").is_none());
        assert!(blank(b"[0123456789012345678901234]").is_none());
    }
}
