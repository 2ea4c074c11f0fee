//! Stores for tests: on PostgreSQL where `WEIR_TEST_POSTGRES` names a server, else on SQLite. `make
//! test` runs the same tests once with each.

use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use weir_protocol::Secret;

use super::{Place, Scope, Store};

/// The server for tests, if there is one.
#[expect(clippy::disallowed_methods, reason = "only tests ask for it")]
pub(crate) fn server() -> Option<String> {
    std::env::var("WEIR_TEST_POSTGRES")
        .ok()
        .filter(|url| !url.is_empty())
}

/// The store that belongs to a test's folder; the same one when asked for again.
pub(crate) async fn store(folder: &Path) -> Store {
    Store::connect(&place(folder).await).await.unwrap()
}

pub(crate) async fn place(folder: &Path) -> Place {
    let Some(server) = server() else {
        return Place::Sqlite(folder.join("weir.db"));
    };
    let name = folder.file_name().unwrap().to_string_lossy();
    let name = format!("t_{}", name.trim_start_matches('.').to_lowercase());
    let options: PgConnectOptions = server.parse().unwrap();
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
        .bind(&name)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    if found == 0 {
        let create = format!("CREATE DATABASE \"{name}\"");
        connection.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
    }
    connection.close().await.unwrap();
    Place::Postgres(Secret::new(options.database(&name).to_url_lossy().to_string()))
}

/// Runs a statement that only a test would run.
pub(crate) async fn execute(store: &Store, sql: &str) {
    store
        .statement(Scope::Everyone, "run a test's statement", |db, _| {
            Box::pin(async move {
                db.execute(sqlx::AssertSqlSafe(sql.to_owned())).await?;
                Ok(())
            })
        })
        .await
        .unwrap();
}
