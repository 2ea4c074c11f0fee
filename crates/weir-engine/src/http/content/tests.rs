//! Every coding in pieces of every size, whole and cut.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;

fn packed(coding: Coding, is_bare: bool, text: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Deflate if is_bare => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Zstd => zstd::encode_all(text, 1).unwrap(),
        Coding::Brotli => futures::executor::block_on(async {
            let mut encoder = async_compression::tokio::bufread::BrotliEncoder::new(text);
            let mut bytes = Vec::new();
            encoder.read_to_end(&mut bytes).await.unwrap();
            bytes
        }),
    }
}

fn unpacked(coding: Coding, bytes: &[u8], piece: usize) -> io::Result<Vec<u8>> {
    unpacked_as((coding, false), bytes, piece)
}

fn unpacked_as(named: (Coding, bool), bytes: &[u8], piece: usize) -> io::Result<Vec<u8>> {
    let pieces: Vec<io::Result<Bytes>> = bytes
        .chunks(piece)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    futures::executor::block_on(async {
        let wire: Wire = Box::pin(StreamReader::new(futures::stream::iter(pieces)));
        let mut content = Content::over(Some(named), wire).await?;
        let mut text = Vec::new();
        loop {
            let piece = content.piece().await?;
            if piece.is_empty() {
                return Ok(text);
            }
            text.extend_from_slice(piece);
            let taken = piece.len();
            content.consume(taken);
        }
    })
}

fn a_coding() -> impl Strategy<Value = (Coding, bool)> {
    prop_oneof![
        Just((Coding::Gzip, false)),
        Just((Coding::Brotli, false)),
        Just((Coding::Zstd, false)),
        Just((Coding::Deflate, false)),
        Just((Coding::Deflate, true)),
    ]
}

proptest! {
    #[test]
    fn what_was_packed_in_members_comes_out_whole(
        coding in prop_oneof![Just(Coding::Gzip), Just(Coding::Zstd)],
        members in prop::collection::vec("[a-f]{0,40}", 1..5),
        piece in 1usize..64,
    ) {
        let bytes: Vec<u8> = members.iter().flat_map(|text| packed(coding, false, text.as_bytes())).collect();
        prop_assert_eq!(unpacked(coding, &bytes, piece).unwrap(), members.concat().into_bytes());
    }

    #[test]
    fn padding_may_follow_and_nothing_else(
        (coding, is_bare) in a_coding(),
        text in "[a-z]{0,200}",
        padding in prop_oneof![Just(&b""[..]), Just(&b"\0\0\0\0"[..]), Just(&b"\r\n"[..])],
        piece in 1usize..64,
    ) {
        let whole = [&packed(coding, is_bare, text.as_bytes()), padding].concat();
        prop_assert_eq!(unpacked(coding, &whole, piece).unwrap(), text.as_bytes());
        let followed = [&whole[..], b"<!-- proxied -->"].concat();
        prop_assert!(unpacked(coding, &followed, piece).is_err());
    }

    #[test]
    fn what_is_cut_is_damaged(
        (coding, is_bare) in a_coding(),
        text in "[a-z]{1,200}",
        cut in any::<prop::sample::Index>(),
        piece in 1usize..64,
    ) {
        let bytes = packed(coding, is_bare, text.as_bytes());
        let left = 1 + cut.index(bytes.len() - 1);
        prop_assert!(unpacked(coding, &bytes[..left], piece).is_err());
        if matches!(coding, Coding::Gzip | Coding::Zstd) {
            let second = [&bytes, &bytes[..left]].concat();
            prop_assert!(unpacked(coding, &second, piece).is_err());
        }
    }
}

#[test]
fn a_coding_is_found_among_names_that_are_none() {
    let coding = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, value.parse().unwrap());
        }
        Coding::of(&headers)
    };
    assert_eq!(
        coding(&["identity, x-gzip"]).unwrap(),
        Some((Coding::Gzip, false))
    );
    assert_eq!(coding(&["utf-8", "BR"]).unwrap(), Some((Coding::Brotli, false)));
    assert_eq!(coding(&["utf-8"]).unwrap(), None);
    for twice in [&["gzip", "x-gzip"][..], &["gzip,gzip"]] {
        assert_eq!(coding(twice).unwrap(), Some((Coding::Gzip, true)));
    }
    for nested in [
        &["gzip", "br"][..],
        &["br", "br"],
        &["zstd, zstd"],
        &["gzip", "gzip, gzip"],
    ] {
        assert!(coding(nested).is_err(), "{nested:?}");
    }
}

#[test]
fn what_is_named_twice_is_packed_once_or_refused() {
    let twice = (Coding::Gzip, true);
    let pack = |bytes: &[u8]| packed(Coding::Gzip, false, bytes);
    let once = pack(b"{\"items\":[]}");
    // A member that holds nothing hides no other.
    let padded = [pack(b""), once.clone()].concat();
    for piece in [1, 7, 4096] {
        for bytes in [&once, &padded] {
            assert_eq!(unpacked_as(twice, bytes, piece).unwrap(), b"{\"items\":[]}");
        }
        assert_eq!(unpacked_as(twice, &pack(b""), piece).unwrap(), b"");
        assert_eq!(unpacked_as(twice, b"", piece).unwrap(), b"");
        for packed_twice in [pack(&once), [pack(b""), pack(&once)].concat()] {
            let error = unpacked_as(twice, &packed_twice, piece).unwrap_err();
            assert!(matches!(error.downcast::<Broken>(), Ok(Broken::Nested)));
        }
        // Named once, it is given as it is: whoever asked for a packed file gets it.
        assert_eq!(unpacked(Coding::Gzip, &pack(&once), piece).unwrap(), once);
    }
}

#[test]
fn an_empty_body_needs_no_member() {
    for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd, Coding::Deflate] {
        assert_eq!(unpacked(coding, b"", 1).unwrap(), b"");
    }
}
