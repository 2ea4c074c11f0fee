//! A query's columns as a Delta table can hold them.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast};
use weir_protocol::{Error, Result};

use crate::failure::explain;

/// Characters that Delta column names cannot hold.
const FORBIDDEN: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// Casts columns whose types a Delta table does not know to those that hold the same values.
pub(super) fn adapt(model: &str, plan: LogicalPlan) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = plan
        .schema()
        .iter()
        .map(|(qualifier, field)| {
            let name = field.name();
            if name.is_empty() || name.contains(FORBIDDEN) {
                return Err(
                    Error::spec(format!("model '{model}' has a column named '{name}'"))
                        .hint("give it a plain name: `count(*) as issues`"),
                );
            }
            let wanted = lake_type(field.data_type()).ok_or_else(|| {
                Error::spec(format!(
                    "model '{model}' has a column '{name}' of type {}",
                    field.data_type()
                ))
                .hint("tables cannot hold that type: cast it, as in `cast(x as text) as name`")
            })?;
            let column = Expr::Column(Column::new(qualifier.cloned(), name));
            let same = column.get_type(plan.schema()).map_err(explain)? == wanted;
            Ok(if same { column } else { cast(column, wanted) }.alias(name))
        })
        .collect::<Result<_>>()?;
    LogicalPlanBuilder::from(plan)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(explain)
}

fn lake_type(kind: &DataType) -> Option<DataType> {
    Some(match kind {
        DataType::Null
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Time32(_)
        | DataType::Time64(_) => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        // A time without a zone is taken as UTC.
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Dictionary(_, value) => lake_type(value)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(Arc::new(field(item)?))
        }
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|inner| field(inner))
                .collect::<Option<Vec<_>>>()?
                .into(),
        ),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Decimal128(_, _) => kind.clone(),
        _ => return None,
    })
}

fn field(inner: &Field) -> Option<Field> {
    Some(Field::new(
        inner.name(),
        lake_type(inner.data_type())?,
        inner.is_nullable(),
    ))
}
