//! What the database says, in our words and with the next step.

use sqlx::migrate::{MigrateError, Migrator};
use weir_protocol::{Error, ErrorKind};

use super::Place;

/// SQLite's primary result codes that a person can do something about.
mod code {
    pub(super) const PERM: i32 = 3;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const NOTADB: i32 = 26;
}

/// Why a use case did not come to its end.
#[derive(Debug)]
pub(crate) enum StoreError {
    Database(sqlx::Error),
    /// What the use case itself has to say.
    Said(Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

impl StoreError {
    /// Whether the same may work in a moment: the server restarts, or two transactions met.
    pub(super) fn may_pass(&self, place: &Place) -> bool {
        let (Self::Database(error), Place::Postgres(_)) = (self, place) else {
            return false;
        };
        may_pass(error)
    }

    pub(super) fn say(self, doing: &str, place: &Place) -> Error {
        let error = match self {
            Self::Said(error) => return error,
            Self::Database(error) => error,
        };
        let (kind, hint) = match place {
            Place::Sqlite(_) => reaction(&error),
            Place::Postgres(_) => postgres_reaction(&error),
        };
        Error::new(kind, format!("cannot {doing}"))
            .with("store", place)
            .caused_by(error)
            .hint(hint)
    }
}

/// What PostgreSQL says while it restarts, where two transactions met, and where one stood still for too long.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        // A server that stops in the middle of a greeting leaves half an answer.
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.len() == 5
                && (code.starts_with("08")
                    || matches!(
                        &*code,
                        "57P01" | "57P02" | "57P03" | "40001" | "40P01" | "53300" | "25P03"
                    ))
        }),
        _ => false,
    }
}

fn postgres_reaction(error: &sqlx::Error) -> (ErrorKind, &'static str) {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    match (code.as_deref(), error) {
        (Some("28000" | "28P01"), _) => (ErrorKind::Auth, "check user and password in WEIR_DATABASE_URL"),
        (Some("3D000"), _) => (
            ErrorKind::State,
            "create the database, or name another one in WEIR_DATABASE_URL",
        ),
        (Some("42501"), _) => (
            ErrorKind::Auth,
            "run `weir migrate` as the role that owns the tables, and GRANT weir_app to this role",
        ),
        (Some("22023"), _) => (
            ErrorKind::State,
            "the role weir_app is missing: run `weir migrate` as a role that may create roles",
        ),
        (Some("53100" | "53200" | "53300"), _) => (
            ErrorKind::State,
            "the database is out of disk, memory or connections: free some, then run again",
        ),
        (Some("57P01" | "57P02" | "57P03"), _) => (
            ErrorKind::Unavailable,
            "PostgreSQL is starting or stopping: run again in a moment",
        ),
        (Some("40001" | "40P01"), _) | (_, sqlx::Error::PoolTimedOut) => {
            (ErrorKind::Conflict, "the database is busy: run again in a moment")
        }
        (_, sqlx::Error::Protocol(_)) => (
            ErrorKind::Unavailable,
            "PostgreSQL broke off in the middle of an answer, or it is another server: check host and port in WEIR_DATABASE_URL, then run again",
        ),
        (_, sqlx::Error::Io(_) | sqlx::Error::Tls(_)) => (
            ErrorKind::Unavailable,
            "check that PostgreSQL runs and that host, port and TLS in WEIR_DATABASE_URL are right",
        ),
        _ => (
            ErrorKind::Internal,
            "run again; if it stays, report it with this message",
        ),
    }
}

fn reaction(error: &sqlx::Error) -> (ErrorKind, &'static str) {
    if matches!(error, sqlx::Error::PoolTimedOut) {
        return (ErrorKind::Conflict, BUSY_HINT);
    }
    match primary_code(error) {
        Some(code::BUSY | code::LOCKED) => (ErrorKind::Conflict, BUSY_HINT),
        Some(code::PERM | code::READONLY | code::CANTOPEN) => (
            ErrorKind::State,
            "make the file and its folder writable for the user that runs weir",
        ),
        Some(code::FULL) => (ErrorKind::State, "free some disk space, then run again"),
        Some(code::IOERR) => (ErrorKind::State, "check the disk, then run again"),
        Some(code::CORRUPT | code::NOTADB) => (
            ErrorKind::State,
            "move the file away and put a backup in its place; without one the next run finds its state in the lake, but secrets, tokens, history and the audit trail are lost",
        ),
        _ => (
            ErrorKind::Internal,
            "run again; if it stays, report it with this message",
        ),
    }
}

const BUSY_HINT: &str = "another program holds the store's lock: end it, or run again when it is done";

/// Whether SQLite found the file locked.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(code::BUSY | code::LOCKED))
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Number of the newest migration that this program knows.
pub(super) fn newest(migrations: &Migrator) -> i64 {
    let versions = migrations.iter().map(|migration| migration.version);
    versions.max().unwrap_or(0)
}

/// As [`migration_failed`], but what may pass in a moment stays what the database said.
pub(super) fn migration_refused(place: &Place, migrations: &Migrator, error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) if may_pass(&error) => {
            StoreError::Database(error)
        }
        other => StoreError::Said(migration_failed(place, migrations, other)),
    }
}

pub(super) fn migration_failed(place: &Place, migrations: &Migrator, error: MigrateError) -> Error {
    let newest = newest(migrations);
    match error {
        MigrateError::VersionMissing(version) if version > newest => {
            Error::state("the control store was made by a newer weir")
                .with("store", place)
                .with("its schema", version)
                .with("newest schema known here", newest)
                .hint("use the newer weir, or another store")
        }
        MigrateError::VersionMissing(version) | MigrateError::VersionMismatch(version) => {
            Error::state("the control store's schema is not one that a released weir made")
                .with("store", place)
                .with("migration", version)
                .hint("use the weir that made it, or a backup of the store; without one the next run finds its state in the lake, but secrets, tokens, history and the audit trail are lost")
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            StoreError::Database(error).say("bring the control store up to date", place)
        }
        other => Error::internal("cannot bring the control store up to date")
            .with("store", place)
            .caused_by(other)
            .hint("report it with this message"),
    }
}

/// A value in the store that this program cannot have written.
pub(crate) fn stored_badly(
    what: &'static str,
    value: &str,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::state(format!("the control store holds an unreadable {what}"))
        .with("value", value)
        .caused_by(cause)
        .hint("use the weir that wrote it, or a backup of the store; without one the next run finds its state in the lake, but secrets, tokens, history and the audit trail are lost")
}
