//! A file's bytes for code that reads them one after the other, fetched ahead with a bound.

use std::io::{self, Read};

use bytes::Bytes;
use futures::StreamExt;
use object_store::{GetOptions, GetRange};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use weir_protocol::Result;

use super::failure;
use super::format::Compression;
use super::place::{File, Place};

/// Pieces that wait between fetching and parsing.
const PIECES_AHEAD: usize = 8;

/// Reads what the fetching task sends. Only for threads that may block.
struct Pieces {
    incoming: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.incoming.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = out.len().min(self.piece.len());
        let taken = self.piece.split_to(count);
        out[..count].copy_from_slice(&taken);
        Ok(count)
    }
}

/// The decompressed content from `offset` on. Plain files are fetched from there; compressed ones
/// are read over.
pub(super) fn open(
    runtime: &Handle,
    place: &Place,
    file: &File,
    compression: Compression,
    offset: u64,
) -> Result<Box<dyn Read + Send>> {
    let broken = |error| failure::reading(error, &file.name);
    let start = if compression == Compression::None {
        offset
    } else {
        0
    };
    let raw = fetch(runtime, place, file, start);
    let mut content: Box<dyn Read + Send> = match compression {
        Compression::None => return Ok(Box::new(raw)),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(raw)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(raw).map_err(broken)?),
    };
    io::copy(&mut content.by_ref().take(offset), &mut io::sink()).map_err(broken)?;
    Ok(content)
}

fn fetch(runtime: &Handle, place: &Place, file: &File, start: u64) -> Pieces {
    let (out, incoming) = mpsc::channel(PIECES_AHEAD);
    if start < file.size {
        let store = place.store.clone();
        let location = file.location.clone();
        let options = GetOptions {
            range: (start > 0).then_some(GetRange::Offset(start)),
            ..GetOptions::default()
        };
        runtime.spawn(async move {
            let answer = match store.get_opts(&location, options).await {
                Ok(answer) => answer,
                // A closed channel means that nobody reads on.
                Err(error) => return drop(out.send(Err(error.into())).await),
            };
            let mut stream = answer.into_stream();
            while let Some(piece) = stream.next().await {
                if out.send(piece.map_err(Into::into)).await.is_err() {
                    return;
                }
            }
        });
    }
    Pieces {
        incoming,
        piece: Bytes::new(),
    }
}
