//! How the columns of a data file are encoded and compressed.

use arrow::datatypes::{DataType, Field, Schema};
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

pub(super) fn properties(purpose: Purpose, size: Size, schema: &Schema) -> WriterProperties {
    let builder = WriterProperties::builder()
        .set_data_page_row_count_limit(PAGE_ROWS_MAX)
        .set_data_page_size_limit(PAGE_BYTES_MAX)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned());
    let builder = match (purpose, size) {
        (Purpose::Table, Size::Any) => {
            let fields = schema.fields().iter();
            let builder = fields.fold(builder, |builder, field| with_numbers(builder, &[], field));
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

/// Whole numbers and times that are too many for a dictionary are kept as the steps between them.
fn with_numbers(
    builder: WriterPropertiesBuilder,
    within: &[String],
    field: &Field,
) -> WriterPropertiesBuilder {
    let path: Vec<String> = within.iter().chain([field.name()]).cloned().collect();
    match field.data_type() {
        DataType::Struct(fields) => fields
            .iter()
            .fold(builder, |builder, field| with_numbers(builder, &path, field)),
        DataType::Int32 | DataType::Int64 | DataType::Date32 | DataType::Timestamp(..) => {
            let path = ColumnPath::new(path);
            builder
                .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED)
                .set_column_dictionary_page_size_limit(path, DICTIONARY_BYTES_MAX_NUMBERS)
        }
        _ => builder,
    }
}
