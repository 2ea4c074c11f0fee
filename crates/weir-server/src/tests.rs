//! The server as a client meets it: over a socket on loopback.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use weir_control::runs::{Begin, Trigger};
use weir_control::sync::Silent;
use weir_control::{Connection, DEFAULT_TENANT, Owner, SyncOptions, SyncPlan};
use weir_protocol::*;

use super::*;

/// Ends that cannot be reached.
struct Nowhere;

#[async_trait]
impl Source for Nowhere {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn discover(&self) -> Result<Vec<StreamDescriptor>> {
        Ok(Vec::new())
    }

    fn read(&self, _request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        stream::empty().boxed()
    }
}

#[async_trait]
impl Destination for Nowhere {
    async fn open(&self, _plan: WritePlan) -> Result<Box<dyn StreamWriter>> {
        Err(Error::destination("the lake is full").hint("make room"))
    }
}

struct Served {
    _folder: tempfile::TempDir,
    store: Store,
    address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<()>>,
}

async fn served() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("weir.db")).await.unwrap();
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let state = ServerState {
        store: store.clone(),
        tenant: DEFAULT_TENANT.to_owned(),
    };
    let task = tokio::spawn(serve(listener, state, stop.clone().cancelled_owned()));
    Served {
        _folder: folder,
        store,
        address,
        stop,
        task,
    }
}

impl Served {
    /// Status line, content type and body.
    async fn ask(&self, method: &str, path: &str) -> (u16, String, Value) {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let kind = head.lines().find_map(|line| line.strip_prefix("content-type: "));
        (
            status,
            kind.unwrap_or_default().to_owned(),
            serde_json::from_str(body).unwrap(),
        )
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.ask("GET", path).await;
        (status, body)
    }

    async fn failing_sync(&self) -> String {
        let plan = SyncPlan {
            connection: Connection::new("shop", "http_json", "shop"),
            source: Arc::new(Nowhere),
            destination: Arc::new(Nowhere),
            streams: vec![StreamDescriptor {
                name: "orders".to_owned(),
                ..StreamDescriptor::default()
            }],
            options: SyncOptions::default(),
            begin: Begin::Anew(Trigger::Api),
            owner: Owner::this_process(),
            cancel: CancellationToken::new(),
            observer: Arc::new(Silent),
        };
        weir_control::sync(&self.store, plan).await.unwrap().run
    }
}

#[tokio::test]
async fn it_is_alive_and_ready_until_the_store_is_gone_and_stops_when_told() {
    let served = served().await;
    assert_eq!(served.get("/healthz").await.0, 200);
    assert_eq!(served.get("/readyz").await.0, 200);
    served.store.close().await;
    assert_eq!(served.get("/healthz").await.0, 200);
    let (status, body) = served.get("/readyz").await;
    assert_eq!(status, 503);
    // Where the store lies is nobody's business.
    assert!(!body.to_string().contains("weir.db"), "{body}");
    served.stop.cancel();
    served.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn runs_are_listed_page_by_page_and_shown_with_their_errors() {
    let served = served().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(served.failing_sync().await);
    }
    let (_, page) = served.get("/api/v1/runs?limit=2").await;
    assert_eq!(
        (&page["items"][0]["id"], &page["items"][1]["id"]),
        (&ids[2].as_str().into(), &ids[1].as_str().into())
    );
    let next = page["next"].as_str().unwrap();
    let (_, page) = served.get(&format!("/api/v1/runs?limit=2&after={next}")).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!(page["items"][0]["id"], ids[0].as_str());
    assert!(page.get("next").is_none());
    let (_, none) = served.get("/api/v1/runs?status=succeeded").await;
    assert_eq!(none["items"], Value::Array(Vec::new()));
    let (_, none) = served.get("/api/v1/runs?connection=other").await;
    assert_eq!(none["items"], Value::Array(Vec::new()));

    let (status, run) = served.get(&format!("/api/v1/runs/{}", ids[0])).await;
    assert_eq!(
        (status, &run["status"], &run["started_by"]),
        (200, &"failed".into(), &"api".into())
    );
    assert_eq!(run["error"]["hint"], "make room");
    assert_eq!(run["streams"][0]["name"], "sync_shop_orders_full_refresh_replace");
    assert_eq!(run["totals"]["books"]["read"], 0);

    let (_, connections) = served.get("/api/v1/connections").await;
    assert_eq!(connections["items"][0]["name"], "shop");
}

#[tokio::test]
async fn errors_are_problem_details_with_a_next_step() {
    let served = served().await;
    let (status, kind, body) = served.ask("GET", "/api/v1/runs/nope").await;
    assert_eq!((status, kind.as_str()), (404, "application/problem+json"));
    insta::assert_json_snapshot!(body, @r#"
    {
      "type": "urn:weir:error:not_found",
      "title": "Not Found",
      "status": 404,
      "detail": "there is no run 'nope'",
      "next_step": "`weir run list` shows the runs there are",
      "context": {}
    }
    "#);
    for (path, expected) in [
        ("/api/v1/runs?limit=0", 400),
        ("/api/v1/runs?limit=many", 400),
        ("/api/v1/runs?status=asleep", 400),
        ("/api/v1/runs?colour=red", 400),
        ("/nowhere", 404),
    ] {
        let (status, kind, body) = served.ask("GET", path).await;
        assert_eq!(
            (status, kind.as_str()),
            (expected, "application/problem+json"),
            "{path}"
        );
        assert!(body["next_step"].is_string(), "{path}: {body}");
    }
    let (status, _, body) = served.ask("DELETE", "/api/v1/runs").await;
    assert_eq!((status, &body["next_step"]), (405, &"use GET".into()));
}
