//! The store as a schema of a PostgreSQL database.
//!
//! Tables belong to the role that migrates. Every use case runs as `weir_app`, which owns nothing
//! and which row-level security binds, and names its tenant for the length of its transaction only:
//! nothing hangs on the session, so that a pooler between us and the database does no harm.

use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Any, Connection, Executor};
use weir_protocol::{Error, Result, Secret};

use super::{Place, Scope, Store, StoreError, failure};

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// A server and its in-process worker stay well below the 100 that PostgreSQL allows by default.
const CONNECTIONS_MAX: u32 = 10;
/// One attempt; use cases are tried again for longer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Where the tables are: not `public`, which Supabase shows to the world.
const SCHEMA: &str = "weir";
/// Stands for all tenants in the policies. No tenant can have this name.
const EVERYONE: &str = "*";
const OLDEST_SERVER: i64 = 150_000;

pub(super) async fn open(url: &Secret) -> Result<Store> {
    let place = Place::Postgres(url.clone());
    let failed = |error| StoreError::Database(error).say("open the control store", &place);
    let options: PgConnectOptions = url.expose().parse().map_err(|error: sqlx::Error| {
        // The cause may quote the text, and with it the password.
        drop(error);
        Error::spec("the control store's URL is not one of PostgreSQL")
            .hint("write postgres://user:password@host:port/database; percent-encode odd characters")
    })?;
    migrate(&options, &place).await?;
    let pool: sqlx::Pool<Any> = PoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect(url.expose())
        .await
        .map_err(failed)?;
    Ok(Store {
        readers: pool.clone(),
        writer: pool,
        place,
        acting: Arc::default(),
    })
}

/// Begins a transaction as the application, for one tenant, in one round trip.
pub(super) fn begin(scope: Scope<'_>, exclusive: Option<&str>) -> String {
    let tenant = match scope {
        Scope::Tenant(tenant) => tenant,
        Scope::Everyone => EVERYONE,
    };
    let mut sql = format!(
        "BEGIN; SET LOCAL ROLE weir_app; SET LOCAL search_path = {SCHEMA}; SET LOCAL weir.tenant = {}",
        literal(tenant)
    );
    if let Some(thing) = exclusive {
        let key = literal(&format!("weir {tenant} {thing}"));
        sql.push_str(&format!(
            "; SELECT pg_advisory_xact_lock(hashtextextended({key}, 0))"
        ));
    }
    sql
}

/// A text as an SQL literal that means the same whatever the server's settings are.
fn literal(text: &str) -> String {
    let doubled = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{}'", doubled.replace('\0', ""))
}

/// Migrations run as the role of the URL. A role that may not is fine where none is pending.
async fn migrate(options: &PgConnectOptions, place: &Place) -> Result<()> {
    let failed = |error| StoreError::Database(error).say("open the control store", place);
    let mut connection = PgConnection::connect_with(options).await.map_err(failed)?;
    refuse_old(&mut connection, place).await?;
    if !is_current(&mut connection, place).await? {
        let outcome = run_pending(&mut connection, None).await;
        outcome.map_err(|error| failure::migration_failed(place, &MIGRATIONS, error))?;
    }
    connection.close().await.map_err(failed)
}

pub(super) async fn run_pending(
    connection: &mut PgConnection,
    up_to: Option<i64>,
) -> std::result::Result<(), MigrateError> {
    // Held by one of several servers that start at once, until it is done.
    connection.lock().await?;
    let outcome = async {
        connection
            .execute(include_str!("../../migrations/postgres/before.sql"))
            .await?;
        MIGRATIONS.run_direct(up_to, &mut *connection, false).await?;
        connection
            .execute(include_str!("../../migrations/postgres/after.sql"))
            .await?;
        Ok(())
    }
    .await;
    // What failed first is what is told.
    let unlocked = connection.unlock().await;
    outcome.and(unlocked)
}

async fn refuse_old(connection: &mut PgConnection, place: &Place) -> Result<()> {
    let version: i64 = sqlx::query_scalar("SELECT current_setting('server_version_num')::bigint")
        .fetch_one(connection)
        .await
        .map_err(|error| StoreError::Database(error).say("ask for the database's version", place))?;
    if version >= OLDEST_SERVER {
        return Ok(());
    }
    Err(Error::spec("the control store needs PostgreSQL 15 or newer")
        .with("store", place)
        .with("its version", version / 10_000)
        .hint("upgrade the server, or name another database"))
}

/// Whether the newest migration is there. A store that a newer weir made is judged by the migrator.
async fn is_current(connection: &mut PgConnection, place: &Place) -> Result<bool> {
    let failed = |error| StoreError::Database(error).say("look at the control store's schema", place);
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('weir._sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if !exists {
        return Ok(false);
    }
    let newest: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM weir._sqlx_migrations WHERE success")
            .fetch_one(connection)
            .await
            .map_err(failed)?;
    Ok(newest == Some(failure::newest(&MIGRATIONS)))
}
