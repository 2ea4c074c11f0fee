//! The store as one SQLite file.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::migrate::Migrator;
use sqlx::pool::PoolOptions;
use sqlx::{Any, AnyConnection, Connection, Executor};
use weir_protocol::{Error, Result};

use super::{Place, Store, StoreError, failure};

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a statement waits for another process to finish writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks at a lock that SQLite does not wait for.
const BUSY_WAIT: Duration = Duration::from_millis(20);
const READERS_MAX: u32 = 3;

pub(super) async fn open(path: &Path) -> Result<Store> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        tokio::fs::create_dir_all(folder).await.map_err(|error| {
            Error::state("cannot create the control store's folder")
                .with("folder", folder.display())
                .caused_by(error)
                .hint("choose a folder that you may write to")
        })?;
    }
    let place = Place::Sqlite(path.to_owned());
    let url = url(path)?;
    let failed = |error| StoreError::Database(error).say("open the control store", &place);
    // By itself first: a pool would try a file that is no database again and again.
    let mut first = first(&url).await.map_err(failed)?;
    migrate(&mut first, &place).await?;
    first.close().await.map_err(failed)?;
    Ok(Store {
        readers: pool(READERS_MAX).connect_lazy(&url).map_err(failed)?,
        writer: pool(1).connect_lazy(&url).map_err(failed)?,
        place: place.clone(),
        acting: Arc::default(),
        lines: Arc::default(),
        looks: Arc::default(),
        fitness: Arc::default(),
    })
}

/// Of several processes that make the file at once one turns its log on; SQLite itself waits for nobody there.
async fn first(url: &str) -> sqlx::Result<AnyConnection> {
    let began = Instant::now();
    loop {
        let mut connection = AnyConnection::connect(url).await?;
        match set_up(&mut connection).await {
            Ok(()) => return Ok(connection),
            Err(error) if failure::is_busy(&error) && began.elapsed() < BUSY_TIMEOUT => {
                connection.close().await?;
                tokio::time::sleep(BUSY_WAIT).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn pool(connections: u32) -> PoolOptions<Any> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(BUSY_TIMEOUT * 2)
        // A file does not go away as a server does: no question before each use.
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(set_up(connection)))
}

async fn set_up(connection: &mut AnyConnection) -> sqlx::Result<()> {
    // The lake holds the truth about data; losing the last transaction of a power cut is repaired from it.
    let settings = format!(
        "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON",
        BUSY_TIMEOUT.as_millis()
    );
    connection.execute(sqlx::AssertSqlSafe(settings)).await.map(drop)
}

/// The path as the driver reads it: whatever stands in it.
pub(super) fn url(path: &Path) -> Result<String> {
    let Some(path) = path.to_str() else {
        return Err(Error::spec("the control store's path is not UTF-8")
            .with("store", path.display())
            .hint("choose a folder whose name is UTF-8"));
    };
    let quoted: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
    Ok(format!("sqlite:{}?mode=rwc", quoted.replace('+', "%20")))
}

/// All pending migrations in one transaction under the write lock.
async fn migrate(connection: &mut AnyConnection, place: &Place) -> Result<()> {
    let failed = |error| StoreError::Database(error).say("bring the control store up to date", place);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let within: &mut AnyConnection = &mut transaction;
    MIGRATIONS
        .run_direct(None, within, false)
        .await
        .map_err(|error| failure::migration_failed(place, &MIGRATIONS, error))?;
    transaction.commit().await.map_err(failed)
}
