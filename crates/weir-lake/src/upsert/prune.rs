//! Which files may hold one of the incoming keys, by the statistics in the log.

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::DataType;
use arrow::row::Rows;
use serde_json::Value;
use weir_protocol::Result;

use super::keys::encode;
use crate::table::DataFile;

/// One key column's incoming values.
pub(crate) struct Wanted {
    column: String,
    /// None of them: their type.
    values: ArrayRef,
    rows: Rows,
    /// Rows in the order of their values.
    sorted: Vec<u32>,
}

impl Wanted {
    /// None for a column whose bounds say nothing about its values (nested).
    pub(crate) fn new(column: &str, values: ArrayRef) -> Result<Option<Self>> {
        let fits = values.data_type().is_integer()
            || matches!(
                values.data_type(),
                DataType::Utf8 | DataType::Date32 | DataType::Timestamp(..)
            );
        if !fits || values.null_count() > 0 || column.contains('.') {
            return Ok(None);
        }
        let rows = encode(std::slice::from_ref(&values))?;
        let mut sorted: Vec<u32> = (0..u32::try_from(values.len()).unwrap_or(u32::MAX)).collect();
        if !rows.iter().is_sorted() {
            sorted.sort_unstable_by(|a, b| rows.row(*a as usize).cmp(&rows.row(*b as usize)));
        }
        Ok(Some(Self {
            column: column.to_owned(),
            values: values.slice(0, 0),
            rows,
            sorted,
        }))
    }

    fn value(&self, place: u32) -> &[u8] {
        self.rows.row(place as usize).data()
    }

    /// Whether any wanted value lies between the file's smallest and largest.
    fn may_be_in(&self, stats: &Value, partition: Option<&Option<String>>) -> Result<bool> {
        let Some(bounds) = self.bounds(stats, partition)? else {
            return Ok(true);
        };
        Ok(self.is_between(bounds.row(0).data(), bounds.row(1).data()))
    }

    /// Whether any wanted value lies between two, given as the rows of its type.
    pub(super) fn is_between(&self, low: &[u8], high: &[u8]) -> bool {
        let first = self.sorted.partition_point(|place| self.value(*place) < low);
        self.sorted
            .get(first)
            .is_some_and(|place| self.value(*place) <= high)
    }

    pub(super) fn column(&self) -> &str {
        &self.column
    }

    pub(super) fn kind(&self) -> &DataType {
        self.values.data_type()
    }

    fn bounds(&self, stats: &Value, partition: Option<&Option<String>>) -> Result<Option<Rows>> {
        let (low, high) = match partition {
            Some(value) => (value.clone(), value.clone()),
            None => (
                text(&stats["minValues"][&self.column]),
                text(&stats["maxValues"][&self.column]),
            ),
        };
        let (Some(low), Some(high)) = (low, high) else {
            return Ok(None);
        };
        let texts = StringArray::from(vec![low, high]);
        let Ok(bounds) = cast(&texts, self.values.data_type()) else {
            return Ok(None);
        };
        if bounds.null_count() > 0 {
            return Ok(None);
        }
        // The same converter's type as the sorted values: an empty slice pins it.
        let Ok(bounds) = concat(&[self.values.as_ref(), bounds.as_ref()]) else {
            return Ok(None);
        };
        encode(&[bounds]).map(Some)
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn stats(file: &DataFile) -> Value {
    let stats = file.stats.as_deref();
    stats
        .and_then(|stats| serde_json::from_str(stats).ok())
        .unwrap_or(Value::Null)
}

/// Whether all of `wanted` are smaller than the smallest value of the file, or larger than the largest.
pub(super) fn is_beside(file: &DataFile, wanted: &Wanted) -> Result<bool> {
    let (Some(first), Some(last)) = (wanted.sorted.first(), wanted.sorted.last()) else {
        return Ok(true);
    };
    let partition = file.partition.get(&wanted.column);
    let Some(bounds) = wanted.bounds(&stats(file), partition)? else {
        return Ok(false);
    };
    let (low, high) = (bounds.row(0), bounds.row(1));
    Ok(wanted.value(*last) < low.data() || wanted.value(*first) > high.data())
}

/// Whether a file may hold a wanted key.
pub(crate) fn may_hold(file: &DataFile, wanted: &[Wanted]) -> Result<bool> {
    let stats = stats(file);
    for column in wanted {
        if !column.may_be_in(&stats, file.partition.get(&column.column))? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use proptest::prelude::*;

    use super::*;

    fn file(stats: &str) -> DataFile {
        DataFile {
            path: "p".into(),
            size: 1,
            rows: 1,
            partition: Default::default(),
            stats: Some(stats.into()),
            modified_ms: 0,
            deletion_vector: None,
        }
    }

    proptest! {
        #[test]
        fn a_file_with_a_wanted_key_is_never_left_out(
            stored in prop::collection::vec(any::<i64>(), 1..20),
            wanted in prop::collection::vec(any::<i64>(), 1..20),
        ) {
            let (min, max) = (stored.iter().min().unwrap(), stored.iter().max().unwrap());
            let file = file(&format!(r#"{{"minValues":{{"id":{min}}},"maxValues":{{"id":{max}}}}}"#));
            let column = Wanted::new("id", Arc::new(Int64Array::from(wanted.clone()))).unwrap().unwrap();
            let beside = wanted.iter().all(|key| key < min) || wanted.iter().all(|key| key > max);
            prop_assert_eq!(is_beside(&file, &column).unwrap(), beside);
            let may = may_hold(&file, &[column]).unwrap();
            prop_assert_eq!(may, wanted.iter().any(|key| min <= key && key <= max));
        }

        #[test]
        fn cut_text_bounds_leave_nothing_out(stored in "[a-zé]{30,40}", tail in "[a-z]{0,5}") {
            let array: ArrayRef = Arc::new(StringArray::from(vec![stored.clone()]));
            let batch = arrow::array::RecordBatch::try_from_iter([("id", array.clone())]).unwrap();
            let file = file(&crate::table::stats::of_batch(&batch));
            let column = Wanted::new("id", array).unwrap().unwrap();
            prop_assert!(!is_beside(&file, &column).unwrap());
            prop_assert!(may_hold(&file, &[column]).unwrap());
            let other: ArrayRef = Arc::new(StringArray::from(vec![format!("~{tail}")]));
            prop_assert!(!may_hold(&file, &[Wanted::new("id", other).unwrap().unwrap()]).unwrap());
        }
    }
}
