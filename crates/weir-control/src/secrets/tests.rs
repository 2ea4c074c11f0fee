use sqlx::{AnyConnection, Executor as _};
use weir_protocol::{ErrorKind, SecretProvider, conformance};

use super::*;
use crate::audit::EntryFilter;
use crate::store::{Place as StorePlace, testing};

fn key() -> MasterKey {
    MasterKey::parse(&MasterKey::generate().unwrap()).unwrap()
}

fn keys() -> Arc<MasterKeys> {
    Arc::new(MasterKeys {
        current: key(),
        old: None,
    })
}

async fn opened(store: &Store, keys: &Arc<MasterKeys>) -> Secrets {
    Secrets::open(store, "default", keys.clone()).await.unwrap()
}

async fn actions(store: &Store) -> Vec<String> {
    let filter = EntryFilter {
        limit: 100,
        ..EntryFilter::default()
    };
    let mut all = audit::list(store, "default", &filter).await.unwrap();
    all.reverse();
    all.into_iter()
        .map(|entry| {
            format!(
                "{} {} {} {}",
                entry.action, entry.subject, entry.outcome, entry.details
            )
        })
        .collect()
}

#[tokio::test]
async fn a_secret_is_set_read_rotated_and_deleted_and_all_of_it_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let secrets = opened(&store, &keys()).await;
    assert_eq!(secrets.set("token", &Secret::new("first")).await.unwrap(), 1);
    assert_eq!(secrets.set("token", &Secret::new("second")).await.unwrap(), 2);
    assert_eq!(secrets.rotate("token").await.unwrap(), 3);
    assert_eq!(secrets.read("token").await.unwrap().expose(), "second");
    let all = list(&store, "default").await.unwrap();
    assert_eq!((all.len(), all[0].version), (1, 3));
    assert!(all[0].read_at_ms.is_some());
    let error = secrets.read("tokn").await.unwrap_err();
    assert_eq!(error.next_step(), Some("did you mean 'token'?"));
    secrets.rotate("other").await.unwrap_err();
    delete(&store, "default", "token").await.unwrap();
    delete(&store, "default", "token").await.unwrap_err();
    assert_eq!(
        secrets.read("token").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        actions(&store).await,
        [
            "secret.set secret:token done {\"version\":1}",
            "secret.set secret:token done {\"version\":2}",
            "secret.rotate secret:token done {\"version\":3}",
            "secret.read secret:token done {\"version\":3}",
            "secret.read secret:tokn failed {}",
            "secret.delete secret:token done {}",
            "secret.read secret:token failed {}",
        ]
    );
    for (name, value) in [("", "x"), ("a/b", "x"), ("a b", "x"), ("ok", "")] {
        let error = secrets.set(name, &Secret::new(value)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
    secrets
        .set("ok", &Secret::new("x".repeat(VALUE_BYTES_MAX + 1)))
        .await
        .unwrap_err();
    secrets
        .set("ok", &Secret::new("x".repeat(VALUE_BYTES_MAX)))
        .await
        .unwrap();
}

#[tokio::test]
async fn another_master_key_is_refused_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    opened(&store, &keys())
        .await
        .set("token", &Secret::new("value"))
        .await
        .unwrap();
    let error = Secrets::open(&store, "default", keys()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(error.message().contains("master key"));
    // Another tenant has no secrets yet that it could not read.
    Secrets::open(&store, "other", keys()).await.unwrap();
}

#[tokio::test]
async fn a_master_key_is_changed_while_secrets_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let first = MasterKey::generate().unwrap();
    let parse = |key| MasterKey::parse(key).unwrap();
    let old = Arc::new(MasterKeys {
        current: parse(&first),
        old: None,
    });
    let secrets = opened(&store, &old).await;
    for number in 0..250 {
        let value = Secret::new(format!("value {number}"));
        secrets.set(&format!("s{number:03}"), &value).await.unwrap();
    }
    let both = Arc::new(MasterKeys {
        current: key(),
        old: Some(parse(&first)),
    });
    let during = opened(&store, &both).await;
    // Halfway, as if it had been stopped there.
    let scope = Scope::Tenant("default");
    let (keys, moved) = (&*both, &mut 0);
    store
        .write(scope, "wrap some", |db: &mut AnyConnection, _| {
            *moved += 1;
            Box::pin(async move {
                for row in sql::wrapped_otherwise(db, "default", keys.current.id(), 7).await? {
                    let from = keys.get(&row.master_key_id).unwrap();
                    let place = row.place("default");
                    let wrapped = rewrap(from, &keys.current, place, &row.wrapped_key)?;
                    sql::rewrapped(db, place, keys.current.id(), &wrapped).await?;
                }
                Ok(())
            })
        })
        .await
        .unwrap();
    for name in ["s000", "s249"] {
        let value = during.read(name).await.unwrap();
        assert!(value.expose().starts_with("value "));
    }
    assert_eq!(rotate_master_key(&store, &both).await.unwrap(), 243);
    assert_eq!(rotate_master_key(&store, &both).await.unwrap(), 0);
    assert_eq!(during.read("s123").await.unwrap().expose(), "value 123");
    Secrets::open(&store, "default", old).await.unwrap_err();
    let last = actions(&store).await;
    assert!(
        last.iter()
            .any(|action| action.starts_with("master_key.rotate") && action.contains("243"))
    );
}

/// Who can write to the store cannot exchange secrets, or bring an old value back.
#[tokio::test]
async fn what_is_moved_within_the_store_opens_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let secrets = opened(&store, &keys()).await;
    for name in ["a", "b"] {
        secrets
            .set(name, &Secret::new(format!("value of {name}")))
            .await
            .unwrap();
    }
    testing::execute(
        &store,
        "UPDATE secrets SET (id, wrapped_key, ciphertext) =
             (SELECT o.id, o.wrapped_key, o.ciphertext FROM secrets AS o WHERE o.name = 'b') WHERE name = 'a'",
    )
    .await;
    let error = secrets.read("a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
    testing::execute(&store, "UPDATE secrets SET version = 2 WHERE name = 'b'").await;
    secrets.read("b").await.unwrap_err();
}

#[derive(Debug)]
struct Refuses;

#[async_trait::async_trait]
impl SecretProvider for Refuses {
    async fn read(&self, _: &str) -> Result<Secret> {
        Err(Error::auth("no").hint("ask"))
    }
}

#[tokio::test]
async fn references_are_read_by_whom_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let secrets = opened(&store, &keys()).await;
    secrets
        .set("token", &Secret::new("value-of-token"))
        .await
        .unwrap();
    conformance::secrets(&secrets, ("token", "value-of-token"), "nowhere")
        .await
        .unwrap();
    let keepers = Keepers::new(&store, "default", Some(secrets.clone()))
        .with("again", Arc::new(secrets))
        .with("closed", Arc::new(Refuses));
    let read = async |text: &str| keepers.read(&Reference::parse(text).unwrap()).await;
    assert_eq!(read("secret:token").await.unwrap().expose(), "value-of-token");
    assert_eq!(
        read("secret:again/token").await.unwrap().expose(),
        "value-of-token"
    );
    assert_eq!(
        read("secret:closed/a/b#c").await.unwrap_err().kind(),
        ErrorKind::Auth
    );
    let error = read("secret:valt/x").await.unwrap_err();
    assert!(error.next_step().unwrap().contains("again, closed"), "{error:?}");
    assert_eq!(Reference::parse("secrets"), None);
    let noted = actions(&store).await;
    assert!(noted.contains(&"secret.read secret:again/token done {}".to_owned()));
    assert_eq!(
        noted.last().unwrap(),
        "secret.read secret:closed/a/b#c refused {}"
    );
}

/// A read that cannot be noted hands out nothing.
#[tokio::test]
async fn without_an_audit_record_there_is_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    if !matches!(store.place(), StorePlace::Sqlite(_)) {
        return;
    }
    let secrets = opened(&store, &keys()).await;
    secrets.set("token", &Secret::new("value")).await.unwrap();
    testing::execute(
        &store,
        "CREATE TRIGGER broken BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'no room'); END",
    )
    .await;
    secrets.read("token").await.unwrap_err();
    secrets.set("token", &Secret::new("other")).await.unwrap_err();
    delete(&store, "default", "token").await.unwrap_err();
    testing::execute(&store, "DROP TRIGGER broken").await;
    assert_eq!(secrets.read("token").await.unwrap().expose(), "value");
}

/// A schema of the shape that the extension makes.
#[tokio::test]
async fn supabase_vault_is_read_in_the_same_database() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let vault = SupabaseVault::new(&store);
    let StorePlace::Postgres(url) = store.place() else {
        assert_eq!(vault.read("token").await.unwrap_err().kind(), ErrorKind::Spec);
        return;
    };
    // Not there yet.
    assert_eq!(vault.read("token").await.unwrap_err().kind(), ErrorKind::Auth);
    let options: sqlx::postgres::PgConnectOptions = url.expose().parse().unwrap();
    let mut above = <sqlx::PgConnection as sqlx::Connection>::connect_with(&options)
        .await
        .unwrap();
    above
        .execute(
            "CREATE SCHEMA vault;
             CREATE TABLE vault.secrets (id uuid DEFAULT gen_random_uuid(), name text, secret text);
             CREATE VIEW vault.decrypted_secrets AS SELECT id, name, secret AS decrypted_secret FROM vault.secrets;
             INSERT INTO vault.secrets (name, secret) VALUES ('token', 'value-of-token')",
        )
        .await
        .unwrap();
    conformance::secrets(&vault, ("token", "value-of-token"), "nowhere")
        .await
        .unwrap();
    // The application's own role, which all other statements have, cannot.
    let tried = store.read(Scope::Everyone, "try", |db: &mut AnyConnection, _| {
        Box::pin(async move { Ok(sql::supabase(db, "token").await?) })
    });
    tried.await.unwrap_err();
}

#[tokio::test]
async fn a_new_value_counts_once_it_was_tried_and_the_old_one_goes_with_the_last_run() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let secrets = opened(&store, &keys()).await;
    let users = ["shop".to_owned()];
    let (old, new) = (Secret::new("old"), Secret::new("new"));
    let fine = async || Ok(());
    secrets.exchange("key", &new, &users, fine).await.unwrap_err();
    secrets.set("key", &old).await.unwrap();
    let error = secrets
        .exchange("key", &new, &users, async || {
            Err(Error::auth("the vendor says no").hint("ask the vendor"))
        })
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.next_step()),
        (ErrorKind::Auth, Some("ask the vendor"))
    );
    assert_eq!(secrets.read("key").await.unwrap(), old);
    // Somebody else set it meanwhile: what was tried is not what would be replaced.
    let (other, third) = (&secrets, Secret::new("third"));
    let changed = secrets
        .exchange("key", &new, &users, async || {
            other.set("key", &third).await.map(drop)
        })
        .await
        .unwrap_err();
    assert_eq!(changed.kind(), ErrorKind::Conflict);
    assert_eq!(secrets.read("key").await.unwrap(), third);

    let shop = crate::Connection::new("shop", "http_json", "shop");
    crate::connections::register(&store, &shop).await.unwrap();
    testing::execute(
        &store,
        "INSERT INTO runs (id, tenant, connection, kind, started_by, status, created_at_ms)
         VALUES ('0190', 'default', 'shop', 'sync', 'person', 'running', 1)",
    )
    .await;
    let done = secrets.exchange("key", &new, &users, fine).await.unwrap();
    assert_eq!((done.secret.as_str(), done.ended_at_ms), ("key", None));
    assert_eq!(secrets.read("key").await.unwrap(), new);
    assert_eq!(end_rotations(&store, "default").await.unwrap(), 1);
    testing::execute(&store, "UPDATE runs SET status = 'succeeded'").await;
    assert_eq!(end_rotations(&store, "default").await.unwrap(), 0);
    assert!(
        rotations(&store, "default").await.unwrap()[0]
            .ended_at_ms
            .is_some()
    );
    let actions = actions(&store).await;
    let of = |action: &str| actions.iter().filter(|line| line.starts_with(action)).count();
    assert_eq!(
        (
            of("secret.exchange secret:key refused"),
            of("secret.exchange secret:key done")
        ),
        (1, 1)
    );
    assert_eq!(of("secret.exchange_ended"), 1, "{actions:#?}");
    assert!(
        !actions
            .iter()
            .any(|line| line.contains("old") || line.contains("third"))
    );
}

#[tokio::test]
async fn what_ends_is_told_a_day_before_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let secrets = opened(&store, &keys()).await;
    secrets.set("key", &Secret::new("value")).await.unwrap();
    let now = store.now_ms().await.unwrap();
    secrets.expires("key", now + 2 * 86_400_000).await.unwrap();
    assert_eq!(rotation::tell_ending(&store, "default").await.unwrap(), 0);
    secrets.expires("key", now + 86_000_000).await.unwrap();
    assert_eq!(rotation::tell_ending(&store, "default").await.unwrap(), 1);
    assert_eq!(rotation::tell_ending(&store, "default").await.unwrap(), 0);
    let told = events::list(
        &store,
        "default",
        &events::EventFilter {
            limit: 9,
            ..Default::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(
        told.iter()
            .filter(|event| event.family == "credential.expiring")
            .count(),
        1
    );
}

const ENDER: Option<Ender<'_>> = Some(Ender {
    connection: "shop",
    by_id: true,
});

fn made(value: &str, id: &str) -> Renewed {
    Renewed {
        value: Secret::new(value),
        vendor_id: Some(id.to_owned()),
        expires_at_ms: Some(1),
    }
}

#[tokio::test]
async fn what_a_vendor_made_is_kept_over_a_death() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let secrets = opened(&store, &keys()).await;
    let missing = secrets.begin_renewal("key", None).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    secrets.set("key", &Secret::new("by hand")).await.unwrap();
    let first = secrets.begin_renewal("key", None).await.unwrap();
    assert!(first.made.is_none());
    let other = secrets.begin_renewal("key", None).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);
    secrets
        .keep_renewed("key", &first, &made("one", "1"))
        .await
        .unwrap();
    // As time would let it go of a process that died.
    secrets.leave_renewal("key", &first, true).await.unwrap();
    let second = secrets.begin_renewal("key", None).await.unwrap();
    assert_eq!(second.id, first.id);
    let renewed = second.made.unwrap();
    assert_eq!(
        (renewed.value.expose(), renewed.vendor_id.as_deref()),
        ("one", Some("1"))
    );
    let users = ["shop".to_owned()];
    secrets
        .exchange_renewed("key", &renewed, &users, ENDER, async || Ok(()))
        .await
        .unwrap();
    assert_eq!(secrets.read("key").await.unwrap().expose(), "one");
    let stale = secrets.begin_renewal("key", Some(1)).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Conflict);
    assert!(
        secrets
            .begin_renewal("key", Some(2))
            .await
            .unwrap()
            .made
            .is_none()
    );
    // Whoever was taken over keeps nothing in the place of the other's.
    let late = secrets
        .keep_renewed("key", &first, &made("late", "9"))
        .await
        .unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Conflict);
    let all = list(&store, "default").await.unwrap();
    assert!(all.iter().all(|secret| secret.name == "key"));
}

#[tokio::test]
async fn a_vendor_ends_what_it_made_once_nobody_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let secrets = opened(&store, &keys()).await;
    let users = ["shop".to_owned()];
    let exchange = async |value: &str, id: &str| {
        let made = made(value, id);
        let done = secrets.exchange_renewed("key", &made, &users, ENDER, async || Ok(()));
        done.await.unwrap()
    };
    secrets.set("key", &Secret::new("by hand")).await.unwrap();
    exchange("one", "1").await;
    end_rotations(&store, "default").await.unwrap();
    // Nobody knows the vendor's id of what was set by hand.
    assert_eq!(secrets.vendor_ends().await.unwrap(), []);
    let done = exchange("two", "2").await;
    assert_eq!(secrets.vendor_ends().await.unwrap(), [], "a run may hold it");
    end_rotations(&store, "default").await.unwrap();
    let ends = secrets.vendor_ends().await.unwrap();
    let end = VendorEnd {
        rotation: done.id,
        connection: "shop".to_owned(),
        vendor_id: Some("1".to_owned()),
    };
    assert_eq!(ends, [end]);
    secrets.ended_at_vendor(&ends[0]).await.unwrap();
    assert_eq!(secrets.vendor_ends().await.unwrap(), []);
    // What a person sets, the vendor is not asked to end.
    secrets.set("key", &Secret::new("by hand again")).await.unwrap();
    exchange("three", "3").await;
    end_rotations(&store, "default").await.unwrap();
    assert_eq!(secrets.vendor_ends().await.unwrap(), []);
}
