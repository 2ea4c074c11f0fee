//! Types of Parquet columns: as JSON Schema, and how their values are written as JSON.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use jiff::civil::Date;
use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::Decimal;
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};
use serde_json::{Map, Value, json};
use weir_protocol::{Error, Result};

use super::column::write_text;

/// Digits of the largest unsigned 64-bit number.
const U64_DIGITS: i32 = 20;
const NS_PER_S: i64 = 1_000_000_000;
const NS_PER_DAY: i128 = 86_400 * 1_000_000_000;
/// Bytes of an INT96: nanoseconds of the day (8), number of the day (4).
const INT96_BYTES: i32 = 12;
/// The Julian day of 1970-01-01.
const JULIAN_EPOCH: i128 = 2_440_588;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Number,
    Decimal {
        precision: i32,
        scale: i32,
    },
    Text,
    Binary,
    Uuid,
    Date,
    /// Nanoseconds a unit.
    Time(i64),
    Timestamp(i64),
    /// A moment of the old type, as its bytes.
    Int96,
    List(Box<Self>),
    /// Of its keys and its values.
    Map(Box<Self>, Box<Self>),
    Struct(Vec<(String, Self)>),
}

impl Kind {
    /// The columns of a file.
    pub(super) fn of_root(root: &Type) -> Result<Self> {
        fields(root)
    }

    fn of(field: &Type) -> Result<Self> {
        let kind = if field.is_primitive() {
            primitive(field)?
        } else {
            group(field)?
        };
        let info = field.get_basic_info();
        // A repeated field without a list around it is a list by itself.
        if info.has_repetition() && info.repetition() == Repetition::REPEATED {
            return Ok(Self::List(Box::new(kind)));
        }
        Ok(kind)
    }

    /// JSON Schema; every value may be missing.
    pub(super) fn schema(&self) -> Value {
        match self {
            Self::Boolean => json!({ "type": ["boolean", "null"] }),
            Self::Integer => json!({ "type": ["integer", "null"] }),
            Self::Number => json!({ "type": ["number", "null"] }),
            Self::Decimal { precision, scale } => json!({
                "type": ["string", "null"], "format": "decimal", "x-weir-decimal": format!("{precision},{scale}"),
            }),
            Self::Text | Self::Time(_) => json!({ "type": ["string", "null"] }),
            Self::Binary => json!({ "type": ["string", "null"], "contentEncoding": "base64" }),
            Self::Uuid => json!({ "type": ["string", "null"], "format": "uuid" }),
            Self::Date => json!({ "type": ["string", "null"], "format": "date" }),
            Self::Timestamp(_) | Self::Int96 => json!({ "type": ["string", "null"], "format": "date-time" }),
            Self::List(element) => json!({ "type": ["array", "null"], "items": element.schema() }),
            Self::Map(_, value) => {
                json!({ "type": ["object", "null"], "additionalProperties": value.schema() })
            }
            Self::Struct(members) => {
                let members: Map<String, Value> = members
                    .iter()
                    .map(|(name, kind)| (name.clone(), kind.schema()))
                    .collect();
                json!({ "type": ["object", "null"], "properties": members })
            }
        }
    }

    pub(super) fn write_row(&self, row: &Row, out: &mut Vec<u8>) {
        let Self::Struct(members) = self else {
            return out.extend_from_slice(b"null");
        };
        out.push(b'{');
        for (index, ((name, value), (_, kind))) in row.get_column_iter().zip(members).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_text(name, out);
            out.push(b':');
            kind.write(value, out);
        }
        out.push(b'}');
    }

    pub(super) fn write(&self, field: &Field, out: &mut Vec<u8>) {
        match (self, field) {
            (_, Field::Null) => out.extend_from_slice(b"null"),
            (Self::Struct(_), Field::Group(row)) => self.write_row(row, out),
            (Self::List(element), Field::ListInternal(list)) => {
                out.push(b'[');
                for (index, value) in list.elements().iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    element.write(value, out);
                }
                out.push(b']');
            }
            (Self::Map(key_kind, kind), Field::MapInternal(map)) => {
                out.push(b'{');
                for (index, (key, value)) in map.entries().iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    match (&**key_kind, key) {
                        (Self::Int96, Field::Bytes(bytes)) => write_text(&int96(bytes.data()), out),
                        _ => write_text(&plain(key), out),
                    }
                    out.push(b':');
                    kind.write(value, out);
                }
                out.push(b'}');
            }
            (_, Field::Bool(value)) => out.extend_from_slice(value.to_string().as_bytes()),
            (_, Field::Float16(value)) => write_float(f64::from(*value), out),
            (_, Field::Float(value)) => write_float32(*value, out),
            (_, Field::Double(value)) => write_float(*value, out),
            (Self::Time(unit), _) if whole(field).is_some() => write_text(&time(field, *unit), out),
            (Self::Timestamp(unit), _) if whole(field).is_some() => write_text(&instant(field, *unit), out),
            (Self::Int96, Field::Bytes(bytes)) => write_text(&int96(bytes.data()), out),
            (Self::Uuid, Field::Bytes(bytes)) => write_text(&uuid(bytes.data()), out),
            (Self::Text, Field::Bytes(bytes)) => match std::str::from_utf8(bytes.data()) {
                Ok(text) => write_text(text, out),
                Err(_) => write_text(&BASE64_STANDARD.encode(bytes.data()), out),
            },
            (Self::Date, Field::Date(days)) => write_text(&date(*days), out),
            (Self::Integer, _) if whole(field).is_some() => {
                out.extend_from_slice(field.to_string().as_bytes());
            }
            _ => write_text(&plain(field), out),
        }
    }
}

fn fields(group: &Type) -> Result<Kind> {
    let members: Result<Vec<_>> = group
        .get_fields()
        .iter()
        .map(|field| Ok((field.name().to_owned(), Kind::of(field)?)))
        .collect();
    Ok(Kind::Struct(members?))
}

fn group(group: &Type) -> Result<Kind> {
    let info = group.get_basic_info();
    let repeated = group.get_fields().first();
    match (info.converted_type(), repeated) {
        (ConvertedType::LIST, Some(repeated)) => list(repeated),
        (ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE, Some(entry)) if entry.is_group() => {
            let of = |at: usize| {
                entry
                    .get_fields()
                    .get(at)
                    .map(|field| Kind::of(field))
                    .transpose()
            };
            let (key, value) = (of(0)?.unwrap_or(Kind::Text), of(1)?.unwrap_or(Kind::Text));
            Ok(Kind::Map(Box::new(key), Box::new(value)))
        }
        _ => fields(group),
    }
}

/// The element of a list by the format's rules for files of older writers.
fn list(repeated: &Type) -> Result<Kind> {
    let named_element = ["array", "list_tuple"].contains(&repeated.name());
    let element = if repeated.is_primitive() {
        primitive(repeated)?
    } else if repeated.get_fields().len() == 1 && !named_element {
        Kind::of(&repeated.get_fields()[0])?
    } else {
        fields(repeated)?
    };
    Ok(Kind::List(Box::new(element)))
}

fn primitive(field: &Type) -> Result<Kind> {
    let info = field.get_basic_info();
    // Whatever else a file says of it: it is read as `whole_int96` has it.
    if field.get_physical_type() == Physical::INT96 {
        return Ok(Kind::Int96);
    }
    if let Some(kind) = info.logical_type_ref().and_then(logical) {
        return Ok(kind);
    }
    Ok(match (info.converted_type(), field.get_physical_type()) {
        (ConvertedType::DECIMAL, _) => Kind::Decimal {
            precision: field.get_precision(),
            scale: field.get_scale(),
        },
        // Half of its values do not fit a signed number.
        (ConvertedType::UINT_64, _) => Kind::Decimal {
            precision: U64_DIGITS,
            scale: 0,
        },
        (ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON, _) => Kind::Text,
        (ConvertedType::DATE, _) => Kind::Date,
        (ConvertedType::TIME_MILLIS, _) => Kind::Time(1_000_000),
        (ConvertedType::TIME_MICROS, _) => Kind::Time(1_000),
        (ConvertedType::TIMESTAMP_MILLIS, _) => Kind::Timestamp(1_000_000),
        (ConvertedType::TIMESTAMP_MICROS, _) => Kind::Timestamp(1_000),
        (ConvertedType::INTERVAL, _) => {
            return Err(Error::schema(format!(
                "column '{}' is an interval, which cannot be read",
                field.name()
            ))
            .hint("write the file without it, or as a number or text"));
        }
        (_, Physical::BOOLEAN) => Kind::Boolean,
        (_, Physical::INT32 | Physical::INT64) => Kind::Integer,
        (_, Physical::INT96) => Kind::Int96,
        (_, Physical::FLOAT | Physical::DOUBLE) => Kind::Number,
        (_, Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY) => Kind::Binary,
    })
}

/// The schema by which a file with columns of the type INT96 is read: as bytes, since the library that reads rows gives
/// their milliseconds only. None for a file without such columns.
pub(super) fn whole_int96(schema: &SchemaDescriptor) -> Option<SchemaDescPtr> {
    let mut columns = schema.columns().iter();
    if !columns.any(|column| column.physical_type() == Physical::INT96) {
        return None;
    }
    let root = as_bytes(schema.root_schema());
    Some(Arc::new(SchemaDescriptor::new(Arc::new(root))))
}

/// In a file both types are the same twelve bytes.
fn as_bytes(field: &Type) -> Type {
    let mut field = field.clone();
    match &mut field {
        Type::PrimitiveType {
            physical_type,
            type_length,
            ..
        } => {
            if *physical_type == Physical::INT96 {
                *physical_type = Physical::FIXED_LEN_BYTE_ARRAY;
                *type_length = INT96_BYTES;
            }
        }
        Type::GroupType { fields, .. } => {
            for below in fields {
                *below = Arc::new(as_bytes(below));
            }
        }
    }
    field
}

/// What the newer annotation says where the older one cannot.
fn logical(kind: &LogicalType) -> Option<Kind> {
    let ns = |unit: &TimeUnit| match unit {
        TimeUnit::MILLIS => 1_000_000,
        TimeUnit::MICROS => 1_000,
        TimeUnit::NANOS => 1,
    };
    match kind {
        LogicalType::Timestamp(stamp) => Some(Kind::Timestamp(ns(&stamp.unit))),
        LogicalType::Time(time) => Some(Kind::Time(ns(&time.unit))),
        LogicalType::String | LogicalType::Enum | LogicalType::Json => Some(Kind::Text),
        LogicalType::Uuid => Some(Kind::Uuid),
        LogicalType::Float16 => Some(Kind::Number),
        LogicalType::Date => Some(Kind::Date),
        _ => None,
    }
}

/// A whole number, whatever its width.
fn whole(field: &Field) -> Option<i128> {
    Some(match field {
        Field::Byte(n) => i128::from(*n),
        Field::Short(n) => i128::from(*n),
        Field::Int(n) | Field::TimeMillis(n) => i128::from(*n),
        Field::UByte(n) => i128::from(*n),
        Field::UShort(n) => i128::from(*n),
        Field::UInt(n) => i128::from(*n),
        Field::ULong(n) => i128::from(*n),
        Field::Long(n) | Field::TimeMicros(n) | Field::TimestampMillis(n) | Field::TimestampMicros(n) => {
            i128::from(*n)
        }
        _ => return None,
    })
}

/// Nanoseconds of a field, which knows its unit itself or has the column's.
fn nanoseconds(field: &Field, unit: i64) -> Option<i128> {
    let unit = match field {
        Field::TimeMillis(_) | Field::TimestampMillis(_) => 1_000_000,
        Field::TimeMicros(_) | Field::TimestampMicros(_) => 1_000,
        _ => unit,
    };
    whole(field)?.checked_mul(i128::from(unit))
}

/// A time without a zone is taken as UTC.
fn instant(field: &Field, unit: i64) -> String {
    nanoseconds(field, unit)
        .and_then(|ns| Timestamp::from_nanosecond(ns).ok())
        .map_or_else(|| plain(field), |instant| instant.to_string())
}

/// Taken as UTC, as Spark and Impala write it. A moment outside of the years that a timestamp may have is the number of
/// its nanoseconds since 1970, as it is with the newer types.
fn int96(bytes: &[u8]) -> String {
    let Some(ns) = int96_nanoseconds(bytes) else {
        return BASE64_STANDARD.encode(bytes);
    };
    Timestamp::from_nanosecond(ns).map_or_else(|_| ns.to_string(), |instant| instant.to_string())
}

/// Since 1970.
fn int96_nanoseconds(bytes: &[u8]) -> Option<i128> {
    let (of_day, day) = bytes.split_first_chunk::<8>()?;
    let day = i32::from_le_bytes(day.try_into().ok()?);
    let of_day = i64::from_le_bytes(*of_day);
    Some((i128::from(day) - JULIAN_EPOCH) * NS_PER_DAY + i128::from(of_day))
}

fn time(field: &Field, unit: i64) -> String {
    let Some(ns) = nanoseconds(field, unit).and_then(|ns| i64::try_from(ns).ok()) else {
        return plain(field);
    };
    let (seconds, fraction) = (ns / NS_PER_S, ns % NS_PER_S);
    let mut text = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction > 0 {
        let digits = format!("{fraction:09}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text
}

fn date(days: i32) -> String {
    Date::constant(1970, 1, 1)
        .checked_add(jiff::Span::new().days(days))
        .map_or_else(|_| days.to_string(), |date| date.to_string())
}

fn uuid(bytes: &[u8]) -> String {
    uuid::Uuid::from_slice(bytes).map_or_else(|_| BASE64_STANDARD.encode(bytes), |uuid| uuid.to_string())
}

/// What JSON has no number for is written as null.
fn write_float(value: f64, out: &mut Vec<u8>) {
    match serde_json::Number::from_f64(value) {
        Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

/// With the digits of a 32-bit number, not those of its 64-bit neighbour.
fn write_float32(value: f32, out: &mut Vec<u8>) {
    let text = value.to_string();
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => write_float(value, out),
        _ => out.extend_from_slice(b"null"),
    }
}

/// A value as text.
fn plain(field: &Field) -> String {
    match field {
        Field::Str(text) => text.clone(),
        Field::Bytes(bytes) => BASE64_STANDARD.encode(bytes.data()),
        Field::Decimal(decimal) => decimal_text(decimal),
        Field::Date(days) => date(*days),
        other => whole(other).map_or_else(|| other.to_string(), |n| n.to_string()),
    }
}

/// Digits with the point where the scale puts it; in hexadecimal where even 128 bits are too few.
fn decimal_text(decimal: &Decimal) -> String {
    let bytes = decimal.data();
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let fill: u8 = if negative { 0xff } else { 0 };
    let (extra, low) = bytes.split_at(bytes.len().saturating_sub(16));
    if extra.iter().any(|byte| *byte != fill) {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        return format!("0x{digits}");
    }
    let mut whole = [fill; 16];
    whole[16 - low.len()..].copy_from_slice(low);
    let value = i128::from_be_bytes(whole);
    let scale = usize::try_from(decimal.scale()).unwrap_or(0);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (before, after) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 {
        format!("{sign}{before}")
    } else {
        format!("{sign}{before}.{after}")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parquet::data_type::{Int96, Int96Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::file::serialized_reader::ReadOptionsBuilder;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::record::reader::RowIter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// An INT96 of so many nanoseconds on a Julian day.
    fn old_moment(of_day: i64, day: i32) -> Int96 {
        let of_day = of_day.cast_unsigned();
        let mut moment = Int96::new();
        moment.set_data(
            u32::try_from(of_day & 0xffff_ffff).unwrap(),
            u32::try_from(of_day >> 32).unwrap(),
            day.cast_unsigned(),
        );
        moment
    }

    fn old_text(of_day: i64, day: i32) -> String {
        let bytes = [&of_day.to_le_bytes()[..], &day.to_le_bytes()].concat();
        int96(&bytes)
    }

    #[test]
    fn moments_of_the_old_type_keep_every_digit() {
        assert_eq!(old_text(0, 2_440_588), "1970-01-01T00:00:00Z");
        assert_eq!(
            old_text(14_706_123_456_789, 2_461_075),
            "2026-02-03T04:05:06.123456789Z"
        );
        assert_eq!(
            old_text(86_399_999_999_999, 2_440_587),
            "1969-12-31T23:59:59.999999999Z"
        );
        assert_eq!(old_text(1, 2_299_161), "1582-10-15T00:00:00.000000001Z");
        // Nanoseconds beyond their day, and before it, are the next one's and the last one's.
        assert_eq!(
            old_text(86_400_000_000_001, 2_440_587),
            "1970-01-01T00:00:00.000000001Z"
        );
        assert_eq!(old_text(-1, 2_440_588), "1969-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn moments_that_no_timestamp_holds_are_their_nanoseconds() {
        assert_eq!(old_text(7, i32::MAX), "185331720297600000000007".to_owned());
        assert_eq!(old_text(0, i32::MIN), "-185753453990400000000000".to_owned());
        assert_eq!(int96(b"short"), "c2hvcnQ=");
    }

    /// As they come out of a file: plain, missing, in lists, and as a map's keys.
    #[test]
    fn columns_of_the_old_type_are_read_whole() {
        let message = "message rows {
            optional int96 at;
            optional group seen (LIST) { repeated group list { optional int96 element; } }
            optional group by (MAP) { repeated group key_value { required int96 key; optional int32 value; } }
        }";
        let root = parse_message_type(message).unwrap();
        let properties = Arc::new(WriterProperties::builder().build());
        let mut file = SerializedFileWriter::new(Vec::<u8>::new(), Arc::new(root), properties).unwrap();
        let mut group = file.next_row_group().unwrap();
        let first = old_moment(14_706_123_456_789, 2_461_075);
        let early = old_moment(86_399_999_999_999, 2_440_587);
        let mut column = group.next_column().unwrap().unwrap();
        let at = column.typed::<Int96Type>();
        at.write_batch(&[first, early], Some(&[1, 0, 1]), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let seen = column.typed::<Int96Type>();
        seen.write_batch(&[early, first], Some(&[3, 3, 0, 1]), Some(&[0, 1, 0, 0]))
            .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let keys = column.typed::<Int96Type>();
        keys.write_batch(&[first], Some(&[2, 0, 0]), Some(&[0, 0, 0]))
            .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values = column.typed::<parquet::data_type::Int32Type>();
        values
            .write_batch(&[5], Some(&[3, 0, 0]), Some(&[0, 0, 0]))
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
        let bytes = Bytes::from(file.into_inner().unwrap());

        let reader = SerializedFileReader::new(bytes.clone()).unwrap();
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let kind = Kind::of_root(schema.root_schema()).unwrap();
        assert_eq!(kind.schema()["properties"]["at"]["format"], "date-time");
        let schema = whole_int96(&schema).unwrap();
        assert!(whole_int96(&schema).is_none(), "none is left");
        let options = ReadOptionsBuilder::new().with_parquet_schema(schema).build();
        let reader = SerializedFileReader::new_with_options(bytes, options).unwrap();
        let group = reader.get_row_group(0).unwrap();
        let rows = RowIter::from_row_group(None, group.as_ref()).unwrap();
        let rows: Vec<String> = rows
            .map(|row| {
                let mut out = Vec::new();
                kind.write_row(&row.unwrap(), &mut out);
                String::from_utf8(out).unwrap()
            })
            .collect();
        let (first, early) = ("2026-02-03T04:05:06.123456789Z", "1969-12-31T23:59:59.999999999Z");
        assert_eq!(
            rows,
            [
                format!(r#"{{"at":"{first}","seen":["{early}","{first}"],"by":{{"{first}":5}}}}"#),
                r#"{"at":null,"seen":null,"by":null}"#.to_owned(),
                format!(r#"{{"at":"{early}","seen":[],"by":null}}"#),
            ]
        );
    }

    fn decimal(value: i64, scale: i32) -> String {
        decimal_text(&Decimal::from_i64(value, 18, scale))
    }

    #[test]
    fn decimals_keep_every_digit() {
        assert_eq!(decimal(12345, 2), "123.45");
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(5, 5), "0.00005");
        assert_eq!(decimal(7, 0), "7");
        assert_eq!(decimal(0, 3), "0.000");
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(
            instant(&Field::TimestampMillis(1_500), 1),
            "1970-01-01T00:00:01.5Z"
        );
        assert_eq!(
            instant(&Field::Long(1_000_000_001), 1),
            "1970-01-01T00:00:01.000000001Z"
        );
        assert_eq!(time(&Field::TimeMicros(3_661_500_000), 1_000), "01:01:01.5");
        assert_eq!(date(19_782), "2024-02-29");
        assert_eq!(date(-1), "1969-12-31");
    }
}
