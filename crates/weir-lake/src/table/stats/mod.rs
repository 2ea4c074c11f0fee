//! File statistics as the Delta log keeps them, gathered while rows are written.

mod exact;
mod group;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::kernels::aggregate;
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
};
use parquet::file::metadata::ParquetMetaData;
use serde_json::{Map, Value, json};

pub(crate) use exact::within_double;

/// Text is cut to so many characters; a cut maximum gets the largest character appended.
const TEXT_CHARS_MAX: usize = 32;
/// Statistics are kept for so many columns, from the left.
const COLUMNS_MAX: usize = 64;

/// Smallest and largest value of a column.
#[derive(Debug, Clone, PartialEq)]
enum Range {
    Int(i64, i64),
    Float(f64, f64),
    Text(String, String),
    Bool(bool, bool),
    /// Days since the epoch.
    Date(i32, i32),
    /// Microseconds since the epoch.
    Time(i64, i64),
}

#[derive(Debug, Clone, Default)]
struct Column {
    name: String,
    nulls: u64,
    /// Structs and lists: the log would want their statistics nested.
    nested: bool,
    is_text: bool,
    range: Option<Range>,
    /// A value that cannot be ordered (NaN) or cut makes the range useless.
    unordered: bool,
}

/// Gathers the statistics of one file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gather {
    rows: u64,
    columns: Vec<Column>,
}

impl Gather {
    fn begin(&mut self, schema: &Schema) {
        if !self.columns.is_empty() {
            return;
        }
        let fields = schema.fields().iter().take(COLUMNS_MAX);
        let columns = fields.map(|field| Column {
            name: field.name().clone(),
            nested: field.data_type().is_nested(),
            is_text: matches!(field.data_type(), DataType::Utf8),
            ..Column::default()
        });
        self.columns = columns.collect();
    }

    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        self.begin(batch.schema_ref());
        self.rows += batch.num_rows() as u64;
        for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
            column.add(array);
        }
    }

    /// Of rows whose statistics nobody will ask for.
    pub(crate) fn count(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// `footer` is that of the file: its writer has compared all texts already.
    pub(crate) fn to_json(&self, footer: &ParquetMetaData) -> String {
        let mut min = Map::new();
        let mut max = Map::new();
        let mut nulls = Map::new();
        for column in self.columns.iter().filter(|column| !column.nested) {
            nulls.insert(column.name.clone(), json!(column.nulls));
            let bounds = if column.is_text {
                texts(footer, &column.name).as_ref().and_then(Range::bounds)
            } else {
                column.bounds()
            };
            let Some((low, high)) = bounds else {
                continue;
            };
            min.insert(column.name.clone(), low);
            max.insert(column.name.clone(), high);
        }
        json!({ "numRecords": self.rows, "minValues": min, "maxValues": max, "nullCount": nulls }).to_string()
    }
}

impl Column {
    fn add(&mut self, array: &ArrayRef) {
        self.nulls += array.null_count() as u64;
        self.widen(array);
    }

    fn widen(&mut self, array: &ArrayRef) {
        if self.is_text || self.unordered || array.null_count() == array.len() {
            return;
        }
        self.join(range(array));
    }

    /// Takes in the range of more values; none where they cannot be ordered.
    fn join(&mut self, more: Option<Range>) {
        let joined = match (self.range.take(), more) {
            (None, more) => more,
            (Some(before), Some(more)) => before.union(more),
            (Some(_), None) => None,
        };
        self.unordered = joined.is_none();
        self.range = joined;
    }

    fn bounds(&self) -> Option<(Value, Value)> {
        if self.unordered {
            return None;
        }
        self.range.as_ref()?.bounds()
    }
}

impl Range {
    fn bounds(&self) -> Option<(Value, Value)> {
        match self {
            Self::Int(low, high) => Some((json!(low), json!(high))),
            Self::Float(low, high) => Some((json!(low), json!(high))),
            Self::Bool(low, high) => Some((json!(low), json!(high))),
            Self::Text(low, high) => Some((json!(cut(low)), json!(cut_up(high)?))),
            Self::Date(low, high) => Some((json!(day(*low)?), json!(day(*high)?))),
            Self::Time(low, high) => Some((json!(instant(*low)?), json!(instant(*high)?))),
        }
    }

    fn union(self, other: Self) -> Option<Self> {
        Some(match (self, other) {
            (Self::Int(a, b), Self::Int(c, d)) => Self::Int(a.min(c), b.max(d)),
            (Self::Float(a, b), Self::Float(c, d)) => Self::Float(a.min(c), b.max(d)),
            (Self::Text(a, b), Self::Text(c, d)) => Self::Text(a.min(c), b.max(d)),
            (Self::Bool(a, b), Self::Bool(c, d)) => Self::Bool(a & c, b | d),
            (Self::Date(a, b), Self::Date(c, d)) => Self::Date(a.min(c), b.max(d)),
            (Self::Time(a, b), Self::Time(c, d)) => Self::Time(a.min(c), b.max(d)),
            _ => return None,
        })
    }
}

fn range(array: &ArrayRef) -> Option<Range> {
    match array.data_type() {
        DataType::Int64 => {
            let array = array.as_primitive::<Int64Type>();
            Some(Range::Int(aggregate::min(array)?, aggregate::max(array)?))
        }
        DataType::Int32 => {
            let array = array.as_primitive::<Int32Type>();
            Some(Range::Int(
                aggregate::min(array)?.into(),
                aggregate::max(array)?.into(),
            ))
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            let finite = array.iter().flatten().all(f64::is_finite);
            let both = aggregate::min(array).zip(aggregate::max(array));
            both.filter(|_| finite).map(|(low, high)| Range::Float(low, high))
        }
        DataType::Boolean => {
            let array = array.as_boolean();
            Some(Range::Bool(
                aggregate::min_boolean(array)?,
                aggregate::max_boolean(array)?,
            ))
        }
        DataType::Date32 => {
            let array = array.as_primitive::<Date32Type>();
            Some(Range::Date(aggregate::min(array)?, aggregate::max(array)?))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let array = array.as_primitive::<TimestampMicrosecondType>();
            Some(Range::Time(aggregate::min(array)?, aggregate::max(array)?))
        }
        _ => None,
    }
}

/// Where a column that is not nested stands in the file's row groups.
fn place(footer: &ParquetMetaData, name: &str) -> Option<usize> {
    let columns = footer.file_metadata().schema_descr().columns();
    columns
        .iter()
        .position(|column| matches!(column.path().parts(), [only] if only == name))
}

/// The smallest and the largest text of a column, as far as the file's row groups tell.
fn texts(footer: &ParquetMetaData, name: &str) -> Option<Range> {
    let column = place(footer, name)?;
    let mut range: Option<Range> = None;
    for group in footer.row_groups() {
        let chunk = group.column(column);
        let found = chunk.statistics()?;
        let is_empty = found.null_count_opt() == u64::try_from(chunk.num_values()).ok();
        if is_empty {
            continue;
        }
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let found = Range::Text(text(found.min_bytes_opt()?)?, text(found.max_bytes_opt()?)?);
        range = match range {
            Some(before) => before.union(found),
            None => Some(found),
        };
    }
    range
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

fn cut_up(text: &str) -> Option<String> {
    let mut short = cut(text);
    if short.len() < text.len() {
        // Nothing sorts behind it.
        if text.contains(char::MAX) {
            return None;
        }
        short.push(char::MAX);
    }
    Some(short)
}

fn day(days: i32) -> Option<String> {
    let date = jiff::civil::date(1970, 1, 1)
        .checked_add(jiff::Span::new().try_days(days).ok()?)
        .ok()?;
    Some(date.to_string())
}

pub(crate) fn instant(micros: i64) -> Option<String> {
    let timestamp = jiff::Timestamp::from_microsecond(micros).ok()?;
    Some(timestamp.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

/// The statistics that a file with these rows gets.
#[cfg(test)]
pub(crate) fn of_batch(batch: &RecordBatch) -> String {
    let mut gather = Gather::default();
    gather.add(batch);
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    gather.to_json(&writer.close().unwrap())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn texts_are_bounded_by_what_the_file_says() {
        let long = "z".repeat(40);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some(&long)]));
        let empty: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; 3]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![3, 1, 2]));
        let batch = RecordBatch::try_from_iter([("text", texts), ("empty", empty), ("n", numbers)]).unwrap();
        insta::assert_snapshot!(of_batch(&batch), @r#"{"numRecords":3,"minValues":{"text":"b","n":1},"maxValues":{"text":"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz􏿿","n":3},"nullCount":{"text":1,"empty":3,"n":0}}"#);
    }
}
