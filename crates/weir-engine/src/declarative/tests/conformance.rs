//! What is read by declaration is a source: by a connector's spec, and by a connection alone.

use weir_protocol::conformance;
use weir_protocol::connection::ConnectionSpec;

use super::api::{Api, records};
use super::*;
use crate::catalog::Catalog;

const BOTH: [ReadMode; 2] = [ReadMode::FullRefresh, ReadMode::Incremental];

#[tokio::test]
async fn every_way_to_page_is_a_source() {
    for (name, paginate) in paging::rules() {
        let api = Api::start(json!({ "/items": records(10) }), 3).await;
        let source = source(&api.uri(), paging::stream(&paginate));
        let done = conformance::source(source.as_ref(), "items", &[ReadMode::FullRefresh], 10).await;
        assert!(done.is_ok(), "{name}: {done:?}");
    }
}

#[tokio::test]
async fn every_order_of_a_cursor_is_a_source() {
    for order in ["ascending", "unknown", "descending"] {
        let mut list = records(10);
        match order {
            "unknown" => list.swap(0, 9),
            "descending" => list.reverse(),
            _ => {}
        }
        let api = Api::start(json!({ "/items": list }), 3).await;
        let source = source(&api.uri(), resume::cursor_stream(order, true));
        let done = conformance::source(source.as_ref(), "items", &BOTH, 10).await;
        assert!(done.is_ok(), "{order}: {done:?}");
    }
}

#[tokio::test]
async fn a_connection_alone_is_a_source() {
    let api = Api::start(json!({ "/items": records(10) }), 3).await;
    let connection: ConnectionSpec = serde_json::from_value(json!({
        "connection": "shop", "connector": "http_json", "allow_private_hosts": true,
        "config": {
            "base_url": api.uri(), "path": "/items", "select": "items", "primary_key": ["id"],
            "paginate": { "by": "page_token", "request": { "param": "token" }, "path": "next" },
            "cursor": { "field": "at", "request": { "param": "since" } },
        },
    }))
    .unwrap();
    let catalog = Catalog::embedded();
    let settings = EngineSettings {
        clock: Clock::fixed(NOW.parse().unwrap()),
        ..EngineSettings::default()
    };
    let source = connect(catalog.get("http_json").unwrap(), &connection, &settings).unwrap();
    conformance::source(source.as_ref(), "items", &BOTH, 10)
        .await
        .unwrap();
}
