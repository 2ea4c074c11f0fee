use std::sync::Arc;

use super::*;
use crate::DEFAULT_TENANT;
use crate::secrets::{MasterKey, MasterKeys};
use crate::store::testing;

async fn secrets(store: &Store) -> Secrets {
    let keys = MasterKeys {
        current: MasterKey::parse(&MasterKey::generate().unwrap()).unwrap(),
        old: None,
    };
    Secrets::open(store, DEFAULT_TENANT, Arc::new(keys))
        .await
        .unwrap()
}

fn new(name: &str, url: &str, types: &[&str]) -> NewWebhook {
    NewWebhook {
        name: name.to_owned(),
        url: url.to_owned(),
        types: types.iter().map(|wanted| (*wanted).to_owned()).collect(),
        allow_private: false,
    }
}

#[test]
fn signs_as_the_specification_does() {
    // The example of the specification's reference libraries.
    let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let body = r#"{"test": 2432232314}"#;
    let signed = signed("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body, &[secret]).unwrap();
    assert_eq!(
        signed.headers[2].1,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    );
    assert!(super::signed("a", 1, body, &[Secret::new("whsec_c2hvcnQ=")]).is_err());
}

#[tokio::test]
async fn is_added_rotated_paused_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let keeper = secrets(&store).await;
    let wanted = new("ops", "https://example.com/hook", &["run.failed", "schema.*"]);
    let (webhook, secret) = add(&store, &keeper, &wanted).await.unwrap();
    assert!(webhook.wants("run.failed") && webhook.wants("schema.changed"));
    assert!(!webhook.wants("run.started"));
    assert_eq!(
        keeper.read(&secret_name("ops")).await.unwrap().expose(),
        secret.expose()
    );
    // The second of the same name changes nothing.
    let error = add(&store, &keeper, &wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        keeper.read(&secret_name("ops")).await.unwrap().expose(),
        secret.expose()
    );
    let other = rotate(&store, &keeper, "ops").await.unwrap();
    assert_ne!(other.expose(), secret.expose());
    assert_eq!(
        keeper.read(&old_secret_name("ops")).await.unwrap().expose(),
        secret.expose()
    );
    let until = get(&store, DEFAULT_TENANT, "ops")
        .await
        .unwrap()
        .old_secret_until_ms;
    assert!(until.is_some());
    let paused = pause(&store, DEFAULT_TENANT, "ops", Some("asked for"))
        .await
        .unwrap();
    assert!(paused.paused_at_ms.is_some());
    assert!(
        pause(&store, DEFAULT_TENANT, "ops", None)
            .await
            .unwrap()
            .paused_at_ms
            .is_none()
    );
    remove(&store, DEFAULT_TENANT, "ops").await.unwrap();
    assert!(secrets::list(&store, DEFAULT_TENANT).await.unwrap().is_empty());
    let error = get(&store, DEFAULT_TENANT, "ops").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn what_cannot_be_a_webhook_is_refused_with_a_next_step() {
    for (name, url, types) in [
        ("Ops", "https://example.com", "*"),
        ("ops", "http://example.com", "*"),
        ("ops", "ftp://example.com", "*"),
        ("ops", "example.com", "*"),
        ("ops", "https://user:pass@example.com", "*"),
        ("ops", "https://example.com", "run.fialed"),
        ("ops", "https://example.com", "nothing.*"),
        ("ops", "https://example.com", "run*"),
        ("ops", "https://10.0.0.1/x", "*"),
        ("ops", "https://127.1/x", "*"),
        ("ops", "https://localhost./x", "*"),
        ("ops", "https://[::ffff:192.168.0.1]/x", "*"),
        ("ops", "https://169.254.169.254/x", "*"),
    ] {
        let error = check(&new(name, url, &[types])).unwrap_err();
        assert!(error.next_step().is_some(), "{name} {url} {types}: {error}");
    }
    assert!(check(&new("ops", "https://example.com", &["run.*"])).is_ok());
    let allowed = |url: &str| NewWebhook {
        allow_private: true,
        ..new("ops", url, &["*"])
    };
    assert!(check(&allowed("http://10.0.0.1/x")).is_ok());
    let error = check(&allowed("http://0xa9fea9fe/latest")).unwrap_err();
    assert!(error.message().contains("metadata"), "{error}");
}

#[tokio::test]
async fn no_race_loses_a_secret_that_somebody_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let keeper = secrets(&store).await;
    let wanted = new("ops", "https://example.com/hook", &["*"]);
    // Of several that add the same, one gets the secret that signs.
    let adding = (0..4).map(|_| add(&store, &keeper, &wanted));
    let added = futures::future::join_all(adding).await;
    let mut given: Vec<Secret> = added.into_iter().flatten().map(|(_, secret)| secret).collect();
    assert_eq!(given.len(), 1);
    let signing = || async {
        let mut all = Vec::new();
        for name in [secret_name("ops"), old_secret_name("ops")] {
            all.push(keeper.read(&name).await.unwrap().expose().to_owned());
        }
        all
    };
    assert_eq!(
        keeper.read(&secret_name("ops")).await.unwrap().expose(),
        given[0].expose()
    );
    // Of two that rotate at once, both were given one that signs.
    for _ in 0..5 {
        let (one, other) = tokio::join!(rotate(&store, &keeper, "ops"), rotate(&store, &keeper, "ops"));
        given = vec![one.unwrap(), other.unwrap()];
        let signing = signing().await;
        for secret in &given {
            assert!(signing.iter().any(|text| text == secret.expose()));
        }
    }
    // One after another: the newest and the one before.
    let third = rotate(&store, &keeper, "ops").await.unwrap();
    let fourth = rotate(&store, &keeper, "ops").await.unwrap();
    assert_eq!(signing().await, [fourth.expose(), third.expose()]);
}
