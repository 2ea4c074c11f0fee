//! Streams whose pages a vendor works out first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use weir_protocol::ErrorKind;
use wiremock::matchers::{any, method};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::{full, incremental, read, read_until, source};

/// What the vendor says of a job when it is asked: one state after the other, the last one forever.
async fn vendor(states: &'static [&'static str]) -> (MockServer, Arc<AtomicUsize>) {
    let server = MockServer::start().await;
    let made = Arc::new(AtomicUsize::new(0));
    let (count, polls) = (made.clone(), AtomicUsize::new(0));
    Mock::given(method("DELETE"))
        .respond_with(ResponseTemplate::new(500))
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(any())
        .respond_with(move |request: &Request| {
            let path = request.url.path();
            let body = if path == "/jobs" {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                polls.store(0, Ordering::SeqCst);
                json!({ "id": number })
            } else if path.ends_with("/results") {
                let job = path.split('/').nth(2).unwrap();
                return results(request, job);
            } else {
                let at = polls.fetch_add(1, Ordering::SeqCst).min(states.len() - 1);
                json!({ "state": states[at], "problem": "the table is gone" })
            };
            ResponseTemplate::new(200).set_body_json(body)
        })
        .mount(&server)
        .await;
    (server, made)
}

/// Two pages; a token of one job is none of another's.
fn results(request: &Request, job: &str) -> ResponseTemplate {
    let token = request.url.query_pairs().find(|(name, _)| name == "at");
    let (id, next) = match token {
        None => (1, json!(format!("{job}-second"))),
        Some((_, token)) if token == format!("{job}-second") => (2, Value::Null),
        Some(_) => return ResponseTemplate::new(400),
    };
    let at = format!("2024-01-0{id}T00:00:00Z");
    ResponseTemplate::new(200).set_body_json(json!({ "items": [{ "id": id, "at": at }], "next": next }))
}

fn stream(timeout: &str) -> Value {
    json!([{
        "name": "items", "primary_key": ["id"], "cursor": { "field": "at" },
        "job": {
            "create": { "path": "/jobs", "json": { "since": "{{ cursor.start }}" } }, "output": { "id": "id" },
            "poll": { "path": "/jobs/{{ job.id }}" },
            "done_when": "{{ response.state == 'done' }}", "failed_when": "{{ response.state == 'failed' }}",
            "message": "{{ response.problem }}", "every": "1ms", "timeout": timeout,
            "delete": { "method": "DELETE", "path": "/jobs/{{ job.id }}" },
        },
        "path": "/jobs/{{ job.id }}/results", "select": "items",
        "paginate": { "by": "page_token", "request": { "param": "at" }, "path": "next" },
    }])
}

async fn asked(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.unwrap();
    let line = |request: &Request| format!("{} {}", request.method, request.url.path());
    requests.iter().map(line).collect()
}

#[tokio::test]
async fn a_job_is_waited_for_read_and_removed() {
    let (server, _) = vendor(&["waiting", "waiting", "done"]).await;
    let out = read(source(&server.uri(), stream("1m")).as_ref(), incremental(None))
        .await
        .fine();
    assert_eq!(out.ids(), [1, 2]);
    assert_eq!(out.state.cursor_of("").unwrap(), "2024-01-02T00:00:00Z");
    let asked = asked(&server).await;
    assert_eq!(
        asked[..6],
        [
            "POST /jobs",
            "GET /jobs/1",
            "GET /jobs/1",
            "GET /jobs/1",
            "GET /jobs/1/results",
            "GET /jobs/1/results"
        ]
    );
    // That it cannot be removed changes nothing.
    assert!(
        asked[6..].iter().all(|line| line == "DELETE /jobs/1") && asked.len() > 6,
        "{asked:?}"
    );
    let again = read(
        source(&server.uri(), stream("1m")).as_ref(),
        incremental(Some(out.state)),
    )
    .await
    .fine();
    assert_eq!(again.ids(), [1, 2]);
    let last = server.received_requests().await.unwrap();
    let creates: Vec<Value> = last
        .iter()
        .filter(|request| request.url.path() == "/jobs")
        .map(|request| request.body_json().unwrap())
        .collect();
    assert_eq!(
        creates,
        [
            json!({ "since": null }),
            json!({ "since": "2024-01-02T00:00:00Z" })
        ]
    );
}

#[tokio::test]
async fn a_read_that_was_broken_off_asks_by_a_new_job_from_its_first_page() {
    let (server, made) = vendor(&["done"]).await;
    let source = source(&server.uri(), stream("1m"));
    // The first advance says which read runs, the second covers the first page.
    let first = read_until(source.as_ref(), incremental(None), Some(2)).await;
    assert_eq!(first.ids(), [1]);
    let second = read(source.as_ref(), incremental(Some(first.state))).await.fine();
    assert_eq!(second.ids(), [1, 2]);
    assert_eq!(made.load(Ordering::SeqCst), 2);
    // In full, a slice is given as a whole or not at all.
    let whole = read_until(source.as_ref(), full(None), Some(2)).await;
    assert_eq!(whole.ids(), [1, 2]);
}

#[tokio::test]
async fn a_job_that_fails_says_why_and_one_that_never_ends_is_given_up() {
    let (server, _) = vendor(&["waiting", "failed"]).await;
    let out = read(source(&server.uri(), stream("1m")).as_ref(), full(None)).await;
    let error = out.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert!(format!("{error:?}").contains("the table is gone"), "{error:?}");
    let (server, _) = vendor(&["waiting"]).await;
    let out = read(source(&server.uri(), stream("20ms")).as_ref(), full(None)).await;
    assert_eq!(out.error.unwrap().kind(), ErrorKind::Timeout);
}
