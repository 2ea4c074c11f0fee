//! One zstd frame, which grows by blocks of lines.

use std::cell::RefCell;
use std::io::Write as _;

use weir_protocol::{Error, Result};
use zstd::bulk::Compressor;
use zstd::stream::write::Encoder;

/// Fast: storage is cheaper than the time of a sync, and Silver compresses again.
const LEVEL: i32 = 1;
/// A block's memory is kept for the next one up to so many bytes; a record may be larger.
const BLOCK_BYTES_KEPT_MAX: usize = 1 << 20;

thread_local! {
    /// Making a context costs more than a small object.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

#[derive(Default)]
pub(super) struct Frame {
    encoder: Option<Encoder<'static, Vec<u8>>>,
    bytes: usize,
}

impl Frame {
    /// Bytes taken so far, before compression.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the block and empties it.
    pub(super) fn write(&mut self, block: &mut Vec<u8>) -> Result<()> {
        let mut encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => Encoder::new(Vec::new(), LEVEL).map_err(compression)?,
        };
        encoder.write_all(block).map_err(compression)?;
        self.encoder = Some(encoder);
        self.bytes += block.len();
        empty(block);
        Ok(())
    }

    /// The compressed frame with the last block, which is emptied; what comes next begins another.
    pub(super) fn finish(&mut self, block: &mut Vec<u8>) -> Result<Vec<u8>> {
        self.bytes = 0;
        let body = match self.encoder.take() {
            Some(mut encoder) => encoder.write_all(block).and_then(|()| encoder.finish()),
            None => compress(block),
        };
        empty(block);
        body.map_err(compression)
    }
}

/// A whole frame at once.
fn compress(block: &[u8]) -> std::io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        let compressor = match compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(LEVEL)?),
        };
        compressor.compress(block)
    })
}

fn empty(block: &mut Vec<u8>) {
    block.clear();
    block.shrink_to(BLOCK_BYTES_KEPT_MAX);
}

fn compression(error: std::io::Error) -> Error {
    Error::internal("cannot compress a Bronze object").caused_by(error)
}
