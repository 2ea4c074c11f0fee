//! DataFusion's errors in weir's words: closed kind, nearest right spelling, next step.

use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, ErrorKind};

/// Says what DataFusion meant. An error of ours that travelled through it comes out unchanged.
pub(crate) fn explain(error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => external(inner),
        DataFusionError::ArrowError(inner, _) => arrow(*inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => explain(*inner),
        DataFusionError::Collection(mut errors) if !errors.is_empty() => explain(errors.swap_remove(0)),
        DataFusionError::Shared(inner) => match std::sync::Arc::try_unwrap(inner) {
            Ok(inner) => explain(inner),
            Err(shared) => explain_shared(&shared),
        },
        other => explain_shared(&other),
    }
}

pub(crate) fn arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => external(inner),
        other => Error::decode(other.to_string()).hint(DATA_HINT),
    }
}

/// Wraps an error of ours for the way through DataFusion.
pub(crate) fn wrap(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

const DATA_HINT: &str = "look at the column's type with DESCRIBE, and use try_cast where values may not fit";
const SQL_HINT: &str = "SHOW TABLES and DESCRIBE <table> say what is there; SHOW FUNCTIONS lists functions";

fn external(inner: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let inner = match inner.downcast::<Error>() {
        Ok(ours) => return *ours,
        Err(inner) => inner,
    };
    match inner.downcast::<DataFusionError>() {
        Ok(theirs) => explain(*theirs),
        Err(inner) => Error::internal("a part of the query engine failed")
            .caused_by(inner)
            .hint("run it again with --log-level debug, and report it if it comes back"),
    }
}

fn explain_shared(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::ResourcesExhausted(message) => {
            let first = message.lines().next().unwrap_or(message);
            Error::limit(format!("the query needs more memory than it may use: {first}"))
                .hint("read fewer columns or rows, or raise the memory limit")
        }
        DataFusionError::SQL(parser, _) => Error::usage(format!("the SQL cannot be read: {parser}"))
            .hint("check the spelling near that place"),
        DataFusionError::SchemaError(schema, _) => explain_schema(schema),
        DataFusionError::Plan(message) => Error::usage(message.clone()).hint(SQL_HINT),
        DataFusionError::NotImplemented(message) => {
            Error::usage(format!("not supported: {message}")).hint(SQL_HINT)
        }
        DataFusionError::Execution(message) => {
            Error::decode(format!("the query failed: {message}")).hint(DATA_HINT)
        }
        DataFusionError::ParquetError(inner) => {
            Error::decode(format!("a data file is not readable: {inner}"))
                .hint("`weir lake rebuild` writes Silver anew from Bronze")
        }
        DataFusionError::ObjectStore(inner) => store(inner),
        DataFusionError::IoError(inner) => {
            Error::new(ErrorKind::Destination, format!("input or output failed: {inner}"))
                .hint("look at free space and permissions of the temporary folder and the lake")
        }
        other => match other.find_root() {
            root if !std::ptr::eq(root, other) => explain_shared(root),
            root => Error::internal(root.strip_backtrace())
                .hint("run it again with --log-level debug, and report it if it comes back"),
        },
    }
}

fn store(error: &object_store::Error) -> Error {
    let gone = matches!(error, object_store::Error::NotFound { .. });
    let error = Error::destination(format!("the lake's storage refused a read: {error}"));
    if gone {
        error.hint("the file was vacuumed while it was read, or the state asked for is older than what is kept: ask a newer one")
    } else {
        error.hint("`weir doctor` checks the lake's location and credentials")
    }
}

fn explain_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<&str> = valid_fields.iter().map(|valid| valid.name.as_str()).collect();
            let error = Error::usage(format!("there is no column '{}'", field.name));
            match closest(&field.name, &names) {
                Some(name) if name.eq_ignore_ascii_case(&field.name) => error.hint(format!(
                    "did you mean \"{name}\"? names with capitals need double quotes"
                )),
                Some(name) => error.hint(format!("did you mean '{name}'?")),
                None => error.hint(columns_hint(&names)),
            }
        }
        other => Error::usage(other.to_string()).hint("name the column with its table, as in t.column"),
    }
}

const COLUMNS_SHOWN_MAX: usize = 30;

fn columns_hint(names: &[&str]) -> String {
    if names.is_empty() {
        return SQL_HINT.to_owned();
    }
    let mut shown: Vec<&str> = names.iter().copied().take(COLUMNS_SHOWN_MAX).collect();
    if names.len() > COLUMNS_SHOWN_MAX {
        shown.push("…");
    }
    format!("columns here are: {}", shown.join(", "))
}
