use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_protocol::{Error, Result, StreamState};

use super::{StoredState, Wish, get, set_if};
use crate::principals::Access;
use crate::store::Expected;
use crate::{Connection, Store};

/// Where a person wants a stream to be read on from, in their own words.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// The beginning.
    Beginning,
    /// A value of the cursor, as the source writes it.
    Cursor(String),
    /// A whole state, as it is shown.
    State(#[schemars(with = "serde_json::Map<String, serde_json::Value>")] StreamState),
}

/// Whoever has the files of connections, their sources and the lake.
#[async_trait]
pub trait Streams: Send + Sync {
    /// The connection, and what its stream's next run is to read on from. Refuses a stream that the source does not
    /// have and, unless that is accepted, what would put rows into a table twice.
    async fn wish(
        &self,
        connection: &str,
        stream: &str,
        asked: &Asked,
        accept_duplicates: bool,
    ) -> Result<(Connection, Wish)>;
}

/// Sets states for one tenant: the one whose files are here.
#[derive(Clone)]
pub struct Desk {
    tenant: String,
    streams: Arc<dyn Streams>,
}

impl Desk {
    pub fn new(tenant: &str, streams: Arc<dyn Streams>) -> Self {
        Self {
            tenant: tenant.to_owned(),
            streams,
        }
    }

    /// Makes the next run of a stream read on from elsewhere, unless `expected` refuses what its state is by then.
    pub async fn set(
        &self,
        (store, access): (&Store, &Access),
        (connection, stream): (&str, &str),
        (asked, accept_duplicates): (&Asked, bool),
        expected: Expected<'_, Option<StoredState>>,
    ) -> Result<StoredState> {
        if access.tenant != self.tenant {
            return Err(
                Error::not_found("this server has no files of the tenant's connections")
                    .with("tenant", &access.tenant)
                    .hint("ask a server that has them"),
            );
        }
        let found = self.streams.wish(connection, stream, asked, accept_duplicates);
        let (connection, wish) = found.await?;
        set_if(store, &connection, stream, &wish, expected).await?;
        let stored = get(store, &connection.tenant, &connection.name, stream).await?;
        stored.ok_or_else(|| {
            Error::internal("a state that was set is not there").hint("look at the states; report it")
        })
    }
}
