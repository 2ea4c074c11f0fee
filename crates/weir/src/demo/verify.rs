//! The demo's claims, checked against the lake and the books.

use serde_json::Value;
use weir_protocol::{Error, ErrorKind, Result};

use super::project::DemoProject;
use crate::output::thousands;

/// Fails the demo where a claim does not hold.
pub(super) fn claim(what: &str, expected: u64, found: u64) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(
        Error::new(ErrorKind::Gate, format!("the demo's claim does not hold: {what}"))
            .with("expected", expected)
            .with("found", found)
            .hint("this is a defect of weir: report it with the folder that `weir demo --keep DIR` leaves"),
    )
}

/// Rows and different keys of a table; none where the table does not exist yet.
pub(super) async fn count(project: &DemoProject, table: &str, key: &str) -> Result<(u64, u64)> {
    let tables = project.rows(&["lake", "tables"]).await?;
    if !tables.iter().any(|row| row["table"] == table) {
        return Ok((0, 0));
    }
    let sql = format!("SELECT count(*) AS n, count(DISTINCT \"{key}\") AS keys FROM {table}");
    let rows = project.rows(&["query", &sql]).await?;
    let number = |name: &str| {
        rows.first()
            .and_then(|row| row[name].as_u64())
            .unwrap_or_default()
    };
    Ok((number("n"), number("keys")))
}

/// A table holds exactly so many rows, and no key twice.
pub(super) async fn holds(project: &DemoProject, table: &str, key: &str, expected: u64) -> Result<String> {
    let (rows, keys) = count(project, table, key).await?;
    claim(&format!("rows of {table}"), expected, rows)?;
    claim(&format!("different keys of {table}"), expected, keys)?;
    Ok(format!("{table}: {} rows, every {key} once", number(rows)))
}

/// Every stream of every run that ended has books that balance. Gives back how many were looked at.
pub(super) fn books_balance(runs: &[Value]) -> Result<u64> {
    let mut looked_at = 0;
    for stream in runs
        .iter()
        .flat_map(|run| run["streams"].as_array().into_iter().flatten())
    {
        let part = |name: &str| stream["books"][name].as_u64().unwrap_or_default();
        let accounted = part("landed") + part("filtered") + part("deduplicated") + part("quarantined");
        claim(
            &format!("the books of {}", stream["name"]),
            part("read"),
            accounted,
        )?;
        looked_at += 1;
    }
    Ok(looked_at)
}

pub(super) fn number(count: u64) -> String {
    thousands(i64::try_from(count).unwrap_or(i64::MAX))
}
