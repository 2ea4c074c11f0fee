//! Export jobs, several tokens, and declared rates, in a time that only the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wiremock::Request;

use super::*;
use crate::http::tests::TestClock;

const EXPORTS: &str = include_str!("../../../tests/manifests/exports.yaml");

fn opened(server: &MockServer) -> (AirbyteSource, Arc<TestClock>) {
    let clock = Arc::new(TestClock::default());
    let manifest = Manifest::parse(
        "manifest.yaml",
        &EXPORTS.replace("https://api.shop.example", &server.uri()),
    );
    let settings = SourceSettings {
        engine: EngineSettings {
            clock: Clock::fixed("2025-06-15T12:00:00Z".parse().unwrap()),
            http_clock: Some(clock.clone()),
            ..EngineSettings::default()
        },
        allow_private_hosts: true,
        ..SourceSettings::default()
    };
    let config = json!({ "tokens": "first, second" });
    (
        AirbyteSource::new(&manifest.unwrap(), config, &settings).unwrap(),
        clock,
    )
}

async fn paths(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.unwrap();
    requests
        .iter()
        .map(|request| format!("{} {}", request.method, request.url.path()))
        .collect()
}

/// The first is refused, the second takes too long by the source's own word, the third is done.
#[tokio::test]
async fn an_export_is_tried_again_and_its_file_read_as_rows() {
    let server = MockServer::start().await;
    let made = AtomicUsize::new(0);
    let create = move |_: &Request| match made.fetch_add(1, Ordering::SeqCst) {
        0 => ResponseTemplate::new(400).set_body_json(json!({ "error": "busy" })),
        number => ResponseTemplate::new(200)
            .insert_header("X-Job", number.to_string())
            .set_body_json(json!({ "id": number })),
    };
    let polls = AtomicUsize::new(0);
    let poll = move |_: &Request| {
        let status = if polls.fetch_add(1, Ordering::SeqCst) == 0 {
            "running"
        } else {
            "done"
        };
        ResponseTemplate::new(200).set_body_json(json!({ "status": status, "file": "/files/2.csv" }))
    };
    let late = ResponseTemplate::new(200).set_body_json(json!({ "status": "expired" }));
    let rows = ResponseTemplate::new(200).set_body_string("id,note\n1,NA\n2,\"a,b\"\n");
    Mock::given(method("POST"))
        .and(path("/jobs"))
        .respond_with(create)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/jobs/1"))
        .respond_with(late)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/jobs/2"))
        .and(header("X-Job", "2"))
        .respond_with(poll)
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/jobs/1/cancel"))
        .respond_with(ResponseTemplate::new(500))
        .mount(&server)
        .await;
    Mock::given(path("/files/2.csv"))
        .respond_with(rows)
        .mount(&server)
        .await;
    let (source, clock) = opened(&server);
    let (records, _) = read(&source, "rows", None).await.unwrap();
    assert_eq!(
        records,
        [
            json!({ "id": "1", "note": null }),
            json!({ "id": "2", "note": "a,b" })
        ]
    );
    assert_eq!(
        paths(&server).await,
        [
            "POST /jobs",
            "POST /jobs",
            "GET /jobs/1",
            "POST /jobs/1/cancel",
            "POST /jobs",
            "GET /jobs/2",
            "GET /jobs/2",
            "GET /files/2.csv",
        ]
    );
    assert_eq!(*clock.waits.lock().unwrap(), [Duration::from_secs(5); 2]);
}

#[tokio::test]
async fn a_token_is_used_up_before_the_next_and_a_refused_one_is_left() {
    let server = MockServer::start().await;
    let quota = |request: &Request| {
        let is_first = request.headers["Authorization"] == "token first";
        let remaining = if is_first { 1 } else { 100 };
        ResponseTemplate::new(200)
            .set_body_json(json!({ "all": { "left": remaining, "reset": "2099-01-01T00:00:00Z" } }))
    };
    let page = |request: &Request| {
        let page = request
            .url
            .query_pairs()
            .find(|(name, _)| name == "page")
            .map_or(0, |(_, page)| page.parse().unwrap());
        ResponseTemplate::new(200).set_body_json(
            json!({ "data": (0..2 - page / 2).map(|id| json!({ "id": page * 2 + id })).collect::<Vec<_>>() }),
        )
    };
    Mock::given(path("/quota"))
        .respond_with(quota)
        .mount(&server)
        .await;
    Mock::given(path("/things"))
        .respond_with(page)
        .mount(&server)
        .await;
    let (source, _) = opened(&server);
    let (records, _) = read(&source, "things", None).await.unwrap();
    assert_eq!(records.len(), 5);
    let requests = server.received_requests().await.unwrap();
    let signed = requests.iter().map(|request| {
        let token = request.headers["Authorization"]
            .to_str()
            .unwrap()
            .trim_start_matches("token ");
        format!("{} {token}", request.url.path())
    });
    assert_eq!(
        signed.collect::<Vec<_>>(),
        [
            "/quota first",
            "/quota second",
            "/things first",
            "/things second",
            "/things second"
        ]
    );
}

#[tokio::test]
async fn a_declared_rate_is_waited_for() {
    let server = MockServer::start().await;
    let page = ResponseTemplate::new(200).set_body_json(json!({ "data": [{ "id": 1 }] }));
    Mock::given(path("/limited"))
        .respond_with(page)
        .mount(&server)
        .await;
    let (source, clock) = opened(&server);
    for _ in 0..3 {
        read(&source, "limited", None).await.unwrap();
    }
    assert_eq!(
        *clock.waits.lock().unwrap(),
        [Duration::from_secs(60)],
        "two of weight two in a minute"
    );
}
