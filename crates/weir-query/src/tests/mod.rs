//! The engine over an in-memory lake.

mod conformance;
mod lake;
mod memory;
mod models;
mod query;

use std::sync::Arc;

use weir_protocol::Query;
use weir_protocol::query::{QueryLimits, Rows};

use crate::models::Models;
use crate::{QueryEngine, Settings};
use memory::MemoryLake;

fn engine(lake: &Arc<MemoryLake>) -> QueryEngine {
    engine_with(lake, &[])
}

fn engine_with(lake: &Arc<MemoryLake>, models: &[(&str, &str)]) -> QueryEngine {
    let files = models
        .iter()
        .map(|(name, text)| (format!("models/{name}.sql").into(), (*text).to_owned()));
    QueryEngine::new(lake.clone(), Models::load(files).unwrap(), Settings::default())
}

async fn ask(engine: &QueryEngine, sql: &str) -> Rows {
    engine
        .query(sql, None, QueryLimits::default())
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

async fn refusal(engine: &QueryEngine, sql: &str, as_of: Option<&str>) -> String {
    format!(
        "{:?}",
        engine
            .query(sql, as_of, QueryLimits::default())
            .await
            .unwrap_err()
    )
}

/// Rows as JSON, one a line.
fn text(rows: &Rows) -> String {
    let lines: Vec<String> = rows
        .rows
        .iter()
        .map(|row| serde_json::to_string(row).unwrap())
        .collect();
    lines.join("\n")
}
