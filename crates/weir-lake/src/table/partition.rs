//! Partition columns: plain ones, and the year, month or day of a timestamp.
//!
//! `month(created_at)` becomes a text column `_month_created_at` (`2026-11`) of the table, so that
//! every Delta reader sees an ordinary partition column.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use weir_protocol::{Error, Result};

use super::columns;
use crate::typed::{rounds, text_fits_double};

/// Partition column to value; none is null.
pub(crate) type Values = BTreeMap<String, Option<String>>;

/// One entry of `partition_by`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionBy {
    /// The table's partition column.
    pub(crate) column: String,
    /// The column it is derived from, and the strftime pattern of its value.
    from: Option<(String, &'static str)>,
}

impl PartitionBy {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let Some((unit, rest)) = text.split_once('(') else {
            return Ok(Self {
                column: text.to_owned(),
                from: None,
            });
        };
        let pattern = match unit.trim() {
            "year" => "%Y",
            "month" => "%Y-%m",
            "day" => "%Y-%m-%d",
            _ => {
                return Err(Error::spec(format!("partition_by '{text}' is not known"))
                    .hint("write a column, or year(column), month(column) or day(column)"));
            }
        };
        let from = rest.trim_end().trim_end_matches(')').trim().to_owned();
        Ok(Self {
            column: format!("_{}_{from}", unit.trim()),
            from: Some((from, pattern)),
        })
    }

    /// The column that the table gets, where it is a derived one.
    pub(crate) fn derived_field(&self) -> Option<Field> {
        self.from.as_ref()?;
        Some(Field::new(&self.column, DataType::Utf8, true))
    }

    /// Refuses columns by which files cannot be kept apart.
    pub(crate) fn check(&self, schema: &Schema) -> Result<()> {
        let name = self.from.as_ref().map_or(&self.column, |(from, _)| from);
        let Ok(field) = schema.field_with_name(name) else {
            return Err(
                Error::spec(format!("partition_by names '{name}', which is no column"))
                    .with("columns", names(schema))
                    .hint("choose one of the columns; nested fields cannot be used"),
            );
        };
        let fits = match (&self.from, field.data_type()) {
            (Some(_), kind) => matches!(kind, DataType::Timestamp(..) | DataType::Date32),
            (None, DataType::Utf8 | DataType::Boolean | DataType::Date32) => true,
            (None, kind) => kind.is_integer(),
        };
        if fits {
            return Ok(());
        }
        Err(Error::spec(format!(
            "partition_by cannot use column '{name}' of type {}",
            field.data_type()
        ))
        .hint("use text, whole numbers, booleans or dates as they are, timestamps by year(…), month(…) or day(…)"))
    }
}

fn names(schema: &Schema) -> String {
    let names: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .filter(|name| !columns::is_own(name))
        .collect();
    names.join(", ")
}

/// The batch with its derived partition columns set. An empty text in a partition column becomes null,
/// as which Delta keeps it: rows are compared by what the table will say.
pub(crate) fn derive(mut batch: RecordBatch, by: &[PartitionBy]) -> Result<RecordBatch> {
    for by in by.iter().filter(|by| by.from.is_none()) {
        let Ok(index) = batch.schema_ref().index_of(&by.column) else {
            continue;
        };
        if let Some(array) = without_blanks(batch.column(index)) {
            let mut arrays = batch.columns().to_vec();
            arrays[index] = array;
            batch = RecordBatch::try_new(batch.schema(), arrays).map_err(unsplit)?;
        }
    }
    let derived: Vec<_> = by.iter().filter(|by| by.from.is_some()).collect();
    if derived.is_empty() {
        return Ok(batch);
    }
    let mut fields = batch.schema_ref().fields().to_vec();
    let mut arrays = batch.columns().to_vec();
    for by in derived {
        let Some((from, pattern)) = &by.from else { continue };
        let values: ArrayRef = match batch.column_by_name(from) {
            Some(array) => Arc::new(formatted(array, pattern)?),
            None => Arc::new(StringArray::new_null(batch.num_rows())),
        };
        match batch.schema_ref().index_of(&by.column) {
            Ok(index) => arrays[index] = values,
            Err(_) => {
                fields.push(Arc::new(Field::new(&by.column, DataType::Utf8, true)));
                arrays.push(values);
            }
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(unsplit)
}

/// None where no text is empty.
fn without_blanks(array: &ArrayRef) -> Option<ArrayRef> {
    let texts = array.as_string_opt::<i32>()?;
    if !texts.iter().any(|text| text == Some("")) {
        return None;
    }
    let texts: StringArray = texts
        .iter()
        .map(|text| text.filter(|text| !text.is_empty()))
        .collect();
    Some(Arc::new(texts))
}

fn formatted(array: &ArrayRef, pattern: &str) -> Result<StringArray> {
    let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None)).map_err(unsplit)?;
    let micros = micros.as_primitive::<TimestampMicrosecondType>();
    let texts = micros.iter().map(|micros| {
        let timestamp = jiff::Timestamp::from_microsecond(micros?).ok()?;
        Some(timestamp.strftime(pattern).to_string())
    });
    Ok(texts.collect())
}

/// The batch by partition, without its partition columns.
pub(crate) fn split(batch: &RecordBatch, partitions: &[String]) -> Result<Vec<(Values, RecordBatch)>> {
    if partitions.is_empty() {
        return Ok(vec![(Values::new(), batch.clone())]);
    }
    let mut texts = Vec::new();
    for name in partitions {
        let array = batch.column_by_name(name).ok_or_else(|| {
            Error::internal(format!("rows lack their partition column '{name}'")).hint("report this defect")
        })?;
        texts.push(cast(array, &DataType::Utf8).map_err(unsplit)?);
    }
    let converter = RowConverter::new(vec![SortField::new(DataType::Utf8); texts.len()]).map_err(unsplit)?;
    let rows = converter.convert_columns(&texts).map_err(unsplit)?;
    let mut groups: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        groups.entry(row.data().into()).or_default().push(index);
    }
    let rest: Vec<usize> = (0..batch.num_columns())
        .filter(|index| !partitions.contains(batch.schema_ref().field(*index).name()))
        .collect();
    let slim = batch.project(&rest).map_err(unsplit)?;
    let parts = groups.into_values().map(|indices| {
        let first = indices.first().copied().unwrap_or_default() as usize;
        let values = partitions.iter().zip(&texts).map(|(name, array)| {
            let array = array.as_string::<i32>();
            let value = array.is_valid(first).then(|| array.value(first).to_owned());
            // Delta cannot tell an empty text from null in a partition value.
            (name.clone(), value.filter(|value| !value.is_empty()))
        });
        let part = take_record_batch(&slim, &UInt32Array::from(indices)).map_err(unsplit)?;
        Ok((values.collect::<Values>(), part))
    });
    let mut parts = parts.collect::<Result<Vec<_>>>()?;
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(parts)
}

/// A partition column as the rows of one file have it. Fails where its value is an integer that a double of
/// this type would round.
pub(crate) fn constant(value: Option<&str>, field: &Field, rows: usize) -> Result<ArrayRef> {
    let is_double = *field.data_type() == DataType::Float64;
    if is_double && value.is_some_and(|text| !text_fits_double(text)) {
        return Err(rounds(field.name()));
    }
    let texts = StringArray::from(vec![value; rows]);
    cast(&texts, field.data_type()).map_err(unsplit)
}

/// The folder of a partition's files. Only for people: the log has the exact values.
pub(crate) fn folder(values: &Values) -> String {
    let mut out = String::new();
    for (column, value) in values {
        let value: String = value.as_deref().unwrap_or("null").chars().take(64).collect();
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        };
        let column: String = column.chars().map(plain).collect();
        let value: String = value.chars().map(plain).collect();
        out.push_str(&format!("{column}={value}/"));
    }
    out
}

fn unsplit(error: arrow::error::ArrowError) -> Error {
    Error::internal("rows cannot be split by partition")
        .hint("report this defect with the stream's partition_by")
        .caused_by(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn a_month_becomes_a_column_and_splits_rows() {
        let by = PartitionBy::parse("month(at)").unwrap();
        assert_eq!(by.column, "_month_at");
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("at", columns::timestamp(), true),
        ]);
        by.check(&schema).unwrap();
        assert!(PartitionBy::parse("month(id)").unwrap().check(&schema).is_err());
        assert!(PartitionBy::parse("week(at)").is_err());
        let at = arrow::array::TimestampMicrosecondArray::from(vec![
            Some(0),
            Some(1_767_225_600_000_000),
            None,
            Some(86_400_000_000),
        ])
        .with_timezone("UTC");
        let batch = RecordBatch::try_new(
            Arc::new(schema),
            vec![Arc::new(Int64Array::from(vec![1, 2, 3, 4])), Arc::new(at)],
        )
        .unwrap();
        let batch = derive(batch, std::slice::from_ref(&by)).unwrap();
        let parts = split(&batch, &[by.column]).unwrap();
        let shown: Vec<_> = parts
            .iter()
            .map(|(values, part)| (folder(values), part.num_rows(), part.num_columns()))
            .collect();
        assert_eq!(
            shown,
            [
                ("_month_at=null/".to_owned(), 1, 2),
                ("_month_at=1970-01/".to_owned(), 2, 2),
                ("_month_at=2026-01/".to_owned(), 1, 2)
            ]
        );
    }
}
