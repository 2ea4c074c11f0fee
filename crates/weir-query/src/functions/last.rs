//! `weir_last('column')`: the greatest value that the built model holds, null before it is built.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{ScalarValue, internal_err, plan_err};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Value, Visit, Visitor,
};

pub(super) const NAME: &str = "weir_last";

/// Column to its greatest value in the built model.
pub(crate) type LastValues = BTreeMap<String, ScalarValue>;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Last {
    values: LastValues,
    signature: Signature,
}

impl Last {
    pub(super) fn new(values: LastValues) -> Self {
        Self {
            values,
            signature: Signature::exact(vec![DataType::Utf8], Volatility::Immutable),
        }
    }

    fn value(&self, column: Option<&ScalarValue>) -> DfResult<ScalarValue> {
        match column.and_then(|column| column.try_as_str().flatten()) {
            Some(column) => Ok(self.values.get(column).cloned().unwrap_or(ScalarValue::Null)),
            None => plan_err!("{NAME} takes the name of a column of the model, as in {NAME}('updated_at')"),
        }
    }
}

impl ScalarUDFImpl for Last {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        internal_err!("{NAME} tells its type from its argument")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let value = self.value(args.scalar_arguments.first().copied().flatten())?;
        Ok(Arc::new(Field::new(NAME, value.data_type(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let column = match args.args.first() {
            Some(ColumnarValue::Scalar(column)) => Some(column),
            _ => None,
        };
        Ok(ColumnarValue::Scalar(self.value(column)?))
    }
}

/// The columns that a statement asks `weir_last` about.
pub(crate) fn columns_asked(statement: &Statement) -> BTreeSet<String> {
    let mut asked = Asked(BTreeSet::new());
    if let Statement::Statement(inner) = statement {
        let ControlFlow::Continue(()) = inner.visit(&mut asked);
    }
    asked.0
}

struct Asked(BTreeSet<String>);

impl Visitor for Asked {
    type Break = std::convert::Infallible;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        if let Expr::Function(function) = expr
            && function.name.to_string().eq_ignore_ascii_case(NAME)
            && let FunctionArguments::List(list) = &function.args
            && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] = list.args.as_slice()
            && let Value::SingleQuotedString(column) = &value.value
        {
            self.0.insert(column.clone());
        }
        ControlFlow::Continue(())
    }
}
