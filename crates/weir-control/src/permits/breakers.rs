//! Circuit breakers that processes told of: a connection has one for the world, which is open as long as somebody's is.

use sqlx::AnyConnection;
use weir_protocol::Result;
use weir_protocol::permits::BreakerTold;

use super::{Asked, sql};
use crate::Store;
use crate::events::{self, Event, Family};
use crate::store::{Outcome, Scope, int};

/// A breaker that nobody told of for so long after it was to let a request through: its process is gone, or has nothing
/// to ask any more.
const SILENT_MS: i64 = 600_000;
const COOLDOWN_MAX_MS: u64 = 24 * 3_600_000;
const REASON_CHARS_MAX: usize = 300;

/// Keeps what a process tells, and tells it on where that is news of the connection.
pub(super) async fn told_in(db: &mut AnyConnection, asked: Asked<'_>, told: &BreakerTold) -> Outcome<()> {
    if !told.is_open {
        // Whoever got an answer knows that the system is there, whatever others still believe.
        if sql::breakers_closed(db, asked.tenant, asked.connection).await? {
            events::append_in(db, &closed(asked.tenant, asked.connection)).await?;
        }
        return Ok(());
    }
    let for_ms = int(told.for_ms.min(COOLDOWN_MAX_MS));
    let (is_first, until_ms) = sql::breaker_opened(db, asked, for_ms).await?;
    if is_first {
        let reason: String = told.reason.chars().take(REASON_CHARS_MAX).collect();
        let event = Event::of_connection(asked.tenant, Family::BreakerOpened, asked.connection)
            .with("reason", reason)
            .with("until_ms", until_ms);
        events::append_in(db, &event).await?;
    }
    Ok(())
}

fn closed(tenant: &str, connection: &str) -> Event {
    Event::of_connection(tenant, Family::BreakerClosed, connection)
}

/// Ends breakers of processes that are silent; gives back of how many connections.
pub(crate) async fn sweep(store: &Store) -> Result<usize> {
    let silent = store
        .read(Scope::Everyone, "look for breakers of the silent", |db, _| {
            Box::pin(async move { Ok(sql::breakers_silent(db, SILENT_MS).await?) })
        })
        .await?;
    for (tenant, connection) in &silent {
        store
            .write(Scope::Tenant(tenant), "end the breaker", |db, _| {
                Box::pin(async move {
                    // Somebody may have told of it since.
                    let is_still = sql::breakers_silent(db, SILENT_MS).await?;
                    if is_still.iter().any(|(_, name)| name == connection)
                        && sql::breakers_closed(db, tenant, connection).await?
                    {
                        events::append_in(db, &closed(tenant, connection)).await?;
                    }
                    Ok(())
                })
            })
            .await?;
    }
    Ok(silent.len())
}
