//! A body as it comes from the network, and what its Content-Encoding packed.
//!
//! Unpacked here rather than by the HTTP library, which stops at the end of the first gzip member and says nothing of
//! what follows: servers that append to compressed files send several.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use bytes::Bytes;
use futures::Stream;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};
use tokio_util::io::StreamReader;

/// What is asked for where a request names nothing itself.
pub(super) const ACCEPTED: &str = "gzip, br, zstd, deflate";
/// Unpacked at a time.
const PIECE_BYTES: usize = 64 << 10;
/// The first byte of whatever gzip packed; no text begins with it.
const GZIP_HEAD: u8 = 0x1f;

/// Why a body ended before its end. What is none of these is damage to what was packed.
#[derive(Debug)]
pub(super) enum Broken {
    Connection(reqwest::Error),
    /// Nothing came for the longest silence.
    Silent,
    /// More bytes came than an answer may have.
    TooLarge,
    /// Something else follows what was packed.
    Followed,
    /// One encoding in another: none is undone, for a bomb between them would be seen by nobody.
    Nested,
}

impl std::error::Error for Broken {}

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Connection(_) => "the connection broke",
            Self::Silent => "the answer stopped midway",
            Self::TooLarge => "the answer is too large",
            Self::Followed => "other bytes follow the compressed body",
            Self::Nested => "the answer names several content encodings, one in the other",
        })
    }
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        Self::other(broken)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Brotli,
    Zstd,
    Deflate,
}

impl Coding {
    /// None for what packs nothing; also for names that are no coding at all, as some servers send (`utf-8`).
    fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    /// The coding of a body, and whether it is named twice; none where the body is as it is.
    fn of(headers: &HeaderMap) -> io::Result<Option<(Self, bool)>> {
        let named = headers.get_all(CONTENT_ENCODING).iter();
        let codings: Vec<Self> = named
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(Self::named)
            .collect();
        match codings.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((*one, false))),
            // A proxy may repeat what a server said. Of gzip the unpacked bytes tell.
            [Self::Gzip, Self::Gzip] => Ok(Some((Self::Gzip, true))),
            _ => Err(Broken::Nested.into()),
        }
    }

    /// Whether what begins so is one more member of the same body. Only these two formats have such.
    fn goes_on_with(self, head: u8) -> bool {
        match self {
            Self::Gzip => head == GZIP_HEAD,
            // A frame, or one that is to be skipped.
            Self::Zstd => head == 0x28 || (0x50..=0x5f).contains(&head),
            Self::Brotli | Self::Deflate => false,
        }
    }
}

/// Bytes in the order in which they came.
type Wire = Pin<Box<dyn AsyncBufRead + Send>>;

/// What is read at the moment: the body as it is, or a member of a packed one.
enum Part {
    Plain(Wire),
    Gzip(BufReader<GzipDecoder<Wire>>),
    Brotli(Box<BufReader<BrotliDecoder<Wire>>>),
    Zstd(BufReader<ZstdDecoder<Wire>>),
    Zlib(BufReader<ZlibDecoder<Wire>>),
    Deflate(BufReader<DeflateDecoder<Wire>>),
}

impl Part {
    async fn packed(coding: Coding, mut wire: Wire) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(buffered(GzipDecoder::new(wire))),
            Coding::Brotli => Self::Brotli(Box::new(buffered(BrotliDecoder::new(wire)))),
            Coding::Zstd => Self::Zstd(buffered(ZstdDecoder::new(wire))),
            Coding::Deflate if is_zlib(wire.fill_buf().await?) => {
                Self::Zlib(buffered(ZlibDecoder::new(wire)))
            }
            Coding::Deflate => Self::Deflate(buffered(DeflateDecoder::new(wire))),
        })
    }

    async fn fill(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(wire) => wire.fill_buf().await,
            Self::Gzip(decoder) => decoder.fill_buf().await,
            Self::Brotli(decoder) => decoder.fill_buf().await,
            Self::Zstd(decoder) => decoder.fill_buf().await,
            Self::Zlib(decoder) => decoder.fill_buf().await,
            Self::Deflate(decoder) => decoder.fill_buf().await,
        }
    }

    fn consume(&mut self, bytes: usize) {
        match self {
            Self::Plain(wire) => wire.consume(bytes),
            Self::Gzip(decoder) => decoder.consume(bytes),
            Self::Brotli(decoder) => decoder.consume(bytes),
            Self::Zstd(decoder) => decoder.consume(bytes),
            Self::Zlib(decoder) => decoder.consume(bytes),
            Self::Deflate(decoder) => decoder.consume(bytes),
        }
    }

    /// What follows it on the wire, once it is read to its end.
    fn rest(self) -> Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Gzip(decoder) => decoder.into_inner().into_inner(),
            Self::Brotli(decoder) => decoder.into_inner().into_inner(),
            Self::Zstd(decoder) => decoder.into_inner().into_inner(),
            Self::Zlib(decoder) => decoder.into_inner().into_inner(),
            Self::Deflate(decoder) => decoder.into_inner().into_inner(),
        }
    }
}

/// A body, unpacked.
pub(super) struct Content {
    coding: Option<Coding>,
    /// None at the end.
    part: Option<Part>,
    /// Until the first unpacked byte: the coding was named twice, so that another one may lie in it.
    is_named_twice: bool,
}

impl Content {
    /// The body of `response`. No more than `wire_max` bytes are taken from the network, and none of its silences is
    /// longer than `idle`.
    pub(super) async fn of(response: reqwest::Response, wire_max: u64, idle: Duration) -> io::Result<Self> {
        let named = Coding::of(response.headers())?;
        Self::over(
            named,
            Box::pin(StreamReader::new(pieces(response, wire_max, idle))),
        )
        .await
    }

    async fn over(named: Option<(Coding, bool)>, mut wire: Wire) -> io::Result<Self> {
        let (coding, is_named_twice) = named.unzip();
        let part = match coding {
            // Answers without a body name a coding, too.
            Some(coding) if !wire.fill_buf().await?.is_empty() => Part::packed(coding, wire).await?,
            _ => Part::Plain(wire),
        };
        Ok(Self {
            coding,
            part: Some(part),
            is_named_twice: is_named_twice.unwrap_or_default(),
        })
    }

    /// The next bytes; none at the end.
    pub(super) async fn piece(&mut self) -> io::Result<&[u8]> {
        while let Some(part) = &mut self.part {
            if !part.fill().await?.is_empty() {
                break;
            }
            self.end_part().await?;
        }
        let Some(part) = &mut self.part else {
            return Ok(&[]);
        };
        let bytes = part.fill().await?;
        if self.is_named_twice && bytes.first() == Some(&GZIP_HEAD) {
            return Err(Broken::Nested.into());
        }
        Ok(bytes)
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.is_named_twice &= bytes == 0;
        if let Some(part) = &mut self.part {
            part.consume(bytes);
        }
    }

    /// Goes on to the next member. What follows the last one may be padding; else something is missing or too much.
    async fn end_part(&mut self) -> io::Result<()> {
        let (Some(coding), Some(part)) = (self.coding, self.part.take()) else {
            return Ok(());
        };
        let mut wire = part.rest();
        match wire.fill_buf().await?.first() {
            Some(head) if coding.goes_on_with(*head) => {
                self.part = Some(Part::packed(coding, wire).await?);
                Ok(())
            }
            _ => padding(wire).await,
        }
    }
}

/// The headers as they apply to the unpacked body.
pub(super) fn headers(response: &reqwest::Response) -> HeaderMap {
    let mut headers = response.headers().clone();
    if matches!(Coding::of(&headers), Ok(Some(_))) {
        headers.remove(CONTENT_ENCODING);
        headers.remove(CONTENT_LENGTH);
    }
    headers
}

fn pieces(
    response: reqwest::Response,
    wire_max: u64,
    idle: Duration,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    futures::stream::try_unfold((response, wire_max), move |(mut response, left)| async move {
        let piece = tokio::time::timeout(idle, response.chunk()).await;
        let Some(piece) = piece.map_err(|_| Broken::Silent)?.map_err(Broken::Connection)? else {
            return Ok(None);
        };
        let left = left.checked_sub(piece.len() as u64).ok_or(Broken::TooLarge)?;
        Ok(Some((piece, (response, left))))
    })
}

async fn padding(mut wire: Wire) -> io::Result<()> {
    loop {
        let bytes = wire.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(());
        }
        if !bytes
            .iter()
            .all(|byte| matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n'))
        {
            return Err(Broken::Followed.into());
        }
        let taken = bytes.len();
        wire.consume(taken);
    }
}

fn buffered<R: AsyncRead>(decoder: R) -> BufReader<R> {
    BufReader::with_capacity(PIECE_BYTES, decoder)
}

/// `deflate` means zlib's wrapping by its definition, and the bare stream to many servers.
fn is_zlib(head: &[u8]) -> bool {
    match head {
        [first, second, ..] => {
            first & 0x0f == 8 && first >> 4 <= 7 && u16::from_be_bytes([*first, *second]) % 31 == 0
        }
        [first] => *first == 0x78,
        [] => true,
    }
}

#[cfg(test)]
mod tests;
