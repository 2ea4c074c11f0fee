//! A stream's state, as the lake holds it.

use serde_json::json;
use weir_protocol::destination::Committed;
use weir_protocol::{Books, Error, Result, StreamState};

use crate::lake::{Lake, Layer, folder};
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{Attempt, Table};
use crate::upsert::Outcome;
use crate::writer::checkpoint::change;
use crate::writer::shape;
use crate::writer::state::StateRecord;

impl Lake {
    /// Connection and stream that a table's rows come from; None where it is no stream's.
    pub async fn stream_of(&self, table: &str) -> Result<Option<(String, String)>> {
        let (_, table) = self.table(table).await?;
        Ok(shape::stream_of(&table.properties()?))
    }

    /// The newest checkpoint of a stream in its Silver table.
    pub async fn state(&self, table: &str, connection: &str, stream: &str) -> Result<Option<Committed>> {
        let Some(table) = Table::find(&self.storage, &folder(Layer::Silver, table)).await? else {
            return Ok(None);
        };
        let record = StateRecord::read(&table, connection, stream).await?;
        Ok(record.as_ref().map(StateRecord::committed))
    }

    /// Exchanges a stream's state without touching its rows. The next sync goes on from it.
    pub async fn set_state(
        &self,
        table: &str,
        connection: &str,
        stream: &str,
        run: &str,
        state: &StreamState,
    ) -> Result<Committed> {
        let mut found = Table::open(&self.storage, &folder(Layer::Silver, table)).await?;
        for _ in 0..ATTEMPTS_MAX {
            let mut record = StateRecord::read(&found, connection, stream)
                .await?
                .ok_or_else(|| {
                    Error::not_found(format!("table '{table}' holds no state of stream '{stream}'"))
                        .with("connection", connection)
                        .hint("sync the stream once; until then there is no state to change")
                })?;
            record.sequence += 1;
            record.state = state.clone();
            record.books = Books::default();
            run.clone_into(&mut record.run);
            let mut change = change("SET STATE", &Outcome::default(), &record)?;
            change
                .notes
                .push(("weir.reason".to_owned(), json!("state set by hand")));
            if let Attempt::Committed(_) = found.try_commit(&change).await? {
                return Ok(record.committed());
            }
        }
        Err(found.contended())
    }

    /// Forgets where a stream stood: the next sync reads from its beginning. Rows stay.
    pub async fn reset_state(
        &self,
        table: &str,
        connection: &str,
        stream: &str,
        run: &str,
    ) -> Result<Committed> {
        self.set_state(table, connection, stream, run, &StreamState::default())
            .await
    }
}
