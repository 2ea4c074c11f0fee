//! SQL functions of weir's own.

mod json;
mod last;
mod path;

use datafusion::logical_expr::ScalarUDF;

pub(crate) use last::{LastValues, columns_asked};

/// Functions that every query may use.
pub(crate) fn all() -> Vec<ScalarUDF> {
    json::all()
}

/// `weir_last('column')` with the values of one build.
pub(crate) fn last(values: LastValues) -> ScalarUDF {
    ScalarUDF::from(last::Last::new(values))
}

/// Whether a name in FROM is a function that makes rows (`range`), not a table.
pub(crate) fn makes_rows(name: &str) -> bool {
    datafusion::functions_table::all_default_table_functions()
        .iter()
        .any(|function| function.name() == name)
}
