//! Every paginator reads everything, once.

use super::api::{Api, records};
use super::*;

/// Name and `paginate` of each rule, for the test API.
pub(super) fn rules() -> Vec<(&'static str, Value)> {
    vec![
        (
            "page_number",
            json!({ "by": "page_number", "request": { "param": "page" }, "size": { "param": "size", "value": 3 } }),
        ),
        (
            "pages_path",
            json!({ "by": "page_number", "request": { "param": "page" }, "pages_path": "pages" }),
        ),
        (
            "page_empty",
            json!({ "by": "page_number", "request": { "param": "page" }, "size": { "param": "size", "value": 9 }, "stop": "empty" }),
        ),
        (
            "offset",
            json!({ "by": "offset", "request": { "param": "offset" }, "size": { "value": 3 } }),
        ),
        (
            "total_path",
            json!({ "by": "offset", "request": { "param": "offset" }, "size": { "value": 9 }, "total_path": "total" }),
        ),
        (
            "token_body",
            json!({ "by": "page_token", "request": { "param": "token" }, "path": "next" }),
        ),
        (
            "token_header",
            json!({ "by": "page_token", "request": { "param": "token" }, "from_header": "X-Next" }),
        ),
        (
            "token_made",
            json!({ "by": "page_token", "request": { "param": "token" },
            "token": "{{ (page.token or 0) | int + page.records }}", "stop_when": "{{ response.next is none }}" }),
        ),
        ("next_url", json!({ "by": "next_url", "path": "next_url" })),
        (
            "link_header",
            json!({ "by": "link_header", "size": { "param": "per_page", "value": 3 } }),
        ),
    ]
}

pub(super) fn stream(paginate: &Value) -> Value {
    json!([{ "name": "items", "path": "/items", "select": "items", "paginate": paginate, "primary_key": ["id"] }])
}

#[tokio::test]
async fn every_rule_reads_all_pages() {
    for (name, paginate) in rules() {
        for count in [0, 1, 3, 7, 9] {
            let api = Api::start(json!({ "/items": records(count) }), 3).await;
            let source = source(&api.uri(), stream(&paginate));
            let out = read(source.as_ref(), full(None)).await.fine();
            assert_eq!(out.ids(), (1..=count).collect::<Vec<_>>(), "{name} of {count}");
            assert!(out.state.complete);
            assert!(api.log().len() <= 5, "{name} of {count} asks too often");
        }
    }
}

#[tokio::test]
async fn one_page_is_all_without_a_rule() {
    let api = Api::start(json!({ "/items": records(7) }), 3).await;
    let source = source(&api.uri(), stream(&json!({ "by": "none" })));
    assert_eq!(read(source.as_ref(), full(None)).await.fine().ids(), [1, 2, 3]);
}

#[tokio::test]
async fn pages_that_repeat_are_an_error() {
    for (name, paginate) in rules() {
        let api = Api::start(json!({ "/items": records(9) }), 3).await;
        api.data.lock().unwrap().is_stuck = true;
        let source = source(&api.uri(), stream(&paginate));
        let out = read(source.as_ref(), full(None)).await;
        if name == "pages_path" || name == "total_path" {
            // They stop by the answer's own count.
            assert!(api.log().len() <= 4);
        }
        let error = out.error.unwrap_or_else(|| panic!("{name} read on"));
        assert!(error.to_string().contains("repeats page"), "{name}: {error}");
        assert!(api.log().len() <= 3);
    }
}

#[tokio::test]
async fn the_page_limit_holds() {
    let api = Api::start(json!({ "/items": records(300) }), 1).await;
    let source = source(
        &api.uri(),
        stream(&json!({ "by": "page_token", "request": { "param": "token" }, "path": "next" })),
    );
    let error = read(source.as_ref(), full(None)).await.error.unwrap();
    assert_eq!(error.kind(), weir_protocol::ErrorKind::Limit);
    insta::assert_snapshot!(format!("{error:?}"), @"[limit] a slice has more than 200 pages (stream: items) -> raise reliability.pages_max if that is right; otherwise check when paginate should stop");
}

#[tokio::test]
async fn a_preview_stops_early() {
    let api = Api::start(json!({ "/items": records(100) }), 3).await;
    let source = source(
        &api.uri(),
        stream(&json!({ "by": "next_url", "path": "next_url" })),
    );
    let request = ReadRequest {
        records_max: Some(5),
        ..full(None)
    };
    let out = read(source.as_ref(), request).await.fine();
    assert_eq!(out.ids(), [1, 2, 3, 4, 5]);
    assert!(!out.state.complete);
    assert!(api.log().len() <= 3);
}
