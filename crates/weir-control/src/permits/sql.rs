use std::collections::BTreeSet;

use sqlx::AnyConnection;
use weir_protocol::permits::Spent;

use super::Asked;
use super::rules::{Given, slot_ms};
use crate::store::int;

/// Older wishes to be left alone, and of people, are of no use.
const RATE_LIMIT_KEPT_MS: i64 = 60_000;

/// No permit is given out for a later moment; one that seems to be is of before the clock was put back.
const LATEST_USE_MS: i64 = 60_000;

/// Removes what counts nowhere any more.
pub(super) async fn forget(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM permits WHERE tenant = $1
             AND (gone_at_ms <= (SELECT now_ms FROM clock) OR until_ms > (SELECT now_ms FROM clock) + $2)",
    )
    .bind(tenant)
    .bind(LATEST_USE_MS)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "DELETE FROM rate_limits WHERE tenant = $1 AND held_until_ms <= (SELECT now_ms FROM clock) - $2
             AND person_at_ms <= (SELECT now_ms FROM clock) - $2",
    )
    .bind(tenant)
    .bind(RATE_LIMIT_KEPT_MS)
    .execute(db)
    .await
    .map(drop)
}

/// In place of a batch, what of it was used. One that was put down before is not there any more.
pub(super) async fn put_down(
    db: &mut AnyConnection,
    asked: Asked<'_>,
    spent: &Spent,
    counts_for_ms: i64,
) -> sqlx::Result<()> {
    let had: Option<(i64, i64)> = sqlx::query_as(
        "DELETE FROM permits WHERE tenant = $1 AND id = $2 AND connection = $3 AND client = $4
         RETURNING permits, until_ms",
    )
    .bind(asked.tenant)
    .bind(&spent.batch)
    .bind(asked.connection)
    .bind(&asked.draw.client)
    .fetch_optional(&mut *db)
    .await?;
    let Some((mut left, latest_ms)) = had else {
        return Ok(());
    };
    let now_ms = now(db).await?;
    let slot_ms = slot_ms(&asked.draw.rates);
    for used in &spent.uses {
        let permits = i64::from(used.permits).min(left);
        left -= permits;
        let until_ms = now_ms.saturating_sub(int(used.ago_ms)).min(latest_ms);
        // All of a short time in one row: a window of a day would hold as many rows as requests.
        let id = format!(
            "{}/{}/{}",
            asked.draw.client,
            asked.draw.limit,
            until_ms / slot_ms
        );
        insert(
            db,
            asked,
            &id,
            permits,
            (until_ms, until_ms.saturating_add(counts_for_ms)),
        )
        .await?;
    }
    Ok(())
}

async fn now(db: &mut AnyConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT now_ms FROM clock").fetch_one(db).await
}

/// `until_ms`, and when they are gone.
pub(super) async fn give(
    db: &mut AnyConnection,
    asked: Asked<'_>,
    permits: u32,
    times: (i64, i64),
) -> sqlx::Result<()> {
    insert(db, asked, &asked.draw.batch, i64::from(permits), times).await
}

async fn insert(
    db: &mut AnyConnection,
    asked: Asked<'_>,
    id: &str,
    permits: i64,
    (until_ms, gone_at_ms): (i64, i64),
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO permits (tenant, id, connection, rate_limit, client, permits, until_ms, gone_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (tenant, id) DO UPDATE
         SET permits = permits.permits + excluded.permits,
             until_ms = CASE WHEN excluded.until_ms > permits.until_ms
                             THEN excluded.until_ms ELSE permits.until_ms END,
             gone_at_ms = CASE WHEN excluded.gone_at_ms > permits.gone_at_ms
                               THEN excluded.gone_at_ms ELSE permits.gone_at_ms END",
    )
    .bind(asked.tenant)
    .bind(id)
    .bind(asked.connection)
    .bind(&asked.draw.limit)
    .bind(&asked.draw.client)
    .bind(permits)
    .bind(until_ms)
    .bind(gone_at_ms)
    .execute(db)
    .await
    .map(drop)
}

/// Permits of a batch that was drawn before, and how long they may be used still.
pub(super) async fn drawn_before(
    db: &mut AnyConnection,
    asked: Asked<'_>,
) -> sqlx::Result<Option<(u32, i64)>> {
    let drawn: Option<(i64, i64)> = sqlx::query_as(
        "SELECT permits, until_ms - now_ms FROM permits, clock
         WHERE tenant = $1 AND id = $2 AND connection = $3 AND client = $4",
    )
    .bind(asked.tenant)
    .bind(&asked.draw.batch)
    .bind(asked.connection)
    .bind(&asked.draw.client)
    .fetch_optional(db)
    .await?;
    Ok(drawn.map(|(permits, left_ms)| (u32::try_from(permits).unwrap_or(u32::MAX), left_ms)))
}

/// What is given out of the limit, oldest first, and how many other clients had some.
pub(super) async fn given(db: &mut AnyConnection, asked: Asked<'_>) -> sqlx::Result<(Vec<Given>, u32)> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT client, permits, until_ms FROM permits
         WHERE tenant = $1 AND connection = $2 AND rate_limit = $3 ORDER BY until_ms",
    )
    .bind(asked.tenant)
    .bind(asked.connection)
    .bind(&asked.draw.limit)
    .fetch_all(db)
    .await?;
    let others: BTreeSet<&str> = rows
        .iter()
        .map(|(client, _, _)| client.as_str())
        .filter(|client| *client != asked.draw.client)
        .collect();
    let others = u32::try_from(others.len()).unwrap_or(u32::MAX);
    let given = rows.iter().map(|(_, permits, until_ms)| Given {
        permits: u32::try_from(*permits).unwrap_or(u32::MAX),
        until_ms: *until_ms,
    });
    Ok((given.collect(), others))
}

/// A wish of the vendor holds for all of the connection's limits.
/// For how long yet the vendor asked not to be asked, and breakers of others are open.
pub(super) async fn held_ms(db: &mut AnyConnection, asked: Asked<'_>) -> sqlx::Result<(i64, i64)> {
    sqlx::query_as(
        "SELECT coalesce((SELECT max(held_until_ms) FROM rate_limits
                          WHERE tenant = $1 AND connection = $2), 0) - now_ms,
                coalesce((SELECT max(until_ms) FROM breakers
                          WHERE tenant = $1 AND connection = $2 AND client <> $3), 0) - now_ms
         FROM clock",
    )
    .bind(asked.tenant)
    .bind(asked.connection)
    .bind(&asked.draw.client)
    .fetch_one(db)
    .await
}

pub(super) async fn hold(db: &mut AnyConnection, asked: Asked<'_>, hold_ms: i64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO rate_limits (tenant, connection, name, held_until_ms, person_at_ms)
         SELECT $1, $2, $3, now_ms + $4, 0 FROM clock WHERE true
         ON CONFLICT (tenant, connection, name) DO UPDATE
         SET held_until_ms = CASE WHEN excluded.held_until_ms > rate_limits.held_until_ms
                                  THEN excluded.held_until_ms ELSE rate_limits.held_until_ms END",
    )
    .bind(asked.tenant)
    .bind(asked.connection)
    .bind(&asked.draw.limit)
    .bind(hold_ms)
    .execute(db)
    .await
    .map(drop)
}

/// Somebody waits for an answer.
pub(super) async fn person(db: &mut AnyConnection, asked: Asked<'_>) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO rate_limits (tenant, connection, name, held_until_ms, person_at_ms)
         SELECT $1, $2, $3, 0, now_ms FROM clock WHERE true
         ON CONFLICT (tenant, connection, name) DO UPDATE SET person_at_ms = excluded.person_at_ms",
    )
    .bind(asked.tenant)
    .bind(asked.connection)
    .bind(&asked.draw.limit)
    .execute(db)
    .await
    .map(drop)
}

/// The store's clock, and when somebody last waited for an answer.
pub(super) async fn moments(db: &mut AnyConnection, asked: Asked<'_>) -> sqlx::Result<(i64, i64)> {
    sqlx::query_as(
        "SELECT now_ms, coalesce((SELECT person_at_ms FROM rate_limits
                                  WHERE tenant = $1 AND connection = $2 AND name = $3), 0) FROM clock",
    )
    .bind(asked.tenant)
    .bind(asked.connection)
    .bind(&asked.draw.limit)
    .fetch_one(db)
    .await
}

/// Whether it is the connection's first breaker that is open, and until when it lets nothing pass.
pub(super) async fn breaker_opened(
    db: &mut AnyConnection,
    asked: Asked<'_>,
    for_ms: i64,
) -> sqlx::Result<(bool, i64)> {
    let others: i64 =
        sqlx::query_scalar("SELECT count(*) FROM breakers WHERE tenant = $1 AND connection = $2")
            .bind(asked.tenant)
            .bind(asked.connection)
            .fetch_one(&mut *db)
            .await?;
    let until_ms = sqlx::query_scalar(
        "INSERT INTO breakers (tenant, connection, client, until_ms)
         SELECT $1, $2, $3, now_ms + $4 FROM clock WHERE true
         ON CONFLICT (tenant, connection, client) DO UPDATE SET until_ms = excluded.until_ms
         RETURNING until_ms",
    )
    .bind(asked.tenant)
    .bind(asked.connection)
    .bind(&asked.draw.client)
    .bind(for_ms)
    .fetch_one(db)
    .await?;
    Ok((others == 0, until_ms))
}

/// False where none was open.
pub(super) async fn breakers_closed(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
) -> sqlx::Result<bool> {
    let closed = sqlx::query("DELETE FROM breakers WHERE tenant = $1 AND connection = $2")
        .bind(tenant)
        .bind(connection)
        .execute(db)
        .await?;
    Ok(closed.rows_affected() > 0)
}

/// Connections of whose breakers nobody told anything so long after the latest moment.
pub(super) async fn breakers_silent(
    db: &mut AnyConnection,
    silent_ms: i64,
) -> sqlx::Result<Vec<(String, String)>> {
    sqlx::query_as(
        "SELECT tenant, connection FROM breakers, clock GROUP BY tenant, connection, now_ms
         HAVING max(until_ms) + $1 < now_ms ORDER BY 1, 2",
    )
    .bind(silent_ms)
    .fetch_all(db)
    .await
}
