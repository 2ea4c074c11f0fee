//! A store that an older weir made is brought up to date, from every version there was.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AnyConnection, Connection as _, Executor};

use super::*;
use crate::{connections, runs};

const FILLED: &str = "INSERT INTO connections (tenant, name, connector, source, created_at_ms, updated_at_ms)
                      VALUES ('default', 'shop', 'http_json', 'shop', 1, 1)";
const RAN: &str = "INSERT INTO runs (id, tenant, connection, kind, started_by, status, created_at_ms)
                   VALUES ('0190', 'default', 'shop', 'sync', 'person', 'succeeded', 1)";

/// What was in an older store is there after it was opened.
async fn opens_with_what_it_held(place: &Place, version: i64) {
    let store = Store::connect(place).await.unwrap();
    let known = connections::list(&store, "default").await.unwrap();
    assert_eq!(known.len(), usize::from(version >= 2), "from version {version}");
    let run = runs::get(&store, "default", "0190").await;
    assert_eq!(run.is_ok(), version >= 3, "from version {version}");
    store.close().await;
}

#[tokio::test]
async fn a_file_of_every_older_version_is_brought_up_to_date() {
    sqlx::any::install_default_drivers();
    for version in 1..failure::newest(&sqlite::MIGRATIONS) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.db");
        let mut db = AnyConnection::connect(&sqlite::url(&path).unwrap())
            .await
            .unwrap();
        sqlite::MIGRATIONS
            .run_direct(Some(version), &mut db, false)
            .await
            .unwrap();
        if version >= 2 {
            db.execute(FILLED).await.unwrap();
        }
        if version >= 3 {
            db.execute(RAN).await.unwrap();
        }
        db.close().await.unwrap();
        opens_with_what_it_held(&Place::Sqlite(path), version).await;
    }
}

#[tokio::test]
async fn a_database_of_every_older_version_is_brought_up_to_date() {
    if testing::server().is_none() {
        return;
    }
    for version in 1..failure::newest(&postgres::MIGRATIONS) {
        let folder = tempfile::tempdir().unwrap();
        let place = testing::place(folder.path()).await;
        let Place::Postgres(url) = &place else {
            panic!("not PostgreSQL")
        };
        let options: PgConnectOptions = url.expose().parse().unwrap();
        let mut db = PgConnection::connect_with(&options).await.unwrap();
        postgres::run_pending(&mut db, Some(version)).await.unwrap();
        db.execute("SET search_path = weir; SET weir.tenant = 'default'")
            .await
            .unwrap();
        if version >= 2 {
            db.execute(FILLED).await.unwrap();
        }
        if version >= 3 {
            db.execute(RAN).await.unwrap();
        }
        db.close().await.unwrap();
        opens_with_what_it_held(&place, version).await;
    }
}
