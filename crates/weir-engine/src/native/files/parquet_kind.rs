//! Types of Parquet columns: as JSON Schema, and how their values are written as JSON.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use jiff::civil::Date;
use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::Decimal;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Value, json};
use weir_protocol::{Error, Result};

use super::column::write_text;

/// Digits of the largest unsigned 64-bit number.
const U64_DIGITS: i32 = 20;
const NS_PER_S: i64 = 1_000_000_000;

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
    List(Box<Self>),
    Map(Box<Self>),
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
            Self::Timestamp(_) => json!({ "type": ["string", "null"], "format": "date-time" }),
            Self::List(element) => json!({ "type": ["array", "null"], "items": element.schema() }),
            Self::Map(value) => json!({ "type": ["object", "null"], "additionalProperties": value.schema() }),
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
            (Self::Map(kind), Field::MapInternal(map)) => {
                out.push(b'{');
                for (index, (key, value)) in map.entries().iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_text(&plain(key), out);
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
            let value = entry
                .get_fields()
                .get(1)
                .map(|value| Kind::of(value))
                .transpose()?;
            Ok(Kind::Map(Box::new(value.unwrap_or(Kind::Text))))
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
        (_, Physical::INT96) => Kind::Timestamp(1),
        (_, Physical::FLOAT | Physical::DOUBLE) => Kind::Number,
        (_, Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY) => Kind::Binary,
    })
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
    use super::*;

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
