//! What tools ask of the lake and of sources. What knows them is given by whoever starts the server.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use weir_protocol::query::Rows;
use weir_protocol::{Error, Result, StreamDescriptor};

use super::caller::Caller;

/// A few records of a stream, as Silver would show them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Preview {
    pub stream: String,
    pub records: Vec<Value>,
}

/// One tenant's lake and sources, read-only.
#[async_trait]
pub trait Data: Send + Sync {
    /// Answers one reading statement with so many rows at most.
    async fn query(&self, sql: &str, rows_max: usize) -> Result<Rows>;
    /// Names of the tables that a query reads, without their schemas. None where it is no plain query.
    fn reads(&self, sql: &str) -> Result<Option<BTreeSet<String>>>;
    /// The streams of a connection, as its source has them now.
    async fn streams(&self, connection: &str) -> Result<Vec<StreamDescriptor>>;
    /// First records of a stream (the first one if none is named), personal fields masked. Writes nothing.
    async fn preview(&self, connection: &str, stream: Option<&str>, records_max: u64) -> Result<Preview>;
}

/// The data of the tenant whose files are here.
#[derive(Clone)]
pub struct DataDesk {
    tenant: String,
    data: Arc<dyn Data>,
}

impl DataDesk {
    pub fn new(tenant: &str, data: Arc<dyn Data>) -> Self {
        Self {
            tenant: tenant.to_owned(),
            data,
        }
    }
}

impl Caller {
    pub(super) fn data(&self) -> Result<&dyn Data> {
        let desk = self.state.data.as_ref();
        let found = desk.filter(|desk| desk.tenant == self.access.tenant);
        found.map(|desk| desk.data.as_ref()).ok_or_else(|| {
            Error::not_found("this server has no files of the tenant's connections")
                .with("tenant", &self.access.tenant)
                .hint("ask a server that has them")
        })
    }
}
