use sqlx::{AnyConnection, FromRow};
use weir_protocol::Result;

use super::{StoredState, Wish, read};
use crate::leases::Lease;
use crate::store::{count, int};

/// How wishes other than a state are stored.
pub(super) const RESET: &str = "null";
pub(super) const FULL: &str = "\"full\"";

#[derive(FromRow)]
pub(super) struct StateRow {
    stream: String,
    sequence: i64,
    run: Option<String>,
    mode: Option<String>,
    state: String,
    wish: Option<String>,
    updated_at_ms: i64,
}

impl StateRow {
    pub(super) fn read(self) -> Result<StoredState> {
        let wish = match self.wish.as_deref() {
            None => None,
            Some(RESET) => Some(Wish::Reset),
            Some(FULL) => Some(Wish::Full),
            Some(text) => Some(Wish::From(read(text)?)),
        };
        Ok(StoredState {
            stream: self.stream,
            sequence: count(self.sequence),
            run: self.run,
            mode: self.mode,
            state: read(&self.state)?,
            wish,
            updated_at_ms: self.updated_at_ms,
        })
    }
}

pub(super) async fn list(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
) -> sqlx::Result<Vec<StateRow>> {
    sqlx::query_as(
        "SELECT stream, sequence, run, mode, state, wish, updated_at_ms FROM states
         WHERE tenant = $1 AND connection = $2 ORDER BY stream",
    )
    .bind(tenant)
    .bind(connection)
    .fetch_all(db)
    .await
}

pub(super) async fn get(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
    stream: &str,
) -> sqlx::Result<Option<StateRow>> {
    sqlx::query_as(
        "SELECT stream, sequence, run, mode, state, wish, updated_at_ms FROM states
         WHERE tenant = $1 AND connection = $2 AND stream = $3",
    )
    .bind(tenant)
    .bind(connection)
    .bind(stream)
    .fetch_optional(db)
    .await
}

pub(super) async fn set_wish(
    db: &mut AnyConnection,
    (tenant, connection): (&str, &str),
    stream: &str,
    wish: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO states (tenant, connection, stream, sequence, state, wish, wish_after, updated_at_ms)
         SELECT $1, $2, $3, 0, '{}', $4, 0, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, connection, stream) DO UPDATE
         SET wish = excluded.wish, wish_after = states.sequence, updated_at_ms = excluded.updated_at_ms",
    )
    .bind(tenant)
    .bind(connection)
    .bind(stream)
    .bind(wish)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn end_full(db: &mut AnyConnection, lease: &Lease) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE states SET wish = NULL WHERE tenant = $1 AND connection = $2 AND stream = $3 AND wish = $4",
    )
    .bind(&lease.tenant)
    .bind(&lease.connection)
    .bind(&lease.stream)
    .bind(FULL)
    .execute(db)
    .await
    .map(drop)
}

/// `keeps_run`: a checkpoint that committed nothing leaves the number to the run that made it.
/// A lake that went back takes the moment of a wish along: the next checkpoint fulfils it.
pub(super) async fn is_beyond(db: &mut AnyConnection, lease: &Lease, sequence: u64) -> sqlx::Result<bool> {
    let found: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM states WHERE tenant = $1 AND connection = $2 AND stream = $3 AND sequence > $4",
    )
    .bind(&lease.tenant)
    .bind(&lease.connection)
    .bind(&lease.stream)
    .bind(int(sequence))
    .fetch_one(db)
    .await?;
    Ok(found > 0)
}

pub(super) async fn advance(
    db: &mut AnyConnection,
    lease: &Lease,
    sequence: u64,
    (run, keeps_run): (Option<&str>, bool),
    mode: Option<&str>,
    state: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO states (tenant, connection, stream, sequence, run, mode, state, updated_at_ms)
         SELECT $1, $2, $3, $4, $5, $6, $7, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, connection, stream) DO UPDATE
         SET sequence = excluded.sequence,
             run = CASE WHEN $8 = 1 AND excluded.sequence = states.sequence THEN states.run ELSE excluded.run END,
             mode = excluded.mode, state = excluded.state,
             wish = CASE WHEN excluded.sequence > states.wish_after THEN NULL ELSE states.wish END,
             wish_after = CASE WHEN excluded.sequence < states.wish_after THEN excluded.sequence
                 ELSE states.wish_after END,
             updated_at_ms = excluded.updated_at_ms",
    )
    .bind(&lease.tenant)
    .bind(&lease.connection)
    .bind(&lease.stream)
    .bind(int(sequence))
    .bind(run)
    .bind(mode)
    .bind(state)
    .bind(i64::from(keeps_run))
    .execute(db)
    .await
    .map(drop)
}
