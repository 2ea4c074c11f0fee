//! What other workers read of slices, until the run that holds the stream takes it in: parts of events,
//! and an end that names them, written last.

mod frames;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use weir_protocol::slices::{SpoolPlace, Spools};
use weir_protocol::{Error, ReadEvent, Result};

use crate::lake::Lake;
use crate::storage::Storage;

/// Bytes that one spool may hold, before compression.
pub const SPOOL_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a part before compression; the event that exceeds it is in it still.
const PART_BYTES: usize = 8 << 20;
/// Fast rather than small: a spool lives for seconds.
const COMPRESSION_LEVEL: i32 = 1;
const FOLDER: &str = "spools";
const END: &str = "end.json";

/// Names all parts of a spool: what is not named is not there.
#[derive(Debug, Serialize, Deserialize)]
struct End {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    /// Before compression.
    bytes: usize,
    /// Of the compressed bytes.
    sha256: String,
}

#[async_trait]
impl Spools for Lake {
    async fn write(
        &self,
        place: &SpoolPlace,
        mut events: BoxStream<'static, Result<ReadEvent>>,
    ) -> Result<()> {
        let folder = folder(place);
        let mut end = End { parts: Vec::new() };
        let (mut frames, mut written) = (Vec::new(), 0);
        while let Some(event) = events.try_next().await? {
            frames::add(&mut frames, &event)?;
            if frames.len() >= PART_BYTES {
                written += frames.len() as u64;
                refuse_large(written)?;
                let part = put_part(
                    &self.storage,
                    &folder,
                    end.parts.len(),
                    std::mem::take(&mut frames),
                );
                end.parts.push(part.await?);
            }
        }
        refuse_large(written + frames.len() as u64)?;
        if !frames.is_empty() {
            let part = put_part(&self.storage, &folder, end.parts.len(), frames);
            end.parts.push(part.await?);
        }
        let end = serde_json::to_vec(&end).map_err(|error| broken("written", place).caused_by(error))?;
        self.storage.put(&folder.join(END), end.into()).await
    }

    fn read(&self, place: &SpoolPlace) -> BoxStream<'static, Result<ReadEvent>> {
        let (storage, place) = (self.storage.clone(), place.clone());
        let reading = async move {
            let folder = folder(&place);
            let end = storage.get(&folder.clone().join(END)).await?;
            let end: End =
                serde_json::from_slice(&end).map_err(|error| broken("read", &place).caused_by(error))?;
            let parts = stream::iter(end.parts.into_iter().enumerate());
            let parts = parts.then(move |(number, part)| {
                let (storage, folder, place) = (storage.clone(), folder.clone(), place.clone());
                async move {
                    let body = storage.get(&folder.join(part_name(number))).await?;
                    let events = events_of(body, part).await;
                    events.map_err(|error| broken("read", &place).with("part", number).caused_by(error))
                }
            });
            Ok::<_, Error>(parts.map_ok(|events| stream::iter(events.into_iter().map(Ok))))
        };
        stream::once(reading).try_flatten().try_flatten().boxed()
    }

    async fn remove(&self, place: &SpoolPlace) -> Result<()> {
        self.storage.remove_folder(&folder(place)).await
    }

    async fn sweep(&self, connection: &str, stream: &str) -> Result<()> {
        self.storage
            .remove_folder(&Path::from_iter([FOLDER, connection, stream]))
            .await
    }
}

impl Lake {
    /// Removes spools that no run can want any more: all of whose parts are older than `before`. Gives back how
    /// many objects went.
    pub async fn sweep_spools(&self, before: Timestamp) -> Result<usize> {
        let mut readings: BTreeMap<Path, Vec<ObjectMeta>> = BTreeMap::new();
        for object in self.storage.list(&Path::from(FOLDER)).await? {
            // A spool's objects lie together in its folder.
            let mut names: Vec<_> = object.location.parts().collect();
            names.pop();
            let folder: Path = names.into_iter().collect();
            readings.entry(folder).or_default().push(object);
        }
        let mut removed = 0;
        for (folder, objects) in readings {
            let is_old =
                |object: &ObjectMeta| object.last_modified.timestamp_millis() < before.as_millisecond();
            if objects.iter().all(is_old) {
                self.storage.remove_folder(&folder).await?;
                removed += objects.len();
            }
        }
        Ok(removed)
    }
}

fn folder(place: &SpoolPlace) -> Path {
    let (term, reading) = (
        place.term.to_string(),
        format!("{}-{}", place.slice, place.attempt),
    );
    let names: [&str; 6] = [
        FOLDER,
        &place.connection,
        &place.stream,
        &place.run,
        &term,
        &reading,
    ];
    Path::from_iter(names)
}

fn part_name(number: usize) -> String {
    format!("part-{number:05}.zst")
}

async fn put_part(storage: &Storage, folder: &Path, number: usize, frames: Vec<u8>) -> Result<Part> {
    let bytes = frames.len();
    let packed = unblocked(move || zstd::bulk::compress(&frames, COMPRESSION_LEVEL)).await?;
    let packed = packed.map_err(|error| {
        Error::internal("a spool cannot be compressed")
            .caused_by(error)
            .hint("report it")
    })?;
    let sha256 = digest(&packed);
    storage
        .put(&folder.clone().join(part_name(number)), packed.into())
        .await?;
    Ok(Part { bytes, sha256 })
}

/// All events of a part, or none.
async fn events_of(body: Bytes, part: Part) -> Result<Vec<ReadEvent>> {
    let unpacked = unblocked(move || {
        if digest(&body) != part.sha256 {
            return Err(Error::decode("its bytes are not those that were written").hint("run again"));
        }
        zstd::bulk::decompress(&body, part.bytes).map_err(|error| {
            Error::decode("it cannot be unpacked")
                .caused_by(error)
                .hint("run again")
        })
    });
    frames::events(&Bytes::from(unpacked.await??))
}

async fn unblocked<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::internal("work on a spool broke off")
            .caused_by(error)
            .hint("report it")
    })
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refuse_large(bytes: u64) -> Result<()> {
    if bytes <= SPOOL_BYTES_MAX {
        return Ok(());
    }
    Err(Error::limit(format!(
        "a slice has more than {SPOOL_BYTES_MAX} bytes, too many to keep for the run"
    ))
    .hint("nothing to do: the worker that has the run reads it; smaller slices would spread"))
}

fn broken(verb: &str, place: &SpoolPlace) -> Error {
    Error::destination(format!("what another worker read of a slice cannot be {verb}"))
        .with("stream", &place.stream)
        .with("spool", folder(place))
        .hint("what was committed stays; run again, and check the disk or bucket that the lake lies in")
}
