//! The control store: one SQLite file in the project folder.

mod failure;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use weir_protocol::{Error, Result};

pub(crate) use failure::{failed, stored_badly};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a statement waits for another process to finish writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
/// Of them one writes: SQLite lets one write at a time, and who waits there asks again and again.
const READERS_MAX: u32 = 3;

/// A handle to the control store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    readers: SqlitePool,
    writer: SqlitePool,
    path: PathBuf,
}

impl Store {
    /// Opens the store at `path`, makes it where it is missing, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(folder).await.map_err(|error| {
                Error::state("cannot create the control store's folder")
                    .with("folder", folder.display())
                    .caused_by(error)
                    .hint("choose a folder that you may write to")
            })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // The lake holds the truth about data; losing the last transaction of a power cut is repaired from it.
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(BUSY_TIMEOUT * 2)
        };
        let writer = pool(1)
            .connect_with(options.clone())
            .await
            .map_err(|error| failed("open the control store", path, error))?;
        let store = Self {
            readers: pool(READERS_MAX).connect_lazy_with(options),
            writer,
            path: path.to_owned(),
        };
        store.migrate().await?;
        Ok(store)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until everything is written and no file is open any more.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Proves that the store answers.
    pub async fn ping(&self) -> Result<()> {
        self.now_ms().await.map(drop)
    }

    /// The store's clock, in milliseconds since 1970.
    pub async fn now_ms(&self) -> Result<i64> {
        sqlx::query_scalar("SELECT now_ms FROM clock")
            .fetch_one(&self.readers)
            .await
            .map_err(|error| self.failed("read the clock", error))
    }

    /// For statements that only read.
    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// For a single statement that writes.
    pub(crate) fn writer(&self) -> &SqlitePool {
        fail::fail_point!("control.before_write", |_| std::process::abort());
        &self.writer
    }

    /// A transaction that holds the write lock from its first statement on, so that what it reads
    /// is still true when it writes.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        fail::fail_point!("control.before_write", |_| std::process::abort());
        self.writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(|error| self.failed("begin a transaction", error))
    }

    pub(crate) async fn commit(&self, transaction: Transaction<'static, Sqlite>) -> Result<()> {
        transaction
            .commit()
            .await
            .map_err(|error| self.failed("commit a transaction", error))
    }

    pub(crate) fn failed(&self, doing: &str, error: sqlx::Error) -> Error {
        failed(doing, &self.path, error)
    }

    /// All pending migrations in one transaction under the write lock.
    async fn migrate(&self) -> Result<()> {
        let mut transaction = self.write().await?;
        let connection: &mut SqliteConnection = &mut transaction;
        MIGRATIONS
            .run(connection)
            .await
            .map_err(|error| failure::migration_failed(&self.path, newest(), error))?;
        self.commit(transaction).await
    }
}

/// Number of the newest migration that this program knows.
fn newest() -> i64 {
    MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

/// A count as the database holds it. What does not fit has overflowed every real limit before.
pub(crate) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as the database gives it back.
pub(crate) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
