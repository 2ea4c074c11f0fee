use sqlx::AnyConnection;
use weir_protocol::hook::{Message, Received};

use super::{Inflow, Note};

/// Bodies that are read at once; a message has 1 MiB at most.
const AT_ONCE: usize = 32;
/// A page of messages ends where its bodies have so many bytes: it goes over a worker's line in one piece.
const BYTES_MAX: usize = 8 << 20;

/// Makes room for so many more messages; gives back the place of the last of them. Until the transaction
/// ends nobody else adds any to the connection. Places are microseconds of the store's clock where that is
/// ahead: a store that was restored or made anew goes on behind what the lake has already read.
pub(super) async fn reserve(
    db: &mut AnyConnection,
    (tenant, connection): (&str, &str),
    count: i64,
) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "INSERT INTO hooks (tenant, connection, place, landed)
         SELECT $1, $2, now_ms * 1000 + $3, 0 FROM clock WHERE true
         ON CONFLICT (tenant, connection) DO UPDATE
         SET place = CASE WHEN excluded.place > hooks.place + $3 THEN excluded.place
                          ELSE hooks.place + $3 END
         RETURNING place",
    )
    .bind(tenant)
    .bind(connection)
    .bind(count)
    .fetch_one(db)
    .await
}

/// False where it was received before.
pub(super) async fn insert(
    db: &mut AnyConnection,
    (tenant, connection): (&str, &str),
    place: i64,
    message: &Message,
    at_ms: i64,
) -> sqlx::Result<bool> {
    let added = sqlx::query(
        "INSERT INTO received (tenant, connection, place, id, kind, received_at_ms, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (tenant, connection, id) DO NOTHING",
    )
    .bind(tenant)
    .bind(connection)
    .bind(place)
    .bind(&message.id)
    .bind(message.kind.as_deref())
    .bind(at_ms)
    .bind(&message.body)
    .execute(db)
    .await?;
    Ok(added.rows_affected() > 0)
}

/// The next ones in order: at most `limit`, and no more once they have [`BYTES_MAX`].
pub(super) async fn after(
    db: &mut AnyConnection,
    (tenant, connection): (&str, &str),
    place: i64,
    limit: usize,
) -> sqlx::Result<Vec<Received>> {
    type Row = (i64, String, Option<String>, i64, String);
    let (mut found, mut place, mut bytes) = (Vec::new(), place, 0);
    while found.len() < limit && bytes < BYTES_MAX {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT place, id, kind, received_at_ms, body FROM received
             WHERE tenant = $1 AND connection = $2 AND place > $3 ORDER BY place LIMIT $4",
        )
        .bind(tenant)
        .bind(connection)
        .bind(place)
        .bind(i64::try_from(AT_ONCE.min(limit - found.len())).unwrap_or(1))
        .fetch_all(&mut *db)
        .await?;
        let Some(last) = rows.last() else {
            break;
        };
        place = last.0;
        for (place, id, kind, received_at_ms, body) in rows {
            bytes += body.len();
            found.push(Received {
                place,
                id,
                kind,
                received_at_ms,
                body,
            });
        }
    }
    Ok(found)
}

pub(super) async fn inflows(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<Inflow>> {
    sqlx::query_as(
        "SELECT hooks.connection AS connection,
             (SELECT newest.received_at_ms FROM received AS newest
              WHERE newest.tenant = hooks.tenant AND newest.connection = hooks.connection
              ORDER BY newest.place DESC LIMIT 1) AS last_received_at_ms
         FROM hooks WHERE hooks.tenant = $1 ORDER BY hooks.connection",
    )
    .bind(tenant)
    .fetch_all(db)
    .await
}

/// Those before a place, the newest first.
pub(super) async fn notes(
    db: &mut AnyConnection,
    (tenant, connection): (&str, &str),
    before: i64,
    limit: u32,
) -> sqlx::Result<Vec<Note>> {
    type Row = (i64, String, Option<String>, i64, i64);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT received.place, received.id, received.kind, received.received_at_ms, hooks.landed FROM received
         JOIN hooks ON hooks.tenant = received.tenant AND hooks.connection = received.connection
         WHERE received.tenant = $1 AND received.connection = $2 AND received.place < $3
         ORDER BY received.place DESC LIMIT $4",
    )
    .bind(tenant)
    .bind(connection)
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    let notes = rows
        .into_iter()
        .map(|(place, id, kind, received_at_ms, landed)| Note {
            place,
            id,
            kind,
            received_at_ms,
            has_landed: place <= landed,
        });
    Ok(notes.collect())
}

pub(super) async fn landed(
    db: &mut AnyConnection,
    (tenant, connection): (&str, &str),
    place: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE hooks SET landed = $3 WHERE tenant = $1 AND connection = $2 AND landed < $3 AND place >= $3",
    )
    .bind(tenant)
    .bind(connection)
    .bind(place)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn prune(db: &mut AnyConnection, before_ms: i64, limit: i64) -> sqlx::Result<u64> {
    let removed = sqlx::query(
        "DELETE FROM received WHERE (tenant, connection, place) IN (
             SELECT old.tenant, old.connection, old.place FROM received AS old
             JOIN hooks ON hooks.tenant = old.tenant AND hooks.connection = old.connection
             WHERE old.received_at_ms < $1 AND old.place <= hooks.landed
             LIMIT $2)",
    )
    .bind(before_ms)
    .bind(limit)
    .execute(db)
    .await?;
    Ok(removed.rows_affected())
}

/// Connections with messages older than that, which no sync has read.
pub(super) async fn unread(db: &mut AnyConnection, before_ms: i64) -> sqlx::Result<Vec<(String, String)>> {
    sqlx::query_as(
        "SELECT DISTINCT old.tenant, old.connection FROM received AS old
         JOIN hooks ON hooks.tenant = old.tenant AND hooks.connection = old.connection
         WHERE old.received_at_ms < $1 AND old.place > hooks.landed
         ORDER BY 1, 2",
    )
    .bind(before_ms)
    .fetch_all(db)
    .await
}

pub(super) async fn give_up(
    db: &mut AnyConnection,
    (tenant, connection): (&str, &str),
    before_ms: i64,
    limit: i64,
) -> sqlx::Result<u64> {
    let removed = sqlx::query(
        "DELETE FROM received WHERE tenant = $1 AND connection = $2 AND place IN (
             SELECT place FROM received WHERE tenant = $1 AND connection = $2 AND received_at_ms < $3
                 AND place > (SELECT landed FROM hooks WHERE tenant = $1 AND connection = $2)
             LIMIT $4)",
    )
    .bind(tenant)
    .bind(connection)
    .bind(before_ms)
    .bind(limit)
    .execute(db)
    .await?;
    Ok(removed.rows_affected())
}
