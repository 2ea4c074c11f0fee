//! Bad input and bad answers: clear errors, nothing silent.

use super::api::{Api, records};
use super::*;

async fn failure(stream: Value) -> String {
    let api = Api::start(json!({ "/items": records(3) }), 10).await;
    let uri = api.uri();
    let error = match try_source(&uri, json!([stream]), json!({ "zone": "eu" })) {
        Ok(source) => read(source.as_ref(), full(None)).await.error.unwrap(),
        Err(error) => error,
    };
    format!("{error:?}").replace(&uri, "http://api")
}

#[tokio::test]
async fn faults_are_clear() {
    insta::assert_snapshot!(failure(json!({ "name": "items", "path": "/items", "select": "item" })).await, @"[decode] the answer has nothing at 'item' (select: item, answer has: items, total, pages, next, next_url, url: http://api/items, stream: items) -> did you mean 'items'? Otherwise write select: { path: item, optional: true } where answers without it hold no records");
    insta::assert_snapshot!(failure(json!({ "name": "items", "path": "/items/{{ config.zon }}" })).await, @"[template] stream items: path: 'config.zon' is undefined (template: /items/{{ config.zon }}, stream: items) -> did you mean 'zone' instead of 'zon'?");
    insta::assert_snapshot!(failure(json!({ "name": "items", "path": "/items/{{ config.zone" })).await, @"[template] stream items: path: the template cannot be compiled (template: /items/{{ config.zone, problem: syntax error: unexpected end of input, expected end of variable block, stream: items, connection: test) -> write {{ config.name }} for a value and {% if … %}…{% endif %} for a choice");
    insta::assert_snapshot!(failure(json!({ "name": "items", "path": "/nothing" })).await, @"[source] not found at the source (status: 404, url: http://api/nothing, answer: nothing here, stream: items) -> check config values in the path, base_url, and that the credential may see it");
    insta::assert_snapshot!(failure(json!({ "name": "other", "path": "/items" })).await, @"[not_found] there is no stream 'items' -> its streams are other");
    insta::assert_snapshot!(failure(json!({ "name": "items", "path": "/items", "cursor": { "field": "at", "format": "rfc" } })).await, @"[spec] 'rfc' is not a cursor format (stream: items, connection: test) -> use one of rfc3339, date, epoch_s, epoch_ms, epoch_us, integer, string, or a strftime pattern such as %Y-%m-%d %H:%M:%S");
    insta::assert_snapshot!(failure(json!({ "name": "items", "path": "https://elsewhere.example/items" })).await, @"[denied] host 'elsewhere.example' is not among the connector's hosts (url: https://elsewhere.example/items, stream: items) -> if it belongs to the vendor, add it to 'hosts' in connector.yaml");
}

#[tokio::test]
async fn rules_decide_before_the_default() {
    let api = Api::start(json!({}), 10).await;
    let stream = |rule: Value| json!([{ "name": "items", "path": "/items", "errors": [rule] }]);
    let ignoring = source(
        &api.uri(),
        stream(json!({ "status": [404], "contains": "nothing", "action": "ignore" })),
    );
    let out = read(ignoring.as_ref(), full(None)).await.fine();
    assert!(out.records.is_empty() && out.state.complete);
    let failing = source(
        &api.uri(),
        stream(json!({ "when": "{{ 'here' in response }}", "action": "fail", "message": "no such account" })),
    );
    let error = read(failing.as_ref(), full(None)).await.error.unwrap();
    assert!(error.to_string().contains("no such account"), "{error}");
}

#[tokio::test]
async fn filters_count_and_keep_the_bytes() {
    let api = Api::start(json!({ "/items": records(4) }), 10).await;
    let stream = json!([{ "name": "items", "path": "/items", "select": "items", "filter": "{{ record.id % 2 == 0 }}" }]);
    let out = read(source(&api.uri(), stream).as_ref(), full(None)).await.fine();
    assert_eq!((out.ids(), out.filtered), (vec![2, 4], 2));
}

#[tokio::test]
async fn check_reads_one_page_where_nothing_is_declared() {
    let api = Api::start(json!({ "/items": records(4) }), 2).await;
    let good = source(
        &api.uri(),
        json!([{ "name": "items", "path": "/items", "select": "items" }]),
    );
    good.check().await.unwrap();
    assert_eq!(api.log().len(), 1);
    let bad = source(&api.uri(), json!([{ "name": "items", "path": "/none" }]));
    assert!(bad.check().await.is_err());
}

#[tokio::test]
async fn choices_of_the_connection_are_merged() {
    let spec = json!({ "spec": 1, "connector": "test", "version": "1.0.0", "name": {}, "hosts": ["a.example"],
        "streams": [{ "name": "items", "pii": { "a": "hash" }, "contract": "freeze" }, { "name": "more" }] });
    let spec: ConnectorSpec = serde_json::from_value(spec).unwrap();
    let connection = json!({ "connection": "c", "connector": "test", "streams": {
        "items": { "mode": "full_refresh_merge", "primary_key": ["id"], "pii": { "b": "drop" }, "schema": { "type": "object" } } } });
    let connection: ConnectionSpec = serde_json::from_value(connection).unwrap();
    let found = super::super::describe(&Connector::new(spec.clone()), &connection).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].mode.unwrap().to_string(), "full_refresh_merge");
    assert_eq!((found[0].policy.pii.len(), found[0].primary_key.len()), (2, 1));
    assert_eq!(found[0].schema, Some(json!({ "type": "object" })));
    let wrong = json!({ "connection": "c", "connector": "test", "streams": { "item": {} } });
    let wrong: ConnectionSpec = serde_json::from_value(wrong).unwrap();
    let error = super::super::describe(&Connector::new(spec), &wrong).unwrap_err();
    assert_eq!(error.next_step(), Some("did you mean 'items'?"));
}
