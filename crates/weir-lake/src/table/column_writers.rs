//! Makes the writers of a row group's columns. What hardly gets smaller is left uncompressed: small pages of numbers of
//! a dictionary, above all, whose compression costs writer and readers more than their few bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory};
use parquet::basic::Compression;
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

/// A column that was left uncompressed and takes more than this in a row group is compressed again: it may hold
/// something else by now.
const PLAIN_BYTES_MAX: i64 = 128 << 10;

pub(super) struct ColumnWriters {
    schema: SchemaRef,
    properties: Arc<WriterProperties>,
    /// Leaves that the factory leaves uncompressed.
    plain: BTreeSet<usize>,
    factory: ArrowRowGroupWriterFactory,
}

impl ColumnWriters {
    pub(super) fn new(file: &SerializedFileWriter<Vec<u8>>, schema: SchemaRef) -> Self {
        Self {
            properties: file.properties().clone(),
            factory: ArrowRowGroupWriterFactory::new(file, schema.clone()),
            plain: BTreeSet::new(),
            schema,
        }
    }

    /// For the next row group of a file, whose columns will compress as those of `model` did.
    pub(super) fn next(
        &mut self,
        file: &SerializedFileWriter<Vec<u8>>,
        model: Option<&RowGroupMetaData>,
    ) -> Result<Vec<ArrowColumnWriter>> {
        let plain = match model {
            Some(model) if self.compresses() => incompressible(model),
            _ => BTreeSet::new(),
        };
        if plain != self.plain {
            self.factory = self.leaving(file, &plain)?;
            self.plain = plain;
        }
        self.factory
            .create_column_writers(file.flushed_row_groups().len())
    }

    fn compresses(&self) -> bool {
        let any = ColumnPath::new(Vec::new());
        matches!(self.properties.compression(&any), Compression::ZSTD(_))
    }

    fn leaving(
        &self,
        file: &SerializedFileWriter<Vec<u8>>,
        plain: &BTreeSet<usize>,
    ) -> Result<ArrowRowGroupWriterFactory> {
        let columns = file.schema_descr();
        let builder = self.properties.as_ref().clone().into_builder();
        let properties = plain.iter().fold(builder, |builder, leaf| {
            let path = columns.column(*leaf).path().clone();
            builder.set_column_compression(path, Compression::UNCOMPRESSED)
        });
        // A factory takes its properties from a file alone.
        let model = SerializedFileWriter::new(
            Vec::new(),
            columns.root_schema_ptr(),
            Arc::new(properties.build()),
        )?;
        Ok(ArrowRowGroupWriterFactory::new(&model, self.schema.clone()))
    }
}

fn incompressible(group: &RowGroupMetaData) -> BTreeSet<usize> {
    let columns = group.columns().iter().enumerate();
    columns
        .filter(|(_, chunk)| is_incompressible(chunk))
        .map(|(leaf, _)| leaf)
        .collect()
}

/// Whether compression saves less than a fifth.
fn is_incompressible(chunk: &ColumnChunkMetaData) -> bool {
    let plain = chunk.uncompressed_size();
    match chunk.compression() {
        Compression::UNCOMPRESSED => plain <= PLAIN_BYTES_MAX,
        _ => chunk.compressed_size().saturating_mul(5) > plain.saturating_mul(4),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use bytes::Bytes;
    use object_store::buffered::BufWriter;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::table::encoding::properties;
    use crate::table::file_writer::{Purpose, Size};
    use crate::table::parquet_writer::{GROUP_ROWS_MAX, ParquetWriter};

    /// A row group of a number that says little, and of a text that is `hard` to compress or not.
    fn group(hard: bool) -> RecordBatch {
        let rows = 0..GROUP_ROWS_MAX as i64;
        // The finaliser of SplitMix64: no pattern that a compressor would find.
        let mixed = |row: i64| {
            let once = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let twice = (once ^ (once >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            twice ^ (twice >> 31)
        };
        let numbers: Int64Array = rows.clone().map(|row| (mixed(row) % 61) as i64).collect();
        let text = |row: i64| match hard {
            true => char::from_u32(0x4e00 + (mixed(row) % 199) as u32)
                .unwrap()
                .to_string(),
            false => format!("the same words of every row, and {}", row % 100_003),
        };
        let texts: StringArray = rows.map(|row| Some(text(row))).collect();
        let columns: [(&str, ArrayRef); 2] = [("number", Arc::new(numbers)), ("text", Arc::new(texts))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    async fn written(groups: &[RecordBatch]) -> Bytes {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let place = Path::from("f");
        let schema = groups[0].schema();
        let properties = properties(Purpose::Table, Size::Any, &schema, groups);
        let sink = BufWriter::new(store.clone(), place.clone());
        let mut writer = ParquetWriter::new(sink, schema, properties).unwrap();
        for group in groups {
            writer.write(group).await.unwrap();
        }
        writer.finish().await.unwrap();
        store.get(&place).await.unwrap().bytes().await.unwrap()
    }

    #[tokio::test]
    async fn what_hardly_gets_smaller_is_left_as_it_is_from_the_second_row_group_on() {
        let groups = [group(true), group(true), group(false), group(false), group(true)];
        let file = written(&groups).await;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let kinds = |leaf: usize| -> Vec<bool> {
            let groups = reader.metadata().row_groups().iter();
            let kinds = groups.map(|group| group.column(leaf).compression());
            kinds.map(|kind| kind != Compression::UNCOMPRESSED).collect()
        };
        assert_eq!(kinds(0), [true, false, false, false, false]);
        // The third group's text is large, so that the fourth is compressed again.
        assert_eq!(kinds(1), [true, false, false, true, true]);
        let read = reader.with_batch_size(GROUP_ROWS_MAX).build().unwrap();
        let read: Vec<RecordBatch> = read.map(Result::unwrap).collect();
        assert!(
            read.iter()
                .zip(&groups)
                .all(|(read, group)| read.columns() == group.columns())
        );
        assert_eq!(read.len(), groups.len());
    }
}
