//! What a column holds: the small type system between JSON and Arrow.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use weir_protocol::{Error, Result};

/// Field metadata: the record's field that a column is filled from, where its name differs.
pub(crate) const FIELD_KEY: &str = "weir.field";
/// Field metadata: `json` where a text column holds JSON text, `scalar` where it holds scalars of
/// several types. For a list (of lists) it speaks of the innermost element.
pub(crate) const TEXT_KEY: &str = "weir.text";
/// Delta calls a list's element so; the same name here keeps schemas equal after a round trip.
const ELEMENT: &str = "element";
const UTC: &str = "UTC";

/// A column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Float,
    Decimal {
        precision: u8,
        scale: i8,
    },
    Date,
    Timestamp,
    Text,
    /// Text of scalars whose types differ: a string as it is, numbers and booleans as JSON writes them.
    Scalar,
    /// JSON text of values whose shapes differ or are not known.
    Json,
    Struct(Vec<Member>),
    List(Box<Self>),
}

/// A field of a record and the column it fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) column: String,
    pub(crate) kind: Kind,
}

impl Kind {
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            Self::Date => DataType::Date32,
            Self::Timestamp => timestamp_type(),
            Self::Text | Self::Scalar | Self::Json => DataType::Utf8,
            Self::Struct(members) => DataType::Struct(fields(members)),
            Self::List(item) => DataType::List(element_field(item)),
        }
    }

    /// The type's name as the lake writes it (Delta's words).
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Bool => "boolean".to_owned(),
            Self::Int => "long".to_owned(),
            Self::Float => "double".to_owned(),
            Self::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
            Self::Date => "date".to_owned(),
            Self::Timestamp => "timestamp".to_owned(),
            Self::Text | Self::Scalar | Self::Json => "string".to_owned(),
            Self::Struct(members) => {
                let inner: Vec<String> = members
                    .iter()
                    .map(|member| format!("{}:{}", member.column, member.kind.label()))
                    .collect();
                format!("struct<{}>", inner.join(","))
            }
            Self::List(item) => format!("array<{}>", item.label()),
        }
    }

    /// Columns in all, nested ones included.
    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Struct(members) => 1 + members.iter().map(|member| member.kind.columns()).sum::<usize>(),
            Self::List(item) => item.columns(),
            _ => 1,
        }
    }

    fn text_mark(&self) -> Option<&'static str> {
        match self {
            Self::Json => Some("json"),
            Self::Scalar => Some("scalar"),
            Self::List(item) => item.text_mark(),
            _ => None,
        }
    }
}

pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

pub(crate) fn element_field(item: &Kind) -> FieldRef {
    Arc::new(Field::new(ELEMENT, item.data_type(), true))
}

impl Member {
    pub(crate) fn field(&self) -> Field {
        let mut metadata = HashMap::new();
        if self.key != self.column {
            metadata.insert(FIELD_KEY.to_owned(), self.key.clone());
        }
        if let Some(mark) = self.kind.text_mark() {
            metadata.insert(TEXT_KEY.to_owned(), mark.to_owned());
        }
        Field::new(&self.column, self.kind.data_type(), true).with_metadata(metadata)
    }
}

pub(crate) fn fields(members: &[Member]) -> Fields {
    members.iter().map(Member::field).collect()
}

/// The members that a registered Arrow schema stands for.
pub(crate) fn members(fields: &Fields) -> Result<Vec<Member>> {
    fields
        .iter()
        .map(|field| {
            let mark = field.metadata().get(TEXT_KEY).map(String::as_str);
            let key = field.metadata().get(FIELD_KEY).unwrap_or(field.name());
            Ok(Member {
                key: key.clone(),
                column: field.name().clone(),
                kind: kind(field.data_type(), mark).map_err(|error| error.with("column", field.name()))?,
            })
        })
        .collect()
}

fn kind(data_type: &DataType, mark: Option<&str>) -> Result<Kind> {
    Ok(match data_type {
        DataType::Boolean => Kind::Bool,
        DataType::Int64 => Kind::Int,
        DataType::Float64 => Kind::Float,
        DataType::Decimal128(precision, scale) => Kind::Decimal {
            precision: *precision,
            scale: *scale,
        },
        DataType::Date32 => Kind::Date,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Kind::Timestamp,
        DataType::Utf8 => match mark {
            Some("json") => Kind::Json,
            Some("scalar") => Kind::Scalar,
            _ => Kind::Text,
        },
        DataType::Struct(inner) => Kind::Struct(members(inner)?),
        DataType::List(item) => Kind::List(Box::new(kind(item.data_type(), mark)?)),
        other => {
            return Err(Error::schema(format!(
                "a stream cannot be written into a column of type {other}"
            ))
            .hint("write the stream into another entity, or rebuild its table with `weir lake rebuild`"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_comes_back_from_arrow() {
        let original = vec![
            Member {
                key: "a b".into(),
                column: "a_b".into(),
                kind: Kind::List(Box::new(Kind::Json)),
            },
            Member {
                key: "user".into(),
                column: "user".into(),
                kind: Kind::Struct(vec![Member {
                    key: "at".into(),
                    column: "at".into(),
                    kind: Kind::Timestamp,
                }]),
            },
            Member {
                key: "price".into(),
                column: "price".into(),
                kind: Kind::Decimal {
                    precision: 12,
                    scale: 2,
                },
            },
            Member {
                key: "mixed".into(),
                column: "mixed".into(),
                kind: Kind::Scalar,
            },
        ];
        assert_eq!(members(&fields(&original)).unwrap(), original);
    }

    #[test]
    fn a_schema_comes_back_through_delta() {
        use arrow::datatypes::Schema;
        use deltalake::kernel::StructType;
        use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};

        let original = vec![Member {
            key: "a b".into(),
            column: "a_b".into(),
            kind: Kind::List(Box::new(Kind::Json)),
        }];
        let schema = Schema::new(fields(&original));
        let delta: StructType = (&schema).try_into_kernel().unwrap();
        let back: Schema = (&delta).try_into_arrow().unwrap();
        assert_eq!(members(back.fields()).unwrap(), original);
        assert_eq!(back.fields(), schema.fields());
    }
}
