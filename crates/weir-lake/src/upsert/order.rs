//! Which of two versions of a row is newer.
//!
//! A typed cursor orders by its type. A text has no type to say what its characters mean, so each value is
//! read by itself, once: a whole number orders by its value, a date or date-time in one of the forms that
//! [`moment`] reads by its instant, anything else by its bytes. So do texts of other forms, such as
//! `31/12/2026` (`%d/%m/%Y`): whoever wants them ordered by day must have them cast to timestamps.
//!
//! Of a number, a time and another text none is older than another one: such cursors count as equal.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeBinaryBuilder, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::row::Rows;
use weir_protocol::Result;

use super::keys::{encode_with_rows, unordered};
use crate::typed::moment;

/// Digits after a second's point that a [`moment`] keeps.
const MICROSECOND_DIGITS: usize = 6;

/// What a text says: only two of the same class have an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Number,
    Moment,
    Text,
}

/// The class of each row's cursor; none for null, which is older than anything else.
type Classes = Vec<Option<Class>>;

/// The cursors of rows, as columns that order them.
pub(super) struct Cursor {
    columns: Vec<ArrayRef>,
    /// Where cursors are texts.
    classes: Option<Classes>,
}

impl Cursor {
    /// A field's own column.
    pub(super) fn of_column(array: &ArrayRef) -> Self {
        match array.as_string_opt::<i32>() {
            Some(texts) => {
                let (keys, classes) = read(texts);
                Self {
                    columns: vec![keys],
                    classes: Some(classes),
                }
            }
            None => Self {
                columns: vec![array.clone()],
                classes: None,
            },
        }
    }

    /// Raw JSON: of it every number, not only a whole one, orders by its value.
    pub(super) fn of_json(texts: &ArrayRef) -> Result<Self> {
        let numbers = cast(texts, &DataType::Float64).map_err(unordered)?;
        let mut cursor = Self::of_column(texts);
        for (row, class) in cursor.classes.iter_mut().flatten().enumerate() {
            if numbers.is_valid(row) {
                *class = Some(Class::Number);
            }
        }
        cursor.columns.insert(0, numbers);
        Ok(cursor)
    }
}

/// Versions of rows, to be compared with others.
pub(crate) struct Order {
    /// Comparable bytes: the cursor, then what else decides.
    rows: Rows,
    /// Where cursors are texts.
    texts: Option<Texts>,
}

struct Texts {
    classes: Classes,
    /// What decides beside the cursor, as comparable bytes.
    rest: Rows,
}

impl Order {
    /// By cursor, then by the columns of `rest`.
    pub(super) fn new(cursor: Option<Cursor>, rest: &[ArrayRef], rows: usize) -> Result<Self> {
        let (mut columns, classes) = match cursor {
            Some(cursor) => (cursor.columns, cursor.classes),
            None => (Vec::new(), None),
        };
        columns.extend_from_slice(rest);
        let texts = match classes {
            Some(classes) => Some(Texts {
                classes,
                rest: encode_with_rows(rest, rows)?,
            }),
            None => None,
        };
        Ok(Self {
            rows: encode_with_rows(&columns, rows)?,
            texts,
        })
    }

    /// A row beside one of another load or file: `Less` where it is older.
    pub(crate) fn compare(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        if let (Some(ours), Some(theirs)) = (&self.texts, &other.texts) {
            let is_mixed = match (ours.classes[row], theirs.classes[other_row]) {
                (Some(our), Some(their)) => our != their,
                _ => false,
            };
            if is_mixed {
                return ours.rest.row(row).data().cmp(theirs.rest.row(other_row).data());
            }
        }
        self.rows.row(row).data().cmp(other.rows.row(other_row).data())
    }
}

/// Bytes that order each text among those of its class, and the classes.
fn read(texts: &StringArray) -> (ArrayRef, Classes) {
    // Bytes of numbers can be longer than their texts, for which small offsets sufficed.
    let mut keys = LargeBinaryBuilder::with_capacity(texts.len(), texts.value_data().len());
    let mut classes = Vec::with_capacity(texts.len());
    for text in texts {
        match text {
            Some(text) => classes.push(Some(push(&mut keys, text))),
            None => {
                keys.append_null();
                classes.push(None);
            }
        }
    }
    (Arc::new(keys.finish()), classes)
}

/// Adds the bytes that order a text, and says among which.
fn push(keys: &mut LargeBinaryBuilder, text: &str) -> Class {
    // As many digits as the engine takes for an integer. With its first bit inverted, a smaller number has
    // smaller bytes.
    if let Ok(number) = text.parse::<i128>() {
        keys.append_value((number ^ i128::MIN).to_be_bytes());
        return Class::Number;
    }
    if let Some(moment) = moment(text) {
        let mut key = (moment.micros ^ i64::MIN).to_be_bytes().to_vec();
        key.extend_from_slice(finer_digits(text));
        keys.append_value(key);
        return Class::Moment;
    }
    keys.append_value(text);
    Class::Text
}

/// The digits of a date-time that its microseconds do not hold, without zeros at the end.
fn finer_digits(text: &str) -> &[u8] {
    let is_point = |byte: &u8| matches!(byte, b'.' | b',');
    let mut parts = text.as_bytes().splitn(2, is_point);
    let fraction = parts.nth(1).unwrap_or_default();
    let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let finer = fraction.get(MICROSECOND_DIGITS..length).unwrap_or_default();
    let last = finer.iter().rposition(|digit| *digit != b'0');
    finer.get(..last.map_or(0, |last| last + 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
    use proptest::prelude::*;

    use super::super::Keys;
    use super::*;
    use crate::table::columns::{CURSOR, EMITTED_AT};

    const SUMMER: &str = "2024-10-27T02:30:00.000+0200";
    const WINTER: &str = "2024-10-27T02:15:00.000+0100";

    fn keys() -> Keys {
        Keys::new(vec!["id".to_owned()], Some("at".to_owned()))
    }

    fn batch(name: &str, cursor: ArrayRef, emitted: i64) -> RecordBatch {
        let emitted: ArrayRef = Arc::new(TimestampMicrosecondArray::from_value(emitted, cursor.len()));
        RecordBatch::try_from_iter_with_nullable([(name, cursor, true), (EMITTED_AT, emitted, true)]).unwrap()
    }

    fn text(text: Option<&str>) -> ArrayRef {
        Arc::new(StringArray::from(vec![text]))
    }

    fn compare(name: &str, one: ArrayRef, other: ArrayRef) -> Ordering {
        let cursors = |array| keys().cursors(&batch(name, array, 0)).unwrap().unwrap();
        cursors(one).compare(0, &cursors(other), 0)
    }

    fn compare_texts(one: &str, other: &str) -> Ordering {
        let order = compare("at", text(Some(one)), text(Some(other)));
        let back = compare("at", text(Some(other)), text(Some(one)));
        assert_eq!(order, back.reverse(), "{one} and {other}");
        order
    }

    #[test]
    fn texts_order_by_what_they_say() {
        for (older, newer) in [
            ("9", "10"),
            ("-10", "-9"),
            ("-1", "0"),
            ("9", "010"),
            ("18446744073709551615", "100000000000000000000"),
            (SUMMER, WINTER),
            ("2024-01-01", "2024-01-01 00:00:01"),
            ("1969-12-31T23:59:59Z", "1970-01-01"),
            ("2024-01-01T00:00:00.1234567Z", "2024-01-01T00:00:00.12345678Z"),
            (
                "2024-01-01T00:00:00.123456899Z",
                "2024-01-01T02:00:00.1234569+0200",
            ),
            ("alpha", "beta"),
            ("10.5", "9.5"),
            // By bytes: nothing says which part is the day.
            ("01/02/2024", "31/01/2024"),
        ] {
            assert_eq!(compare_texts(older, newer), Ordering::Less, "{older} and {newer}");
        }
        for (one, other) in [
            ("+9", "09"),
            ("2024-01-01", "2024-01-01T02:00:00+02"),
            ("2024-01-01T00:00:00.1234567Z", "2024-01-01T00:00:00.123456700Z"),
        ] {
            assert_eq!(compare_texts(one, other), Ordering::Equal, "{one} and {other}");
        }
    }

    #[test]
    fn texts_of_two_classes_are_as_old_as_each_other() {
        for (one, other) in [("9", "x"), ("x", SUMMER), ("9", SUMMER), ("9", "9.5"), ("9", "")] {
            assert_eq!(compare_texts(one, other), Ordering::Equal, "{one} and {other}");
        }
        for value in ["", "-9", "x", SUMMER] {
            let order = compare("at", text(None), text(Some(value)));
            assert_eq!(order, Ordering::Less, "null is older than {value}");
        }
        // As with equal cursors, the time of emission decides.
        let order = |value, emitted| keys().order(&batch("at", text(Some(value)), emitted)).unwrap();
        for (one, other) in [("9", "x"), ("x", "9"), ("9", "9")] {
            let found = order(one, 1).compare(0, &order(other, 2), 0);
            assert_eq!(found, Ordering::Less, "{one} and {other}");
            let found = order(one, 2).compare(0, &order(other, 2), 0);
            assert_eq!(found, Ordering::Equal, "{one} and {other}");
        }
        assert_eq!(order("10", 1).compare(0, &order("9", 2), 0), Ordering::Greater);
    }

    #[test]
    fn raw_json_orders_as_text_does_and_every_number_by_its_value() {
        for (one, other, expected) in [
            ("9", "10", Ordering::Less),
            ("9.5", "10", Ordering::Less),
            ("1e1", "9.5", Ordering::Greater),
            ("9007199254740992", "9007199254740993", Ordering::Less),
            (SUMMER, WINTER, Ordering::Less),
            ("9.5", "x", Ordering::Equal),
            ("alpha", "beta", Ordering::Less),
        ] {
            let found = compare(CURSOR, text(Some(one)), text(Some(other)));
            assert_eq!(found, expected, "{one} and {other}");
        }
    }

    #[test]
    fn a_typed_cursor_orders_by_its_type() {
        let number = |number: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![number])) };
        assert_eq!(compare("at", number(9), number(10)), Ordering::Less);
        let cursors = keys().cursors(&batch("at", number(9), 0)).unwrap().unwrap();
        assert!(cursors.texts.is_none(), "nothing is read of it");
        let without = Keys::new(vec!["id".to_owned()], None);
        assert!(without.cursors(&batch("at", number(9), 0)).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn whole_numbers_order_by_value(one in any::<i128>(), other in any::<i128>()) {
            prop_assert_eq!(compare_texts(&one.to_string(), &other.to_string()), one.cmp(&other));
        }

        #[test]
        fn any_texts_compare_the_same_both_ways(one in "[0-9T:.,+ x-]{0,30}", other in "\\PC{0,30}") {
            let order = compare_texts(&one, &other);
            prop_assert!(one != other || order.is_eq());
        }
    }
}
