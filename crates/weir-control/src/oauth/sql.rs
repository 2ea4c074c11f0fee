use sqlx::{AnyConnection, FromRow};
use weir_protocol::Result;

use super::{Grant, GrantState};
use crate::store::stored_badly;

#[derive(Debug, Clone, FromRow)]
pub(super) struct Row {
    pub(super) connection: String,
    pub(super) state: String,
    pub(super) client: String,
    pub(super) method: String,
    pub(super) asked: String,
    pub(super) scopes: String,
    pub(super) version: i64,
    pub(super) can_refresh: i64,
    pub(super) access_expires_at_ms: Option<i64>,
    pub(super) refresh_expires_at_ms: Option<i64>,
    pub(super) connected_at_ms: i64,
    pub(super) refreshed_at_ms: i64,
    pub(super) seed: Option<String>,
    pub(super) error: Option<String>,
    pub(super) error_at_ms: Option<i64>,
    pub(super) warned_at_ms: Option<i64>,
    pub(super) term: i64,
    pub(super) holder: Option<String>,
    pub(super) held_until_ms: Option<i64>,
    pub(super) consents: i64,
    pub(super) now_ms: i64,
}

impl Row {
    /// Whether somebody asks for the next tokens now.
    pub(super) fn is_held(&self) -> bool {
        self.holder.is_some() && self.held_until_ms.is_some_and(|until| until > self.now_ms)
    }

    pub(super) fn shown(self) -> Result<Grant> {
        let words = |text: &str| -> Result<Vec<String>> {
            serde_json::from_str(text).map_err(|error| stored_badly("list of scopes", text, error))
        };
        let (asked, scopes) = (words(&self.asked)?, words(&self.scopes)?);
        let state = match self.state.as_str() {
            "connected" if self.is_held() => GrantState::Refreshing,
            "connected" => GrantState::Connected,
            "revoked" => GrantState::Revoked,
            _ => GrantState::ReconnectNeeded,
        };
        Ok(Grant {
            state,
            missing_scopes: super::rules::missing(&asked, &scopes),
            scopes,
            connection: self.connection,
            method: self.method,
            can_refresh: self.can_refresh == 1,
            connected_at_ms: self.connected_at_ms,
            refreshed_at_ms: self.refreshed_at_ms,
            access_expires_at_ms: self.access_expires_at_ms,
            refresh_expires_at_ms: self.refresh_expires_at_ms,
            error: self.error,
            error_at_ms: self.error_at_ms,
        })
    }
}

const ROWS: &str = "SELECT connection, state, client, method, asked, scopes, version, can_refresh,
     access_expires_at_ms, refresh_expires_at_ms, connected_at_ms, refreshed_at_ms, seed, error, error_at_ms,
     warned_at_ms, term, holder, held_until_ms, consents, now_ms
 FROM grants, clock WHERE tenant = $1";

pub(super) async fn get(db: &mut AnyConnection, tenant: &str, connection: &str) -> sqlx::Result<Option<Row>> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!("{ROWS} AND connection = $2")))
        .bind(tenant)
        .bind(connection)
        .fetch_optional(db)
        .await
}

pub(super) async fn list(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!("{ROWS} ORDER BY connection")))
        .bind(tenant)
        .fetch_all(db)
        .await
}

/// A grant as it begins.
pub(super) struct Begun<'a> {
    pub(super) client: &'a str,
    pub(super) method: &'a str,
    pub(super) asked: &'a str,
    pub(super) seed: Option<&'a str>,
}

/// Puts a grant in the place of whatever was there. Its tokens are stored by [`granted`]. The version
/// goes on, so that who refreshes the one before stores nothing.
pub(super) async fn begin(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
    begun: &Begun<'_>,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO grants (tenant, connection, state, client, method, asked, scopes, version, can_refresh,
                             connected_at_ms, refreshed_at_ms, seed, term)
         SELECT $1, $2, 'connected', $3, $4, $5, $5, 1, 1, now_ms, now_ms, $6, 0 FROM clock WHERE true
         ON CONFLICT (tenant, connection) DO UPDATE
         SET state = 'connected', client = excluded.client, method = excluded.method, asked = excluded.asked,
             scopes = excluded.scopes, version = grants.version + 1, can_refresh = 1,
             consents = grants.consents + 1, access_expires_at_ms = NULL, refresh_expires_at_ms = NULL,
             connected_at_ms = excluded.connected_at_ms, refreshed_at_ms = excluded.refreshed_at_ms,
             seed = excluded.seed, error = NULL, error_at_ms = NULL, warned_at_ms = NULL,
             holder = NULL, held_until_ms = NULL",
    )
    .bind(tenant)
    .bind(connection)
    .bind(begun.client)
    .bind(begun.method)
    .bind(begun.asked)
    .bind(begun.seed)
    .execute(db)
    .await
    .map(drop)
}

/// What is known of tokens besides themselves. Life times are milliseconds from now.
pub(super) struct Stored<'a> {
    pub(super) scopes: Option<&'a str>,
    pub(super) can_refresh: bool,
    pub(super) access_life_ms: Option<i64>,
    /// None: as before.
    pub(super) refresh_life_ms: Option<i64>,
}

pub(super) async fn granted(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
    stored: &Stored<'_>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE grants
         SET state = 'connected', version = version + 1, can_refresh = $3,
             scopes = CASE WHEN $4 IS NULL THEN scopes ELSE $4 END,
             access_expires_at_ms = (SELECT now_ms FROM clock) + $5,
             refresh_expires_at_ms = CASE WHEN $6 IS NULL THEN refresh_expires_at_ms
                                          ELSE (SELECT now_ms FROM clock) + $6 END,
             refreshed_at_ms = (SELECT now_ms FROM clock), error = NULL, error_at_ms = NULL,
             -- Told once for each end: only where the refresh put it off is it to be told again.
             warned_at_ms = CASE WHEN $6 IS NULL
                                   OR (SELECT now_ms FROM clock) + $6 <= coalesce(refresh_expires_at_ms, 0) + 60000
                                 THEN warned_at_ms END,
             holder = NULL, held_until_ms = NULL
         WHERE tenant = $1 AND connection = $2",
    )
    .bind(tenant)
    .bind(connection)
    .bind(i64::from(stored.can_refresh))
    .bind(stored.scopes)
    .bind(stored.access_life_ms)
    .bind(stored.refresh_life_ms)
    .execute(db)
    .await
    .map(drop)
}

/// Another refresh token in the place of one that a consent kept while it was exchanged.
pub(super) async fn followed(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
    refresh_life_ms: Option<i64>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE grants
         SET version = version + 1, holder = NULL, held_until_ms = NULL,
             refresh_expires_at_ms = CASE WHEN $3 IS NULL THEN refresh_expires_at_ms
                                          ELSE (SELECT now_ms FROM clock) + $3 END
         WHERE tenant = $1 AND connection = $2",
    )
    .bind(tenant)
    .bind(connection)
    .bind(refresh_life_ms)
    .execute(db)
    .await
    .map(drop)
}

/// Begins a turn: nobody else asks for tokens until it ends or is over.
pub(super) async fn take_turn(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
    holder: &str,
    for_ms: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE grants SET term = term + 1, holder = $3, held_until_ms = (SELECT now_ms FROM clock) + $4
         WHERE tenant = $1 AND connection = $2",
    )
    .bind(tenant)
    .bind(connection)
    .bind(holder)
    .bind(for_ms)
    .execute(db)
    .await
    .map(drop)
}

/// Ends a turn without tokens. Who lost it changes nothing.
pub(super) async fn fail_turn(
    db: &mut AnyConnection,
    tenant: &str,
    connection: &str,
    (term, state): (i64, &str),
    error: &str,
) -> sqlx::Result<bool> {
    let ended = sqlx::query(
        "UPDATE grants
         SET state = $4, error = $5, error_at_ms = (SELECT now_ms FROM clock), holder = NULL, held_until_ms = NULL
         WHERE tenant = $1 AND connection = $2 AND term = $3 AND state = 'connected' AND holder IS NOT NULL",
    )
    .bind(tenant)
    .bind(connection)
    .bind(term)
    .bind(state)
    .bind(error)
    .execute(db)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// Ends a grant; false where there is none. Tokens that are on their way are not stored any more.
pub(super) async fn revoke(db: &mut AnyConnection, tenant: &str, connection: &str) -> sqlx::Result<bool> {
    let ended = sqlx::query(
        "UPDATE grants SET state = 'revoked', version = version + 1, can_refresh = 0, access_expires_at_ms = NULL,
             refresh_expires_at_ms = NULL, holder = NULL, held_until_ms = NULL
         WHERE tenant = $1 AND connection = $2",
    )
    .bind(tenant)
    .bind(connection)
    .execute(db)
    .await?;
    Ok(ended.rows_affected() == 1)
}

pub(super) async fn warned(db: &mut AnyConnection, tenant: &str, connection: &str) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE grants SET warned_at_ms = (SELECT now_ms FROM clock) WHERE tenant = $1 AND connection = $2",
    )
    .bind(tenant)
    .bind(connection)
    .execute(db)
    .await
    .map(drop)
}

/// A consent under way.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Login {
    pub(super) tenant: String,
    pub(super) id: String,
    pub(super) connection: String,
    pub(super) principal: String,
    pub(super) begun_with: String,
    pub(super) redirect_uri: String,
    pub(super) is_over: i64,
}

pub(super) async fn begin_login(
    db: &mut AnyConnection,
    login: &Login,
    state_hash: &str,
    life_ms: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO logins (tenant, id, state_hash, connection, principal, begun_with, redirect_uri,
                             created_at_ms, expires_at_ms)
         SELECT $1, $2, $3, $4, $5, $6, $7, now_ms, now_ms + $8 FROM clock WHERE true
         ON CONFLICT (tenant, id) DO NOTHING",
    )
    .bind(&login.tenant)
    .bind(&login.id)
    .bind(state_hash)
    .bind(&login.connection)
    .bind(&login.principal)
    .bind(&login.begun_with)
    .bind(&login.redirect_uri)
    .bind(life_ms)
    .execute(db)
    .await
    .map(drop)
}

const LOGINS: &str = "SELECT tenant, id, connection, principal, begun_with, redirect_uri,
     CASE WHEN expires_at_ms <= now_ms THEN 1 ELSE 0 END AS is_over
 FROM logins, clock";

pub(super) async fn login(db: &mut AnyConnection, state_hash: &str) -> sqlx::Result<Option<Login>> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!("{LOGINS} WHERE state_hash = $1")))
        .bind(state_hash)
        .fetch_optional(db)
        .await
}

pub(super) async fn end_login(db: &mut AnyConnection, tenant: &str, id: &str) -> sqlx::Result<bool> {
    let gone = sqlx::query("DELETE FROM logins WHERE tenant = $1 AND id = $2")
        .bind(tenant)
        .bind(id)
        .execute(db)
        .await?;
    Ok(gone.rows_affected() == 1)
}

/// Those that nobody ended in time.
pub(super) async fn logins_over(db: &mut AnyConnection, tenant: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT id FROM logins, clock WHERE tenant = $1 AND expires_at_ms <= now_ms")
        .bind(tenant)
        .fetch_all(db)
        .await
}
