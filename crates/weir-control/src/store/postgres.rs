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

use super::{Outcome, Patience, Place, Scope, Store, failure};

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// A server and its in-process worker stay well below the 100 that PostgreSQL allows by default.
const CONNECTIONS_MAX: u32 = 10;
/// One attempt; use cases are tried again for longer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// So long a database that is away is waited for: a restart. Whoever wrote a wrong address learns it soon.
const OPENING_MAX: Duration = Duration::from_secs(15);
/// Where the tables are: not `public`, which Supabase shows to the world.
const SCHEMA: &str = "weir";
/// Stands for all tenants in the policies. No tenant can have this name.
const EVERYONE: &str = "*";
const OLDEST_SERVER: i64 = 150_000;

/// A database that is away for a moment is waited for, as use cases do.
pub(super) async fn open(url: &Secret) -> Result<Store> {
    let place = Place::Postgres(url.clone());
    let options: PgConnectOptions = url.expose().parse().map_err(|error: sqlx::Error| {
        // The cause may quote the text, and with it the password.
        drop(error);
        Error::spec("the control store's URL is not one of PostgreSQL")
            .hint("write postgres://user:password@host:port/database; percent-encode odd characters")
    })?;
    let doing = "open the control store";
    let mut patience = Patience::new(OPENING_MAX);
    let pool = loop {
        let error = match pool(url, &options, &place).await {
            Ok(pool) => break pool,
            Err(error) => error,
        };
        if !error.may_pass(&place) || !patience.lasts(doing).await {
            return Err(error.say(doing, &place));
        }
    };
    Ok(Store {
        readers: pool.clone(),
        writer: pool,
        place,
        acting: Arc::default(),
        lines: Arc::default(),
        looks: Arc::default(),
        fitness: Arc::default(),
    })
}

async fn pool(url: &Secret, options: &PgConnectOptions, place: &Place) -> Outcome<sqlx::Pool<Any>> {
    migrate(options, place).await?;
    let pool: PoolOptions<Any> = PoolOptions::new().max_connections(CONNECTIONS_MAX);
    Ok(pool
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect(url.expose())
        .await?)
}

/// A process that stands still in the middle of a transaction (a machine that was paused) holds what it locked: after so
/// long the server breaks it off, and others go on.
const IDLE_MAX: &str = "30s";

/// Begins a transaction as the application, for one tenant, in one round trip.
pub(super) fn begin(scope: Scope<'_>, exclusive: Option<&str>) -> String {
    let tenant = match scope {
        Scope::Tenant(tenant) => tenant,
        Scope::Everyone => EVERYONE,
    };
    let mut sql = format!(
        "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '{IDLE_MAX}'; SET LOCAL ROLE weir_app; \
         SET LOCAL search_path = {SCHEMA}; SET LOCAL weir.tenant = {}",
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
async fn migrate(options: &PgConnectOptions, place: &Place) -> Outcome<()> {
    let mut connection = PgConnection::connect_with(options).await?;
    refuse_old(&mut connection, place).await?;
    if !is_current(&mut connection, place).await? {
        let outcome = run_pending(&mut connection, None).await;
        outcome.map_err(|error| failure::migration_refused(place, &MIGRATIONS, error))?;
    }
    Ok(connection.close().await?)
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

async fn refuse_old(connection: &mut PgConnection, place: &Place) -> Outcome<()> {
    let version: i64 = sqlx::query_scalar("SELECT current_setting('server_version_num')::bigint")
        .fetch_one(connection)
        .await?;
    if version >= OLDEST_SERVER {
        return Ok(());
    }
    Err(Error::spec("the control store needs PostgreSQL 15 or newer")
        .with("store", place)
        .with("its version", version / 10_000)
        .hint("upgrade the server, or name another database")
        .into())
}

/// Whether the newest migration is there. A store that a newer weir made is refused before anything is
/// tried that this role may not do.
async fn is_current(connection: &mut PgConnection, place: &Place) -> Outcome<bool> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('weir._sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(false);
    }
    let (newest, count): (Option<i64>, i64) =
        sqlx::query_as("SELECT max(version), count(*) FROM weir._sqlx_migrations WHERE success")
            .fetch_one(connection)
            .await?;
    let known = failure::newest(&MIGRATIONS);
    if let Some(newest) = newest.filter(|newest| *newest > known) {
        let error = MigrateError::VersionMissing(newest);
        return Err(failure::migration_failed(place, &MIGRATIONS, error).into());
    }
    Ok(newest == Some(known) && usize::try_from(count) == Ok(MIGRATIONS.iter().count()))
}
