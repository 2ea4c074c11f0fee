//! DataFusion's errors in weir's words: closed kind, nearest right spelling, next step.

use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
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
        ArrowError::ParquetError(text) => explain_shared(&DataFusionError::from(ParquetError::General(text))),
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
        Err(inner) if is_gone(inner.as_ref()) => gone(inner.as_ref()),
        Err(inner) => Error::internal("a part of the query engine failed")
            .caused_by(inner)
            .hint("run it again with -vv, and report it if it comes back"),
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
        DataFusionError::ParquetError(inner) if is_gone(inner.as_ref()) => gone(inner),
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
                .hint("run it again with -vv, and report it if it comes back"),
        },
    }
}

fn store(error: &object_store::Error) -> Error {
    if is_gone(error) {
        return gone(error);
    }
    Error::destination(format!("the lake's storage refused a read: {error}"))
        .hint("`weir doctor` checks the lake's location and credentials")
}

/// Whether a file that the table's log names is no longer there. The scan keeps the storage's error
/// as a cause where it reads rows, and as text only where it reads a file's footer.
fn is_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|cause| {
        let by_type = matches!(
            cause.downcast_ref::<object_store::Error>(),
            Some(object_store::Error::NotFound { .. })
        );
        by_type || cause.downcast_ref::<ParquetError>().is_some_and(is_gone_footer)
    })
}

fn is_gone_footer(error: &ParquetError) -> bool {
    let ParquetError::General(text) = error else {
        return false;
    };
    text.contains("Failed to fetch metadata") && text.contains("not found")
}

fn gone(error: &dyn std::error::Error) -> Error {
    Error::destination(format!(
        "a data file of the version that was asked for is gone: {error}"
    ))
    .hint(
        "`weir lake vacuum` removed the version's files: choose a version within the vacuum's retention \
         with --as-of, or leave --as-of out to read the newest",
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    fn missing() -> object_store::Error {
        object_store::Error::NotFound {
            path: "silver/t/a.parquet".to_owned(),
            source: "No such file or directory".into(),
        }
    }

    fn said(error: DataFusionError) -> String {
        let error = explain(error);
        format!("[{}] {}", error.kind(), error.next_step().unwrap_or_default())
    }

    #[test]
    fn a_file_that_is_gone_is_known_however_the_scan_wraps_it() {
        let footer = format!("Failed to fetch metadata for file a.parquet: {}", missing());
        let all = [
            DataFusionError::from(ParquetError::General(footer.clone())),
            DataFusionError::from(ParquetError::External(Box::new(missing()))),
            DataFusionError::from(missing()),
            DataFusionError::External(Box::new(ParquetError::General(footer.clone()))),
            DataFusionError::from(ArrowError::ParquetError(footer)),
        ];
        for error in all {
            let shown = error.to_string();
            assert!(said(error).contains("vacuum's retention"), "{shown}");
        }
    }

    #[test]
    fn a_damaged_file_is_not_taken_for_one_that_is_gone() {
        let error = ParquetError::General("Failed to fetch metadata for file a.parquet: EOF".to_owned());
        assert!(said(DataFusionError::from(error)).contains("weir lake rebuild"));
    }
}
