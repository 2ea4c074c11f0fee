//! Builders that values are written into straight from the tape. Unlike Arrow's own they can be cut
//! back, so a record that turns out not to fit leaves no trace; and rows that a record says nothing
//! about cost nothing until the column is used again.

use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array, Float64Array, Int64Array,
    ListArray, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::FieldRef;
use simd_json::{Node, StaticNode};
use weir_protocol::spec::Pii;
use weir_protocol::{Error, Result};

use super::decimal::{self, NotDecimal};
use super::exact::{fits_double, text_fits_double};
use super::kind::{Kind, element_field};
use super::misfit::{Misfit, Problem};
use super::object::Object;
use super::pii::{Hasher, PiiRules, write_json};
use super::tape::Parsed;
use super::time;

pub(crate) type Fit = std::result::Result<(), Box<Misfit>>;

/// What all columns of a stream are built with.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) hasher: Hasher,
    /// Numbers and booleans are taken into text columns.
    pub(crate) lenient: bool,
}

/// The values of one column so far.
pub(crate) struct Column {
    nulls: NullBufferBuilder,
    data: Data,
}

enum Data {
    Bool(BooleanBufferBuilder),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: i8,
    },
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    Text(Text),
    Struct(Object),
    List(List),
}

struct Text {
    ends: Vec<i32>,
    bytes: Vec<u8>,
    style: Style,
}

enum Style {
    Plain { lenient: bool },
    Json { rules: Option<PiiRules>, hasher: Hasher },
    Hash(Hasher),
}

struct List {
    ends: Vec<i32>,
    item: Box<Column>,
    field: FieldRef,
}

impl Column {
    pub(crate) fn new(kind: &Kind, pii: Option<&PiiRules>, rules: &Rules) -> Self {
        let hash = pii.is_some_and(|pii| pii.action == Some(Pii::Hash));
        let text = |style| {
            Data::Text(Text {
                ends: Vec::new(),
                bytes: Vec::new(),
                style,
            })
        };
        let data = match kind {
            Kind::Text | Kind::Scalar | Kind::Json if hash => text(Style::Hash(rules.hasher.clone())),
            Kind::Bool => Data::Bool(BooleanBufferBuilder::new(0)),
            Kind::Int => Data::Int(Vec::new()),
            Kind::Float => Data::Float(Vec::new()),
            Kind::Decimal { precision, scale } => Data::Decimal {
                values: Vec::new(),
                precision: *precision,
                scale: *scale,
            },
            Kind::Date => Data::Date(Vec::new()),
            Kind::Timestamp => Data::Timestamp(Vec::new()),
            Kind::Text => text(Style::Plain {
                lenient: rules.lenient,
            }),
            Kind::Scalar => text(Style::Plain { lenient: true }),
            Kind::Json => text(Style::Json {
                rules: pii.cloned(),
                hasher: rules.hasher.clone(),
            }),
            Kind::Struct(members) => Data::Struct(Object::new(members, pii, rules)),
            Kind::List(item) => Data::List(List {
                ends: Vec::new(),
                item: Box::new(Self::new(item, pii, rules)),
                field: element_field(item),
            }),
        };
        Self {
            nulls: NullBufferBuilder::new(0),
            data,
        }
    }

    pub(crate) fn object(&self) -> Option<&Object> {
        match &self.data {
            Data::Struct(object) => Some(object),
            _ => None,
        }
    }

    /// Whether row `row` was written and is not null.
    pub(crate) fn is_set(&self, row: usize) -> bool {
        row < self.nulls.len() && self.nulls.is_valid(row)
    }

    /// Writes row `row` from the node at `at`. After an error the column must be cut back to `row`.
    pub(crate) fn write(&mut self, row: usize, at: usize, record: &mut Parsed<'_>) -> Fit {
        if self.nulls.len() != row {
            self.settle(row);
        }
        let Some(node) = record.nodes.get(at).copied() else {
            self.append_nulls(1);
            return Ok(());
        };
        if matches!(node, Node::Static(StaticNode::Null)) {
            self.append_nulls(1);
            return Ok(());
        }
        match &mut self.data {
            Data::Text(text) => text.push(node, at, record)?,
            Data::Int(values) => values.push(integer(node, at, record)?),
            Data::Struct(object) => object.write(row, at, record)?,
            Data::Timestamp(values) => values.push(timestamp(node, at, record)?),
            Data::Bool(values) => match node {
                Node::Static(StaticNode::Bool(value)) => values.append(value),
                _ => return Err(mismatch("boolean", at, record)),
            },
            Data::Float(values) => values.push(float(node, at, record)?),
            Data::List(list) => list.push(at, record)?,
            Data::Date(values) => values.push(date(node, at, record)?),
            Data::Decimal {
                values,
                precision,
                scale,
            } => values.push(exact(node, at, record, *precision, *scale)?),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Makes the column exactly `rows` long: nulls are added, or rows cut off.
    pub(crate) fn settle(&mut self, rows: usize) {
        match rows.checked_sub(self.nulls.len()) {
            Some(missing) => self.append_nulls(missing),
            None => self.truncate(rows),
        }
    }

    fn append_nulls(&mut self, count: usize) {
        match &mut self.data {
            Data::Bool(values) => values.append_n(count, false),
            Data::Int(values) | Data::Timestamp(values) => values.resize(values.len() + count, 0),
            Data::Float(values) => values.resize(values.len() + count, 0.0),
            Data::Decimal { values, .. } => values.resize(values.len() + count, 0),
            Data::Date(values) => values.resize(values.len() + count, 0),
            Data::Text(Text { ends, .. }) | Data::List(List { ends, .. }) => {
                let last = ends.last().copied().unwrap_or(0);
                ends.resize(ends.len() + count, last);
            }
            // Its columns are brought to length when they are next written or finished.
            Data::Struct(_) => {}
        }
        self.nulls.append_n_nulls(count);
    }

    /// Cuts off everything from row `rows` on, half-written values of a refused record included.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match &mut self.data {
            Data::Bool(values) => values.truncate(rows.min(values.len())),
            Data::Int(values) | Data::Timestamp(values) => values.truncate(rows),
            Data::Float(values) => values.truncate(rows),
            Data::Decimal { values, .. } => values.truncate(rows),
            Data::Date(values) => values.truncate(rows),
            Data::Text(text) => {
                text.ends.truncate(rows);
                text.bytes.truncate(length(&text.ends));
            }
            Data::List(list) => {
                list.ends.truncate(rows);
                list.item.truncate(length(&list.ends));
            }
            Data::Struct(object) => object.truncate(rows),
        }
        self.nulls.truncate(rows.min(self.nulls.len()));
    }

    /// The column of `rows` rows; the builder is empty afterwards.
    pub(crate) fn finish(&mut self, rows: usize) -> Result<ArrayRef> {
        self.settle(rows);
        let nulls = self.nulls.finish();
        Ok(match &mut self.data {
            Data::Bool(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Data::Int(values) => Arc::new(Int64Array::new(std::mem::take(values).into(), nulls)),
            Data::Float(values) => Arc::new(Float64Array::new(std::mem::take(values).into(), nulls)),
            Data::Date(values) => Arc::new(Date32Array::new(std::mem::take(values).into(), nulls)),
            Data::Timestamp(values) => Arc::new(
                TimestampMicrosecondArray::new(std::mem::take(values).into(), nulls).with_timezone("UTC"),
            ),
            Data::Decimal {
                values,
                precision,
                scale,
            } => Arc::new(
                Decimal128Array::new(std::mem::take(values).into(), nulls)
                    .with_precision_and_scale(*precision, *scale)
                    .map_err(|error| broken(&error))?,
            ),
            Data::Text(text) => text.finish(nulls)?,
            Data::Struct(object) => object.finish(rows, nulls)?,
            Data::List(list) => list.finish(nulls)?,
        })
    }
}

impl Text {
    #[inline]
    fn push(&mut self, node: Node<'_>, at: usize, record: &mut Parsed<'_>) -> Fit {
        match (&self.style, node) {
            (Style::Plain { .. }, Node::String(text)) => self.bytes.extend_from_slice(text.as_bytes()),
            (Style::Plain { lenient: true }, Node::Static(_)) => {
                self.bytes.extend_from_slice(record.text(at).as_bytes());
            }
            (Style::Plain { .. }, _) => return Err(mismatch("text", at, record)),
            (Style::Json { rules, hasher }, _) => {
                write_json(at, record, rules.as_ref(), hasher, &mut self.bytes);
            }
            (Style::Hash(hasher), _) => hasher.hash_node(at, record, &mut self.bytes),
        }
        self.ends.push(end(self.bytes.len())?);
        Ok(())
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let bytes = Buffer::from_vec(std::mem::take(&mut self.bytes));
        let array = StringArray::try_new(offsets(&mut self.ends), bytes, nulls);
        Ok(Arc::new(array.map_err(|error| broken(&error))?))
    }
}

impl List {
    fn push(&mut self, at: usize, record: &mut Parsed<'_>) -> Fit {
        if !matches!(record.nodes.get(at), Some(Node::Array { .. })) {
            return Err(mismatch("list", at, record));
        }
        let mut row = length(&self.ends);
        for item in record.elements(at) {
            self.item
                .write(row, item, record)
                .map_err(|misfit| misfit.within("[]"))?;
            row += 1;
        }
        self.ends.push(end(row)?);
        Ok(())
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let items = self.item.finish(length(&self.ends))?;
        let array = ListArray::try_new(Arc::clone(&self.field), offsets(&mut self.ends), items, nulls);
        Ok(Arc::new(array.map_err(|error| broken(&error))?))
    }
}

fn length(ends: &[i32]) -> usize {
    ends.last()
        .and_then(|end| usize::try_from(*end).ok())
        .unwrap_or(0)
}

fn end(length: usize) -> std::result::Result<i32, Box<Misfit>> {
    i32::try_from(length)
        .map_err(|_| Misfit::new(Problem::Range("the page holds more than 2 GiB of it".to_owned())))
}

fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.append(ends);
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

pub(crate) fn broken(error: &arrow::error::ArrowError) -> Error {
    Error::internal("a typed batch could not be put together")
        .caused_by(error.to_string())
        .hint("this is a defect of weir: please report it with the stream's schema")
}

fn mismatch(expected: &'static str, at: usize, record: &Parsed<'_>) -> Box<Misfit> {
    Misfit::new(Problem::Type {
        expected,
        got: record.type_word(at),
        widens: false,
    })
}

fn widening(expected: &'static str, got: &'static str) -> Box<Misfit> {
    Misfit::new(Problem::Type {
        expected,
        got,
        widens: true,
    })
}

type Fitted<T> = std::result::Result<T, Box<Misfit>>;

/// From here on, two integers may be one in 64-bit floating point.
const EXACT_END: f64 = 9_007_199_254_740_992.0;

/// Whether the number is an integer that no digit was lost of.
pub(crate) fn is_whole(value: f64) -> bool {
    value.fract() == 0.0 && value.abs() < EXACT_END
}

#[inline]
fn integer(node: Node<'_>, at: usize, record: &mut Parsed<'_>) -> Fitted<i64> {
    let too_large = || Misfit::new(Problem::Range("the integer does not fit 64 bits".to_owned()));
    match node {
        Node::Static(StaticNode::I64(value)) => Ok(value),
        Node::Static(StaticNode::U64(value)) => i64::try_from(value).map_err(|_| too_large()),
        Node::Static(StaticNode::F64(value)) if value.is_nan() => {
            record.text(at).parse().map_err(|_| too_large())
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a whole number within 2^53 is exact in i64"
        )]
        Node::Static(StaticNode::F64(value)) if is_whole(value) => Ok(value as i64),
        Node::Static(StaticNode::F64(_)) => Err(widening("integer", "number")),
        _ => Err(mismatch("integer", at, record)),
    }
}

#[inline]
fn float(node: Node<'_>, at: usize, record: &mut Parsed<'_>) -> Fitted<f64> {
    let range = |what: &str| Misfit::new(Problem::Range(what.to_owned()));
    let too_exact = || range("the integer has more digits than a double holds");
    #[expect(
        clippy::cast_precision_loss,
        reason = "an integer that a double does not hold is refused before"
    )]
    match node {
        Node::Static(StaticNode::F64(value)) if value.is_nan() => {
            let text = record.text(at);
            match text.parse::<f64>() {
                _ if !text_fits_double(text) => Err(too_exact()),
                Ok(value) if value.is_finite() => Ok(value),
                _ => Err(range("the number does not fit 64 bits")),
            }
        }
        Node::Static(StaticNode::F64(value)) => Ok(value),
        Node::Static(StaticNode::I64(value)) if fits_double(value.unsigned_abs()) => Ok(value as f64),
        Node::Static(StaticNode::U64(value)) if fits_double(value) => Ok(value as f64),
        Node::Static(StaticNode::I64(_) | StaticNode::U64(_)) => Err(too_exact()),
        _ => Err(mismatch("number", at, record)),
    }
}

#[inline]
fn timestamp(node: Node<'_>, at: usize, record: &Parsed<'_>) -> Fitted<i64> {
    match node {
        Node::String(text) => match time::moment(text) {
            Some(moment) => Ok(moment.micros),
            None => Err(mismatch("date-time", at, record)),
        },
        _ => Err(mismatch("date-time", at, record)),
    }
}

fn date(node: Node<'_>, at: usize, record: &Parsed<'_>) -> Fitted<i32> {
    let Node::String(text) = node else {
        return Err(mismatch("date", at, record));
    };
    match time::date(text) {
        Some(days) => Ok(days),
        None if time::moment(text).is_some() => Err(widening("date", "date-time")),
        None => Err(mismatch("date", at, record)),
    }
}

fn exact(node: Node<'_>, at: usize, record: &mut Parsed<'_>, precision: u8, scale: i8) -> Fitted<i128> {
    let parsed = match node {
        Node::String(text) => decimal::parse(text, precision, scale),
        Node::Static(StaticNode::Bool(_)) | Node::Object { .. } | Node::Array { .. } => Err(NotDecimal::Text),
        Node::Static(_) => decimal::parse(record.text(at), precision, scale),
    };
    parsed.map_err(|why| match why {
        NotDecimal::Text => mismatch("decimal", at, record),
        NotDecimal::Digits => Misfit::new(Problem::Range(format!(
            "the number has more digits than decimal({precision},{scale})"
        ))),
    })
}
