//! Integers that a double holds, and the long columns that hold others: such a column never becomes a double.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, AsArray, ListArray};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use weir_protocol::{Error, Result};

use super::kind::{Kind, Member};
use super::registered;

/// Every integer up to here is exact in 64-bit floating point.
pub(crate) const EXACT_UP_TO: u64 = 1 << 53;
/// The step of a path that leads to the elements of a list.
const ELEMENTS: &str = "[]";

/// Whether a double holds an integer of this magnitude.
#[inline]
pub(crate) fn fits_double(magnitude: u64) -> bool {
    magnitude <= EXACT_UP_TO || has_few_bits(magnitude.into())
}

/// Whether a double holds a number that is written as an integer. One with a point or an exponent becomes
/// the nearest double, whatever its digits.
pub(crate) fn text_fits_double(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    !is_integer || digits.parse().is_ok_and(has_few_bits)
}

/// Whether the bits from the first to the last that is set are no more than a double has.
fn has_few_bits(magnitude: u128) -> bool {
    let zeros = magnitude.trailing_zeros().min(u128::BITS - 1);
    magnitude >> zeros <= u128::from(EXACT_UP_TO)
}

/// Whether a long column holds an integer that a double does not. No other column does.
pub(crate) fn is_beyond_double(array: &ArrayRef) -> bool {
    let is_beyond = |value: i64| !fits_double(value.unsigned_abs());
    let longs = array.as_primitive_opt::<Int64Type>();
    longs.is_some_and(|longs| {
        // What stands in the place of a null is looked at only where it could matter.
        longs.values().iter().copied().any(is_beyond) && longs.iter().flatten().any(is_beyond)
    })
}

/// The error that stops what would round integers. Whoever widens a column looks before; this is for what
/// they could not know.
pub(crate) fn rounds(column: &str) -> Error {
    Error::schema(format!(
        "column '{column}' cannot become a double: it holds integers with more digits than a double has"
    ))
    .with("column", column)
    .hint(
        "declare the column as { type: number, format: decimal } in the stream's schema, \
         then make the table anew from Bronze with `weir lake rebuild`",
    )
}

/// Long columns that hold integers which a double does not, or held them once: what a rebuild comes to must
/// not hang on which rows were replaced meanwhile. Each is told by the fields of a record that lead to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Inexact(BTreeSet<Vec<String>>);

impl Inexact {
    /// Every long column of a table and its child tables but those at the top of the table that are
    /// `proven` to hold none. Fails where a column has a type that no stream writes.
    pub(crate) fn unproven(
        table: &Schema,
        children: &[(String, SchemaRef)],
        proven: &BTreeSet<String>,
    ) -> Result<Self> {
        let mut members = registered::members(table, children)?;
        members.retain(|member| member.kind != Kind::Int || !proven.contains(&member.column));
        let mut all = Self::default();
        for member in &members {
            all.look(&member.kind, None, &mut vec![member.key.as_str()]);
        }
        Ok(all)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Of those below one column: whether it is one itself.
    pub(crate) fn is_here(&self) -> bool {
        // The path without a step is the smallest.
        self.0.first().is_some_and(Vec::is_empty)
    }

    /// Those below a field, by the fields from there on.
    pub(crate) fn below(&self, field: &str) -> Self {
        let rest = self.0.iter().filter_map(|path| {
            let (first, rest) = path.split_first()?;
            (first == field).then(|| rest.to_vec())
        });
        Self(rest.collect())
    }

    /// As [`Self::below`] for the elements of a list.
    pub(crate) fn elements(&self) -> Self {
        self.below(ELEMENTS)
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// Those that are long columns of these members still.
    pub(crate) fn of(&self, members: &[Member]) -> Self {
        let paths = self.0.iter().filter(|path| leads_to_long(members, path));
        Self(paths.cloned().collect())
    }

    /// Looks at typed columns, one for each member.
    pub(crate) fn note(&mut self, members: &[Member], columns: &[ArrayRef]) {
        let mut path = Vec::new();
        for (member, column) in members.iter().zip(columns) {
            path.push(member.key.as_str());
            self.look(&member.kind, Some(column), &mut path);
            path.pop();
        }
    }

    /// Without values every long column counts.
    fn look<'a>(&mut self, kind: &'a Kind, values: Option<&ArrayRef>, path: &mut Vec<&'a str>) {
        match kind {
            Kind::Int if values.is_none_or(is_beyond_double) => {
                let path = path.iter().map(|step| (*step).to_owned());
                self.0.insert(path.collect());
            }
            Kind::Struct(members) => {
                let columns = values.and_then(AsArray::as_struct_opt);
                for (index, member) in members.iter().enumerate() {
                    let column = columns.and_then(|columns| columns.columns().get(index));
                    path.push(member.key.as_str());
                    self.look(&member.kind, column, path);
                    path.pop();
                }
            }
            Kind::List(item) => {
                let list = values.and_then(AsArray::as_list_opt::<i32>);
                path.push(ELEMENTS);
                self.look(item, list.map(ListArray::values), path);
                path.pop();
            }
            _ => {}
        }
    }
}

fn leads_to_long(members: &[Member], path: &[String]) -> bool {
    let Some((field, rest)) = path.split_first() else {
        return false;
    };
    let member = members.iter().find(|member| member.key == *field);
    member.is_some_and(|member| is_long(&member.kind, rest))
}

fn is_long(kind: &Kind, path: &[String]) -> bool {
    match (kind, path.split_first()) {
        (Kind::Int, None) => true,
        (Kind::Struct(members), _) => leads_to_long(members, path),
        (Kind::List(item), Some((step, rest))) => step == ELEMENTS && is_long(item, rest),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_fits_comes_back_from_a_double(value in prop_oneof![
            any::<i64>(),
            (0..62_u32, -9_i64..9).prop_map(|(shift, near)| (1_i64 << shift) + near),
        ]) {
            let is_same = value as f64 as i128 == i128::from(value);
            prop_assert_eq!(fits_double(value.unsigned_abs()), is_same);
            prop_assert_eq!(text_fits_double(&value.to_string()), is_same);
        }
    }

    #[test]
    fn texts_are_looked_at_beyond_64_bits() {
        for text in [
            "0",
            "-0",
            "18446744073709551616",
            "-36893488147419103232",
            "1.5",
            "1e400",
            "",
        ] {
            assert!(text_fits_double(text), "{text}");
        }
        let long = "1".repeat(40);
        for text in ["9007199254740993", "-18446744073709551617", long.as_str()] {
            assert!(!text_fits_double(text), "{text}");
        }
        assert!(fits_double(u64::MAX - 2047) && !fits_double(u64::MAX));
    }

    #[test]
    fn columns_are_told_by_the_fields_that_lead_to_them() {
        let member = |key: &str, kind| Member {
            key: key.to_owned(),
            column: format!("{key}_column"),
            kind,
        };
        let pair = Kind::Struct(vec![member("n", Kind::Int), member("f", Kind::Float)]);
        let members = [
            member("id", Kind::Int),
            member("pairs", Kind::List(Box::new(pair))),
        ];
        let schema = Schema::new(crate::typed::kind::fields(&members));
        let proven = BTreeSet::from(["id_column".to_owned()]);
        let known = Inexact::unproven(&schema, &[], &proven).unwrap();
        assert_eq!(serde_json::to_string(&known).unwrap(), r#"[["pairs","[]","n"]]"#);
        assert_eq!(known.of(&members), known);
        assert!(known.of(&members[..1]).is_empty());
        assert!(known.below("pairs").elements().below("n").is_here());
        assert!(!known.below("id").is_here() && known.below("n").is_empty());
        let mut both = Inexact::unproven(&schema, &[], &BTreeSet::new()).unwrap();
        assert!(both.below("id").is_here());
        both.join(&known);
        assert_eq!(both.0.len(), 2);
    }

    #[test]
    fn a_null_is_no_integer() {
        let array: ArrayRef = Arc::new(Int64Array::new(
            vec![i64::MAX, 1].into(),
            Some(vec![false, true].into()),
        ));
        assert!(!is_beyond_double(&array));
        let array: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(i64::MAX)]));
        assert!(is_beyond_double(&array));
    }
}
