//! Records without a key: what is read again, and what a state covers.

use std::sync::{Arc, Mutex};

use weir_protocol::ReadMode;
use wiremock::Request;

use super::*;

/// What a read gave, and the state that it left.
struct Given {
    ids: Vec<Value>,
    deduplicated: u64,
    state: StreamState,
    advances: usize,
}

async fn given(source: &AirbyteSource, request: ReadRequest) -> Given {
    let mut given = Given {
        ids: Vec::new(),
        deduplicated: 0,
        state: request.state.clone().unwrap_or_default(),
        advances: 0,
    };
    let mut events = source.read(request);
    while let Some(event) = events.next().await {
        match event.unwrap() {
            ReadEvent::Batch(batch) => {
                given.deduplicated += batch.deduplicated;
                for record in &batch.records {
                    let record: Value = serde_json::from_slice(batch.json(record)).unwrap();
                    given.ids.push(record["id"].clone());
                }
            }
            ReadEvent::Advance(change) => {
                given.advances += 1;
                given.state.apply(change);
            }
            _ => {}
        }
    }
    given
}

fn keyless(stream: &str, mode: ReadMode, state: Option<StreamState>) -> ReadRequest {
    ReadRequest {
        mode,
        state,
        skip_edge: true,
        ..ReadRequest::full(stream)
    }
}

type Orders = Arc<Mutex<Vec<Value>>>;

fn order(id: i64, at: &str) -> Value {
    json!({ "id": id, "status": "open", "updated_at": at })
}

/// Gives orders from `since` to `until`, both inclusive, in pages of two.
async fn shop(server: &MockServer, orders: &Orders) {
    let orders = orders.clone();
    let page = move |request: &Request| {
        let param = |name: &str| {
            let mut pairs = request.url.query_pairs();
            let found = pairs.find(|(known, _)| known == name);
            found.map(|(_, value)| value.into_owned())
        };
        let (since, until) = (param("since").unwrap(), param("until").unwrap());
        let number: usize = param("page").map_or(1, |page| page.parse().unwrap());
        let orders = orders.lock().unwrap();
        let within = orders.iter().filter(|order| {
            let at = order["updated_at"].as_str().unwrap();
            since.as_str() <= at && at <= until.as_str()
        });
        let page: Vec<&Value> = within.skip((number - 1) * 2).take(2).collect();
        ResponseTemplate::new(200).set_body_json(json!({ "data": page }))
    };
    Mock::given(path("/orders"))
        .respond_with(page)
        .mount(server)
        .await;
}

#[tokio::test]
async fn records_at_the_cursor_are_given_once_where_no_key_tells_them_apart() {
    let server = MockServer::start().await;
    let orders = Orders::default();
    orders.lock().unwrap().extend([
        order(1, "2025-06-02T00:00:00Z"),
        order(2, "2025-06-05T00:00:00Z"),
        order(3, "2025-06-05T00:00:00Z"),
    ]);
    shop(&server, &orders).await;
    let source = open(&server, SHOP, config()).unwrap();
    for mode in [ReadMode::Incremental, ReadMode::FullRefresh] {
        orders.lock().unwrap().truncate(3);
        let first = given(&source, keyless("orders", mode, None)).await;
        assert_eq!((first.ids.len(), first.deduplicated), (3, 0));
        orders.lock().unwrap().push(order(4, "2025-06-05T00:00:00Z"));
        let on = |state: &StreamState| keyless("orders", ReadMode::Incremental, Some(state.clone()));
        let second = given(&source, on(&first.state)).await;
        assert_eq!((second.ids, second.deduplicated), (vec![json!(4)], 2));
        orders.lock().unwrap().push(order(5, "2025-06-12T00:00:00Z"));
        let third = given(&source, on(&second.state)).await;
        assert_eq!((third.ids, third.deduplicated), (vec![json!(5)], 3));
        // The cursor is in the reference's format; the digests stand beside it.
        let cursor = json!({ "updated_at": "2025-06-12T00:00:00Z" });
        assert_eq!(third.state.cursor_of(WHOLE), Some(&cursor));
        assert_eq!(third.state.slices[WHOLE].edge.len(), 2);
    }
}

#[tokio::test]
async fn records_at_the_cursor_come_again_where_nobody_asks_to_leave_them_out() {
    let server = MockServer::start().await;
    let orders = Orders::default();
    orders.lock().unwrap().push(order(1, "2025-06-05T00:00:00Z"));
    shop(&server, &orders).await;
    let source = open(&server, SHOP, config()).unwrap();
    let keyed = |state: Option<StreamState>| ReadRequest {
        skip_edge: false,
        ..keyless("orders", ReadMode::Incremental, state)
    };
    let first = given(&source, keyed(None)).await;
    assert!(first.state.slices.is_empty());
    let second = given(&source, keyed(Some(first.state))).await;
    assert_eq!((second.ids, second.deduplicated), (vec![json!(1)], 0));
}

/// All of the day that the state names is read again.
#[tokio::test]
async fn records_are_told_apart_at_the_cursor_as_the_state_tells_it() {
    let server = MockServer::start().await;
    let visits = |rows: &[(i64, &str)]| {
        let rows = rows.iter().map(|(id, at)| json!({ "id": id, "at": at }));
        json!({ "items": rows.collect::<Vec<_>>(), "next": null })
    };
    let customers = || Mock::given(path("/customers"));
    answer(&server, customers(), json!([{ "id": "a", "name": "A" }])).await;
    let notes = || Mock::given(path("/customers/a/notes"));
    let day = [(1, "2025-06-04T08:00:00Z"), (2, "2025-06-04T09:00:00Z")];
    answer(&server, notes(), visits(&day)).await;
    let exact = "datetime_format: \"%Y-%m-%dT%H:%M:%SZ\"\n      start_datetime: \"{{ config['start_date'] }}\"\n    \
                 transformations";
    let by_day = "cursor_datetime_formats: ['%Y-%m-%dT%H:%M:%SZ']\n      datetime_format: '%Y-%m-%d'\n      \
                  start_datetime: '2025-06-01'\n    transformations";
    let daily = SHOP.replace(exact, by_day);
    assert_ne!(daily, SHOP);
    let source = open(&server, &daily, config()).unwrap();
    let first = given(&source, keyless("notes", ReadMode::Incremental, None)).await;
    assert_eq!(first.ids.len(), 2);
    let again = keyless("notes", ReadMode::Incremental, Some(first.state));
    let second = given(&source, again).await;
    assert_eq!((second.ids.len(), second.deduplicated), (0, 2));
}

async fn customers_with_notes(server: &MockServer) {
    let customers = json!([{ "id": "a", "name": "A" }, { "id": "b", "name": "B" }]);
    answer(server, Mock::given(path("/customers")), customers).await;
    for (id, at) in [("a", "2025-06-02T00:00:00Z"), ("b", "2025-06-04T00:00:00Z")] {
        let body = json!({ "items": [{ "id": id, "at": at }], "next": null });
        answer(server, Mock::given(path(format!("/customers/{id}/notes"))), body).await;
    }
}

#[tokio::test]
async fn each_partition_knows_the_records_at_its_own_cursor() {
    let server = MockServer::start().await;
    customers_with_notes(&server).await;
    let source = open(&server, SHOP, config()).unwrap();
    let first = given(&source, keyless("notes", ReadMode::Incremental, None)).await;
    assert_eq!((first.ids.len(), first.deduplicated), (2, 0));
    let again = keyless("notes", ReadMode::Incremental, Some(first.state));
    let second = given(&source, again).await;
    assert_eq!((second.ids.len(), second.deduplicated), (0, 2));
}

#[tokio::test]
async fn a_full_read_without_a_key_is_covered_by_its_end_alone() {
    let server = MockServer::start().await;
    customers_with_notes(&server).await;
    shop(&server, &Orders::default()).await;
    let cursor = "    incremental_sync:\n      type: DatetimeBasedCursor\n      cursor_field: at\n      \
                  datetime_format: \"%Y-%m-%dT%H:%M:%SZ\"\n      \
                  start_datetime: \"{{ config['start_date'] }}\"\n";
    let manifest = SHOP.replace(cursor, "");
    assert_ne!(manifest, SHOP);
    let source = open(&server, &manifest, config()).unwrap();
    // Of two slices each: customers in one, windows in the other.
    for stream in ["notes", "orders"] {
        let full = given(&source, keyless(stream, ReadMode::FullRefresh, None)).await;
        assert_eq!((full.advances, full.state.complete), (1, true), "{stream}");
        let keyed = given(&source, ReadRequest::full(stream)).await;
        assert_eq!((keyed.advances, keyed.state.complete), (3, true), "{stream}");
        let incremental = given(&source, keyless(stream, ReadMode::Incremental, None)).await;
        assert_eq!(incremental.advances, 3, "{stream}");
    }
}
