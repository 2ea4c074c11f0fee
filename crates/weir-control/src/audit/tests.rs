use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AnyConnection, Connection as _, Executor};

use super::*;
use crate::store::testing;

type Found = std::result::Result<Verified, Broken>;

/// Does to the store what nobody may: as the owner of the tables.
async fn tamper(store: &Store, sql: &str) {
    match store.place() {
        Place::Sqlite(_) => {
            store
                .statement(Scope::Everyone, "tamper", |db: &mut AnyConnection, _| {
                    let sql = sql.to_owned();
                    Box::pin(async move {
                        db.execute("PRAGMA foreign_keys = OFF").await?;
                        db.execute(sqlx::AssertSqlSafe(sql)).await?;
                        db.execute("PRAGMA foreign_keys = ON").await?;
                        Ok(())
                    })
                })
                .await
                .unwrap();
        }
        Place::Postgres(url) => {
            let options: PgConnectOptions = url.expose().parse().unwrap();
            let mut above = PgConnection::connect_with(&options).await.unwrap();
            above
                .execute(
                    "SET search_path = weir; SET weir.tenant = '*'; SET session_replication_role = replica",
                )
                .await
                .unwrap();
            above.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap();
            above.close().await.unwrap();
        }
    }
}

/// Sets the store's clock.
async fn at(store: &Store, now_ms: i64) {
    let sql = match store.place() {
        Place::Sqlite(_) => format!("DROP VIEW clock; CREATE VIEW clock AS SELECT {now_ms} AS now_ms"),
        Place::Postgres(_) => format!("CREATE OR REPLACE VIEW clock AS SELECT {now_ms}::bigint AS now_ms"),
    };
    tamper(store, &sql).await;
}

fn key() -> SealKey {
    SealKey::parse(&SealKey::generate().unwrap()).unwrap()
}

fn other_key() -> SealKey {
    key()
}

fn alice() -> Acting {
    let mut acting = Acting::new("cli");
    acting.personal.insert("user".to_owned(), json!("alice"));
    acting
}

async fn note(store: &Store, times: usize) {
    for time in 0..times {
        let record = Record::new("default", "test.note", format!("thing:{time}"))
            .of("run-1")
            .with("time", time)
            .with("names", vec!["b", "a"]);
        append(store, &record).await.unwrap();
    }
}

/// Eight records, signed after the fifth and the eighth.
async fn filled(folder: &std::path::Path) -> (Store, SealKey) {
    let key = key();
    let store = testing::store(folder).await.acting_as(alice());
    note(&store, 5).await;
    seal(&store, "default", &key).await.unwrap();
    note(&store, 3).await;
    seal(&store, "default", &key).await.unwrap();
    (store, key)
}

async fn verified(store: &Store, key: &SealKey) -> Found {
    verify(store, "default", &[key.public()], None).await.unwrap()
}

#[tokio::test]
async fn an_untouched_chain_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (store, key) = filled(folder.path()).await;
    let found = verified(&store, &key).await.unwrap();
    assert_eq!((found.records, found.number, found.first), (8, 8, 1));
    assert_eq!((found.sealed, found.erased), (8, 0));
    let listed = list(
        &store,
        "default",
        &EntryFilter {
            limit: 2,
            ..EntryFilter::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(listed[0].number, 8);
    assert_eq!(listed[0].details, "{\"names\":[\"b\",\"a\"],\"time\":2}");
    assert_eq!(listed[0].personal.as_deref(), Some("{\"user\":\"alice\"}"));
    assert_eq!(listed[0].hash, found.hash);
    let filter = EntryFilter {
        subject: Some("thing:1".to_owned()),
        principal: Some("cli".to_owned()),
        action: Some("test.note".to_owned()),
        since_ms: Some(1),
        before: None,
        limit: 10,
    };
    assert_eq!(list(&store, "default", &filter).await.unwrap().len(), 2);
    let noted = (found.number, found.hash.as_str());
    let keys = [key.public()];
    verify(&store, "default", &keys, Some(noted))
        .await
        .unwrap()
        .unwrap();
    // An empty trail holds too.
    verify(&store, "other", &keys, None).await.unwrap().unwrap();
}

#[tokio::test]
async fn records_are_found_by_whom_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    for (token, name) in [("0123456789abcdef", "bot_1"), ("fedcba9876543210", "botx1")] {
        let access = crate::Access {
            principal: name.to_owned(),
            token: Some(token.to_owned()),
            ..crate::Access::command_line("default")
        };
        note(&store.acting_as(access.acting(None)), 1).await;
    }
    note(&store.acting_as(alice()), 1).await;
    for (asked, found) in [
        ("token:0123456789abcdef", vec![1]),
        ("0123456789abcdef", vec![1]),
        ("bot_1", vec![1]),
        ("botx1", vec![2]),
        ("cli", vec![3]),
        ("bot", vec![]),
        ("%", vec![]),
    ] {
        let filter = EntryFilter {
            principal: Some(asked.to_owned()),
            limit: 10,
            ..EntryFilter::default()
        };
        let listed = list(&store, "default", &filter).await.unwrap();
        let numbers: Vec<i64> = listed.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, found, "{asked}");
    }
    // Whose name was erased is found by the token alone.
    erase_personal(&store, "default", Erase::Principal("token:0123456789abcdef"))
        .await
        .unwrap();
    let filter = EntryFilter {
        principal: Some("bot_1".to_owned()),
        limit: 10,
        ..EntryFilter::default()
    };
    assert!(list(&store, "default", &filter).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_record_of_any_characters_is_read_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (store, key) = filled(folder.path()).await;
    for subject in ["", "=", "a\u{1f}b", "\u{1e}", "x\u{1e}\u{1f}'\"\\é\u{fb33}"] {
        append(&store, &Record::new("default", "test.note", subject))
            .await
            .unwrap();
        assert_eq!(
            verified(&store, &key).await.unwrap().hash,
            list_one(&store).await.hash
        );
        assert_eq!(list_one(&store).await.subject, subject);
    }
    assert_eq!(verified(&store, &key).await.unwrap().records, 13);
}

async fn list_one(store: &Store) -> Entry {
    let filter = EntryFilter {
        limit: 1,
        ..EntryFilter::default()
    };
    list(store, "default", &filter).await.unwrap().remove(0)
}

#[tokio::test]
async fn every_changed_column_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (store, key) = filled(folder.path()).await;
    for (change, undo) in [
        ("at_ms = at_ms + 1", "at_ms = at_ms - 1"),
        ("id = id || 'x'", "id = substr(id, 1, length(id) - 1)"),
        ("principal = 'eve'", "principal = 'cli'"),
        ("action = 'test.other'", "action = 'test.note'"),
        ("subject = 'thing:9'", "subject = 'thing:2'"),
        // What stands between values when many are read at once.
        ("subject = 'thing:2\u{1f}'", "subject = 'thing:2'"),
        (
            "action = 'test.note\u{1f}thing:2', subject = 'thing:2\u{1e}'",
            "action = 'test.note', subject = 'thing:2'",
        ),
        ("outcome = 'failed'", "outcome = 'done'"),
        ("correlation_id = NULL", "correlation_id = 'run-1'"),
        (
            "details = '{}'",
            "details = '{\"names\":[\"b\",\"a\"],\"time\":2}'",
        ),
        (
            "personal_hash = 'x' || personal_hash",
            "personal_hash = substr(personal_hash, 2)",
        ),
        ("previous = 'x' || previous", "previous = substr(previous, 2)"),
        ("hash = 'x' || hash", "hash = substr(hash, 2)"),
        ("tenant = 'other'", "tenant = 'default'"),
    ] {
        tamper(&store, &format!("UPDATE audit SET {change} WHERE number = 3")).await;
        let broken = verified(&store, &key).await.unwrap_err();
        assert_eq!(broken.number, 3, "{change}: {broken}");
        tamper(&store, &format!("UPDATE audit SET {undo} WHERE number = 3")).await;
        verified(&store, &key).await.unwrap();
    }
    for change in ["personal = '{\"user\":\"eve\"}'", "salt = 'x'"] {
        let folder = tempfile::tempdir().unwrap();
        let (store, key) = filled(folder.path()).await;
        tamper(
            &store,
            &format!("UPDATE audit_personal SET {change} WHERE number = 4"),
        )
        .await;
        assert_eq!(verified(&store, &key).await.unwrap_err().number, 4);
    }
}

#[tokio::test]
async fn removed_exchanged_and_cut_records_are_found() {
    for (sql, number) in [
        ("DELETE FROM audit WHERE number = 4", 4),
        ("DELETE FROM audit WHERE number = 1", 1),
        // Two records change places.
        (
            "UPDATE audit SET number = 100 WHERE number = 2; UPDATE audit SET number = 2 WHERE number = 6;
             UPDATE audit SET number = 6 WHERE number = 100",
            2,
        ),
        ("DELETE FROM audit WHERE number > 6", 7),
        // Cut, and the head put back to where the cut is.
        (
            "DELETE FROM audit WHERE number > 6;
             UPDATE audit_heads SET number = 6, hash = (SELECT hash FROM audit WHERE number = 6)",
            7,
        ),
        ("DELETE FROM audit_heads", 8),
        ("UPDATE audit_seals SET at_ms = at_ms + 1 WHERE number = 5", 5),
        ("UPDATE audit_seals SET number = 6 WHERE number = 5", 6),
        ("UPDATE audit_seals SET hash = 'x' WHERE number = 8", 8),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (store, key) = filled(folder.path()).await;
        tamper(&store, sql).await;
        let broken = verified(&store, &key).await.unwrap_err();
        assert_eq!(broken.number, number, "{sql}: {broken}");
    }
}

/// Somebody who can write to the store cuts it and goes on with a chain that is right in itself.
#[tokio::test]
async fn a_tail_written_anew_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (store, key) = filled(folder.path()).await;
    let before = verified(&store, &key).await.unwrap();
    tamper(
        &store,
        "DELETE FROM audit WHERE number > 6; DELETE FROM audit_personal WHERE number > 6;
         UPDATE audit_heads SET number = 6, hash = (SELECT hash FROM audit WHERE number = 6)",
    )
    .await;
    note(&store, 4).await;
    let broken = verified(&store, &key).await.unwrap_err();
    assert_eq!(broken.number, 8, "{broken}");
    // With the signature removed too, only what was noted elsewhere tells.
    tamper(&store, "DELETE FROM audit_seals WHERE number = 8").await;
    verified(&store, &key).await.unwrap();
    let keys = [key.public()];
    let noted = (before.number, before.hash.as_str());
    let broken = verify(&store, "default", &keys, Some(noted))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(broken.number, 8);
    // Signed with a key of their own it is not what is expected either.
    seal(&store, "default", &other_key()).await.unwrap();
    let broken = verified(&store, &key).await.unwrap_err();
    assert!(broken.why.contains("not the expected one"), "{broken}");
}

#[tokio::test]
async fn what_names_people_can_be_erased() {
    let folder = tempfile::tempdir().unwrap();
    let (store, key) = filled(folder.path()).await;
    let store = store.acting_as(Acting::new("officer"));
    assert_eq!(
        erase_personal(&store, "default", Erase::Principal("cli"))
            .await
            .unwrap(),
        8
    );
    let found = verified(&store, &key).await.unwrap();
    assert_eq!((found.records, found.erased), (9, 8));
    let filter = EntryFilter {
        limit: 100,
        ..EntryFilter::default()
    };
    let all = list(&store, "default", &filter).await.unwrap();
    assert!(all.iter().all(|entry| entry.personal.is_none()));
    assert_eq!(
        (all[0].action.as_str(), all[0].principal.as_str()),
        ("audit.erase", "officer")
    );
    assert_eq!(all[0].details, "{\"of\":\"cli\",\"records\":8}");
}

#[tokio::test]
async fn old_records_go_and_the_rest_still_holds() {
    const YEAR: i64 = 365 * DAY_MS;
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await.acting_as(alice());
    let key = key();
    at(&store, YEAR).await;
    note(&store, 5).await;
    seal(&store, "default", &key).await.unwrap();
    note(&store, 2).await;
    // Not signed: it stays, however old.
    at(&store, 2 * YEAR).await;
    note(&store, 2).await;
    seal(&store, "default", &key).await.unwrap();
    assert!(prune(&store, "default", 89, &key).await.is_err());
    assert_eq!(prune(&store, "default", 90, &key).await.unwrap(), 5);
    let found = verified(&store, &key).await.unwrap();
    assert_eq!((found.first, found.records, found.number), (6, 5, 10));
    assert_eq!(prune(&store, "default", 90, &key).await.unwrap(), 0);
    let named = store.read(Scope::Tenant("default"), "count what names people", |db, _| {
        Box::pin(async move {
            let count = sqlx::query_scalar("SELECT count(*) FROM audit_personal");
            Ok(count.fetch_one(db).await?)
        })
    });
    let named: i64 = named.await.unwrap();
    assert_eq!(named, 5, "what names people goes with its record");

    let mut file = Vec::new();
    export(&store, "default", &key, &mut file).await.unwrap();
    verify_export(&mut file.as_slice(), &[key.public()], None)
        .unwrap()
        .unwrap();

    // Nobody without the key can make it look as if records had been removed by age.
    tamper(
        &store,
        "DELETE FROM audit WHERE number <= 7; UPDATE audit_seals SET number = 7 WHERE kind = 'anchor'",
    )
    .await;
    assert_eq!(verified(&store, &key).await.unwrap_err().number, 7);
}

#[tokio::test]
async fn an_export_is_verified_without_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let (store, key) = filled(folder.path()).await;
    note(&store, 1).await;
    let mut file = Vec::new();
    let exported = export(&store, "default", &key, &mut file).await.unwrap();
    assert_eq!((exported.records, exported.head.number), (9, 9));
    let read = |text: &str| verify_export(&mut text.as_bytes(), &[key.public()], None);
    let text = String::from_utf8(file).unwrap();
    let found = read(&text).unwrap().unwrap();
    assert_eq!((found.records, found.sealed), (9, 9));
    // The file's own key is believed only where no other is named.
    verify_export(&mut text.as_bytes(), &[], None).unwrap().unwrap();
    let other = other_key().public();
    assert!(
        verify_export(&mut text.as_bytes(), &[other], None)
            .unwrap()
            .is_err()
    );

    let lines: Vec<&str> = text.lines().collect();
    // Header, five records, a seal, three records, a seal, a record, a seal.
    assert_eq!(lines.len(), 13);
    let without = |gone: usize| {
        let kept: Vec<&str> = lines
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != gone)
            .map(|(_, line)| *line)
            .collect();
        kept.join("\n")
    };
    for gone in 1..lines.len() {
        // An older signature is covered by the newest one.
        let covered = gone == 6 || gone == 10;
        assert_eq!(read(&without(gone)).unwrap().is_err(), !covered, "line {gone}");
    }
    let mut exchanged = lines.clone();
    exchanged.swap(2, 3);
    assert_eq!(read(&exchanged.join("\n")).unwrap().unwrap_err().number, 2);
    assert!(read(&lines[..7].join("\n")).unwrap().is_err());
    assert!(read(&text.replacen("thing:3", "thing:4", 1)).unwrap().is_err());
    assert!(read(&text.replacen("alice", "eve", 1)).unwrap().is_err());
    assert!(read("").is_err());
    assert!(read("{}").is_err());
    assert!(read(&format!("{}\nnonsense", lines[0])).is_err());
}

#[tokio::test]
async fn many_append_at_once_and_one_chain_comes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { note(&store, 20).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let key = key();
    seal(&store, "default", &key).await.unwrap();
    let found = verified(&store, &key).await.unwrap();
    assert_eq!((found.records, found.number), (320, 320));
}

#[tokio::test]
async fn a_record_is_noted_once_and_only_with_its_change() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let record = Record::new("default", "test.note", "thing:1");
    append(&store, &record).await.unwrap();
    // A commit whose answer was lost is done again.
    append(&store, &record).await.unwrap();
    let acting = store.acting();
    let failed = store.write(Scope::Tenant("default"), "fail", |db: &mut AnyConnection, _| {
        Box::pin(async move {
            append_in(db, acting, &Record::new("default", "test.note", "thing:2")).await?;
            Outcome::<()>::Err(Error::internal("no").into())
        })
    });
    failed.await.unwrap_err();
    append(&store, &Record::new("default", "test.note", "thing:3"))
        .await
        .unwrap();
    let key = key();
    let found = verified(&store, &key).await.unwrap();
    assert_eq!((found.records, found.number), (2, 2));
    // Numbers that JSON readers disagree about never get in.
    let odd = Record::new("default", "test.note", "thing:4").with("share", 0.5);
    append(&store, &odd).await.unwrap_err();
    assert_eq!(tenants(&store).await.unwrap(), ["default"]);
}

#[tokio::test]
async fn several_records_at_once_are_one_chain_of_each_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    for tenant in ["a", "b"] {
        let records: Vec<Record> = (0..450)
            .map(|at| Record::new(tenant, "test.note", format!("thing:{at}")))
            .collect();
        let (acting, records) = (store.acting(), &records);
        store
            .write(Scope::Tenant(tenant), "note", |db: &mut AnyConnection, _| {
                Box::pin(append_all_in(db, acting, records))
            })
            .await
            .unwrap();
    }
    for tenant in ["a", "b"] {
        let found = verify(&store, tenant, &[], None).await.unwrap().unwrap();
        assert_eq!((found.records, found.number), (450, 450));
    }
}

/// On PostgreSQL the application itself can neither change nor delete.
#[tokio::test]
async fn the_application_can_only_append() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = filled(folder.path()).await;
    if !matches!(store.place(), Place::Postgres(_)) {
        return;
    }
    for sql in [
        "UPDATE audit SET principal = 'eve'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "UPDATE audit_personal SET personal = '{}'",
        "UPDATE audit_seals SET number = 1",
        "DELETE FROM audit_heads",
    ] {
        let tried = store.statement(Scope::Tenant("default"), "try", |db: &mut AnyConnection, _| {
            Box::pin(async move { Ok(db.execute(sql).await?) })
        });
        tried.await.unwrap_err();
    }
    // Another tenant's old records are not reached through the function either.
    let tried = store.read(Scope::Tenant("other"), "try", |db: &mut AnyConnection, _| {
        Box::pin(async move { sql::remove(db, "default", 100, true).await })
    });
    assert_eq!(tried.await.unwrap(), 0);
}
