//! Asking the lake in SQL.

use async_trait::async_trait;
use serde_json::Value;

use crate::error::Result;

/// Limits of one question. All are hard.
#[derive(Debug, Clone, Copy)]
pub struct QueryLimits {
    pub rows_max: usize,
    pub memory_bytes: usize,
    pub timeout_s: u64,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            rows_max: 10_000,
            memory_bytes: 512 << 20,
            timeout_s: 300,
        }
    }
}

/// Rows of an answer, each with one value a column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
    /// Whether `rows_max` cut the answer off.
    pub truncated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Type as SQL writes it.
    pub kind: String,
}

/// An engine that answers read-only SQL over Bronze, Silver and Gold.
#[async_trait]
pub trait Query: Send + Sync {
    /// Anything but one reading statement is refused. `as_of` is a timestamp (RFC 3339) or a table version.
    async fn query(&self, sql: &str, as_of: Option<&str>, limits: QueryLimits) -> Result<Rows>;
}
