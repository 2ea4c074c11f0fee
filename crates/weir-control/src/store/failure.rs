//! What the database says, in our words and with the next step.

use std::path::Path;

use sqlx::migrate::MigrateError;
use weir_protocol::{Error, ErrorKind};

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

pub(crate) fn failed(doing: &str, path: &Path, error: sqlx::Error) -> Error {
    let (kind, hint) = reaction(&error);
    Error::new(kind, format!("cannot {doing}"))
        .with("store", path.display())
        .caused_by(error)
        .hint(hint)
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
            "move the file away and run again: state is found again in the lake; only the history of runs is lost",
        ),
        _ => (
            ErrorKind::Internal,
            "run again; if it stays, report it with this message",
        ),
    }
}

const BUSY_HINT: &str = "another program holds the store's lock: end it, or run again when it is done";

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

pub(super) fn migration_failed(path: &Path, newest: i64, error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) if version > newest => {
            Error::state("the control store was made by a newer weir")
                .with("store", path.display())
                .with("its schema", version)
                .with("newest schema known here", newest)
                .hint("use the newer weir, or another store")
        }
        MigrateError::VersionMissing(version) | MigrateError::VersionMismatch(version) => {
            Error::state("the control store's schema is not one that a released weir made")
                .with("store", path.display())
                .with("migration", version)
                .hint("use the weir that made it, or move the file away: state is found again in the lake")
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            failed("bring the control store up to date", path, error)
        }
        other => Error::internal("cannot bring the control store up to date")
            .with("store", path.display())
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
        .hint("use the weir that wrote it, or move the store away: state is found again in the lake")
}
