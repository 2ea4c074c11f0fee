use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};

use super::{Held, LEASE_TIME, Lease, Owner};
use crate::Connection;
use crate::store::int;

/// The lease time as the database adds it.
pub(crate) fn lease_ms() -> i64 {
    int(u64::try_from(LEASE_TIME.as_millis()).unwrap_or(u64::MAX))
}

impl FromRow<'_, AnyRow> for Held {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            run: row.try_get("run")?,
            owner: Owner {
                host: row.try_get("host")?,
                pid: u32::try_from(row.try_get::<i64, _>("pid")?).unwrap_or_default(),
                machine: row.try_get("machine")?,
                process_start: row.try_get("process_start")?,
            },
            acquired_at_ms: row.try_get("acquired_at_ms")?,
            expired: row.try_get::<i64, _>("expired")? != 0,
        })
    }
}

pub(super) async fn held(
    db: &mut AnyConnection,
    connection: &Connection,
    stream: &str,
) -> sqlx::Result<Option<Held>> {
    sqlx::query_as(
        // No lease ends later than its whole time from now, unless the clock was put back since: its holder,
        // if it lives, renews it with its next heartbeat.
        "SELECT run, host, pid, machine, process_start, acquired_at_ms,
             CASE WHEN expires_at_ms <= now_ms OR expires_at_ms > now_ms + $4 THEN 1 ELSE 0 END AS expired
         FROM leases, clock
         WHERE tenant = $1 AND connection = $2 AND stream = $3 AND run IS NOT NULL",
    )
    .bind(&connection.tenant)
    .bind(&connection.name)
    .bind(stream)
    .bind(lease_ms())
    .fetch_optional(db)
    .await
}

pub(super) async fn take(
    db: &mut AnyConnection,
    connection: &Connection,
    stream: &str,
    run: &str,
    owner: &Owner,
) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "INSERT INTO leases (tenant, connection, stream, term, run, host, pid, machine, process_start,
                             acquired_at_ms, expires_at_ms)
         SELECT $1, $2, $3, 1, $4, $5, $6, $7, $8, now_ms, now_ms + $9 FROM clock WHERE true
         ON CONFLICT (tenant, connection, stream) DO UPDATE
         SET term = leases.term + 1, run = excluded.run, host = excluded.host, pid = excluded.pid,
             machine = excluded.machine, process_start = excluded.process_start,
             acquired_at_ms = excluded.acquired_at_ms, expires_at_ms = excluded.expires_at_ms
         RETURNING term",
    )
    .bind(&connection.tenant)
    .bind(&connection.name)
    .bind(stream)
    .bind(run)
    .bind(&owner.host)
    .bind(i64::from(owner.pid))
    .bind(&owner.machine)
    .bind(&owner.process_start)
    .bind(lease_ms())
    .fetch_one(db)
    .await
}

pub(super) async fn renew(db: &mut AnyConnection, lease: &Lease) -> sqlx::Result<bool> {
    let changed = sqlx::query(
        "UPDATE leases SET expires_at_ms = (SELECT now_ms FROM clock) + $1
         WHERE tenant = $2 AND connection = $3 AND stream = $4 AND run = $5 AND term = $6",
    )
    .bind(lease_ms())
    .bind(&lease.tenant)
    .bind(&lease.connection)
    .bind(&lease.stream)
    .bind(&lease.run)
    .bind(lease.term)
    .execute(db)
    .await?;
    Ok(changed.rows_affected() == 1)
}

pub(super) async fn release(db: &mut AnyConnection, lease: &Lease) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE leases SET run = NULL
         WHERE tenant = $1 AND connection = $2 AND stream = $3 AND run = $4 AND term = $5",
    )
    .bind(&lease.tenant)
    .bind(&lease.connection)
    .bind(&lease.stream)
    .bind(&lease.run)
    .bind(lease.term)
    .execute(db)
    .await
    .map(drop)
}

/// Frees all that a run that died held.
pub(crate) async fn release_run(db: &mut AnyConnection, run: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE leases SET run = NULL WHERE run = $1")
        .bind(run)
        .execute(db)
        .await
        .map(drop)
}

/// Whether the lease is held, and held until this transaction ends: whoever wants to take it over waits.
pub(super) async fn holds(db: &mut AnyConnection, lease: &Lease) -> sqlx::Result<bool> {
    let touched = sqlx::query(
        "UPDATE leases SET term = term
         WHERE tenant = $1 AND connection = $2 AND stream = $3 AND run = $4 AND term = $5",
    )
    .bind(&lease.tenant)
    .bind(&lease.connection)
    .bind(&lease.stream)
    .bind(&lease.run)
    .bind(lease.term)
    .execute(db)
    .await?;
    Ok(touched.rows_affected() == 1)
}

/// Stands for the passing of the lease time.
#[cfg(test)]
pub(crate) async fn expire_all(store: &crate::Store) {
    let everyone = crate::store::Scope::Everyone;
    store
        .statement(everyone, "let all leases end", |db, _| {
            Box::pin(async move {
                sqlx::query("UPDATE leases SET expires_at_ms = 0")
                    .execute(db)
                    .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
}
