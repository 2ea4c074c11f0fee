use super::*;
use crate::DEFAULT_TENANT;
use crate::store::testing;

fn identity(id: &str) -> Identity {
    Identity {
        id: id.to_owned(),
        tenant: DEFAULT_TENANT.to_owned(),
        name: "north".to_owned(),
        principal: Some("carrier".to_owned()),
        version: "1.2.3".to_owned(),
    }
}

#[tokio::test]
async fn a_worker_is_known_from_when_it_was_heard_and_silent_after_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    heard(&store, &identity("a")).await.unwrap();
    heard(&store, &identity("a")).await.unwrap();
    let known = list(&store, DEFAULT_TENANT).await.unwrap();
    let [one] = &known[..] else { panic!("{known:?}") };
    assert_eq!((one.status, one.runs_carried), (WorkerStatus::Idle, 0));
    assert_eq!(
        (one.name.as_str(), one.principal.as_deref()),
        ("north", Some("carrier"))
    );
    testing::execute(
        &store,
        "UPDATE workers SET last_heard_at_ms = last_heard_at_ms - 60000",
    )
    .await;
    let known = list(&store, DEFAULT_TENANT).await.unwrap();
    assert_eq!(known[0].status, WorkerStatus::Silent);
    assert_eq!(list(&store, "other").await.unwrap(), []);
}

#[tokio::test]
async fn one_that_was_silent_for_a_week_is_forgotten_when_another_comes() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    heard(&store, &identity("old")).await.unwrap();
    testing::execute(
        &store,
        "UPDATE workers SET last_heard_at_ms = last_heard_at_ms - 604800001",
    )
    .await;
    heard(&store, &identity("new")).await.unwrap();
    let known = list(&store, DEFAULT_TENANT).await.unwrap();
    assert_eq!(
        known.iter().map(|worker| worker.id.as_str()).collect::<Vec<_>>(),
        ["new"]
    );
}
