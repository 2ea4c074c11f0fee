//! Answers in every format, packed in every way.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir_engine::decode::{Encoded, decode};
use weir_protocol::spec::{Decode, DecodeFormat, Encoding};

const BYTES_MAX: u64 = 4 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let spec = Decode {
        format: [
            DecodeFormat::Json,
            DecodeFormat::Jsonl,
            DecodeFormat::Csv,
            DecodeFormat::Xml,
        ][usize::from(choice & 3)],
        compression: [Encoding::None, Encoding::Gzip, Encoding::Zip, Encoding::Zstd]
            [usize::from(choice >> 2 & 3)],
        charset: (choice & 16 != 0).then(|| {
            ["utf-16le", "latin1", "shift_jis", "nonsense"][usize::from(choice >> 5 & 3)].to_owned()
        }),
        ..Decode::default()
    };
    let content_type = (choice & 128 != 0).then_some("text/html; charset=iso-8859-1");
    let _ = decode(
        &spec,
        Encoded {
            body: &Bytes::copy_from_slice(body),
            content_type,
            bytes_max: BYTES_MAX,
        },
    );
});
