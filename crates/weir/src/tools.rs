//! The project's lake and sources, for tools of agents, with its files as they are now.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use weir_control::Store;
use weir_protocol::query::{Query as _, QueryLimits, Rows};
use weir_protocol::{Error, ErrorKind, Result, StreamDescriptor};
use weir_query::models;
use weir_server::{Data, Preview};

use crate::commands::{Context, preview};
use crate::wiring::Wiring;

/// Memory that a tool's query may hold, and seconds that it may take: somebody waits for it, and others ask too.
const QUERY_BYTES_MAX: usize = 256 << 20;
const QUERY_SECONDS_MAX: u64 = 60;

/// Queries that run at one time; more are told to come again.
const QUERIES_AT_ONCE: usize = 4;

pub(crate) struct ProjectData {
    context: Arc<Context>,
    store: Store,
    queries: Semaphore,
}

impl ProjectData {
    pub(crate) fn new(context: Arc<Context>, store: Store) -> Self {
        Self {
            context,
            store,
            queries: Semaphore::new(QUERIES_AT_ONCE),
        }
    }

    fn wiring(&self) -> Result<Wiring> {
        Ok(Wiring::open(&self.context)?.over(self.store.clone()))
    }
}

/// Whether a table's name is that of records as they were received.
fn is_raw(table: &str) -> bool {
    table.to_ascii_lowercase().starts_with("raw_")
}

#[async_trait]
impl Data for ProjectData {
    async fn query(&self, sql: &str, rows_max: usize) -> Result<Rows> {
        let _turn = self.queries.try_acquire().map_err(|_| {
            Error::new(
                ErrorKind::RateLimited,
                format!("{QUERIES_AT_ONCE} queries are running already"),
            )
            .hint("ask again when one has ended")
        })?;
        if self
            .reads(sql)?
            .is_some_and(|tables| tables.iter().any(|table| is_raw(table)))
        {
            return Err(Error::denied(
                "records as they were received are not for tools: nothing in them is masked",
            )
            .hint("read the typed table <source>_<entity>, or use `weir query` on the server's machine"));
        }
        let engine = self.wiring()?.query_engine().await?;
        let limits = QueryLimits {
            rows_max,
            memory_bytes: QUERY_BYTES_MAX,
            timeout_s: QUERY_SECONDS_MAX,
        };
        engine.query(sql, None, limits).await
    }

    fn reads(&self, sql: &str) -> Result<Option<BTreeSet<String>>> {
        // What cannot be read as a query alone tells no tables.
        Ok(models::reads(sql).ok())
    }

    async fn streams(&self, connection: &str) -> Result<Vec<StreamDescriptor>> {
        let wiring = self.wiring()?;
        let spec = wiring.connection(connection)?;
        wiring.source(&spec).await?.discover().await
    }

    async fn preview(&self, connection: &str, stream: Option<&str>, records_max: u64) -> Result<Preview> {
        let wiring = self.wiring()?;
        let looked = preview::look(&wiring, connection, stream, records_max);
        let (stream, records) = looked.await?;
        Ok(Preview { stream, records })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_reads_is_known_and_nothing_hides_behind_a_name() {
        let read = |sql: &str| -> Option<Vec<String>> {
            let found = models::reads(sql).ok()?;
            Some(found.into_iter().collect())
        };
        assert_eq!(read("select * from shop_orders").unwrap(), ["shop_orders"]);
        assert_eq!(
            read("select 1 from bronze.raw_hr_people").unwrap(),
            ["raw_hr_people"]
        );
        let hidden = "with shop_a as (select * from hr_people) select * from shop_a";
        assert_eq!(read(hidden).unwrap(), ["hr_people"]);
        let same = "with hr_people as (select * from hr_people) select * from hr_people";
        assert_eq!(read(same).unwrap(), ["hr_people"]);
        let below = "select (select max(a) from hr_people) from shop_a where b in (select b from hr_pay)";
        assert_eq!(read(below).unwrap(), ["hr_pay", "hr_people", "shop_a"]);
        assert_eq!(read("describe hr_people"), None);
        assert_eq!(read("explain select * from hr_people"), None);
    }
}
