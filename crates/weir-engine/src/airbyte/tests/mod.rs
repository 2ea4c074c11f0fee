mod digits;
mod edges;
mod exports;
mod workshop;

use futures::StreamExt;
use serde_json::{Value, json};
use weir_protocol::state::{StateChange, WHOLE};
use weir_protocol::{ReadEvent, ReadRequest, Result, SliceState, Source, StreamState};
use wiremock::matchers::{body_json, header, method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{AirbyteSource, Configured, Manifest, SourceSettings};
use crate::{Clock, EngineSettings};

const SHOP: &str = include_str!("../../../tests/manifests/shop.yaml");

fn open(server: &MockServer, text: &str, config: Value) -> Result<AirbyteSource> {
    let manifest = Manifest::parse(
        "manifest.yaml",
        &text.replace("https://api.shop.example", &server.uri()),
    )?;
    let settings = SourceSettings {
        engine: EngineSettings {
            clock: Clock::fixed("2025-06-15T12:00:00Z".parse().unwrap()),
            ..EngineSettings::default()
        },
        allow_private_hosts: true,
        ..SourceSettings::default()
    };
    AirbyteSource::new(&manifest, config, &settings)
}

/// The records of a stream and its last state.
async fn read(source: &AirbyteSource, stream: &str, state: Option<Value>) -> Result<(Vec<Value>, Value)> {
    let state = state.map(|state| {
        let slice = SliceState {
            cursor: Some(state),
            ..SliceState::default()
        };
        StreamState {
            slices: [(WHOLE.into(), slice)].into(),
            ..StreamState::default()
        }
    });
    let request = ReadRequest {
        state,
        ..ReadRequest::full(stream)
    };
    let mut events = source.read(request);
    let (mut records, mut last) = (Vec::new(), Value::Null);
    while let Some(event) = events.next().await {
        match event? {
            ReadEvent::Batch(batch) => {
                records.extend(
                    batch
                        .records
                        .iter()
                        .map(|record| serde_json::from_slice::<Value>(batch.json(record)).unwrap()),
                );
            }
            ReadEvent::Advance(StateChange::Complete { floor, .. }) => last = floor.unwrap(),
            _ => {}
        }
    }
    Ok((records, last))
}

async fn answer(server: &MockServer, mock: wiremock::MockBuilder, body: Value) {
    mock.respond_with(ResponseTemplate::new(200).set_body_json(body))
        .expect(1..)
        .mount(server)
        .await;
}

fn config() -> Value {
    json!({ "api_key": "secret-key", "start_date": "2025-06-01T00:00:00Z" })
}

#[tokio::test]
async fn windows_pages_filters_transformations_and_state() {
    let server = MockServer::start().await;
    let orders = || {
        Mock::given(method("GET"))
            .and(path("/orders"))
            .and(header("X-Key", "secret-key"))
    };
    let first = || {
        orders()
            .and(query_param("since", "2025-06-01T00:00:00Z"))
            .and(query_param("until", "2025-06-10T23:59:59Z"))
    };
    answer(
        &server,
        first().and(query_param_is_missing("page")),
        json!({ "data": [
            { "id": 1, "status": "open", "total": "12", "updated_at": "2025-06-02T00:00:00Z", "internal": "x" },
            { "id": 2, "status": "void", "total": "3", "updated_at": "2025-06-03T00:00:00Z" },
        ] }),
    )
    .await;
    answer(
        &server,
        first().and(query_param("page", "2")),
        json!({ "data": [{ "id": 3, "status": "open", "total": "x", "updated_at": "2025-06-05T00:00:00Z" }] }),
    )
    .await;
    answer(
        &server,
        orders().and(query_param("since", "2025-06-11T00:00:00Z")),
        json!({ "data": [] }),
    )
    .await;
    let source = open(&server, SHOP, config()).unwrap();
    let (mut records, state) = read(&source, "orders", None).await.unwrap();
    records.sort_by_key(|record| record["id"].as_i64());
    assert_eq!(
        records,
        [
            json!({ "id": 1, "status": "open", "total": 12.0, "updated_at": "2025-06-02T00:00:00Z", "label": "order-1" }),
            json!({ "id": 3, "status": "open", "total": "x", "updated_at": "2025-06-05T00:00:00Z", "label": "order-3" }),
        ]
    );
    assert_eq!(state, json!({ "updated_at": "2025-06-05T00:00:00Z" }));
    server.reset().await;
    answer(
        &server,
        orders().and(query_param("since", "2025-06-05T00:00:00Z")),
        json!({ "data": [] }),
    )
    .await;
    answer(
        &server,
        orders().and(query_param("since", "2025-06-15T00:00:00Z")),
        json!({ "data": [] }),
    )
    .await;
    let (records, again) = read(&source, "orders", Some(state.clone())).await.unwrap();
    assert_eq!((records.len(), again), (0, state));
}

#[tokio::test]
async fn partitions_of_a_parent_have_states_of_their_own() {
    let server = MockServer::start().await;
    answer(
        &server,
        Mock::given(path("/customers")),
        json!([{ "id": "a", "name": "A" }, { "id": null }, { "id": "b", "name": "B" }]),
    )
    .await;
    for (id, at) in [("a", "2025-06-02T00:00:00Z"), ("b", "2025-06-04T00:00:00Z")] {
        let body = json!({ "items": [{ "id": id, "at": at }], "next": null });
        answer(&server, Mock::given(path(format!("/customers/{id}/notes"))), body).await;
    }
    let source = open(&server, SHOP, config()).unwrap();
    let (mut records, state) = read(&source, "notes", None).await.unwrap();
    records.sort_by_key(|record| record["id"].to_string());
    assert_eq!(
        records,
        [
            json!({ "id": "a", "at": "2025-06-02T00:00:00Z", "customer": "A" }),
            json!({ "id": "b", "at": "2025-06-04T00:00:00Z", "customer": "B" }),
        ]
    );
    assert_eq!(state["use_global_cursor"], false);
    assert_eq!(state["state"], json!({ "at": "2025-06-04T00:00:00Z" }));
    assert_eq!(
        state["states"],
        json!([
            { "partition": { "customer_id": "a", "parent_slice": {} }, "cursor": { "at": "2025-06-02T00:00:00Z" } },
            { "partition": { "customer_id": "b", "parent_slice": {} }, "cursor": { "at": "2025-06-04T00:00:00Z" } },
        ])
    );
}

#[tokio::test]
async fn error_handlers_retry_ignore_and_fail() {
    let server = MockServer::start().await;
    let reports = || Mock::given(method("POST")).and(path("/reports"));
    let busy = ResponseTemplate::new(503).set_body_json(json!({ "error": "busy" }));
    reports().respond_with(busy).up_to_n_times(1).mount(&server).await;
    let asked = reports().and(body_json(json!({ "kind": "sales", "page": { "size": 50 } })));
    answer(
        &server,
        asked,
        json!({ "rows": { "x": { "n": 1 }, "y": { "n": 2 } } }),
    )
    .await;
    let source = open(&server, SHOP, config()).unwrap();
    let (records, state) = read(&source, "reports", None).await.unwrap();
    assert_eq!(records, [json!({ "n": 1 }), json!({ "n": 2 })]);
    assert_eq!(state, json!({ "__ab_no_cursor_state_message": true }));
    server.reset().await;
    reports()
        .respond_with(ResponseTemplate::new(404))
        .mount(&server)
        .await;
    assert_eq!(read(&source, "reports", None).await.unwrap().0.len(), 0);
    server.reset().await;
    let refused = json!({ "message": "plan too small for secret-key" });
    reports()
        .respond_with(ResponseTemplate::new(400).set_body_json(refused))
        .mount(&server)
        .await;
    let error = read(&source, "reports", None).await.unwrap_err();
    assert_eq!(error.message(), "upgrade needed: plan too small for [redacted]");
}

#[tokio::test]
async fn streams_are_made_from_a_template() {
    let server = MockServer::start().await;
    answer(
        &server,
        Mock::given(path("/tables")),
        json!({ "tables": [{ "name": "t1" }, { "name": "t2" }] }),
    )
    .await;
    answer(&server, Mock::given(path("/tables/t2")), json!([{ "v": 1 }])).await;
    let source = open(&server, SHOP, config()).unwrap();
    let found = source.discover().await.unwrap();
    let names: Vec<&str> = found.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(
        names,
        ["orders", "customers", "notes", "reports", "table t1", "table t2"]
    );
    assert_eq!(found[5].entity, "table_t2");
    assert_eq!(
        read(&source, "table t2", None).await.unwrap().0,
        [json!({ "v": 1 })]
    );
    let error = read(&source, "order", None).await.unwrap_err();
    assert_eq!(error.next_step(), Some("did you mean 'orders'?"));
}

#[tokio::test]
async fn custom_code_and_bad_settings_are_refused_with_the_way_out() {
    let server = MockServer::start().await;
    let custom = SHOP.replace(
        "type: DpathExtractor",
        "type: CustomRecordExtractor\n          class_name: shop.Odd",
    );
    let source = open(&server, &custom, config()).unwrap();
    let error = read(&source, "orders", None).await.unwrap_err();
    insta::assert_snapshot!(format!("{error:?}"), @"[spec] CustomRecordExtractor 'shop.Odd' is Python code, which weir does not run (at: manifest.yaml:26, component: streams[0].retriever.record_selector.extractor, stream: orders) -> write it with DpathExtractor with transformations, or leave its streams out of the manifest");
    let Err(error) = open(&server, SHOP, json!({ "start_date": "2025-06-01T00:00:00Z" })) else {
        panic!("opened");
    };
    insta::assert_snapshot!(format!("{error:?}"), @"[spec] the settings lack api_key -> add them; `spec` prints what belongs there");
    let source = open(&server, SHOP, json!({ "api_key": "k", "start_date": "soon" })).unwrap();
    let error = read(&source, "orders", None).await.unwrap_err();
    insta::assert_snapshot!(format!("{error:?}"), @"[spec] 'soon' is not a date-time in the format '%Y-%m-%dT%H:%M:%SZ' (at: manifest.yaml:39, component: streams[0].incremental_sync.start_datetime, stream: orders) -> mend the manifest there");
    let error = read(&source, "orders", Some(json!({ "updated_at": "never" })))
        .await
        .unwrap_err();
    assert!(error.next_step().is_some());
}
