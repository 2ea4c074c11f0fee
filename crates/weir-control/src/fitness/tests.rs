use async_trait::async_trait;
use weir_protocol::Secret;

use super::*;
use crate::runs::queue::{self, RunOptions};
use crate::secrets::{MasterKey, MasterKeys, Secrets};
use crate::store::testing;
use crate::worker::{RunSupply as _, StoreSupply};
use crate::{Connection, DEFAULT_TENANT, connections};

/// Has the key that it is given last, and counts who asks for it.
struct Keys(Mutex<(Secret, usize)>);

impl Keys {
    fn new() -> Self {
        Self(Mutex::new((MasterKey::generate().unwrap(), 0)))
    }

    fn exchange(&self) -> Secret {
        let mut held = self.0.lock().unwrap();
        std::mem::replace(&mut held.0, MasterKey::generate().unwrap())
    }

    fn put(&self, key: Secret) {
        self.0.lock().unwrap().0 = key;
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

#[async_trait]
impl Vault for Keys {
    async fn open(&self, store: &Store, tenant: &str) -> Result<Secrets> {
        let key = {
            let mut held = self.0.lock().unwrap();
            held.1 += 1;
            held.0.clone()
        };
        let keys = MasterKeys {
            current: MasterKey::parse(&key)?,
            old: None,
        };
        Secrets::open(store, tenant, Arc::new(keys)).await
    }
}

async fn looked(look: &mut Look, store: &Store, keys: &Keys) -> Option<Error> {
    let found = look.again(store, DEFAULT_TENANT, keys).await.unwrap();
    store.fitness().found(found.as_ref());
    found
}

#[tokio::test]
async fn a_key_that_opens_no_secret_keeps_a_server_from_new_work_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let keys = Keys::new();
    let mut look = Look::default();
    assert!(looked(&mut look, &store, &keys).await.is_none());
    assert_eq!(keys.asked(), 0, "a store without secrets needs no key");

    let secrets = keys.open(&store, DEFAULT_TENANT).await.unwrap();
    secrets.set("token", &Secret::new("value")).await.unwrap();
    let asked = keys.asked();
    assert!(looked(&mut look, &store, &keys).await.is_none());
    assert!(looked(&mut look, &store, &keys).await.is_none());
    assert_eq!(
        keys.asked(),
        asked + 1,
        "a key that was right is not asked for each time"
    );

    let right = keys.exchange();
    let refused = require(&store, DEFAULT_TENANT, &keys).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::State);
    let named: Vec<&str> = refused.context().iter().map(|(key, _)| *key).collect();
    assert_eq!(named, ["its id", "needed"]);
    assert!(refused.next_step().unwrap().contains("WEIR_MASTER_KEY_OLD"));

    assert!(looked(&mut Look::default(), &store, &keys).await.is_some());
    let told = store.clone().fit().unwrap_err();
    assert_eq!(told.to_string(), refused.to_string());
    assert_eq!(told.next_step(), refused.next_step());
    keys.put(right);
    assert!(looked(&mut look, &store, &keys).await.is_none());
    store.fit().unwrap();
}

#[tokio::test]
async fn who_is_not_fit_leaves_runs_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let shop = Connection::new("shop", "http_json", "shop");
    connections::register(&store, &shop).await.unwrap();
    queue::ask(&store, DEFAULT_TENANT, "shop", RunOptions::default())
        .await
        .unwrap();
    let error = Error::state("the store is another one").hint("exchange it");
    store.fitness().found(Some(&error));
    let supply = StoreSupply::new(store.clone());
    assert!(supply.claim(1).await.unwrap().is_empty());
    store.fitness().found(None);
    assert_eq!(supply.claim(1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_that_a_newer_weir_migrated_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("weir.db")).await.unwrap();
    assert!(store.newer().await.unwrap().is_none());
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'later', 1, x'00', 0)";
    testing::execute(&store, later).await;
    let mut look = Look::default();
    let found = looked(&mut look, &store, &Keys::new()).await.unwrap();
    assert_eq!(found.message(), "the control store was made by a newer weir");
    assert!(
        store
            .fit()
            .unwrap_err()
            .next_step()
            .unwrap()
            .contains("newer weir")
    );
    testing::execute(&store, "DELETE FROM _sqlx_migrations WHERE version = 9999").await;
    assert!(looked(&mut look, &store, &Keys::new()).await.is_none());
}
