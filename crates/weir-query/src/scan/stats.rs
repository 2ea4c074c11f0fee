//! The log's file statistics as DataFusion's.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::tables::DataFile;

/// Statistics of one file, one entry a column of `schema`.
///
/// Only bounds that hold whatever wrote them are taken: texts that the log calls text, numbers for
/// integers, dates and timestamps. Floating point is left out, because NaN stands outside its bounds.
pub(super) fn of_file(file: &DataFile, schema: &Schema, partition: &[ScalarValue]) -> Statistics {
    let log = file
        .stats
        .as_deref()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let part = |name: &str| {
        log.as_ref()
            .and_then(|log| log.get(name))
            .and_then(Value::as_object)
    };
    let (min, max, nulls) = (part("minValues"), part("maxValues"), part("nullCount"));
    let rows = precise(file.rows);
    let split = schema.fields().len() - partition.len();
    let column_statistics = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| match partition.get(index.wrapping_sub(split)) {
            Some(value) if index >= split => of_partition(value, rows),
            _ => ColumnStatistics {
                // The log counts rows that are marked as gone too.
                null_count: match file.live {
                    None => precise(nulls.and_then(|nulls| nulls.get(field.name())?.as_u64())),
                    Some(_) => Precision::Absent,
                },
                min_value: bound(min, field.name(), field.data_type(), Side::Min),
                max_value: bound(max, field.name(), field.data_type(), Side::Max),
                ..ColumnStatistics::new_unknown()
            },
        })
        .collect();
    Statistics {
        num_rows: rows,
        total_byte_size: Precision::Absent,
        column_statistics,
    }
}

/// What may be told to the optimizer: bounds become estimates, because the log may have cut them.
pub(super) fn estimates(mut statistics: Statistics) -> Arc<Statistics> {
    for column in &mut statistics.column_statistics {
        column.min_value = std::mem::take(&mut column.min_value).to_inexact();
        column.max_value = std::mem::take(&mut column.max_value).to_inexact();
    }
    Arc::new(statistics)
}

fn precise(count: Option<u64>) -> Precision<usize> {
    count
        .and_then(|count| usize::try_from(count).ok())
        .map_or(Precision::Absent, Precision::Exact)
}

fn of_partition(value: &ScalarValue, rows: Precision<usize>) -> ColumnStatistics {
    ColumnStatistics {
        null_count: if value.is_null() {
            rows
        } else {
            Precision::Exact(0)
        },
        min_value: Precision::Exact(value.clone()),
        max_value: Precision::Exact(value.clone()),
        ..ColumnStatistics::new_unknown()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Min,
    Max,
}

fn bound(
    values: Option<&Map<String, Value>>,
    name: &str,
    kind: &DataType,
    side: Side,
) -> Precision<ScalarValue> {
    let known = values.and_then(|values| scalar(values.get(name)?, kind, side));
    match known {
        Some(value) => Precision::Exact(value),
        // A typed null: unknown, but of a type that the pruning arrays can hold.
        None => ScalarValue::try_from(kind).map_or(Precision::Absent, Precision::Exact),
    }
}

fn scalar(value: &Value, kind: &DataType, side: Side) -> Option<ScalarValue> {
    Some(match kind {
        DataType::Int8 => ScalarValue::Int8(Some(i8::try_from(value.as_i64()?).ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(i16::try_from(value.as_i64()?).ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(i32::try_from(value.as_i64()?).ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(value.as_i64()?)),
        DataType::Utf8 => ScalarValue::Utf8(Some(value.as_str()?.to_owned())),
        DataType::Date32 => {
            let date: jiff::civil::Date = value.as_str()?.parse().ok()?;
            let epoch = jiff::civil::Date::new(1970, 1, 1).ok()?;
            ScalarValue::Date32(Some(epoch.until(date).ok()?.get_days()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let time = timestamp(value.as_str()?)?.as_microsecond();
            // The log keeps milliseconds, cut off: the true maximum lies up to one above.
            let slack = if side == Side::Max { 999 } else { 0 };
            ScalarValue::TimestampMicrosecond(time.checked_add(slack), zone.clone())
        }
        _ => return None,
    })
}

fn timestamp(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bounds_hold_or_are_left_out() {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let at = json!("2026-01-02T03:04:05.678Z");
        let (min, max) = (
            scalar(&at, &utc, Side::Min).unwrap(),
            scalar(&at, &utc, Side::Max).unwrap(),
        );
        assert_eq!(min.to_string(), "1767323045678000");
        assert_eq!(max.to_string(), "1767323045678999");
        assert_eq!(
            scalar(&json!("1970-01-11"), &DataType::Date32, Side::Min),
            Some(ScalarValue::Date32(Some(10)))
        );
        assert_eq!(scalar(&json!(7), &DataType::Utf8, Side::Min), None);
        assert_eq!(scalar(&json!(1.5), &DataType::Float64, Side::Min), None);
        assert_eq!(scalar(&json!(300), &DataType::Int8, Side::Max), None);
    }
}
