//! How the columns of a data file are encoded and compressed.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use foldhash::fast::FixedState;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::file_writer::{Purpose, Size};

/// A page is what a reader that looks for few rows must decode at the least.
const PAGE_ROWS_MAX: usize = 2048;
const PAGE_BYTES_MAX: usize = 256 << 10;
/// Distinct values of a column beyond this are no longer looked up: most do not come again.
const DICTIONARY_BYTES_MAX: usize = 128 << 10;
/// As above for numbers and times, which take little room one by one: who reads one row of a group reads
/// the group's dictionary too.
const DICTIONARY_BYTES_MAX_NUMBERS: usize = 16 << 10;
/// So many of a file's first values are looked at for whether they recur; of fewer nothing is concluded.
const SAMPLE_MIN: usize = 768;
const SAMPLE_MAX: usize = 4096;

/// `first` are the first rows of the file, as far as they are known.
pub(super) fn properties(
    purpose: Purpose,
    size: Size,
    schema: &Schema,
    first: &[RecordBatch],
) -> WriterProperties {
    let builder = WriterProperties::builder()
        .set_data_page_row_count_limit(PAGE_ROWS_MAX)
        .set_data_page_size_limit(PAGE_BYTES_MAX)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned());
    let builder = match (purpose, size) {
        (Purpose::Table, Size::Any) => {
            let fields = schema.fields().iter().enumerate();
            let builder = fields.fold(builder, |builder, (at, field)| {
                let values: Vec<ArrayRef> = first.iter().map(|batch| batch.column(at).clone()).collect();
                with_numbers(builder, &[], field, &values)
            });
            builder
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_statistics_enabled(EnabledStatistics::Page)
        }
        // A compressor's tables and a dictionary for each column would cost more than its few values,
        // and save a few blocks of the disk, until the file is joined with others.
        (Purpose::Table, Size::Small) => builder
            .set_compression(Compression::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::Chunk),
        (Purpose::Spill, _) => builder
            .set_compression(Compression::LZ4_RAW)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None),
    };
    builder.build()
}

/// Whole numbers and times that are too many for a dictionary are kept as the steps between them. `first` are the
/// first values of the field.
fn with_numbers(
    builder: WriterPropertiesBuilder,
    within: &[String],
    field: &Field,
    first: &[ArrayRef],
) -> WriterPropertiesBuilder {
    let path: Vec<String> = within.iter().chain([field.name()]).cloned().collect();
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().enumerate().fold(builder, |builder, (at, field)| {
            let structs = first.iter().filter_map(|array| array.as_struct_opt());
            let values: Vec<ArrayRef> = structs.map(|array| array.column(at).clone()).collect();
            with_numbers(builder, &path, field, &values)
        }),
        DataType::Int32 | DataType::Int64 | DataType::Date32 | DataType::Timestamp(..) => {
            let path = ColumnPath::new(path);
            let builder = builder.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED);
            match hardly_recur(first) {
                true => builder.set_column_dictionary_enabled(path, false),
                false => builder.set_column_dictionary_page_size_limit(path, DICTIONARY_BYTES_MAX_NUMBERS),
            }
        }
        _ => builder,
    }
}

/// Whether nearly every value is a new one: of a key, above all. A dictionary would be given up when it is full, and
/// stay in the file for each reader to read.
fn hardly_recur(first: &[ArrayRef]) -> bool {
    let mut seen: HashSet<i64, FixedState> = HashSet::default();
    let (mut rows, mut values) = (0, 0);
    for array in first {
        let some = array.slice(0, array.len().min(SAMPLE_MAX - rows));
        let Ok(numbers) = cast(&some, &DataType::Int64) else {
            return false;
        };
        rows += some.len();
        values += some.len() - some.null_count();
        seen.extend(numbers.as_primitive::<Int64Type>().iter().flatten());
    }
    // Of 768 values drawn from the 4,096 of four bytes that fit a dictionary 700 are expected to differ.
    values >= SAMPLE_MIN && seen.len() * 16 >= values * 15
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Int32Array, Int64Array, StructArray, TimestampMicrosecondArray};

    use super::*;

    /// Which of the columns have a dictionary.
    fn with_dictionary(columns: Vec<(&str, ArrayRef)>) -> Vec<String> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let properties = properties(
            Purpose::Table,
            Size::Any,
            batch.schema_ref(),
            std::slice::from_ref(&batch),
        );
        let paths = ["id", "day", "at", "shop.id", "state"].map(str::to_owned);
        let path = |text: &String| ColumnPath::new(text.split('.').map(str::to_owned).collect());
        paths
            .into_iter()
            .filter(|text| properties.dictionary_enabled(&path(text)))
            .collect()
    }

    fn columns(rows: i32) -> Vec<(&'static str, ArrayRef)> {
        let shop = StructArray::try_from(vec![(
            "id",
            Arc::new((0..rows).map(|row| i64::from(row % 900)).collect::<Int64Array>()) as ArrayRef,
        )]);
        vec![
            ("id", Arc::new((0..rows).collect::<Int32Array>())),
            (
                "day",
                Arc::new((0..rows).map(|row| Some(row / 3)).collect::<Date32Array>()),
            ),
            (
                "at",
                Arc::new(
                    (0..rows)
                        .map(|row| Some(i64::from(row) << 20))
                        .collect::<TimestampMicrosecondArray>(),
                ),
            ),
            ("shop", Arc::new(shop.unwrap())),
            // Half of them are missing.
            (
                "state",
                Arc::new(
                    (0..rows)
                        .map(|row| (row % 2 == 0).then_some(row))
                        .collect::<Int32Array>(),
                ),
            ),
        ]
    }

    #[test]
    fn numbers_that_hardly_recur_have_no_dictionary() {
        assert_eq!(with_dictionary(columns(5_000)), ["day", "shop.id"]);
    }

    #[test]
    fn of_few_rows_nothing_is_concluded() {
        assert_eq!(
            with_dictionary(columns(200)),
            ["id", "day", "at", "shop.id", "state"]
        );
    }
}
