//! Names of folders as IMAP spells them: UTF-7 of its own kind (RFC 3501, section 5.1.3).

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The name as people see it. One that is not spelled so stays as it is: newer servers send UTF-8.
pub(super) fn decode(name: &str) -> String {
    try_decode(name).unwrap_or_else(|| name.to_owned())
}

fn try_decode(name: &str) -> Option<String> {
    let mut decoded = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, more)) = rest.split_once('&') {
        decoded.push_str(plain);
        let (encoded, after) = more.split_once('-')?;
        if encoded.is_empty() {
            decoded.push('&');
        } else {
            let bytes = ENGINE.decode(encoded).ok()?;
            let pairs = bytes.chunks_exact(2);
            if !pairs.remainder().is_empty() {
                return None;
            }
            let units: Vec<u16> = pairs
                .filter_map(|pair| <[u8; 2]>::try_from(pair).ok().map(u16::from_be_bytes))
                .collect();
            decoded.push_str(&String::from_utf16(&units).ok()?);
        }
        rest = after;
    }
    decoded.push_str(rest);
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_as_people_see_them() {
        for (spelled, seen) in [
            ("INBOX", "INBOX"),
            ("Entw&APw-rfe", "Entwürfe"),
            ("&BkUGMQYzBkQ-", "مرسل"),
            ("R&-D", "R&D"),
            ("&2D3eAA-", "\u{1f600}"),
            // Not of this kind.
            ("a&b", "a&b"),
            ("&!!!-", "&!!!-"),
            ("Gesendet/Ärger", "Gesendet/Ärger"),
        ] {
            assert_eq!(decode(spelled), seen, "{spelled}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_read(name in ".{0,40}") {
            decode(&name);
        }
    }
}
