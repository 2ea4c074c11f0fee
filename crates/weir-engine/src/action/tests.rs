//! Calls against a server on loopback.

use serde_json::{Value, json};
use weir_protocol::ErrorKind;
use weir_protocol::action::{Actions as _, Call, Performed, Reply};
use weir_protocol::connection::ConnectionSpec;
use wiremock::matchers::{body_json, body_string_contains, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::{EngineSettings, fingerprint};

const SECRET: &str = "sk-very-secret";

fn connect(base_url: &str, actions: Value) -> Result<HttpActions> {
    let spec: ConnectorSpec = serde_json::from_value(json!({
        "spec": 1, "connector": "test", "version": "1.2.0", "name": { "en": "Test" },
        "hosts": [base_url], "http": { "base_url": base_url }, "actions": actions,
        "auth": [{ "method": "bearer", "token": "{{ credential.token }}" }],
        "reliability": { "timeout": "1s", "retry": { "attempts": 3, "base": "1ms" } },
    }))
    .unwrap();
    spec.validate()?;
    let connection: ConnectionSpec = serde_json::from_value(json!({
        "connection": "shop", "connector": "test", "allow_private_hosts": true,
        "credential": { "method": "bearer", "token": SECRET },
    }))
    .unwrap();
    HttpActions::connect(&Connector::new(spec), &connection, &EngineSettings::default())
}

fn create() -> Value {
    json!({
        "name": "create_order", "title": "Create an order", "effect": "write",
        "input": {
            "type": "object", "required": ["item"], "additionalProperties": false,
            "properties": { "item": { "type": "string" }, "count": { "type": "integer", "minimum": 1, "default": 1 } },
        },
        "request": {
            "path": "/shops/{{ input.item }}/orders",
            "json": { "item": "{{ input.item }}", "count": "{{ input.count }}" },
        },
        "output": { "id": "data.id", "tags": "data.tags.*.name" },
        "remote_id": "id",
        "idempotency": { "header": "Idempotency-Key" },
    })
}

fn unkeyed() -> Value {
    let mut action = create();
    action["idempotency"] = json!("none");
    action
}

fn call(action: &str, input: Value) -> Call {
    let Value::Object(input) = input else { panic!() };
    Call {
        action: action.to_owned(),
        input,
        idempotency_key: "call-1".to_owned(),
        correlation_id: "run-1".to_owned(),
        began_at_ms: Some(1_700_000_000_000),
    }
}

fn checked(actions: &HttpActions, action: &str, input: Value) -> Call {
    let call = call(action, input);
    Call {
        input: actions.check(action, &call.input).unwrap(),
        ..call
    }
}

fn done(performed: Performed) -> Reply {
    match performed {
        Performed::Done(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn failed(performed: Performed) -> Error {
    match performed {
        Performed::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

fn uncertain(performed: Performed) -> Error {
    match performed {
        Performed::Uncertain(error) => error,
        other => panic!("{other:?}"),
    }
}

async fn answering(status: u16, body: &str) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(status).set_body_raw(body, "application/json"))
        .mount(&server)
        .await;
    server
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

#[tokio::test]
async fn a_call_sends_its_input_once_and_picks_the_output() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/shops/a%2Fb/orders"))
        .and(header("Authorization", format!("Bearer {SECRET}").as_str()))
        .and(header("Idempotency-Key", "call-1"))
        .and(header("X-Correlation-Id", "run-1"))
        .and(body_json(json!({ "item": "a/b", "count": 1 })))
        .respond_with(
            ResponseTemplate::new(201)
                .set_body_json(json!({ "data": { "id": 7, "tags": [{ "name": "x" }, { "name": "y" }] } })),
        )
        .mount(&server)
        .await;
    let actions = connect(&server.uri(), json!([create()])).unwrap();
    let reply = done(
        actions
            .perform(&checked(&actions, "create_order", json!({ "item": "a/b" })))
            .await,
    );
    assert_eq!(reply.output, json!({ "id": 7, "tags": ["x", "y"] }));
    assert_eq!(reply.remote_id.as_deref(), Some("7"));
    assert_eq!(reply.status, 201);
    assert_eq!(requests(&server).await, 1);
}

#[tokio::test]
async fn an_answer_beyond_reason_is_refused_and_says_whether_it_was_done() {
    let server = answering(200, &" ".repeat(17 << 20)).await;
    let mut list = create();
    list["name"] = json!("list_orders");
    list["effect"] = json!("read");
    let actions = connect(&server.uri(), json!([create(), list])).unwrap();
    let read = checked(&actions, "list_orders", json!({ "item": "a" }));
    let error = failed(actions.perform(&read).await);
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.next_step().unwrap().contains("response_max"));
    let order = checked(&actions, "create_order", json!({ "item": "a" }));
    assert_eq!(uncertain(actions.perform(&order).await).kind(), ErrorKind::Limit);
}

#[tokio::test]
async fn an_open_breaker_is_seen_without_asking_anybody() {
    let server = answering(503, "").await;
    let actions = connect(&server.uri(), json!([create()])).unwrap();
    assert!(actions.shut("create_order").is_none());
    let order = checked(&actions, "create_order", json!({ "item": "a" }));
    for _ in 0..2 {
        uncertain(actions.perform(&order).await);
    }
    let asked = requests(&server).await;
    let error = actions.shut("create_order").unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("create_order"), "{error}");
    assert_eq!(failed(actions.perform(&order).await).kind(), error.kind());
    assert_eq!(requests(&server).await, asked);
}

#[tokio::test]
async fn a_shown_call_is_the_exact_request_without_credential_and_sends_nothing() {
    let server = answering(200, "{}").await;
    let actions = connect(&server.uri(), json!([create()])).unwrap();
    let shown = actions
        .show(&checked(&actions, "create_order", json!({ "item": SECRET })))
        .unwrap();
    assert_eq!(shown.method, "POST");
    assert!(!format!("{shown:?}").contains(SECRET), "{shown:?}");
    let shown = actions
        .show(&checked(&actions, "create_order", json!({ "item": "a b" })))
        .unwrap();
    assert_eq!(shown.url, format!("{}/shops/a%20b/orders", server.uri()));
    assert_eq!(shown.body, Some(json!({ "item": "a b", "count": 1 })));
    assert!(
        shown
            .headers
            .contains(&("Idempotency-Key".to_owned(), "call-1".to_owned()))
    );
    assert_eq!(requests(&server).await, 0);
}

#[tokio::test]
async fn input_that_breaks_the_schema_names_the_field() {
    let actions = connect("http://127.0.0.1:9", json!([create()])).unwrap();
    let refused = |input: Value| {
        let Value::Object(input) = input else { panic!() };
        let error = actions.check("create_order", &input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.next_step().is_some());
        error.message().to_owned()
    };
    assert_eq!(refused(json!({})), "input.item is missing");
    assert_eq!(
        refused(json!({ "item": "a", "cuont": 2 })),
        "input.cuont is not known here"
    );
    assert!(refused(json!({ "item": "a", "count": 0 })).starts_with("input.count: "));
    let error = actions.check("create_ordr", &Map::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.next_step(), Some("did you mean 'create_order'?"));
}

#[tokio::test]
async fn a_value_cannot_lead_out_of_its_place_in_the_path() {
    let actions = connect("http://127.0.0.1:9", json!([create()])).unwrap();
    for item in ["..", "."] {
        let error = actions
            .show(&checked(&actions, "create_order", json!({ "item": item })))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }
}

#[tokio::test]
async fn what_the_vendor_refuses_surely_had_no_effect() {
    for (status, kind) in [
        (400, ErrorKind::Source),
        (401, ErrorKind::Auth),
        (404, ErrorKind::Source),
        (422, ErrorKind::Source),
    ] {
        let server = answering(status, r#"{"error": "no"}"#).await;
        let actions = connect(&server.uri(), json!([unkeyed()])).unwrap();
        let error = failed(
            actions
                .perform(&checked(&actions, "create_order", json!({ "item": "a" })))
                .await,
        );
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.next_step().is_some(), "{status}");
        assert_eq!(requests(&server).await, 1, "{status}");
    }
}

#[tokio::test]
async fn what_to_do_about_a_refusal_is_said_of_the_action() {
    for (status, wanted) in [
        (409, "'errors' rule of the action"),
        (418, "add an 'errors' rule to the action"),
    ] {
        let server = answering(status, r#"{"error": "exists"}"#).await;
        let actions = connect(&server.uri(), json!([unkeyed()])).unwrap();
        let call = checked(&actions, "create_order", json!({ "item": "a" }));
        let error = failed(actions.perform(&call).await);
        let hint = error.next_step().unwrap();
        assert!(
            hint.contains(wanted) && !hint.contains("stream"),
            "{status}: {hint}"
        );
    }
}

#[tokio::test]
async fn an_error_rule_makes_a_good_status_a_refusal() {
    let server = answering(200, r#"{"ok": false, "error": "channel_not_found"}"#).await;
    let mut action = unkeyed();
    action["errors"] =
        json!([{ "when": "{{ not response.ok }}", "action": "fail", "message": "the vendor says no" }]);
    let actions = connect(&server.uri(), json!([action])).unwrap();
    let error = failed(
        actions
            .perform(&checked(&actions, "create_order", json!({ "item": "a" })))
            .await,
    );
    assert!(error.to_string().contains("the vendor says no"), "{error}");
}

#[tokio::test]
async fn an_answer_that_tells_nothing_leaves_an_unkeyed_call_uncertain_and_unrepeated() {
    for (status, body) in [(500, "oops"), (504, ""), (200, "{ no json")] {
        let server = answering(status, body).await;
        let actions = connect(&server.uri(), json!([unkeyed()])).unwrap();
        let performed = actions
            .perform(&checked(&actions, "create_order", json!({ "item": "a" })))
            .await;
        uncertain(performed);
        assert_eq!(requests(&server).await, 1, "{status}");
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_it_uncertain_and_a_closed_port_does_not() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let taken = tokio::spawn(async move {
        let mut count = 0;
        while let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::from_secs(3), listener.accept()).await
        {
            use tokio::io::AsyncReadExt as _;
            let mut stream = stream;
            let mut bytes = [0; 64];
            // It arrives, and then the connection breaks.
            let _read = stream.read(&mut bytes).await;
            count += 1;
        }
        count
    });
    let actions = connect(&url, json!([unkeyed()])).unwrap();
    uncertain(
        actions
            .perform(&checked(&actions, "create_order", json!({ "item": "a" })))
            .await,
    );
    assert_eq!(taken.await.unwrap(), 1);
    let error = failed(
        actions
            .perform(&checked(&actions, "create_order", json!({ "item": "a" })))
            .await,
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_weir_itself_refuses_to_send_had_no_effect() {
    let mut foreign = unkeyed();
    foreign["request"]["path"] = json!("http://evil.example/orders");
    // The name leads to this machine, which is not allowed then.
    let mut private = unkeyed();
    private["request"]["path"] = json!("https://localhost:9/orders");
    for action in [foreign, private] {
        let Ok(actions) = connect("http://127.0.0.1:9", json!([action])) else {
            continue;
        };
        let error = failed(
            actions
                .perform(&checked(&actions, "create_order", json!({ "item": "a" })))
                .await,
        );
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    }
}

#[tokio::test]
async fn a_keyed_call_is_repeated_under_the_same_key() {
    let server = MockServer::start().await;
    Mock::given(header("Idempotency-Key", "call-1"))
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(header("Idempotency-Key", "call-1"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "data": { "id": "o1" } })))
        .mount(&server)
        .await;
    let actions = connect(&server.uri(), json!([create()])).unwrap();
    let reply = done(
        actions
            .perform(&checked(&actions, "create_order", json!({ "item": "a" })))
            .await,
    );
    assert_eq!(reply.remote_id.as_deref(), Some("o1"));
    assert_eq!(requests(&server).await, 2);
}

#[tokio::test]
async fn a_deadline_ends_a_call_and_says_that_it_may_have_arrived() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(30)))
        .mount(&server)
        .await;
    let mut action = unkeyed();
    action["deadline"] = json!("200ms");
    let actions = connect(&server.uri(), json!([action])).unwrap();
    let error = uncertain(
        actions
            .perform(&checked(&actions, "create_order", json!({ "item": "a" })))
            .await,
    );
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

fn list() -> Value {
    json!({
        "name": "list_orders", "title": "List orders", "effect": "read",
        "input": { "type": "object", "properties": { "shop": { "type": "string" } } },
        "request": { "path": "/orders", "params": { "shop": "{{ input.shop }}" } },
        "select": { "path": "items" },
        "paginate": { "by": "page_number", "request": { "param": "page" }, "size": { "param": "per", "value": 2 } },
        "output": { "id": "id" },
    })
}

#[tokio::test]
async fn a_read_action_reads_all_pages() {
    let server = MockServer::start().await;
    for (page, items) in [
        ("1", json!([{ "id": 1, "x": 0 }, { "id": 2 }])),
        ("2", json!([{ "id": 3 }])),
    ] {
        Mock::given(method("GET"))
            .and(query_param("page", page))
            .and(query_param("shop", "north"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "items": items })))
            .mount(&server)
            .await;
    }
    let actions = connect(&server.uri(), json!([list()])).unwrap();
    let call = checked(&actions, "list_orders", json!({ "shop": "north" }));
    let reply = done(actions.perform(&call).await);
    assert_eq!(
        reply.output,
        json!({ "records": [{ "id": 1 }, { "id": 2 }, { "id": 3 }], "truncated": false })
    );
    let shown = actions.show(&call).unwrap();
    assert!(
        shown.url.contains("page=1") && shown.url.contains("per=2"),
        "{}",
        shown.url
    );
}

#[tokio::test]
async fn a_file_is_uploaded_as_it_is() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(body_string_contains(
            "name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n",
        ))
        .and(body_string_contains("name=\"title\"\r\n\r\nGreeting\r\n"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "id": "f1" })))
        .mount(&server)
        .await;
    let action = json!({
        "name": "upload", "title": "Upload a file", "effect": "write",
        "input": { "type": "object", "required": ["file"], "properties": { "file": { "type": "object" }, "title": { "type": "string" } } },
        "request": { "path": "/files", "multipart": { "file": "{{ input.file }}", "title": "{{ input.title }}" } },
    });
    let actions = connect(&server.uri(), json!([action])).unwrap();
    let file = json!({ "base64": "aGVsbG8=", "filename": "a.txt", "content_type": "text/plain" });
    let reply = done(
        actions
            .perform(&checked(
                &actions,
                "upload",
                json!({ "file": file, "title": "Greeting" }),
            ))
            .await,
    );
    assert_eq!(reply.output, json!({ "id": "f1" }));
    let wrong = checked(&actions, "upload", json!({ "file": { "base64": "no base64!" } }));
    assert_eq!(failed(actions.perform(&wrong).await).kind(), ErrorKind::Usage);
}

#[tokio::test]
async fn a_lookup_finds_the_effect_of_an_earlier_try() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/orders"))
        .respond_with(ResponseTemplate::new(200).set_body_json(
            json!({ "data": [{ "id": 1, "reference": "other" }, { "id": 2, "reference": "call-1" }] }),
        ))
        .mount(&server)
        .await;
    let mut action = unkeyed();
    action["idempotency"] = json!({ "lookup": {
        "request": { "path": "/orders" }, "select": { "path": "data" },
        "where": "{{ record.reference == idempotency_key }}", "output": { "id": "id" },
        "complete_when": "{{ record.id == 2 and began_at == 1700000000 and response.data | length == 2 }}",
    } });
    let actions = connect(&server.uri(), json!([action])).unwrap();
    let mine = checked(&actions, "create_order", json!({ "item": "a" }));
    let found = actions.look_up(&mine).await.unwrap().unwrap();
    assert_eq!(found.remote_id.as_deref(), Some("2"));
    let other = Call {
        idempotency_key: "call-2".to_owned(),
        ..mine
    };
    assert_eq!(actions.look_up(&other).await.unwrap(), None);
    // One page whose end is not known proves nothing.
    for unproven in [Value::Null, json!("{{ record.id == 3 }}")] {
        action["idempotency"]["lookup"]["complete_when"] = unproven;
        let actions = connect(&server.uri(), json!([action])).unwrap();
        let error = actions.look_up(&other).await.unwrap_err();
        assert!(error.to_string().contains("not all was seen"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_leaves_open_what_happened_is_uncertain_or_asked_again() {
    let server = answering(200, r#"{"ok": false}"#).await;
    let rules = json!([{ "when": "{{ not response.ok }}", "action": "open", "message": "It broke off." }]);
    for (mut action, tries) in [(unkeyed(), 1), (create(), 3)] {
        server.reset().await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "ok": false })))
            .mount(&server)
            .await;
        action["errors"] = rules.clone();
        let actions = connect(&server.uri(), json!([action])).unwrap();
        let order = checked(&actions, "create_order", json!({ "item": "a" }));
        let error = uncertain(actions.perform(&order).await);
        assert!(error.to_string().contains("It broke off."), "{error}");
        assert_eq!(requests(&server).await, tries);
    }
}

#[test]
fn a_fingerprint_names_the_connector_and_the_settings_and_no_secret() {
    let one = connect("http://127.0.0.1:9", json!([create()])).unwrap();
    let same = connect("http://127.0.0.1:9", json!([create()])).unwrap();
    assert_eq!(one.fingerprint(), same.fingerprint());
    let mut other = create();
    other["request"]["path"] = json!("/elsewhere");
    for changed in [
        connect("http://127.0.0.1:10", json!([create()])),
        connect("http://127.0.0.1:9", json!([other])),
    ] {
        assert_ne!(one.fingerprint(), changed.unwrap().fingerprint());
    }
}

#[tokio::test]
async fn an_output_that_breaks_its_schema_fails_a_read_and_is_told_of_a_write() {
    let schema = json!({ "type": "object", "properties": { "tags": { "type": "string" } } });
    let order = |actions: &HttpActions| checked(actions, "create_order", json!({ "item": "a" }));
    let mut write = unkeyed();
    write["output_schema"] = schema;
    let mut read = write.clone();
    read["effect"] = json!("read");
    let server = answering(200, r#"{"data": {"id": 7, "tags": []}}"#).await;
    let actions = connect(&server.uri(), json!([write])).unwrap();
    let reply = done(actions.perform(&order(&actions)).await);
    assert_eq!(reply.remote_id.as_deref(), Some("7"));
    let warning = reply.warning.unwrap();
    assert!(warning.contains("output.tags"), "{warning}");
    let actions = connect(&server.uri(), json!([read])).unwrap();
    let error = failed(actions.perform(&order(&actions)).await);
    assert!(error.to_string().contains("output.tags"), "{error}");
    // Nothing in an answer without the id of what was made says that anything was.
    let server = answering(200, r#"{"data": {"tags": []}}"#).await;
    let actions = connect(&server.uri(), json!([write])).unwrap();
    let error = uncertain(actions.perform(&order(&actions)).await);
    assert_eq!(error.kind(), ErrorKind::Decode);
}

#[test]
fn specs_that_cannot_be_right_are_refused() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut action = create();
        change(&mut action);
        connect("http://127.0.0.1:9", json!([action]))
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert!(
        refused(&|action| action["input"] = json!({ "type": "string" })).contains("not one of an object")
    );
    assert!(
        refused(&|action| action["input"]["properties"]["item"]["type"] = json!("strung"))
            .contains("input schema")
    );
    assert!(refused(&|action| action["remote_id"] = json!("nothing")).contains("no field of the output"));
    assert!(
        refused(&|action| action["compensate"] = json!({ "action": "undo" })).contains("no action 'undo'")
    );
    assert!(refused(&|action| action["paginate"] = list()["paginate"].clone()).contains("effect write"));
    let twice = connect("http://127.0.0.1:9", json!([create(), create()]))
        .map(drop)
        .unwrap_err();
    assert!(twice.to_string().contains("declared twice"));
    let mut effectless = create();
    effectless.as_object_mut().unwrap().remove("effect");
    let error = serde_json::from_value::<ActionSpec>(effectless).unwrap_err();
    assert!(error.to_string().contains("effect"), "{error}");
}

#[test]
fn the_fingerprint_is_another_one_with_every_way_to_send_a_request_elsewhere() {
    let connector = json!({
        "spec": 1, "connector": "test", "version": "1.2.0", "name": { "en": "Test" },
        "hosts": ["api.example"], "http": { "base_url": "https://api.example" }, "actions": [create()],
        "auth": [{ "method": "bearer", "token": "{{ credential.token }}" }],
        "config": { "type": "object", "properties": { "account": { "type": "string" }, "region": { "type": "string" } } },
    });
    let connection = json!({
        "connection": "shop", "connector": "test", "config": { "account": "1", "region": "eu" },
        "credential": { "method": "bearer", "token": SECRET },
    });
    let of = |connector: &Value, connection: &Value| {
        let spec: ConnectorSpec = serde_json::from_value(connector.clone()).unwrap();
        let connection: ConnectionSpec = serde_json::from_value(connection.clone()).unwrap();
        fingerprint::of_calls(&spec, &connection, "")
    };
    let with = |value: &Value, path: &str, new: Value| {
        let mut changed = value.clone();
        *changed.pointer_mut(path).unwrap() = new;
        changed
    };
    let first = of(&connector, &connection);

    for (path, new) in [
        ("/hosts/0", json!("evil.example")),
        ("/http/base_url", json!("https://evil.example")),
        ("/auth/0/token", json!("{{ config.account }}")),
    ] {
        assert_ne!(of(&with(&connector, path, new), &connection), first, "{path}");
    }
    assert_ne!(
        of(&connector, &with(&connection, "/config/account", json!("2"))),
        first
    );
    let mut private = connection.clone();
    private["allow_private_hosts"] = json!(true);
    assert_ne!(of(&connector, &private), first);

    // What says the same is the same: an exchanged secret, another order of keys.
    assert_eq!(
        of(
            &connector,
            &with(&connection, "/credential/token", json!("sk-new"))
        ),
        first
    );
    let turned = with(&connection, "/config", json!({ "region": "eu", "account": "1" }));
    assert_eq!(of(&connector, &turned), first);
}

#[test]
fn another_account_is_another_fingerprint_and_names_no_secret() {
    let connector = json!({
        "spec": 1, "connector": "test", "version": "1.2.0", "name": { "en": "Test" },
        "hosts": ["api.example"], "http": { "base_url": "https://api.example" }, "actions": [create()],
        "auth": [{ "method": "bearer", "token": "{{ credential.token }}" }],
    });
    let spec: ConnectorSpec = serde_json::from_value(connector).unwrap();
    let connection = |token: &str| -> ConnectionSpec {
        let connection = json!({
            "connection": "shop", "connector": "test", "credential": { "method": "bearer", "token": token },
        });
        serde_json::from_value(connection).unwrap()
    };
    let of = |key: &str, token: &str, consents: Option<i64>| {
        let account = crate::account(&weir_protocol::Secret::new(key), &connection(token), consents).unwrap();
        assert!(!account.contains(token));
        fingerprint::of_calls(&spec, &connection(token), &account)
    };
    let first = of("key", SECRET, Some(1));
    assert_eq!(of("key", SECRET, Some(1)), first);
    for other in [
        of("key", "sk-of-another", Some(1)),
        of("key", SECRET, Some(2)),
        of("key", SECRET, None),
        of("other key", SECRET, Some(1)),
    ] {
        assert_ne!(other, first);
    }
}

fn upload() -> Value {
    json!({
        "name": "upload", "title": "Upload", "effect": "message",
        "input": { "type": "object", "required": ["content"], "properties": { "content": { "type": "string" } } },
        "prepare": [
            { "name": "place", "request": { "path": "/places", "form": { "size": "{{ input.content | base64size }}" } },
              "output": { "url": "url", "id": "id" } },
            { "name": "content", "request": { "path": "{{ prepared.place.url }}", "text": "{{ input.content }}" } },
        ],
        "request": { "path": "/share", "json": { "file": "{{ prepared.place.id }}" } },
        "output": { "id": "id" },
    })
}

#[tokio::test]
async fn what_is_prepared_goes_before_and_has_no_effect() {
    let server = MockServer::start().await;
    let place = json!({ "url": format!("{}/content/1", server.uri()), "id": "f1" });
    Mock::given(path("/places"))
        .and(body_string_contains("size=5"))
        .respond_with(ResponseTemplate::new(200).set_body_json(place))
        .mount(&server)
        .await;
    Mock::given(path("/content/1"))
        .respond_with(ResponseTemplate::new(200).set_body_string("OK"))
        .mount(&server)
        .await;
    Mock::given(path("/share"))
        .and(body_json(json!({ "file": "f1" })))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "id": 9 })))
        .mount(&server)
        .await;
    let actions = connect(&server.uri(), json!([upload()])).unwrap();
    let call = checked(&actions, "upload", json!({ "content": "aGVsbG8=" }));
    let shown = actions.show(&call).unwrap();
    assert_eq!(shown.body, Some(json!({ "file": "<place.id>" })));
    assert_eq!(requests(&server).await, 0);
    assert_eq!(done(actions.perform(&call).await).output, json!({ "id": 9 }));
    assert_eq!(requests(&server).await, 3);
}

#[tokio::test]
async fn a_call_that_fails_while_it_is_prepared_has_surely_no_effect() {
    for (status, body) in [(500, "{}"), (200, r#"{"url": null, "id": 1}"#), (200, "no json")] {
        let server = MockServer::start().await;
        Mock::given(path("/places"))
            .respond_with(ResponseTemplate::new(status).set_body_string(body))
            .mount(&server)
            .await;
        let actions = connect(&server.uri(), json!([upload()])).unwrap();
        let call = checked(&actions, "upload", json!({ "content": "aGVsbG8=" }));
        failed(actions.perform(&call).await);
        let asked = server.received_requests().await.unwrap();
        assert!(
            asked.iter().all(|request| request.url.path() == "/places"),
            "{status} {body}"
        );
    }
}

#[tokio::test]
async fn a_file_is_given_as_it_is_and_not_a_large_one() {
    let action = json!({
        "name": "fetch", "title": "Fetch", "effect": "read", "answers": "file",
        "input": { "type": "object" }, "request": { "path": "/sound" },
    });
    for (bytes, is_given) in [(vec![0xff, 0x00, 0x10], true), (vec![0; (4 << 20) + 1], false)] {
        let server = MockServer::start().await;
        Mock::given(path("/sound"))
            .respond_with(ResponseTemplate::new(200).set_body_raw(bytes, "audio/mpeg"))
            .mount(&server)
            .await;
        let actions = connect(&server.uri(), json!([action])).unwrap();
        let performed = actions.perform(&checked(&actions, "fetch", json!({}))).await;
        if is_given {
            let file = json!({ "base64": "/wAQ", "content_type": "audio/mpeg", "bytes": 3 });
            assert_eq!(done(performed).output, file);
        } else {
            assert_eq!(failed(performed).kind(), ErrorKind::Limit);
        }
    }
}
