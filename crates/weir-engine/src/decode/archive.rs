//! Compression beyond HTTP's own: gzip, zstd, zip. Stops at a limit, so that a small file cannot
//! fill the memory.

use std::io::{Cursor, Read};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use weir_protocol::spec::Encoding;
use weir_protocol::{Error, Result};
use zip::ZipArchive;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const MEMBERS_MAX: usize = 10_000;

pub(super) struct Part {
    pub(super) bytes: Bytes,
    /// Name within an archive.
    pub(super) member: Option<String>,
}

pub(super) fn unpack(encoding: Encoding, body: &Bytes, bytes_max: u64) -> Result<Vec<Part>> {
    let whole = |bytes: Bytes| Ok(vec![Part { bytes, member: None }]);
    match encoding {
        Encoding::None => whole(body.clone()),
        // A server that also names it as content encoding has had it undone already.
        Encoding::Gzip if !body.starts_with(GZIP_MAGIC) && !body.is_empty() => whole(body.clone()),
        Encoding::Gzip | Encoding::Zstd if body.is_empty() => whole(Bytes::new()),
        Encoding::Gzip => whole(read(
            MultiGzDecoder::new(body.as_ref()),
            bytes_max,
            bytes_max,
            "gzip",
        )?),
        Encoding::Zstd => {
            let decoder =
                zstd::stream::read::Decoder::new(body.as_ref()).map_err(|error| broken("zstd", error))?;
            whole(read(decoder, bytes_max, bytes_max, "zstd")?)
        }
        Encoding::Zip => unzip(body, bytes_max),
    }
}

fn unzip(body: &Bytes, bytes_max: u64) -> Result<Vec<Part>> {
    let mut archive = ZipArchive::new(Cursor::new(body.as_ref())).map_err(|error| broken("zip", error))?;
    if archive.len() > MEMBERS_MAX {
        return Err(Error::limit(format!("zip archive has {} members", archive.len()))
            .with("limit", MEMBERS_MAX)
            .hint("ask for narrower slices"));
    }
    let mut parts = Vec::new();
    let mut left = bytes_max;
    for index in 0..archive.len() {
        let member = archive.by_index(index).map_err(|error| broken("zip", error))?;
        let name = member.name().to_owned();
        if !is_data(&name) {
            continue;
        }
        let bytes = read(member, left, bytes_max, "zip").map_err(|error| error.with("member", &name))?;
        left = left.saturating_sub(bytes.len() as u64);
        parts.push(Part {
            bytes,
            member: Some(name),
        });
    }
    Ok(parts)
}

/// Folders and what operating systems put beside the data are none.
fn is_data(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or_default();
    !file.is_empty() && !file.starts_with('.') && !name.starts_with("__MACOSX/")
}

fn read(reader: impl Read, left: u64, bytes_max: u64, format: &str) -> Result<Bytes> {
    let mut bytes = Vec::new();
    reader
        .take(left.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| broken(format, error))?;
    if bytes.len() as u64 > left {
        return Err(
            Error::limit(format!("{format} content is too large once decompressed"))
                .with("limit", format!("{bytes_max} bytes"))
                .hint("ask for narrower slices, or raise reliability.response_max (unless it is set, a quarter of --memory)"),
        );
    }
    Ok(bytes.into())
}

fn broken(format: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::decode(format!("the answer is not whole {format}"))
        .caused_by(error)
        .hint("check decode.compression; if it is right, the vendor sent a broken file: try again")
}
