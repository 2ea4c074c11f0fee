//! Rows of a data file that are gone although the file stays: Delta's deletion vectors.
//!
//! One object holds the vectors of all files that one version marks: a byte for the format, then
//! each vector with its length before it and its checksum behind it, both most significant byte
//! first. A vector is a magic number and a 64-bit Roaring bitmap in the portable form.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use deltalake::kernel::{DeletionVectorDescriptor, StorageType};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use roaring::RoaringTreemap;
use weir_protocol::{Error, Result};

use super::DataFile;
use crate::storage::failed;

/// Table property under which changed rows are marked instead of written away with their file.
pub(crate) const ENABLED: &str = "delta.enableDeletionVectors";
/// Objects with vectors begin with this.
pub(crate) const OBJECT_PREFIX: &str = "deletion_vector_";
const FORMAT: u8 = 1;
const MAGIC: u32 = 1_681_511_377;
/// Length and checksum around a vector.
const FRAME_BYTES: u64 = 4;
/// Base85 digits of a UUID.
const UUID_DIGITS: usize = 20;

/// The rows of a file that are gone, by position in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Gone(RoaringTreemap);

impl Gone {
    /// Those that the log says of a file; none gone where it says nothing.
    pub(crate) async fn of(store: &Arc<dyn ObjectStore>, file: &DataFile) -> Result<Self> {
        let Some(descriptor) = &file.deletion_vector else {
            return Ok(Self::default());
        };
        let vector = match descriptor.storage_type {
            StorageType::Inline => Bytes::from(
                z85::decode(&descriptor.path_or_inline_dv).map_err(|error| damaged(file).caused_by(error))?,
            ),
            StorageType::UuidRelativePath => stored(store, file, descriptor).await?,
            StorageType::AbsolutePath => {
                return Err(Error::destination(format!(
                    "the deletion vector of '{}' lies outside of its table's folder",
                    file.path
                ))
                .with("path", &descriptor.path_or_inline_dv)
                .hint("compact the table with the tool that wrote it (REORG TABLE … APPLY (PURGE))"));
            }
        };
        let gone = parse(&vector).ok_or_else(|| damaged(file))?;
        if i64::try_from(gone.len()) != Ok(descriptor.cardinality) {
            return Err(damaged(file).with("rows", gone.len()));
        }
        Ok(Self(gone))
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether rows at these places are among them.
    pub(crate) fn has_any_in(&self, places: &Range<u32>) -> bool {
        let mut from = self.0.iter();
        from.advance_to(u64::from(places.start));
        from.next().is_some_and(|row| row < u64::from(places.end))
    }

    /// How many rows at these places are among them.
    pub(crate) fn count_in(&self, places: &Range<u32>) -> u64 {
        let before = |place: u32| {
            place
                .checked_sub(1)
                .map_or(0, |last| self.0.rank(u64::from(last)))
        };
        before(places.end) - before(places.start)
    }

    /// Of these places in the file, which ascend, those of rows that are left, counted among such alone.
    pub(crate) fn live_places(&self, places: Vec<u32>) -> Vec<u32> {
        if self.0.is_empty() {
            return places;
        }
        let mut gone = self.0.iter().peekable();
        let mut passed = 0;
        let live = places.into_iter().filter_map(|place| {
            while gone.next_if(|row| *row < u64::from(place)).is_some() {
                passed += 1;
            }
            (gone.peek() != Some(&u64::from(place))).then(|| place - passed)
        });
        live.collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter()
    }

    /// The rows that are left of the first `rows`.
    pub(crate) fn live(&self, rows: u64) -> RowSelection {
        let mut selectors = Vec::new();
        let mut next = 0;
        for row in self.0.iter().take_while(|row| *row < rows) {
            if row > next {
                selectors.push(RowSelector::select(count(row - next)));
            }
            selectors.push(RowSelector::skip(1));
            next = row + 1;
        }
        if rows > next {
            selectors.push(RowSelector::select(count(rows - next)));
        }
        RowSelection::from(selectors)
    }

    /// Marks more rows, given by their places among those that are left, which ascend.
    pub(crate) fn and_of_live(&self, places: &[u32]) -> Self {
        let mut all = self.0.clone();
        let mut gone = self.0.iter().peekable();
        let mut skipped = 0;
        for place in places {
            let mut position = u64::from(*place) + skipped;
            while gone.next_if(|row| *row <= position).is_some() {
                skipped += 1;
                position += 1;
            }
            all.insert(position);
        }
        Self(all)
    }
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// Writes the vectors of several files into one object. Nothing refers to it before a commit does.
pub(crate) async fn put(
    store: &Arc<dyn ObjectStore>,
    marked: Vec<(DataFile, Gone)>,
) -> Result<Vec<DataFile>> {
    if marked.is_empty() {
        return Ok(Vec::new());
    }
    let id = uuid::Uuid::new_v4();
    let mut object = BytesMut::new();
    object.put_u8(FORMAT);
    let mut files = Vec::with_capacity(marked.len());
    for (file, gone) in marked {
        let vector = print(&gone.0)?;
        let descriptor = DeletionVectorDescriptor {
            storage_type: StorageType::UuidRelativePath,
            path_or_inline_dv: z85::encode(id.as_bytes()),
            offset: Some(i32::try_from(object.len()).map_err(|error| too_large(&file).caused_by(error))?),
            size_in_bytes: i32::try_from(vector.len()).map_err(|error| too_large(&file).caused_by(error))?,
            cardinality: i64::try_from(gone.len()).unwrap_or(i64::MAX),
        };
        object.put_u32(u32::try_from(vector.len()).map_err(|error| too_large(&file).caused_by(error))?);
        object.extend_from_slice(&vector);
        object.put_u32(crc32fast::hash(&vector));
        files.push(file.marked(descriptor));
    }
    let path = object_path("", id);
    let payload = PutPayload::from_bytes(object.freeze());
    store
        .put(&path, payload)
        .await
        .map_err(|error| failed("write", &path, error))?;
    Ok(files)
}

/// The object that holds a file's vector, from the table's folder; none where there is none of its own.
pub(crate) fn path(descriptor: &DeletionVectorDescriptor) -> Option<Path> {
    if descriptor.storage_type != StorageType::UuidRelativePath {
        return None;
    }
    let text = &descriptor.path_or_inline_dv;
    let (folder, id) = text.split_at_checked(text.len().checked_sub(UUID_DIGITS)?)?;
    let id = uuid::Uuid::from_slice(&z85::decode(id).ok()?).ok()?;
    Some(object_path(folder, id))
}

fn object_path(folder: &str, id: uuid::Uuid) -> Path {
    let name = format!("{OBJECT_PREFIX}{id}.bin");
    match folder {
        "" => Path::from(name),
        folder => Path::from(folder).join(name),
    }
}

async fn stored(
    store: &Arc<dyn ObjectStore>,
    file: &DataFile,
    descriptor: &DeletionVectorDescriptor,
) -> Result<Bytes> {
    let path = path(descriptor).ok_or_else(|| damaged(file))?;
    let offset = u64::try_from(descriptor.offset.unwrap_or_default()).unwrap_or_default();
    let size = u64::try_from(descriptor.size_in_bytes).unwrap_or_default();
    let frame = offset..offset + size + 2 * FRAME_BYTES;
    let bytes = match store.get_range(&path, frame).await {
        Ok(bytes) => bytes,
        Err(object_store::Error::NotFound { .. }) => {
            return Err(damaged(file).with("missing", &path));
        }
        Err(error) => return Err(failed("read", &path, error)),
    };
    let number = |at: u64| -> Option<u32> {
        let at = count(at);
        Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let vector = bytes
        .get(count(FRAME_BYTES)..count(FRAME_BYTES + size))
        .ok_or_else(|| damaged(file).with("object", &path))?;
    let is_whole =
        number(0).map(u64::from) == Some(size) && number(FRAME_BYTES + size) == Some(crc32fast::hash(vector));
    if !is_whole {
        return Err(damaged(file).with("object", &path));
    }
    Ok(bytes.slice_ref(vector))
}

fn parse(vector: &[u8]) -> Option<RoaringTreemap> {
    let (magic, bitmap) = vector.split_first_chunk()?;
    if u32::from_le_bytes(*magic) != MAGIC {
        return None;
    }
    RoaringTreemap::deserialize_from(bitmap).ok()
}

fn print(gone: &RoaringTreemap) -> Result<Vec<u8>> {
    let mut vector = Vec::with_capacity(gone.serialized_size() + 4);
    vector.put_u32_le(MAGIC);
    gone.serialize_into(&mut vector).map_err(|error| {
        Error::internal("a deletion vector cannot be written")
            .hint("report this defect")
            .caused_by(error)
    })?;
    Ok(vector)
}

fn damaged(file: &DataFile) -> Error {
    Error::destination(format!("the deletion vector of '{}' is damaged", file.path))
        .hint("restore the table's folder from a backup, or run `weir lake rebuild` for this table")
}

fn too_large(file: &DataFile) -> Error {
    Error::limit(format!("the deletion vector of '{}' is too large", file.path))
        .hint("run `weir lake compact` for this table, then sync again")
}

/// Statistics that speak of more rows than are left say so.
pub(crate) fn loosen(stats: &str) -> Option<String> {
    let mut stats: BTreeMap<String, serde_json::Value> = serde_json::from_str(stats).ok()?;
    stats.insert("tightBounds".to_owned(), false.into());
    serde_json::to_string(&stats).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn selected(selection: &RowSelection) -> Vec<u64> {
        let mut rows = Vec::new();
        let mut next = 0;
        for selector in selection.iter() {
            if !selector.skip {
                rows.extend(next..next + selector.row_count as u64);
            }
            next += selector.row_count as u64;
        }
        rows
    }

    proptest! {
        #[test]
        fn rows_marked_by_their_place_among_the_live_are_the_ones_meant(
            first in prop::collection::btree_set(0_u64..60, 0..40),
            second in prop::collection::btree_set(0_usize..60, 0..40),
        ) {
            let gone = Gone(first.iter().copied().collect());
            let live = selected(&gone.live(60));
            prop_assert_eq!(&live, &(0..60).filter(|row| !first.contains(row)).collect::<Vec<_>>());
            let places: Vec<u32> = second.iter().filter(|place| **place < live.len()).map(|place| *place as u32).collect();
            let both = gone.and_of_live(&places);
            let expected = first.iter().copied().chain(places.iter().map(|place| live[*place as usize]));
            prop_assert_eq!(both.0, expected.collect::<RoaringTreemap>());
        }
    }

    #[test]
    fn what_was_put_is_read_and_damage_is_told() {
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let gone = |rows: &[u64]| Gone(rows.iter().copied().collect());
            let both = vec![
                (DataFile::named("a", 100), gone(&[3, 99])),
                (DataFile::named("b", 70_000), gone(&[0, 65_536])),
            ];
            let files = put(&store, both).await.unwrap();
            assert_eq!(Gone::of(&store, &files[0]).await.unwrap(), gone(&[3, 99]));
            assert_eq!(Gone::of(&store, &files[1]).await.unwrap(), gone(&[0, 65_536]));
            assert_eq!((files[0].rows, files[1].rows), (98, 69_998));

            let object = path(files[1].deletion_vector.as_ref().unwrap()).unwrap();
            let mut bytes = store.get(&object).await.unwrap().bytes().await.unwrap().to_vec();
            let last = bytes.len() - 6;
            bytes[last] ^= 1;
            store.put(&object, PutPayload::from(bytes)).await.unwrap();
            assert!(Gone::of(&store, &files[0]).await.is_ok());
            let error = Gone::of(&store, &files[1]).await.unwrap_err();
            assert!(error.to_string().contains("'b' is damaged"), "{error}");
        });
    }

    #[test]
    fn a_vector_in_the_log_itself_is_read() {
        let vector = print(&[1_u64, 4].into_iter().collect()).unwrap();
        let mut file = DataFile::named("a", 10);
        file.deletion_vector = Some(DeletionVectorDescriptor {
            storage_type: StorageType::Inline,
            path_or_inline_dv: z85::encode(&vector),
            offset: None,
            size_in_bytes: vector.len() as i32,
            cardinality: 2,
        });
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let gone = runtime.block_on(Gone::of(&store, &file)).unwrap();
        assert_eq!(selected(&gone.live(6)), [0, 2, 3, 5]);
    }
}
