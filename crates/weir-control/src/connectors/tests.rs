use weir_protocol::{Error, ErrorKind};

use super::*;
use crate::runs::queue::{self, Order, RunOptions};
use crate::runs::{self, RunStatus};
use crate::store::testing;
use crate::{Connection, DEFAULT_TENANT, connections};

fn catalog() -> Vec<ConnectorInfo> {
    ["http_json", "unused"]
        .map(|key| ConnectorInfo {
            key: key.to_owned(),
            version: "1.0.0".to_owned(),
            name: BTreeMap::from([("en".to_owned(), key.to_uppercase())]),
            hook: None,
            governance: Governance::default(),
        })
        .to_vec()
}

async fn one_run(store: &Store, succeeds: bool) {
    queue::put(
        store,
        &Order::asked(DEFAULT_TENANT, "shop", RunOptions::default()),
    )
    .await
    .unwrap();
    let claimed = queue::claim(store, "w", None, 1).await.unwrap().remove(0);
    let error = Error::source_failed("the shop is closed").hint("wait");
    let outcome = if succeeds { Ok(()) } else { Err(&error) };
    queue::end(store, &claimed, outcome).await.unwrap();
}

#[tokio::test]
async fn the_board_follows_the_runs() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let shop = Connection::new("shop", "http_json", "shop");
    connections::register(&store, &shop).await.unwrap();
    let now = async || board(&store, DEFAULT_TENANT, &catalog()).await.unwrap();

    let lines = now().await;
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (lines[0].registered, lines[0].status, lines[0].last_attempt_at_ms),
        (true, Health::Ok, None)
    );
    assert_eq!(
        (
            lines[1].connector.as_str(),
            lines[1].registered,
            &lines[1].connection
        ),
        ("unused", false, &None)
    );
    assert_eq!(lines[0].name["en"], "HTTP_JSON");

    one_run(&store, false).await;
    let line = now().await.remove(0);
    assert_eq!(
        (line.status, line.failures),
        (Health::Error, 1),
        "it never succeeded"
    );
    one_run(&store, true).await;
    let line = now().await.remove(0);
    assert_eq!((line.status, line.failures), (Health::Ok, 0));
    assert!(line.last_success_at_ms.is_some() && line.last_attempt_at_ms.is_some());
    for expected in [Health::Degraded, Health::Degraded, Health::Error] {
        one_run(&store, false).await;
        assert_eq!(now().await.remove(0).status, expected);
    }
    let error = now().await.remove(0).last_error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_str(), error.hint.as_deref()),
        ("source", "the shop is closed", Some("wait"))
    );
    let elsewhere = board(&store, "other", &catalog()).await.unwrap();
    assert!(
        elsewhere
            .iter()
            .all(|line| !line.registered && line.last_error.is_none())
    );
}

#[tokio::test]
async fn figures_count_open_runs_and_the_days_ended_ones() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let shop = Connection::new("shop", "http_json", "shop");
    connections::register(&store, &shop).await.unwrap();
    one_run(&store, true).await;
    one_run(&store, false).await;
    let options = RunOptions::default();
    let waiting = queue::ask(&store, DEFAULT_TENANT, "shop", options).await.unwrap();
    testing::execute(
        &store,
        &format!(
            "UPDATE runs SET created_at_ms = created_at_ms - 5000 WHERE id = '{}'",
            waiting.id
        ),
    )
    .await;
    let figures = runs::figures(&store).await.unwrap();
    let of = |status| {
        figures
            .by_status
            .iter()
            .find(|(other, _)| *other == status)
            .unwrap()
            .1
    };
    assert_eq!(
        [RunStatus::Queued, RunStatus::Succeeded, RunStatus::Failed].map(of),
        [1, 1, 1]
    );
    assert_eq!(figures.waiting, 1);
    assert!((5000..60_000).contains(&figures.oldest_waiting_ms));
}

#[tokio::test]
async fn another_tenants_run_is_neither_cancelled_nor_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    connections::register(&store, &Connection::new("shop", "http_json", "shop"))
        .await
        .unwrap();
    let run = queue::ask(&store, DEFAULT_TENANT, "shop", RunOptions::default())
        .await
        .unwrap();
    let error = queue::cancel(&store, "other", &run.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(runs::receipts(&store, "other", &run.id).await.unwrap().is_empty());
    assert!(
        queue::ask(&store, "other", "shop", RunOptions::default())
            .await
            .is_err()
    );
    assert_eq!(
        queue::cancel(&store, DEFAULT_TENANT, &run.id).await.unwrap(),
        RunStatus::Cancelled
    );
}

/// Counts how often it was asked; one connection does not answer.
#[derive(Default)]
struct Asked(std::sync::atomic::AtomicUsize);

#[async_trait::async_trait]
impl Check for Asked {
    async fn check(&self, connection: &Connection) -> Result<()> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        match connection.name.as_str() {
            "shop" => Ok(()),
            _ => Err(Error::auth("the credential was refused").hint("set another one")),
        }
    }
}

#[tokio::test]
async fn a_probe_asks_each_connection_once_for_all_who_want_to_know() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    for name in ["closed", "shop"] {
        connections::register(&store, &Connection::new(name, "http_json", name))
            .await
            .unwrap();
    }
    let asked = std::sync::Arc::new(Asked::default());
    let prober = Prober::new(asked.clone());
    let all = futures::future::join_all((0..3).map(|_| prober.probe(&store, DEFAULT_TENANT))).await;
    for probed in all {
        let probed = probed.unwrap();
        let status: Vec<Health> = probed.iter().map(|probed| probed.status).collect();
        assert_eq!(status, [Health::Error, Health::Ok]);
        assert_eq!(probed[0].error.as_ref().unwrap().kind, "auth");
    }
    assert_eq!(asked.0.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert!(prober.probe(&store, "other").await.unwrap().is_empty());
}
