//! The actions of `slack` against answers in the shapes of Slack's reference.

use std::path::Path;

use serde_json::{Value, json};
use weir_engine::EngineSettings;
use weir_engine::action::HttpActions;
use weir_engine::catalog::Catalog;
use weir_protocol::action::{Actions as _, Call, Performed, Reply};
use wiremock::matchers::{
    BodyContainsMatcher, body_partial_json, body_string_contains, header, method, path,
};
use wiremock::{Mock, MockServer, ResponseTemplate};

const KEY: &str = "weir-1";

/// Of a form.
fn field(name: &str, value: &str) -> BodyContainsMatcher {
    body_string_contains(format!("{name}={value}"))
}

fn answer(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

fn actions(server: &MockServer) -> HttpActions {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../connectors");
    let catalog = Catalog::open(&[folder]).unwrap();
    let connection = serde_json::from_value(json!({
        "connection": "team", "connector": "slack", "config": { "base_url": format!("{}/api", server.uri()) },
        "credential": { "token": "xoxb-1" }, "allow_private_hosts": true,
    }))
    .unwrap();
    HttpActions::connect(
        catalog.get("slack").unwrap(),
        &connection,
        &EngineSettings::default(),
    )
    .unwrap()
}

fn call(actions: &HttpActions, action: &str, input: &Value) -> Call {
    Call {
        action: action.to_owned(),
        input: actions.check(action, input.as_object().unwrap()).unwrap(),
        idempotency_key: KEY.to_owned(),
        correlation_id: "run-1".to_owned(),
        began_at_ms: Some(1_700_000_000_000),
    }
}

fn done(performed: Performed) -> Reply {
    match performed {
        Performed::Done(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn metadata() -> Value {
    json!({ "event_type": "weir_call", "event_payload": { "key": KEY } })
}

#[tokio::test]
async fn a_message_carries_its_key_and_is_found_by_it() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/api/chat.postMessage"))
        .and(header("authorization", "Bearer xoxb-1"))
        .and(body_partial_json(
            json!({ "channel": "C01", "text": "Hi", "metadata": metadata() }),
        ))
        .respond_with(answer(json!({ "ok": true, "channel": "C01", "ts": "1.2" })))
        .mount(&server)
        .await;
    for (name, more) in [("history", None), ("replies", Some("1.0"))] {
        let mut mock = Mock::given(path(format!("/api/conversations.{name}")))
            .and(field("channel", "C01"))
            .and(field("include_all_metadata", "true"))
            // Five minutes before the call began.
            .and(field("oldest", "1699999700"))
            .and(field("limit", "200"));
        if let Some(ts) = more {
            mock = mock.and(field("ts", ts));
        }
        let messages = json!([{ "ts": "9.9", "text": "other" }, { "ts": "1.2", "metadata": metadata() }]);
        mock.respond_with(answer(json!({ "ok": true, "messages": messages })))
            .mount(&server)
            .await;
    }
    let actions = actions(&server);
    for (action, input) in [
        ("post_message", json!({ "channel": "C01", "text": "Hi" })),
        (
            "reply",
            json!({ "channel": "C01", "text": "Hi", "thread_ts": "1.0" }),
        ),
    ] {
        let post = call(&actions, action, &input);
        assert_eq!(
            done(actions.perform(&post).await).remote_id.as_deref(),
            Some("1.2")
        );
        let found = actions.look_up(&post).await.unwrap().unwrap();
        assert_eq!(found.remote_id.as_deref(), Some("1.2"));
        let absent = Call {
            idempotency_key: "weir-2".to_owned(),
            ..post
        };
        assert_eq!(actions.look_up(&absent).await.unwrap(), None);
    }
    for wrong in [
        json!({ "channel": "#general", "text": "x" }),
        json!({ "channel": "C01", "text": "" }),
    ] {
        actions
            .check("post_message", wrong.as_object().unwrap())
            .unwrap_err();
    }
}

#[tokio::test]
async fn a_message_is_looked_for_to_the_end_and_no_further_than_is_allowed() {
    let server = MockServer::start().await;
    let page = |key: &str, next: &str| {
        let metadata = json!({ "event_type": "weir_call", "event_payload": { "key": key } });
        let messages = json!([{ "ts": "1.2", "metadata": metadata }]);
        answer(json!({ "ok": true, "messages": messages, "response_metadata": { "next_cursor": next } }))
    };
    Mock::given(path("/api/conversations.history"))
        .and(field("cursor", "second"))
        .respond_with(page(KEY, ""))
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(path("/api/conversations.history"))
        .respond_with(page("weir-0", "second"))
        .mount(&server)
        .await;
    let actions = actions(&server);
    let post = call(
        &actions,
        "post_message",
        &json!({ "channel": "C01", "text": "Hi" }),
    );
    assert!(actions.look_up(&post).await.unwrap().is_some());
    let absent = Call {
        idempotency_key: "weir-2".to_owned(),
        ..post
    };
    assert_eq!(actions.look_up(&absent).await.unwrap(), None);
    server.reset().await;
    let pages = std::sync::atomic::AtomicU32::new(0);
    Mock::given(path("/api/conversations.history"))
        .respond_with(move |_: &wiremock::Request| {
            let number = pages.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            page("weir-0", &format!("page-{number}"))
        })
        .mount(&server)
        .await;
    let error = actions.look_up(&absent).await.unwrap_err();
    assert!(error.to_string().contains("not all was seen"), "{error}");
    assert_eq!(server.received_requests().await.unwrap().len(), 20);
}

#[tokio::test]
async fn what_slack_leaves_open_is_uncertain() {
    let server = MockServer::start().await;
    for (error, is_open) in [
        ("internal_error", true),
        ("fatal_error", true),
        ("request_timeout", true),
        ("is_archived", false),
    ] {
        server.reset().await;
        Mock::given(path("/api/chat.postMessage"))
            .respond_with(answer(json!({ "ok": false, "error": error })))
            .mount(&server)
            .await;
        let actions = actions(&server);
        let post = call(
            &actions,
            "post_message",
            &json!({ "channel": "C01", "text": "Hi" }),
        );
        match actions.perform(&post).await {
            Performed::Uncertain(_) => assert!(is_open, "{error}"),
            Performed::Failed(_) => assert!(!is_open, "{error}"),
            Performed::Done(reply) => panic!("{reply:?}"),
        }
        assert_eq!(server.received_requests().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_slack_refuses_with_a_good_status_is_a_refusal() {
    let server = MockServer::start().await;
    for (error, says) in [
        ("not_in_channel", "does not allow this in that channel"),
        ("strange", "refused the call"),
    ] {
        server.reset().await;
        Mock::given(path("/api/chat.update"))
            .respond_with(answer(json!({ "ok": false, "error": error })))
            .mount(&server)
            .await;
        let actions = actions(&server);
        let update = call(
            &actions,
            "update_message",
            &json!({ "channel": "C01", "ts": "1.2", "text": "Ho" }),
        );
        match actions.perform(&update).await {
            Performed::Failed(error) => assert!(error.to_string().contains(says), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn channels_are_listed_page_by_page_and_people_found() {
    let server = MockServer::start().await;
    let page = |name: &str, next: &str| {
        let channel = json!({ "id": name, "name": name, "is_private": false, "is_member": true });
        answer(json!({ "ok": true, "channels": [channel], "response_metadata": { "next_cursor": next } }))
    };
    Mock::given(path("/api/conversations.list"))
        .and(field("cursor", "abc"))
        .respond_with(page("two", ""))
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(path("/api/conversations.list"))
        .respond_with(page("one", "abc"))
        .mount(&server)
        .await;
    Mock::given(path("/api/users.lookupByEmail"))
        .and(field("email", "ann%40example.com"))
        .respond_with(answer(
            json!({ "ok": true, "user": { "id": "U1", "name": "ann", "real_name": "Ann" } }),
        ))
        .mount(&server)
        .await;
    let actions = actions(&server);
    let listed = done(
        actions
            .perform(&call(&actions, "list_channels", &json!({})))
            .await,
    );
    let records = listed.output["records"].as_array().unwrap();
    let names: Vec<_> = records.iter().map(|channel| &channel["name"]).collect();
    assert_eq!(names, ["one", "two"]);
    let found = call(&actions, "lookup_user", &json!({ "email": "ann@example.com" }));
    assert_eq!(
        done(actions.perform(&found).await).output,
        json!({ "id": "U1", "name": "ann", "real_name": "Ann" })
    );
}

#[tokio::test]
async fn a_token_that_slack_refuses_with_a_good_status_fails_the_check() {
    let server = MockServer::start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../connectors");
    let catalog = Catalog::open(&[folder]).unwrap();
    let connection = serde_json::from_value(json!({
        "connection": "team", "connector": "slack", "config": { "base_url": format!("{}/api", server.uri()) },
        "credential": { "token": "xoxb-1" }, "allow_private_hosts": true,
    }))
    .unwrap();
    let settings = EngineSettings::default();
    let source = weir_engine::connect(catalog.get("slack").unwrap(), &connection, &settings).unwrap();
    Mock::given(path("/api/auth.test"))
        .respond_with(answer(json!({ "ok": false, "error": "invalid_auth" })))
        .mount(&server)
        .await;
    let error = source.check().await.unwrap_err();
    assert_eq!(error.kind(), weir_protocol::ErrorKind::Auth);
    server.reset().await;
    Mock::given(path("/api/auth.test"))
        .respond_with(answer(json!({ "ok": true })))
        .mount(&server)
        .await;
    source.check().await.unwrap();
}
