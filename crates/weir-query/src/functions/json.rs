//! `json_get(text, path)` and its typed brothers, for the JSON text in Bronze.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{exec_err, plan_datafusion_err};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use serde_json::Value;

use super::path::{self, Step};

/// What the function gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Text,
    Int,
    Float,
    Bool,
}

pub(super) fn all() -> Vec<ScalarUDF> {
    [
        ("json_get", Kind::Text),
        ("json_get_int", Kind::Int),
        ("json_get_float", Kind::Float),
        ("json_get_bool", Kind::Bool),
    ]
    .into_iter()
    .map(|(name, kind)| {
        ScalarUDF::from(JsonGet {
            name,
            kind,
            signature: Signature::one_of(
                vec![TypeSignature::Exact(vec![DataType::Utf8, DataType::Utf8])],
                Volatility::Immutable,
            ),
        })
    })
    .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonGet {
    name: &'static str,
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for JsonGet {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(match self.kind {
            Kind::Text => DataType::Utf8,
            Kind::Int => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::Bool => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [text, path] = args.args.as_slice() else {
            return exec_err!("{} takes a text and a path", self.name);
        };
        let ColumnarValue::Scalar(path) = path else {
            return exec_err!("the path of {} must be a constant", self.name);
        };
        let Some(path) = path.try_as_str().flatten() else {
            return exec_err!("the path of {} must be text", self.name);
        };
        let steps = path::parse(path).ok_or_else(|| {
            plan_datafusion_err!("'{path}' is not a path: write user.login or labels[0].name")
        })?;
        let texts = text.to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(self.kind.gather(&texts, &steps)))
    }
}

impl Kind {
    fn gather(self, texts: &ArrayRef, steps: &[Step]) -> ArrayRef {
        let texts = texts.as_string::<i32>();
        let values = texts
            .iter()
            .map(|text| path::find(text?, steps).filter(|value| !value.is_null()));
        match self {
            Self::Text => {
                let mut out = StringBuilder::new();
                values.for_each(|value| out.append_option(value.map(plain)));
                Arc::new(out.finish())
            }
            Self::Int => {
                let mut out = Int64Builder::new();
                values.for_each(|value| out.append_option(value.and_then(|value| value.as_i64())));
                Arc::new(out.finish())
            }
            Self::Float => {
                let mut out = Float64Builder::new();
                values.for_each(|value| out.append_option(value.and_then(|value| value.as_f64())));
                Arc::new(out.finish())
            }
            Self::Bool => {
                let mut out = BooleanBuilder::new();
                values.for_each(|value| out.append_option(value.and_then(|value| value.as_bool())));
                Arc::new(out.finish())
            }
        }
    }
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
