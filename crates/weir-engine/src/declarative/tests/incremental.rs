//! What is asked for and what is left out when a stream is read on.

use super::api::{Api, record, records};
use super::*;

fn stream(cursor: Value) -> Value {
    json!([{ "name": "items", "path": "/items", "select": "items", "primary_key": ["id"], "cursor": cursor,
        "paginate": { "by": "page_number", "request": { "param": "page" }, "size": { "value": 3 } } }])
}

#[tokio::test]
async fn the_lower_bound_travels_with_lookback_and_format() {
    let api = Api::start(json!({ "/items": [record(1, 1), record(3, 3)] }), 10).await;
    let cursor = json!({ "field": "at", "lookback": "1d", "start": "2024-01-01",
        "request": { "param": "since", "end_param": "until", "format": "%Y-%m-%d" } });
    let source = source(&api.uri(), stream(cursor));
    let first = read(source.as_ref(), incremental(None)).await.fine();
    assert_eq!(first.state.slices[""].cursor, Some(json!("2024-01-03T00:00:00Z")));
    read(source.as_ref(), incremental(Some(first.state.clone())))
        .await
        .fine();
    let from = ReadRequest {
        from: Some("2024-01-03".into()),
        ..full(None)
    };
    read(source.as_ref(), from).await.fine();
    assert_eq!(
        api.log(),
        [
            "/items?since=2024-01-01&until=2026-11-21&page=1",
            "/items?since=2024-01-02&until=2026-11-21&page=1",
            "/items?since=2024-01-03&until=2026-11-21&page=1",
        ]
    );
}

#[tokio::test]
async fn without_a_request_mapping_old_records_are_left_out_here() {
    let api = Api::start(json!({ "/items": records(7) }), 3).await;
    let source = source(&api.uri(), stream(json!({ "field": "at" })));
    let first = read(source.as_ref(), incremental(None)).await.fine();
    assert_eq!((first.ids().len(), first.filtered), (7, 0));
    let second = read(source.as_ref(), incremental(Some(first.state))).await.fine();
    assert_eq!((second.ids(), second.filtered), (vec![7], 6));
}

#[tokio::test]
async fn descending_pages_end_where_all_is_old() {
    let mut list = records(30);
    list.reverse();
    let api = Api::start(json!({ "/items": list }), 3).await;
    let source = source(
        &api.uri(),
        stream(json!({ "field": "at", "order": "descending" })),
    );
    let first = read(source.as_ref(), incremental(None)).await.fine();
    assert_eq!(first.ids().len(), 30);
    api.log();
    let mut list = list;
    list.insert(0, record(31, 31));
    api.data.lock().unwrap().lists.insert("/items".into(), list);
    let second = read(source.as_ref(), incremental(Some(first.state))).await.fine();
    assert_eq!(second.ids(), [31, 30]);
    assert_eq!(api.log().len(), 2);
}

#[tokio::test]
async fn a_page_that_the_filter_leaves_empty_is_not_where_all_is_old() {
    let mut list = records(9);
    list.reverse();
    for (place, record) in list.iter_mut().enumerate() {
        record["kind"] = json!(if (3..6).contains(&place) {
            "credit"
        } else {
            "invoice"
        });
    }
    let api = Api::start(json!({ "/items": list }), 3).await;
    let mut streams = stream(json!({ "field": "at", "order": "descending" }));
    streams[0]["filter"] = json!("{{ record.kind == 'invoice' }}");
    let source = source(&api.uri(), streams);
    let first = read(source.as_ref(), incremental(None)).await.fine();
    assert_eq!(first.ids(), [9, 8, 7, 3, 2, 1]);
}

#[tokio::test]
async fn odd_cursors_are_kept_and_told() {
    let list = json!([record(1, 1), { "id": 2 }, { "id": 3, "at": null }, { "id": 4, "at": "soon" }, record(5, 5), record(6, 9_000)]);
    let api = Api::start(json!({ "/items": list }), 10).await;
    let source = source(&api.uri(), stream(json!({ "field": "at" })));
    let out = read(source.as_ref(), incremental(None)).await.fine();
    assert_eq!(out.ids(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(out.state.slices[""].cursor, Some(json!("2024-01-05T00:00:00Z")));
    let told: Vec<String> = out.notices.iter().map(|notice| notice.message.clone()).collect();
    insta::assert_debug_snapshot!(told, @r#"
    [
        "2 records have no value at the cursor field 'at', as in {\"id\":2}",
        "1 records have an unreadable cursor 'at', as in \"soon\"",
        "1 records have a cursor 'at' that lies in the future, as in \"2048-08-21T00:00:00Z\"",
    ]
    "#);
}

#[tokio::test]
async fn an_unchanged_first_page_is_not_sent_again() {
    let streams = json!([{ "name": "items", "path": "/items", "select": "items", "etag": true, "cursor": { "field": "at" } }]);
    let api = Api::start(json!({ "/items": records(3) }), 10).await;
    api.data.lock().unwrap().etag = Some("\"v1\"".into());
    let source = source(&api.uri(), streams);
    let first = read(source.as_ref(), incremental(None)).await.fine();
    let second = read(source.as_ref(), incremental(Some(first.state.clone())))
        .await
        .fine();
    assert_eq!((first.ids().len(), second.ids().len(), second.batches), (3, 0, 0));
    assert_eq!(second.state.slices[""], first.state.slices[""]);
    // A full refresh must not take "nothing changed" for "there is nothing".
    let whole = read(source.as_ref(), full(Some(second.state))).await.fine();
    assert_eq!(whole.ids().len(), 3);
}

#[tokio::test]
async fn an_unchanged_first_page_does_not_end_a_read_that_was_cut_off() {
    let mut list = records(7);
    list.reverse();
    let api = Api::start(json!({ "/items": list }), 3).await;
    api.data.lock().unwrap().etag = Some("\"v1\"".into());
    let mut streams = stream(json!({ "field": "at", "order": "descending" }));
    streams[0]["etag"] = json!(true);
    let source = source(&api.uri(), streams);
    let mut state = read(source.as_ref(), incremental(None)).await.fine().state;
    let slice = state.slices.get_mut("").unwrap();
    assert!(slice.etag.is_some());
    // As after its first page alone.
    slice.pending = slice.cursor.take();
    (slice.done, state.complete) = (false, false);
    let second = read(source.as_ref(), incremental(Some(state))).await.fine();
    assert_eq!(second.ids(), [7, 6, 5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn of_records_that_are_alike_as_many_are_known_as_there_were() {
    let api = Api::start(json!({ "/items": [record(1, 1), record(1, 1)] }), 10).await;
    let source = source(&api.uri(), stream(json!({ "field": "at" })));
    let keyless = |state| ReadRequest {
        skip_edge: true,
        ..incremental(state)
    };
    let mut state = None;
    for (alike, given) in [(2, 2), (2, 0), (3, 1), (3, 0)] {
        let list = vec![record(1, 1); alike];
        api.data.lock().unwrap().lists.insert("/items".into(), list);
        let out = read(source.as_ref(), keyless(state)).await.fine();
        assert_eq!(out.ids().len(), given);
        state = Some(out.state);
    }
}

#[tokio::test]
async fn integer_cursors_work() {
    let api = Api::start(json!({ "/items": records(5) }), 10).await;
    let cursor =
        json!({ "field": "id", "format": "integer", "lookback": "1", "request": { "param": "after" } });
    let source = source(&api.uri(), stream(cursor));
    let first = read(source.as_ref(), incremental(None)).await.fine();
    assert_eq!(first.state.slices[""].cursor, Some(json!(5)));
    api.log();
    read(source.as_ref(), incremental(Some(first.state))).await.fine();
    assert_eq!(api.log()[0], "/items?after=4&page=1");
}

#[tokio::test]
async fn reading_from_beyond_the_stored_cursor_is_refused() {
    let api = Api::start(json!({ "/items": records(7) }), 3).await;
    let source = source(&api.uri(), stream(json!({ "field": "at" })));
    let first = read(source.as_ref(), incremental(None)).await.fine();
    let from = |from: &str, state: &StreamState| ReadRequest {
        from: Some(from.to_owned()),
        set_aside: Some(state.clone()),
        to: None,
        ..incremental(None)
    };
    let beyond = read(source.as_ref(), from("2024-02-01", &first.state)).await;
    insta::assert_snapshot!(format!("{:?}", beyond.error.unwrap()), @"[usage] --from lies after the stored cursor, so the records between them would never be read (from: 2024-02-01T00:00:00Z, cursor: at, stored cursor: 2024-01-07T00:00:00Z) -> run without --from first, which reads on without a gap; or, if the gap is meant, set the cursor with `weir state set`");
    let earlier = read(source.as_ref(), from("2024-01-03", &first.state))
        .await
        .fine();
    assert_eq!(earlier.ids(), [3, 4, 5, 6, 7]);

    let interrupted = StreamState::default();
    let unknown = read(source.as_ref(), from("2024-01-03", &interrupted)).await;
    let unknown = unknown.error.unwrap();
    assert_eq!(unknown.kind(), weir_protocol::ErrorKind::Usage);
    assert!(unknown.message().contains("was interrupted"), "{unknown:?}");
}

#[tokio::test]
async fn a_cursor_written_by_hand_must_be_one() {
    let api = Api::start(json!({}), 3).await;
    let source = source(
        &api.uri(),
        stream(json!({ "field": "at", "format": ["epoch_s", "rfc3339"] })),
    );
    let value = |written: &str| source.cursor_value("items", written);
    assert_eq!(value("1700000000").unwrap(), json!(1_700_000_000));
    assert_eq!(
        value("2024-01-03T00:00:00Z").unwrap(),
        json!("2024-01-03T00:00:00Z")
    );
    assert_eq!(value("2024-01-03").unwrap(), json!("2024-01-03"));
    let garbage = format!("{:?}", value("garbage").unwrap_err());
    assert!(
        garbage.starts_with("[usage]") && garbage.contains("'garbage' is no value of the cursor"),
        "{garbage}"
    );
}
