use weir_protocol::{ErrorKind, Secret};

use super::*;

#[tokio::test]
async fn is_made_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/weir.db");
    Store::open(&path).await.unwrap().close().await;
    let store = Store::open(&path).await.unwrap();
    store.ping().await.unwrap();
    // 2020 to 2100: milliseconds, not seconds or microseconds.
    let now = store.now_ms().await.unwrap();
    assert!((1_577_836_800_000..4_102_444_800_000).contains(&now), "{now}");
}

#[tokio::test]
async fn many_may_open_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.db");
    let opened = futures::future::join_all((0..4).map(|_| Store::open(&path))).await;
    for store in opened {
        store.unwrap().ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.db");
    let store = Store::open(&path).await.unwrap();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'later', 1, x'00', 0)";
    testing::execute(&store, later).await;
    store.close().await;
    let error = Store::open(&path).await.err().unwrap();
    assert_eq!(error.message(), "the control store was made by a newer weir");
    assert_eq!(error.next_step(), Some("use the newer weir, or another store"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.db");
    std::fs::write(&path, "hello, this is plain text and no database at all").unwrap();
    let error = Store::open(&path).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(
        error.next_step().unwrap().starts_with("move the file away"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_folder_in_its_place_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Store::open(folder.path()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(error.next_step().unwrap().contains("writable"), "{error:?}");
}

#[tokio::test]
async fn every_foreign_key_says_what_happens_on_delete() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("weir.db")).await.unwrap();
    let silent: Vec<String> = sqlx::query_scalar(
        "SELECT m.name FROM sqlite_schema m, pragma_foreign_key_list(m.name) f
         WHERE m.type = 'table' AND f.on_delete = 'NO ACTION'",
    )
    .fetch_all(&store.writer)
    .await
    .unwrap();
    assert_eq!(silent, Vec::<String>::new());
}

/// As it does that is stopped while somebody connects: the answer to the first question is no answer.
#[test]
fn a_postgres_that_breaks_off_in_the_middle_of_a_greeting_may_be_back_in_a_moment() {
    let place = Place::Postgres(Secret::new("postgres://weir@127.0.0.1/weir"));
    let broken = || {
        let said = "unexpected response from SSLRequest: 0x00".to_owned();
        StoreError::Database(sqlx::Error::Protocol(said))
    };
    assert!(broken().may_pass(&place));
    let error = broken().say("open the control store", &place);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.next_step().unwrap().contains("WEIR_DATABASE_URL"));
}
