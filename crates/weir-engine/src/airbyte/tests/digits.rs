//! Numbers that 64 bits do not hold: records that are written anew keep their digits.

use super::*;

const WORKSHOP: &str = include_str!("../../../tests/manifests/workshop.yaml");

/// The records as they are passed on: values would not tell their numbers apart.
async fn texts(source: &AirbyteSource, stream: &str) -> Vec<String> {
    let mut events = source.read(ReadRequest::full(stream));
    let mut texts = Vec::new();
    while let Some(event) = events.next().await {
        if let ReadEvent::Batch(batch) = event.unwrap() {
            let found = batch.records.iter().map(|record| batch.json(record).to_vec());
            texts.extend(found.map(|text| String::from_utf8(text).unwrap()));
        }
    }
    texts
}

async fn raw(server: &MockServer, mock: wiremock::MockBuilder, body: &str) {
    mock.respond_with(ResponseTemplate::new(200).set_body_raw(body, "application/json"))
        .mount(server)
        .await;
}

#[tokio::test]
async fn transformed_and_normalised_records_keep_them() {
    let server = MockServer::start().await;
    let fields = r#""id":18446744073709551617,"status":"open","total":0.123456789012345678901234567890,"updated_at":"2025-06-02T00:00:00Z","list":[-18446744073709551617,{"x":1e400,"z":-0.0}]"#;
    let body = format!(r#"{{"data":[{{{fields},"internal":1}}]}}"#);
    let orders = |since: &str| Mock::given(path("/orders")).and(query_param("since", since));
    raw(&server, orders("2025-06-01T00:00:00Z"), &body).await;
    raw(&server, orders("2025-06-11T00:00:00Z"), r#"{"data":[]}"#).await;
    let source = open(&server, SHOP, config()).unwrap();
    let found = texts(&source, "orders").await;
    assert_eq!(found.len(), 1);
    let begin = format!(r#"{{{fields},"label":"order-"#);
    assert!(found[0].starts_with(&begin), "{found:?}");
}

#[tokio::test]
async fn elements_of_lists_and_what_they_take_along_keep_them() {
    let server = MockServer::start().await;
    let invoices = r#"{"open":[
        {"id":2,"rate":18446744073709551617,"lines":{"data":[{"n":0}],"more":true}},
        {"id":3,"rate":0.1,"lines":{"data":[{"n":0.1000000000000000000001}],"more":false}}],
        "single":[{},{"m":1e400}]}"#;
    raw(&server, Mock::given(path("/invoices")), invoices).await;
    let rest = r#"{"data":[{"n":18446744073709551618},{"n":18446744073709551617}]}"#;
    raw(&server, Mock::given(path("/invoices/2/lines")), rest).await;
    let source = open(&server, WORKSHOP, config()).unwrap();
    let two = |n: &str| {
        format!(
            r#"{{"id":2,"rate":18446744073709551617,"lines":{{"more":true}},"n":{n},"invoice":{{"id":2}}}}"#
        )
    };
    assert_eq!(
        texts(&source, "lines").await,
        [
            two("18446744073709551618"),
            two("18446744073709551617"),
            r#"{"id":3,"rate":0.1,"lines":{"more":false},"n":0.1000000000000000000001,"invoice":{"id":3}}"#
                .to_owned(),
            r#"{"m":1e400}"#.to_owned(),
        ]
    );
}
