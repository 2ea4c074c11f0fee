//! A read that stops anywhere and reads on from its state gives everything.

use super::api::{Api, record, records};
use super::*;

/// Stops after every possible advance, then reads on; gives both parts.
async fn stop_everywhere(
    base_url: &str,
    streams: Value,
    request: impl Fn(Option<StreamState>) -> ReadRequest,
) -> Vec<(Outcome, Outcome)> {
    let source = source(base_url, streams);
    let mut all = Vec::new();
    for advances in 1.. {
        let first = read_until(source.as_ref(), request(None), Some(advances))
            .await
            .fine();
        if first.state.complete {
            break;
        }
        let rest = read(source.as_ref(), request(Some(first.state.clone())))
            .await
            .fine();
        all.push((first, rest));
    }
    all
}

#[tokio::test]
async fn full_refresh_reads_on_at_the_next_token_and_never_at_a_position() {
    for (name, paginate) in paging::rules() {
        let api = Api::start(json!({ "/items": records(10) }), 3).await;
        let stops = stop_everywhere(&api.uri(), paging::stream(&paginate), full).await;
        if ["token_body", "token_header"].contains(&name) {
            assert!(stops.len() >= 3, "{name}");
        }
        for (first, rest) in stops {
            let pages = first
                .state
                .slices
                .values()
                .filter_map(|slice| slice.page.as_ref());
            let pages: Vec<&Value> = pages.collect();
            assert!(
                pages.iter().all(|page| page["token"].is_string()),
                "{name}: {pages:?}"
            );
            let ids: Vec<i64> = [first.ids(), rest.ids()].concat();
            assert_eq!(
                ids,
                (1..=10).collect::<Vec<_>>(),
                "{name}: each record exactly once"
            );
            assert!(rest.state.complete);
        }
    }
}

/// Lists that are read side by side, each more pages than wait for their turn.
fn long_lists(paginate: &Value) -> Value {
    json!([{ "name": "items", "path": "/{{ slice.list }}", "select": "items", "primary_key": ["id"],
        "paginate": paginate, "slices": [{ "by": "list", "name": "list", "values": ["a", "b", "c"] }] }])
}

#[tokio::test]
async fn a_list_that_moves_between_death_and_resume_is_read_again_from_its_start() {
    for (name, paginate) in paging::rules() {
        if name.starts_with("token") && name != "token_made" {
            continue;
        }
        let lists = || -> Vec<Vec<Value>> {
            (0..3)
                .map(|list| (1..=17).map(|id| record(list * 100 + id, id)).collect())
                .collect()
        };
        let names = ["a", "b", "c"];
        for stop in 1.. {
            let api = Api::start(json!({}), 3).await;
            let put = |lists: Vec<Vec<Value>>| {
                let mut data = api.data.lock().unwrap();
                for (name, list) in names.iter().zip(lists) {
                    data.lists.insert(format!("/{name}"), list);
                }
            };
            put(lists());
            let source = source(&api.uri(), long_lists(&paginate));
            let first = read_until(source.as_ref(), full(None), Some(stop)).await.fine();
            if first.state.complete {
                assert!(stop > 3, "{name}");
                break;
            }
            let is_done = |list: &str| {
                let key = format!(r#"{{"list":"{list}"}}"#);
                first
                    .state
                    .slices
                    .get(key.as_str())
                    .is_some_and(|state| state.done)
            };
            // Four records go at the front, one comes.
            let mut moved = lists();
            for list in &mut moved {
                list.drain(..4);
                let id = list[0]["id"].as_i64().unwrap() + 50;
                list.insert(0, record(id, 1));
            }
            put(moved.clone());
            let rest = read(source.as_ref(), full(Some(first.state.clone())))
                .await
                .fine();
            let mut expected: Vec<i64> = Vec::new();
            for ((list, before), after) in names.iter().zip(lists()).zip(moved) {
                let standing = if is_done(list) { before } else { after };
                expected.extend(standing.iter().map(|record| record["id"].as_i64().unwrap()));
            }
            let mut ids = [first.ids(), rest.ids()].concat();
            ids.sort_unstable();
            expected.sort_unstable();
            assert_eq!(ids, expected, "{name} stopped after {stop} moves of state");
        }
    }
}

#[tokio::test]
async fn a_position_that_an_older_version_stored_is_not_read_on_from() {
    let api = Api::start(json!({ "/items": records(7) }), 3).await;
    let source = source(
        &api.uri(),
        paging::stream(
            &json!({ "by": "page_number", "request": { "param": "page" }, "size": { "param": "size", "value": 3 } }),
        ),
    );
    let mut state = read_until(source.as_ref(), full(None), Some(1)).await.state;
    let page = Some(json!({ "number": 2 }));
    state.slices.insert(
        "".into(),
        SliceState {
            page,
            ..SliceState::default()
        },
    );
    let rest = read(source.as_ref(), full(Some(state))).await.fine();
    assert_eq!(rest.ids(), (1..=7).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_read_without_a_key_remembers_the_records_at_its_cursor() {
    let ties: Vec<Value> = (1..=10).map(|id| record(id, 1 + id / 4)).collect();
    let rules = [
        json!({ "by": "page_token", "request": { "param": "token" }, "path": "next" }),
        json!({ "by": "page_number", "request": { "param": "page" }, "size": { "param": "size", "value": 3 } }),
    ];
    for paginate in rules {
        for order in ["ascending", "unknown", "descending"] {
            let mut streams = cursor_stream(order, true);
            streams[0]["paginate"] = paginate.clone();
            streams[0]["primary_key"] = json!([]);
            let mut list = ties.clone();
            if order == "descending" {
                list.reverse();
            }
            let api = Api::start(json!({ "/items": list }), 3).await;
            let keyless = |request: ReadRequest| ReadRequest {
                skip_edge: true,
                ..request
            };
            for (_, rest) in stop_everywhere(&api.uri(), streams.clone(), |state| keyless(full(state))).await
            {
                let source = source(&api.uri(), streams.clone());
                let next = read(source.as_ref(), keyless(incremental(Some(rest.state))))
                    .await
                    .fine();
                assert_eq!(next.ids(), [0_i64; 0], "{order}");
                assert_eq!(next.deduplicated, 3, "{order}");
            }
        }
    }
}

pub(super) fn cursor_stream(order: &str, with_request: bool) -> Value {
    let mut cursor = json!({ "field": "at", "order": order });
    if with_request {
        cursor["request"] = json!({ "param": "since" });
    }
    json!([{ "name": "items", "path": "/items", "select": "items", "primary_key": ["id"], "cursor": cursor,
        "paginate": { "by": "page_token", "request": { "param": "token" }, "path": "next" } }])
}

#[tokio::test]
async fn incremental_reads_on_in_every_order() {
    let ascending = records(10);
    let mut shuffled = ascending.clone();
    shuffled.swap(0, 9);
    shuffled.swap(3, 6);
    let mut descending = ascending.clone();
    descending.reverse();
    // Ties that stand on both sides of a page's edge.
    let ties: Vec<Value> = (1..=10).map(|id| record(id, 1 + id / 4)).collect();
    for (order, list) in [
        ("ascending", ascending),
        ("unknown", shuffled),
        ("descending", descending),
        ("ascending", ties),
    ] {
        for with_request in [true, false] {
            let api = Api::start(json!({ "/items": list }), 3).await;
            for (first, rest) in
                stop_everywhere(&api.uri(), cursor_stream(order, with_request), incremental).await
            {
                let union: BTreeSet<i64> = first.id_set().union(&rest.id_set()).copied().collect();
                assert_eq!(union, (1..=10).collect(), "{order} {with_request}");
                let newest = list
                    .iter()
                    .map(|record| record["at"].clone())
                    .max_by_key(ToString::to_string);
                assert_eq!(rest.state.slices[""].cursor, newest);
                let again = read(
                    source(&api.uri(), cursor_stream(order, with_request)).as_ref(),
                    incremental(Some(rest.state)),
                )
                .await
                .fine();
                assert!(again.ids().len() < 6, "only what lies at the cursor comes again");
            }
        }
    }
}

#[tokio::test]
async fn append_streams_take_ties_once() {
    let ties: Vec<Value> = (1..=10).map(|id| record(id, 1 + id / 4)).collect();
    let request = |state| ReadRequest {
        skip_edge: true,
        ..incremental(state)
    };
    for order in ["ascending", "unknown"] {
        let api = Api::start(json!({ "/items": ties }), 3).await;
        let streams = cursor_stream(order, true);
        for (first, rest) in stop_everywhere(&api.uri(), streams.clone(), request).await {
            let mut ids = [first.ids(), rest.ids()].concat();
            ids.sort_unstable();
            assert_eq!(ids, (1..=10).collect::<Vec<_>>(), "{order}");
            let mut with_new = ties.clone();
            with_new.push(record(11, 3));
            with_new.push(record(12, 9));
            api.data.lock().unwrap().lists.insert("/items".into(), with_new);
            let next = read(
                source(&api.uri(), streams.clone()).as_ref(),
                request(Some(rest.state)),
            )
            .await
            .fine();
            assert_eq!(next.ids(), [11, 12], "{order}");
            assert_eq!(next.deduplicated, 3);
            api.data
                .lock()
                .unwrap()
                .lists
                .insert("/items".into(), ties.clone());
        }
    }
}

#[tokio::test]
async fn a_refused_page_token_falls_back_to_the_start() {
    let api = Api::start(json!({ "/items": records(7) }), 3).await;
    let source = source(
        &api.uri(),
        paging::stream(&json!({ "by": "page_token", "request": { "param": "token" }, "path": "next" })),
    );
    let first = read_until(source.as_ref(), full(None), Some(2)).await;
    api.data.lock().unwrap().refused.push("t3".into());
    let refused = read(source.as_ref(), full(Some(first.state.clone()))).await;
    assert!(refused.error.is_some(), "the token is refused again on the way");
    api.data.lock().unwrap().refused.clear();
    let mut state = first.state;
    let page = json!({ "token": "t99" });
    state.slices.get_mut("").unwrap().page = Some(page);
    api.data.lock().unwrap().refused.push("t99".into());
    let rest = read(source.as_ref(), full(Some(state))).await.fine();
    assert_eq!(rest.ids(), (1..=7).collect::<Vec<_>>());
    assert!(
        rest.notices[0].message.contains("from their start"),
        "{:?}",
        rest.notices
    );
}

#[tokio::test]
async fn windows_and_lists_resume() {
    let streams = json!([{ "name": "items", "path": "/{{ slice.list }}", "select": "items", "primary_key": ["id"],
        "cursor": { "field": "at", "start": "2024-01-01", "end": "2024-01-10", "request": { "param": "since", "end_param": "until" } },
        "paginate": { "by": "page_token", "request": { "param": "token" }, "path": "next" },
        "slices": [{ "by": "list", "name": "list", "values": ["a", "b"] }, { "by": "date_window", "step": "P3D", "granularity": "1s" }] }]);
    let second: Vec<Value> = (11..=20).map(|id| record(id, id - 10)).collect();
    let api = Api::start(json!({ "/a": records(10), "/b": second }), 2).await;
    for (first, rest) in stop_everywhere(&api.uri(), streams.clone(), incremental).await {
        let mut ids = [first.ids(), rest.ids()].concat();
        ids.sort_unstable();
        assert_eq!(ids, (1..=20).collect::<Vec<_>>(), "after {:?}", first.state);
        let keys: Vec<&str> = rest.state.slices.keys().map(|key| &**key).collect();
        assert_eq!(keys, [r#"{"list":"a"}"#, r#"{"list":"b"}"#]);
        assert_eq!(
            rest.state.slices[keys[0]].cursor,
            Some(json!("2024-01-10T00:00:00Z"))
        );
    }
}

#[tokio::test]
async fn a_full_refresh_does_not_trust_an_interrupted_incremental_read() {
    let streams = json!([{ "name": "items", "path": "/{{ slice.list }}", "select": "items", "primary_key": ["id"],
        "cursor": { "field": "at" }, "slices": [{ "by": "list", "name": "list", "values": ["a", "b"] }] }]);
    let second: Vec<Value> = (11..=13).map(|id| record(id, id)).collect();
    let api = Api::start(json!({ "/a": records(3), "/b": second }), 10).await;
    let source = source(&api.uri(), streams);
    let cut = read_until(source.as_ref(), incremental(None), Some(2)).await;
    assert!(cut.state.slices.values().any(|state| state.done));
    // The full refresh is interrupted as well, before it read anything, and reads on.
    let opened = read_until(source.as_ref(), full(Some(cut.state)), Some(2)).await;
    let rest = read(source.as_ref(), full(Some(opened.state.clone())))
        .await
        .fine();
    let union: BTreeSet<i64> = opened.id_set().union(&rest.id_set()).copied().collect();
    assert_eq!(union, [1, 2, 3, 11, 12, 13].into());
}
