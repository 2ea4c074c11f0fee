//! Requests that are sent again, and things that changed meanwhile.

use weir_control::{connections, schedules};

use super::*;

#[tokio::test]
async fn a_request_that_is_sent_again_is_done_once() {
    let served = served().await;
    connections::register(&served.store, &served.shop())
        .await
        .unwrap();
    let key = ("idempotency-key", "order-1");
    let body = r#"{"connection": "shop", "full": true}"#;
    // Refused before it did anything: the key is free.
    served
        .ask_with("POST", "/api/v1/runs", key, r#"{"connection": "none"}"#)
        .await
        .problem(404);
    let first = served.ask_with("POST", "/api/v1/runs", key, body).await;
    assert_eq!(
        (first.status, first.header("idempotent-replayed")),
        (202, None),
        "{}",
        first.text
    );
    let again = served.ask_with("POST", "/api/v1/runs", key, body).await;
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (202, Some("true"))
    );
    assert_eq!(again.text, first.text);
    assert_eq!(again.header("location"), first.header("location"));
    served
        .ask_with("POST", "/api/v1/runs", key, r#"{"connection": "shop"}"#)
        .await
        .problem(422);
    served
        .ask_with("POST", "/api/v1/runs", ("idempotency-key", "a b"), body)
        .await
        .problem(400);
    let (_, runs) = served.get("/api/v1/runs").await;
    assert_eq!(runs["items"].as_array().unwrap().len(), 1);
    // Another principal's key is another key.
    let operator = token(&served.store, &served.tenant, Role::Operator).await;
    let bearer = format!("Bearer {operator}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        key,
    ];
    let other = served.send("POST", "/api/v1/runs", &headers, body).await;
    assert_ne!(other.json()["id"], first.json()["id"]);
}

#[tokio::test]
async fn of_many_at_once_one_is_done() {
    let served = served().await;
    connections::register(&served.store, &served.shop())
        .await
        .unwrap();
    let key = ("idempotency-key", "k");
    let body = r#"{"connection": "shop"}"#;
    let all =
        futures::future::join_all((0..8).map(|_| served.ask_with("POST", "/api/v1/runs", key, body))).await;
    let mut ids = std::collections::BTreeSet::new();
    for answer in all {
        if answer.status == 202 {
            ids.insert(answer.json()["id"].to_string());
        } else {
            answer.problem(409);
        }
    }
    assert_eq!(ids.len(), 1);
    let (_, runs) = served.get("/api/v1/runs").await;
    assert_eq!(runs["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_tokens_text_is_not_told_twice() {
    let served = served().await;
    let key = ("idempotency-key", "k");
    let body = r#"{"principal": "loader", "roles": ["agent"]}"#;
    let first = served.ask_with("POST", "/api/v1/tokens", key, body).await.json();
    let again = served.ask_with("POST", "/api/v1/tokens", key, body).await.json();
    assert_eq!(again["id"], first["id"]);
    assert!(first["bearer"].is_string() && again["bearer"].is_null());
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_and_what_did_is_not_overwritten() {
    let served = served().await;
    let spec = serde_json::from_str("{}").unwrap();
    schedules::put(&served.store, &served.shop(), Some(&spec))
        .await
        .unwrap();
    let path = "/api/v1/schedules/shop";
    let shown = served.ask("GET", path, "").await;
    let tag = shown.header("etag").unwrap().to_owned();
    let again = served.ask_with("GET", path, ("if-none-match", &tag), "").await;
    assert_eq!(
        (again.status, again.text.as_str(), again.header("etag")),
        (304, "", Some(tag.as_str()))
    );

    let pause = "/api/v1/schedules/shop/pause";
    let paused = served.ask_with("POST", pause, ("if-match", &tag), "").await;
    assert!(paused.json()["paused_at_ms"].is_i64());
    let resume = "/api/v1/schedules/shop/resume";
    served
        .ask_with("POST", resume, ("if-match", &tag), "")
        .await
        .problem(412);
    let (_, now) = served.get(path).await;
    assert!(now["paused_at_ms"].is_i64());
    assert_eq!(
        served
            .ask_with("GET", path, ("if-none-match", &tag), "")
            .await
            .status,
        200
    );
    assert!(served.ask("POST", resume, "").await.json()["paused_at_ms"].is_null());
    served
        .ask("POST", "/api/v1/schedules/none/pause", "")
        .await
        .problem(404);
}

#[tokio::test]
async fn a_run_is_queued_and_cancelled() {
    let served = served().await;
    connections::register(&served.store, &served.shop())
        .await
        .unwrap();
    let body = r#"{"connection": "shop", "streams": ["orders"]}"#;
    let queued = served.ask("POST", "/api/v1/runs", body).await;
    assert_eq!((queued.status, &queued.json()["status"]), (202, &"queued".into()));
    let place = queued.header("location").unwrap().to_owned();
    let cancelled = served.ask("POST", &format!("{place}/cancel"), "").await;
    assert_eq!(cancelled.json()["status"], "cancelled");
    // Asked once more, it is what it was.
    let again = served.ask("POST", &format!("{place}/cancel"), "").await;
    assert_eq!(again.json()["status"], "cancelled");
    for below in ["notices", "receipts"] {
        assert_eq!(served.get(&format!("{place}/{below}")).await.0, 200);
    }
}

#[tokio::test]
async fn bodies_that_do_not_fit_are_refused_each_in_its_way() {
    let served = served().await;
    let large = format!(r#"{{"connection": "{}"}}"#, "x".repeat(2 << 20));
    for (body, status) in [
        ("{", 400),
        ("[]", 422),
        (r#"{"connection": 5}"#, 422),
        (r#"{"connection": "shop", "colour": 1}"#, 422),
        ("{\"connection\": \"a\\u0000b\"}", 422),
        (r#"{"connection": "none"}"#, 404),
        (large.as_str(), 413),
    ] {
        served.ask("POST", "/api/v1/runs", body).await.problem(status);
    }
    let bearer = format!("Bearer {}", served.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "text/plain")];
    served
        .send("POST", "/api/v1/runs", &headers, "{}")
        .await
        .problem(415);
}
