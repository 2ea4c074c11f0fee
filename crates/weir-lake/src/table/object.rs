//! A Parquet file in an object store, for the reader of the parquet crate.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use object_store::{ObjectStore, path::Path};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::Result;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

/// The footer of most files is within so many bytes of their end.
const FOOTER_BYTES_HINT: usize = 64 << 10;

pub(crate) struct ParquetObject {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    pub(crate) size: u64,
}

/// A part of an object. Of a local file in one step, where `get_range` opens it in one and reads it in another. A part
/// that reaches beyond the end is an error there.
pub(crate) async fn read_range(
    store: &dyn ObjectStore,
    path: &Path,
    range: Range<u64>,
) -> object_store::Result<Bytes> {
    let parts = store.get_ranges(path, std::slice::from_ref(&range)).await?;
    Ok(parts.into_iter().next().unwrap_or_default())
}

impl AsyncFileReader for ParquetObject {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { Ok(read_range(&self.store, &self.path, range).await?) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { Ok(self.store.get_ranges(&self.path, &ranges).await?) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size;
            // The page index lets a selection of rows skip pages.
            let reader = ParquetMetaDataReader::new()
                .with_metadata_options(options.map(|options| options.metadata_options().clone()))
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_prefetch_hint(Some(FOOTER_BYTES_HINT));
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}
