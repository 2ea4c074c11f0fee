//! How the tables' schemas changed, and in which run.

mod sql;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use weir_protocol::Result;

use crate::Store;
use crate::store::Scope;

pub(crate) use sql::record;

/// One change of a table's schema, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, FromRow, JsonSchema)]
pub struct StoredChange {
    pub stream: String,
    pub run: String,
    #[sqlx(rename = "table_name")]
    pub table: String,
    #[sqlx(rename = "column_name")]
    pub column: String,
    pub kind: String,
    /// Empty for a new column.
    #[sqlx(rename = "from_type")]
    pub from: String,
    /// Empty for a column that vanished.
    #[sqlx(rename = "to_type")]
    pub to: String,
    pub changed_at_ms: i64,
}

/// All changes of a connection's tables, oldest first.
pub async fn history(store: &Store, tenant: &str, connection: &str) -> Result<Vec<StoredChange>> {
    store
        .read(Scope::Tenant(tenant), "read schema changes", |db, _| {
            Box::pin(async move { Ok(sql::history(db, tenant, connection).await?) })
        })
        .await
}
