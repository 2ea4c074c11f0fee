//! The control store: one SQLite file in the project folder, or a PostgreSQL database that several
//! servers and workers share. The same SQL for both, but for the tables' definitions.

mod failure;
mod looks;
#[cfg(test)]
mod looks_tests;
#[cfg(test)]
mod migration_tests;
mod place;
mod postgres;
#[cfg(test)]
mod postgres_tests;
mod sqlite;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod together;
#[cfg(test)]
mod together_tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::migrate::MigrateError;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Transaction};
use tokio::time::Instant;
use weir_protocol::{Error, Result};

use crate::audit::Acting;
use crate::fitness::Fitness;

pub(crate) use failure::{StoreError, stored_badly};
pub use place::Place;

/// How long a use case is tried again while the database cannot be reached: a restart, a fail-over.
pub(crate) const OUTAGE_MAX: Duration = Duration::from_secs(120);
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Refuses to change what is not as the caller believes it to be. Asked inside the transaction of the change.
pub type Expected<'a, T> = &'a (dyn Fn(&T) -> Result<()> + Send + Sync);

/// What a use case gives back while it has the database.
pub(crate) type Outcome<T> = std::result::Result<T, StoreError>;

/// A handle to the control store; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    /// Of SQLite's connections one writes: it lets one write at a time, and who waits there asks
    /// again and again. On PostgreSQL both are the same pool.
    readers: AnyPool,
    writer: AnyPool,
    place: Place,
    /// Whom audit records name.
    acting: Arc<Acting>,
    lines: Arc<together::Lines>,
    looks: Arc<looks::Looks>,
    fitness: Arc<Fitness>,
}

/// What a use case does with the database, in a form that can be done again. `'e` is how long what it
/// borrows lives; the second argument tells the compiler that this is longer than the connection.
pub(crate) trait Work<'e, T>:
    for<'c> FnMut(&'c mut AnyConnection, Outlives<'c, 'e>) -> BoxFuture<'c, Outcome<T>> + Send
{
}

impl<'e, T, F> Work<'e, T> for F where
    F: for<'c> FnMut(&'c mut AnyConnection, Outlives<'c, 'e>) -> BoxFuture<'c, Outcome<T>> + Send
{
}

pub(crate) type Outlives<'c, 'e> = std::marker::PhantomData<&'c &'e ()>;

/// Whose rows a use case sees. On PostgreSQL the database itself hides all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    Tenant(&'a str),
    /// For what the system does by itself over all tenants: scheduling, sweeping.
    Everyone,
}

/// How a use case touches the database.
#[derive(Debug, Clone, Copy)]
enum Access<'a> {
    Read,
    /// One statement that writes: a transaction of its own on SQLite.
    Statement,
    /// Several statements that stand or fall together. Two with the same name follow one another
    /// (on SQLite all do), so that what one reads is still true when it writes.
    Transaction {
        exclusive: Option<&'a str>,
    },
}

impl Store {
    /// Opens the SQLite store at `path`, makes it where it is missing, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self> {
        Self::connect(&Place::Sqlite(path.to_owned())).await
    }

    /// Opens the store, makes what is missing, and brings its tables up to date.
    pub async fn connect(place: &Place) -> Result<Self> {
        sqlx::any::install_default_drivers();
        match place {
            Place::Sqlite(path) => sqlite::open(path).await,
            Place::Postgres(url) => postgres::open(url).await,
        }
    }

    /// The same store, with audit records that name this acting.
    #[must_use]
    pub fn acting_as(&self, acting: Acting) -> Self {
        Self {
            acting: Arc::new(acting),
            ..self.clone()
        }
    }

    pub fn acting(&self) -> &Acting {
        &self.acting
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Waits until everything is written and no file is open any more: also what a provider has still to answer to
    /// a refresh that was sent, for its tokens are stored nowhere else.
    pub async fn close(&self) {
        crate::oauth::settled().await;
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Proves that the store answers.
    pub async fn ping(&self) -> Result<()> {
        self.now_ms().await.map(drop)
    }

    /// The store's clock, in milliseconds since 1970.
    pub async fn now_ms(&self) -> Result<i64> {
        self.read(Scope::Everyone, "read the clock", |db, _| {
            Box::pin(async move {
                let now = sqlx::query_scalar("SELECT now_ms FROM clock");
                Ok(now.fetch_one(db).await?)
            })
        })
        .await
    }

    /// Number of the newest migration that the store has seen.
    pub async fn version(&self) -> Result<i64> {
        self.read(Scope::Everyone, "read the store's version", |db, _| {
            Box::pin(async move {
                let newest = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations");
                Ok(newest.fetch_one(db).await?)
            })
        })
        .await
    }

    /// Why this program is too old for the store, where a newer weir has brought it up to date since it was opened.
    pub(crate) async fn newer(&self) -> Result<Option<Error>> {
        let migrations = match self.place {
            Place::Sqlite(_) => &sqlite::MIGRATIONS,
            Place::Postgres(_) => &postgres::MIGRATIONS,
        };
        let version = self.version().await?;
        let is_newer = version > failure::newest(migrations);
        Ok(is_newer.then(|| {
            failure::migration_failed(&self.place, migrations, MigrateError::VersionMissing(version))
        }))
    }

    pub(crate) fn fitness(&self) -> &Fitness {
        &self.fitness
    }

    /// For statements that only read.
    pub(crate) async fn read<'e, T, W>(&self, scope: Scope<'_>, doing: &'static str, work: W) -> Result<T>
    where
        W: Work<'e, T>,
    {
        self.carry_out(scope, Access::Read, doing, work).await
    }

    /// For a single statement that writes.
    pub(crate) async fn statement<'e, T, W>(
        &self,
        scope: Scope<'_>,
        doing: &'static str,
        work: W,
    ) -> Result<T>
    where
        W: Work<'e, T>,
    {
        self.carry_out(scope, Access::Statement, doing, work).await
    }

    /// For statements that stand or fall together. `work` may be called again where the database
    /// was lost, also after a commit whose answer did not arrive: its statements must allow that.
    pub(crate) async fn write<'e, T, W>(&self, scope: Scope<'_>, doing: &'static str, work: W) -> Result<T>
    where
        W: Work<'e, T>,
    {
        self.carry_out(scope, Access::Transaction { exclusive: None }, doing, work)
            .await
    }

    /// As [`Self::write`], one after another for all that name the same thing.
    pub(crate) async fn write_alone<'e, T, W>(
        &self,
        scope: Scope<'_>,
        thing: &str,
        doing: &'static str,
        work: W,
    ) -> Result<T>
    where
        W: Work<'e, T>,
    {
        let exclusive = Some(thing);
        self.carry_out(scope, Access::Transaction { exclusive }, doing, work)
            .await
    }

    async fn carry_out<'e, T, W>(
        &self,
        scope: Scope<'_>,
        access: Access<'_>,
        doing: &'static str,
        mut work: W,
    ) -> Result<T>
    where
        W: Work<'e, T>,
    {
        if !matches!(access, Access::Read) {
            fail::fail_point!("control.before_write", |_| std::process::abort());
        }
        let mut patience = Patience::new(OUTAGE_MAX);
        loop {
            let error = match self.attempt(scope, access, &mut work).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !error.may_pass(&self.place) || !patience.lasts(doing).await {
                return Err(error.say(doing, &self.place));
            }
        }
    }

    async fn attempt<'e, T, W>(&self, scope: Scope<'_>, access: Access<'_>, work: &mut W) -> Outcome<T>
    where
        W: Work<'e, T>,
    {
        let mut held = self.begin(scope, access).await?;
        let value = work(held.connection(), Outlives::default()).await?;
        held.commit().await?;
        Ok(value)
    }

    async fn begin(&self, scope: Scope<'_>, access: Access<'_>) -> Outcome<Held> {
        match (&self.place, access) {
            (Place::Sqlite(_), Access::Read) => Ok(Held::Plain(self.readers.acquire().await?)),
            (Place::Sqlite(_), Access::Statement) => Ok(Held::Plain(self.writer.acquire().await?)),
            // The write lock from the first statement on.
            (Place::Sqlite(_), Access::Transaction { .. }) => {
                Ok(Held::Within(self.writer.begin_with("BEGIN IMMEDIATE").await?))
            }
            (Place::Postgres(_), access) => {
                let exclusive = match access {
                    Access::Transaction { exclusive } => exclusive,
                    Access::Read | Access::Statement => None,
                };
                let begin = sqlx::AssertSqlSafe(postgres::begin(scope, exclusive));
                Ok(Held::Within(self.writer.begin_with(begin).await?))
            }
        }
    }
}

/// How long a database that cannot be reached is waited for.
struct Patience {
    began: Instant,
    at_most: Duration,
    wait: Duration,
}

impl Patience {
    fn new(at_most: Duration) -> Self {
        Self {
            began: Instant::now(),
            at_most,
            wait: FIRST_WAIT,
        }
    }

    /// Waits before the next try; false where it has been long enough.
    async fn lasts(&mut self, doing: &'static str) -> bool {
        if self.began.elapsed() + self.wait > self.at_most {
            return false;
        }
        tracing::warn!(doing, "the control store cannot be reached, trying again");
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        true
    }
}

enum Held {
    Plain(PoolConnection<Any>),
    Within(Transaction<'static, Any>),
}

impl Held {
    fn connection(&mut self) -> &mut AnyConnection {
        match self {
            Self::Plain(connection) => connection,
            Self::Within(transaction) => transaction,
        }
    }

    async fn commit(self) -> Outcome<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Within(transaction) => Ok(transaction.commit().await?),
        }
    }
}

/// A count as the database holds it. What does not fit has overflowed every real limit before.
pub(crate) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as the database gives it back.
pub(crate) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
