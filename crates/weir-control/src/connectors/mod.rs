//! The health board: how every connector and connection stands.

mod probe;
mod rules;
mod sql;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::Result;
use weir_protocol::spec::Governance;

pub use probe::{Check, Probed, Prober};
pub use rules::overall;

use crate::Store;
use crate::store::Scope;

/// What the catalog knows of a connector.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConnectorInfo {
    pub key: String,
    pub version: String,
    /// By language: `en`, `ar`.
    pub name: BTreeMap<String, String>,
    pub governance: Governance,
    /// How the messages are signed that its connections take; null where they take none.
    pub hook: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its newest run succeeded, or nothing is known to be wrong.
    Ok,
    /// Its newest runs failed, but not many of them.
    Degraded,
    /// It fails again and again, or never succeeded.
    Error,
}

/// What a connection's newest failed run said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastError {
    pub run: String,
    pub at_ms: Option<i64>,
    pub kind: String,
    pub message: String,
    pub hint: Option<String>,
}

/// How a connection's runs went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) connection: String,
    pub(crate) connector: String,
    pub(crate) last_attempt_at_ms: Option<i64>,
    pub(crate) last_success_at_ms: Option<i64>,
    /// Runs that failed or died since the newest that succeeded.
    pub(crate) failures: u64,
    pub(crate) last_error: Option<LastError>,
}

/// One line of the board.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BoardLine {
    pub connector: String,
    /// None: the connector is there, but nothing is connected with it.
    pub connection: Option<String>,
    /// By language. Only the key where the catalog no longer has the connector.
    pub name: BTreeMap<String, String>,
    pub version: Option<String>,
    pub governance: Option<Governance>,
    /// Whether a connection of it is known.
    pub registered: bool,
    pub status: Health,
    pub last_success_at_ms: Option<i64>,
    pub last_attempt_at_ms: Option<i64>,
    /// Runs that failed or died since the last success.
    pub failures: u64,
    pub last_error: Option<LastError>,
}

/// All connections of a tenant, then the connectors that have none.
pub async fn board(store: &Store, tenant: &str, catalog: &[ConnectorInfo]) -> Result<Vec<BoardLine>> {
    let records = store
        .read(Scope::Tenant(tenant), "read the health board", |db, _| {
            Box::pin(async move { Ok(sql::records(db, tenant).await?) })
        })
        .await?;
    let used: Vec<String> = records.iter().map(|record| record.connector.clone()).collect();
    let mut lines: Vec<BoardLine> = records
        .into_iter()
        .map(|record| {
            let info = catalog.iter().find(|info| info.key == record.connector);
            line(record, info)
        })
        .collect();
    let unused = catalog.iter().filter(|info| !used.contains(&info.key));
    lines.extend(unused.map(|info| BoardLine {
        connection: None,
        registered: false,
        ..line(
            Record {
                connector: info.key.clone(),
                ..Record::default()
            },
            Some(info),
        )
    }));
    Ok(lines)
}

fn line(record: Record, info: Option<&ConnectorInfo>) -> BoardLine {
    BoardLine {
        name: info.map_or_else(
            || BTreeMap::from([("en".to_owned(), record.connector.clone())]),
            |info| info.name.clone(),
        ),
        version: info.map(|info| info.version.clone()),
        governance: info.map(|info| info.governance.clone()),
        registered: true,
        status: rules::health(&record),
        last_success_at_ms: record.last_success_at_ms,
        last_attempt_at_ms: record.last_attempt_at_ms,
        failures: record.failures,
        last_error: record.last_error,
        connector: record.connector,
        connection: Some(record.connection),
    }
}
