//! The server as a client meets it: over a socket on loopback.

use std::sync::Arc;

use async_trait::async_trait;
use axum::serve::Listener as _;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use weir_control::principals::{self, Access, Kind, NewToken, Role};
use weir_control::runs::{Begin, Trigger};
use weir_control::secrets::{MasterKey, MasterKeys, Secrets};
use weir_control::sync::Silent;
use weir_control::{Connection, Owner, Place, SyncOptions, SyncPlan};
use weir_protocol::*;

use super::*;

mod access;
mod access_tokens;
mod audit;
mod calls;
mod hooks;
mod mcp;
mod once;
mod policies;
mod routes;
mod secrets;
mod states;
mod tenants;
mod workers;

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

/// The store for these tests: on PostgreSQL where `WEIR_TEST_POSTGRES` names a server, which all tests
/// share, each with tenants of its own; else a SQLite file of each test.
#[expect(clippy::disallowed_methods, reason = "only tests ask for it")]
async fn store(folder: &std::path::Path) -> Store {
    match std::env::var("WEIR_TEST_POSTGRES") {
        Ok(url) if !url.is_empty() => Store::connect(&Place::parse(&url).unwrap()).await.unwrap(),
        _ => Store::open(&folder.join("weir.db")).await.unwrap(),
    }
}

pub(crate) struct Served {
    _folder: tempfile::TempDir,
    pub(crate) store: Store,
    address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<()>>,
    pub(crate) tenant: String,
    /// Of an admin of the tenant.
    pub(crate) token: String,
}

/// What a client gets.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// What a body that came in chunks has in them.
    fn body_of_chunks(&self) -> String {
        assert_eq!(self.header("transfer-encoding"), Some("chunked"));
        let (mut rest, mut body) = (self.text.as_str(), String::new());
        loop {
            let (size, behind) = rest.split_once("\r\n").unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                return body;
            }
            let (chunk, behind) = behind.split_at(size);
            body.push_str(chunk);
            rest = behind.strip_prefix("\r\n").unwrap();
        }
    }

    /// A problem with a next step.
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let body = self.json();
        assert!(
            body["next_step"].is_string() && body["detail"].is_string(),
            "{body}"
        );
        assert_eq!(body["status"], status);
        body
    }
}

pub(crate) async fn served() -> Served {
    served_with(able()).await
}

/// What a server can that has the keys.
fn able() -> Settings {
    let key = SealKey::generate().unwrap();
    Settings {
        audit_key: Some(Arc::new(SealKey::parse(&key).unwrap())),
        vault: Some(Arc::new(OneKey)),
        ..Settings::default()
    }
}

/// Always with the same master key, as one store has one.
struct OneKey;

#[async_trait]
impl Vault for OneKey {
    async fn open(&self, store: &Store, tenant: &str) -> Result<Secrets> {
        static KEY: std::sync::LazyLock<Secret> = std::sync::LazyLock::new(|| MasterKey::generate().unwrap());
        let keys = MasterKeys {
            current: MasterKey::parse(&KEY).unwrap(),
            old: None,
        };
        Secrets::open(store, tenant, Arc::new(keys)).await
    }

    async fn named_by(&self, _: &Store, _: &str, secret: &str) -> Result<Vec<String>> {
        let named = (secret == "named").then(|| "connections/shop.yaml".to_owned());
        Ok(named.into_iter().collect())
    }
}

pub(crate) async fn served_with(settings: Settings) -> Served {
    served_where(|_| settings).await
}

pub(crate) async fn served_where(settings: impl FnOnce(&Store) -> Settings) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let tenant = new_tenant(&store).await;
    served_at(folder, store, tenant, |store, _| settings(store)).await
}

pub(crate) async fn served_at(
    folder: tempfile::TempDir,
    store: Store,
    tenant: String,
    settings: impl FnOnce(&Store, &str) -> Settings,
) -> Served {
    let listener = Listening::bind("127.0.0.1:0".parse().unwrap(), None)
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let state = ServerState::new(store.clone(), settings(&store, &tenant));
    let task = tokio::spawn(serve(listener, state, stop.clone().cancelled_owned()));
    let token = token(&store, &tenant, Role::Admin).await;
    Served {
        _folder: folder,
        store,
        address,
        stop,
        task,
        tenant,
        token,
    }
}

pub(crate) async fn new_tenant(store: &Store) -> String {
    let name = format!("t-{}", uuid::Uuid::now_v7());
    weir_control::tenants::create(store, &name).await.unwrap().name
}

pub(crate) async fn token(store: &Store, tenant: &str, role: Role) -> String {
    let new = NewToken {
        principal: role.to_string(),
        kind: Kind::Token,
        roles: [role].into(),
        scopes: std::collections::BTreeSet::new(),
        groups: [].into(),
        expires_in: principals::EXPIRY_DEFAULT,
    };
    let issued = principals::create(store, &Access::command_line(tenant), &new).await;
    issued.unwrap().text.expose().to_owned()
}

impl Served {
    /// What the audit trail has of one kind, the oldest first.
    pub(crate) async fn noted(&self, action: &str) -> Vec<weir_control::audit::Entry> {
        let filter = weir_control::audit::EntryFilter {
            action: Some(action.to_owned()),
            limit: 1_000,
            ..Default::default()
        };
        let listed = weir_control::audit::list(&self.store, &self.tenant, &filter).await;
        let mut noted = listed.unwrap();
        noted.reverse();
        noted
    }

    /// Sends exactly these headers.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        // A server that refuses early may not read all of it.
        socket.write_all(request.as_bytes()).await.unwrap_or_default();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap_or_default();
        let answer = String::from_utf8(answer).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            text: text.to_owned(),
        }
    }

    /// As the tenant's admin.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_as(&self.token, method, path, body).await
    }

    pub(crate) async fn ask_as(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        self.send(method, path, &headers, body).await
    }

    pub(crate) async fn ask_with(
        &self,
        method: &str,
        path: &str,
        header: (&str, &str),
        body: &str,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            header,
        ];
        self.send(method, path, &headers, body).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.ask("GET", path, "").await;
        (answer.status, answer.json())
    }

    pub(crate) fn shop(&self) -> Connection {
        Connection {
            tenant: self.tenant.clone(),
            ..Connection::new("shop", "http_json", "shop")
        }
    }

    async fn failing_sync(&self) -> String {
        let plan = SyncPlan {
            connection: self.shop(),
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
            sharing: None,
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
    let body = served.ask("GET", "/api/v1/runs/nope", "").await.problem(404);
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
        ("/api/v1/runs?after=%00", 400),
        ("/api/v1/runs/%FF", 400),
        ("/nowhere", 404),
    ] {
        served.ask("GET", path, "").await.problem(expected);
    }
    let answer = served.ask("DELETE", "/api/v1/runs", "").await;
    answer.problem(405);
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("POST")));
}
