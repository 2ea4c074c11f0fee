//! The document, the router, and the border between tenants: generated from the routes, so that a new
//! one is tested without anybody thinking of it.

use std::collections::{BTreeMap, BTreeSet};

use weir_control::deliveries::{self, Carrier};
use weir_control::events::{self, Event, Family, StoredEvent};
use weir_control::lifecycle::{self, NewVersion};
use weir_control::oauth::Grants;
use weir_control::runs::queue::{self, RunOptions};
use weir_control::secrets;
use weir_control::states::Wish;
use weir_control::{RunStatus, alerts, backfills, event_schemas, runs, schedules, states, webhooks};
use weir_protocol::oauth::{Granted, OauthClient};
use weir_protocol::spec::Oauth2Grant;

use super::access::filled;
use super::*;
use crate::api::{BASE, endpoints};

/// Method and path of every operation in the document, as a client reads it.
pub(super) async fn operations(served: &Served) -> Vec<(String, String, Value)> {
    let document = served.send("GET", "/api/v1/openapi.json", &[], "").await.json();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    found
}

#[tokio::test]
async fn the_document_has_every_route_and_the_router_every_path_of_the_document() {
    let served = served().await;
    let told: BTreeSet<(String, String)> = operations(&served)
        .await
        .into_iter()
        .map(|(method, path, _)| (method, path))
        .collect();
    let routed: BTreeSet<(String, String)> = endpoints()
        .iter()
        .map(|endpoint| (endpoint.method.to_string(), format!("{BASE}{}", endpoint.path)))
        .collect();
    assert_eq!(told, routed);
    for endpoint in endpoints() {
        let answer = served
            .ask(endpoint.method.as_str(), &filled(endpoint.path), "")
            .await;
        assert_ne!(answer.status, 405, "{} {}", endpoint.method, endpoint.path);
        assert!(!answer.text.contains("there is nothing at"), "{}", endpoint.path);
        // Whatever it answers, the document says so.
        let operation = &operations(&served).await.into_iter().find(|(method, path, _)| {
            *method == endpoint.method.as_str() && *path == format!("{BASE}{}", endpoint.path)
        });
        let (_, _, operation) = operation.as_ref().unwrap();
        let responses = operation["responses"].as_object().unwrap();
        assert!(
            responses.contains_key(&answer.status.to_string()),
            "{} {}: {}",
            endpoint.method,
            endpoint.path,
            answer.status
        );
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    let served = served().await;
    let document = served.send("GET", "/api/v1/openapi.json", &[], "").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut found = Vec::new();
    nulls(&document, "", &mut found);
    assert_eq!(found, Vec::<String>::new());
    let ids: Vec<String> = operations(&served)
        .await
        .iter()
        .map(|(_, _, operation)| operation["operationId"].to_string())
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
}

/// A null is no schema.
fn nulls(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(at.to_owned()),
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| !["default", "enum", "const"].contains(&key.as_str()))
            .for_each(|(key, value)| nulls(value, &format!("{at}/{key}"), found)),
        Value::Array(items) => items.iter().for_each(|value| nulls(value, at, found)),
        _ => {}
    }
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.push(reference.clone());
            }
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// Of every tenant: what its versions hold tells whose it is.
const CONNECTOR: &str = "acme";

/// What a tenant keeps under a name that others may use too.
const SECRET: &str = "shop_key";

/// What a tenant has, and how its ids are called in paths.
pub(super) struct Belongings {
    pub(super) tenant: String,
    pub(super) admin: String,
    pub(super) connection: String,
    run: String,
    token_id: String,
    backfill: String,
    event: String,
    alert: String,
    silence: String,
    webhook: String,
    call: String,
    bundle_run: String,
}

impl Belongings {
    pub(super) async fn of(served: &Served) -> Self {
        let store = &served.store;
        let tenant = new_tenant(store).await;
        let connection = Connection {
            tenant: tenant.clone(),
            ..Connection::new(format!("shop-{tenant}"), "http_json", "shop")
        };
        let spec = serde_json::from_str("{}").unwrap();
        schedules::put(store, &connection, Some(&spec)).await.unwrap();
        states::set(store, &connection, "orders", &Wish::Reset)
            .await
            .unwrap();
        let run = queue::ask(store, &tenant, &connection.name, RunOptions::default())
            .await
            .unwrap();
        let recipe = format!(
            r#"{{"spec": 1, "connector": "{CONNECTOR}", "version": "1.0.0", "name": {{ "en": "{tenant}" }}}}"#
        );
        let draft = NewVersion {
            spec: serde_json::from_str(&recipe).unwrap(),
            files: BTreeMap::new(),
            digest: tenant.clone(),
        };
        lifecycle::promote(store, &tenant, &draft, None).await.unwrap();
        let wanted = serde_json::json!({
            "connection": connection.name, "streams": ["orders"], "from": "1", "to": "9",
        });
        let wanted = serde_json::from_value(wanted).unwrap();
        let backfill = backfills::create(store, &tenant, &wanted).await.unwrap();
        connect(store, &connection).await;
        let (event, alert) = events_of(store, &tenant).await;
        let silence = alerts::NewSilence {
            rule: None,
            connection: Some(connection.name.clone()),
            reason: "known".to_owned(),
            ends_at_ms: store.now_ms().await.unwrap() + 60_000,
        };
        let silence = alerts::silence(store, &tenant, &silence).await.unwrap();
        let webhook = webhook_of(store, &tenant).await;
        let call = calls::waiting_call(store, &tenant, &connection.name).await;
        let bundle_run = calls::waiting_run(store, &tenant, &connection.name).await;
        let schema = serde_json::json!({ "type": "object", "title": tenant });
        event_schemas::register(store, &tenant, "shop.paid", &schema, None)
            .await
            .unwrap();
        let kept = OneKey.open(store, &tenant).await.unwrap();
        kept.set(SECRET, &Secret::new("theirs")).await.unwrap();
        let admin = token(store, &tenant, Role::Admin).await;
        let token_id = admin.split('_').nth(1).unwrap().to_owned();
        // Else another test would route them while this one reads its deliveries.
        send(store, &event).await;
        Self {
            connection: connection.name,
            backfill: backfill.id,
            run: run.id,
            event,
            alert,
            silence: silence.id,
            webhook,
            call,
            bundle_run,
            tenant,
            admin,
            token_id,
        }
    }

    /// A path with this tenant's ids in it.
    pub(super) fn fill(&self, path: &str) -> String {
        let noun = path.split('/').nth(3);
        let secret = SECRET.to_owned();
        let (id, name) = match noun {
            Some("secrets") => (&self.run, &secret),
            Some("tokens") => (&self.token_id, &self.connection),
            Some("backfills") => (&self.backfill, &self.connection),
            Some("events") => (&self.event, &self.connection),
            Some("alerts") => (&self.alert, &self.connection),
            Some("silences") => (&self.silence, &self.connection),
            Some("webhooks") => (&self.run, &self.webhook),
            Some("calls" | "approvals") => (&self.call, &self.connection),
            Some("bundle-runs") => (&self.bundle_run, &self.connection),
            _ => (&self.run, &self.connection),
        };
        let names = BTreeMap::from([
            ("{id}", id.as_str()),
            ("{name}", name.as_str()),
            ("{family}", "shop.paid"),
            (
                "{version}",
                if noun == Some("event-schemas") {
                    "1"
                } else {
                    "1.0.0"
                },
            ),
            ("{tenant}", &self.tenant),
            ("{connection}", &self.connection),
            ("{stream}", "orders"),
            ("{key}", CONNECTOR),
            ("{action}", "pay"),
            ("{bundle}", &self.connection),
        ]);
        let mut path = path.to_owned();
        for (name, value) in names {
            path = path.replace(name, value);
        }
        assert!(!path.contains('{'), "say in this test what fills {path}");
        path
    }

    pub(super) fn body(&self, method: &str, path: &str) -> String {
        match (method, path) {
            ("POST", "/api/v1/runs") => format!(r#"{{"connection": "{}"}}"#, self.connection),
            ("POST", "/api/v1/backfills") => format!(
                r#"{{"connection": "{}", "streams": ["orders"], "from": "1", "to": "9"}}"#,
                self.connection
            ),
            ("POST", "/api/v1/tokens") => r#"{"principal": "mine", "roles": ["agent"]}"#.to_owned(),
            ("PUT", "/api/v1/connections/{name}/states/{stream}") => r#"{"from": "beginning"}"#.to_owned(),
            ("PUT", "/api/v1/secrets/{name}") => r#"{"value": "mine"}"#.to_owned(),
            ("POST", path) if path.ends_with("/oauth/finish") => {
                r#"{"callback": "http://h/?state=x"}"#.to_owned()
            }
            ("POST", "/api/v1/events/{id}/replay") => "{}".to_owned(),
            ("POST", "/api/v1/calls" | "/api/v1/calls/dry-run") => {
                format!(r#"{{"connection": "{}", "action": "pay"}}"#, self.connection)
            }
            ("POST", "/api/v1/calls/{id}/settle") => r#"{"happened": true, "reason": "mine"}"#.to_owned(),
            ("POST", "/api/v1/bundles/{bundle}/runs") => "{}".to_owned(),
            ("POST", "/api/v1/bundle-runs/{id}/settle") => r#"{"reason": "mine"}"#.to_owned(),
            ("POST", "/api/v1/approvals/{id}/review") => r#"{"review": "mine"}"#.to_owned(),
            ("POST", path) if path.starts_with("/api/v1/approvals/") => "{}".to_owned(),
            ("POST", "/api/v1/alerts/{id}/resolve") => r#"{"reason": "mine"}"#.to_owned(),
            _ => String::new(),
        }
    }

    fn is_in(&self, text: &str) -> bool {
        let marks = [
            &self.tenant,
            &self.connection,
            &self.run,
            &self.token_id,
            &self.event,
            &self.alert,
            &self.silence,
            &self.call,
            &self.bundle_run,
        ];
        marks.into_iter().any(|mark| text.contains(mark))
    }
}

/// A grant of a connection, as if somebody had consented.
async fn connect(store: &Store, connection: &Connection) {
    let secrets = OneKey.open(store, &connection.tenant).await.unwrap();
    let client = OauthClient {
        grant: Oauth2Grant::AuthorizationCode,
        client_id: "weir".to_owned(),
        token_url: "https://login.example.com/token".to_owned(),
        issuer: None,
        authorize_url: None,
        authorize_params: Vec::new(),
        scopes: Vec::new(),
        can_device: false,
        can_revoke: false,
        seed: None,
    };
    let granted = Granted {
        access_token: Secret::new("a"),
        refresh_token: None,
        expires_in: None,
        refresh_expires_in: None,
        scopes: None,
    };
    let grants = Grants::new(store, &connection.tenant, secrets);
    grants.connect(&client, &connection.name, &granted).await.unwrap();
}

/// Takes whatever it is given.
struct Anybody;

#[async_trait]
impl Carrier for Anybody {
    async fn post(&self, _request: &deliveries::Post) -> Result<deliveries::Answer> {
        Ok(deliveries::Answer {
            status: 200,
            retry_after: None,
        })
    }

    async fn tell(&self, _channel: &str, _note: &alerts::Note, _event: &StoredEvent) -> Result<()> {
        Ok(())
    }

    async fn secret(&self, _tenant: &str, _name: &str) -> Result<Option<Secret>> {
        Ok(None)
    }
}

/// An event of a tenant, and the alert that it raised.
async fn events_of(store: &Store, tenant: &str) -> (String, String) {
    let event = Event::of_connection(tenant, Family::RunStale, &format!("shop-{tenant}"));
    events::append(store, &event).await.unwrap();
    send(store, event.id()).await;
    let filter = alerts::AlertFilter {
        limit: 1,
        ..alerts::AlertFilter::default()
    };
    let alert = alerts::list(store, tenant, &filter).await.unwrap().remove(0);
    (event.id().to_owned(), alert.id)
}

/// Routes every event, and sends this one alone: tests of one database leave each other's deliveries as they are.
async fn send(store: &Store, event: &str) {
    let settings = deliveries::Settings::default();
    deliveries::once(store, &Anybody, &settings, Some(event))
        .await
        .unwrap();
}

async fn webhook_of(store: &Store, tenant: &str) -> String {
    let keeper = OneKey.open(store, tenant).await.unwrap();
    let new = serde_json::json!({ "name": "hook", "url": format!("https://{tenant}.example.com/") });
    let new = serde_json::from_value(new).unwrap();
    let (webhook, _) = webhooks::add(store, &keeper, &new).await.unwrap();
    webhook.name
}

#[tokio::test]
async fn no_route_shows_or_changes_what_another_tenant_has() {
    let served = served().await;
    let theirs = Belongings::of(&served).await;
    let stranger = &served.token;
    let mut shown = 0;
    for (method, path, _) in operations(&served).await {
        let address = theirs.fill(&path);
        let body = theirs.body(&method, &path);
        let answer = served.ask_as(stranger, &method, &address, &body).await;
        if answer.status < 300 {
            // A name that is free in the stranger's own tenant.
            let is_own = path == "/api/v1/secrets/{name}";
            assert!(
                is_own || !path.contains('{'),
                "{method} {path} answered {}: {}",
                answer.status,
                answer.text
            );
            assert!(
                !theirs.is_in(&answer.text),
                "{method} {path} shows: {}",
                answer.text
            );
        } else if path.contains('{') {
            answer.problem(404);
        }
        // The same question of who owns it: else the refusal above would prove nothing.
        if method == "GET" {
            let own = served.ask_as(&theirs.admin, &method, &address, "").await;
            let expected = match path.as_str() {
                "/api/v1/connectors/health" => 503,
                // Nobody here has the tenant's files; `calls` asks where somebody has.
                "/api/v1/actions/{connection}/{action}" | "/api/v1/bundles/{bundle}" => 404,
                _ => 200,
            };
            assert_eq!(own.status, expected, "{path}: {}", own.text);
            shown += u32::from(theirs.is_in(&own.text));
        }
    }
    assert!(shown >= 10, "only {shown} routes show their owner something");
    let (store, tenant) = (&served.store, &theirs.tenant);
    assert_eq!(secrets::get(store, tenant, SECRET).await.unwrap().version, 1);
    let run = runs::get(store, tenant, &theirs.run).await.unwrap();
    assert_eq!(run.status, RunStatus::Queued);
    assert_eq!(
        runs::list(store, tenant, &Default::default())
            .await
            .unwrap()
            .len(),
        2
    );
    assert_eq!(principals::list(store, tenant).await.unwrap().len(), 1);
    assert_eq!(
        served
            .ask_as(&theirs.admin, "GET", "/api/v1/tokens", "")
            .await
            .status,
        200
    );
    let schedule = schedules::get(store, tenant, &theirs.connection).await.unwrap();
    assert_eq!(schedule.paused_at_ms, None);
}

#[tokio::test]
async fn monitors_read_how_much_is_going_on() {
    let served = served().await;
    let theirs = Belongings::of(&served).await;
    served.get("/api/v1/runs?limit=1").await;
    served.send("GET", "/nowhere/at/all", &[], "").await;
    let answer = served.send("GET", "/metrics", &[], "").await;
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    for line in [
        "weir_http_requests_total{method=\"GET\",route=\"/api/v1/runs\",status=\"200\"} 1",
        "weir_http_requests_total{method=\"GET\",route=\"unknown\",status=\"404\"} 1",
        "weir_runs{status=\"queued\"} ",
        "weir_queue_depth ",
        "weir_queue_oldest_waiting_seconds ",
        "weir_schedule_kept_ratio ",
        "weir_store_ping_seconds ",
        "weir_http_request_duration_seconds_bucket",
    ] {
        assert!(answer.text.contains(line), "{line} is not in {}", answer.text);
    }
    assert!(!theirs.is_in(&answer.text), "tenants are nobody's business here");
    assert!(answer.text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn every_answer_has_an_id_and_keeps_the_callers() {
    let served = served().await;
    let answer = served
        .send("GET", "/healthz", &[("x-request-id", "abc-1")], "")
        .await;
    assert_eq!(answer.header("x-request-id"), Some("abc-1"));
    let answer = served
        .send("GET", "/healthz", &[("x-request-id", "a b<")], "")
        .await;
    assert_eq!(answer.header("x-request-id").unwrap().len(), 36);
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

struct Up;

#[async_trait]
impl weir_control::connectors::Check for Up {
    async fn check(&self, _connection: &Connection) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_board_names_connectors_in_both_languages_and_the_probe_asks_them() {
    let info = ConnectorInfo {
        key: "http_json".to_owned(),
        version: "1.2.0".to_owned(),
        name: BTreeMap::from([
            ("en".to_owned(), "JSON over HTTP".to_owned()),
            ("ar".to_owned(), "واجهة".to_owned()),
        ]),
        governance: spec::Governance::default(),
        hook: None,
    };
    let served = served_with(Settings {
        catalog: vec![info],
        prober: Some(Prober::new(Arc::new(Up))),
        ..Settings::default()
    })
    .await;
    served.failing_sync().await;
    let (_, board) = served.get("/api/v1/connectors/governance").await;
    let line = &board["items"][0];
    assert_eq!(
        (&line["name"]["ar"], &line["status"], &line["registered"]),
        (&"واجهة".into(), &"error".into(), &true.into())
    );
    assert_eq!(line["last_error"]["hint"], "make room");
    assert!(line["last_attempt_at_ms"].is_i64() && line["last_success_at_ms"].is_null());
    let (status, health) = served.get("/api/v1/connectors/health").await;
    assert_eq!((status, &health["status"]), (200, &"ok".into()));
    assert_eq!(health["connections"][0]["connection"], "shop");
}

/// Page by page comes what came at once, from every list there is.
#[tokio::test]
async fn every_list_is_given_in_pages() {
    let served = served().await;
    let theirs = Belongings::of(&served).await;
    let mut lists = 0;
    for (method, path, operation) in operations(&served).await {
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let is_list = schema.to_string().contains("Page");
        if method != "GET" || !is_list {
            continue;
        }
        lists += 1;
        let parameters = operation["parameters"].to_string();
        assert!(
            parameters.contains("\"limit\"") && parameters.contains("\"after\""),
            "{path} has no pages"
        );
        let address = theirs.fill(&path);
        let ask = async |query: String| {
            let answer = served
                .ask_as(&theirs.admin, "GET", &format!("{address}?{query}"), "")
                .await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            answer.json()
        };
        let whole = ask("limit=200".to_owned()).await["items"].clone();
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = "limit=1".to_owned();
            if let Some(after) = &after {
                query += &format!("&after={}", url_encoded(after));
            }
            let page = ask(query).await;
            found.extend(page["items"].as_array().unwrap().clone());
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(Value::Array(found), whole, "{path}");
    }
    assert!(lists >= 10, "{lists}");
}

fn url_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Whatever a request changes is noted as the doing of the token that it showed.
#[tokio::test]
async fn changes_are_noted_as_the_callers_doing() {
    let served = served().await;
    let theirs = Belongings::of(&served).await;
    let mut changed = 0;
    for (method, path, _) in operations(&served).await {
        if method == "GET" || path.ends_with("/tokens/{id}/revoke") {
            continue;
        }
        let bearer = format!("Bearer {}", theirs.admin);
        let id = format!("request-{changed}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("x-request-id", id.as_str()),
        ];
        let body = theirs.body(&method, &path);
        let answer = served.send(&method, &theirs.fill(&path), &headers, &body).await;
        if answer.status >= 300 {
            continue;
        }
        let filter = weir_control::audit::EntryFilter {
            principal: Some(format!("token:{}", theirs.token_id)),
            limit: 100,
            ..Default::default()
        };
        let noted = weir_control::audit::list(&served.store, &theirs.tenant, &filter)
            .await
            .unwrap();
        assert!(
            noted.len() > changed,
            "{method} {path} left no record of who asked for it"
        );
        changed = noted.len();
    }
    assert!(changed >= 4, "{changed}");
}
