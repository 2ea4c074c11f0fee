//! Records without a key that are appended window by window: each comes once.

use weir_protocol::state::WHOLE;

use super::api::{Api, record};
use super::*;

fn streams() -> Value {
    json!([{ "name": "items", "path": "/items", "select": "items",
        "cursor": { "field": "at", "start": "2024-01-01", "request": { "param": "since", "end_param": "until" } },
        "paginate": { "by": "page_token", "request": { "param": "token" }, "path": "next" },
        "slices": [{ "by": "date_window", "step": "P6M", "granularity": "1s" }] }])
}

fn keyless(request: ReadRequest) -> ReadRequest {
    ReadRequest {
        skip_edge: true,
        ..request
    }
}

/// Three at the newest of three days.
fn ties() -> Vec<Value> {
    (1..=10).map(|id| record(id, 1 + id / 4)).collect()
}

fn put(api: &Api, list: Vec<Value>) {
    api.data.lock().unwrap().lists.insert("/items".into(), list);
}

fn sorted(mut ids: Vec<i64>) -> Vec<i64> {
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn what_lies_at_the_cursor_is_appended_once() {
    for begin in [full(None), incremental(None)] {
        let api = Api::start(json!({ "/items": ties() }), 3).await;
        let source = source(&api.uri(), streams());
        let mut list = ties();
        let first = read(source.as_ref(), keyless(begin)).await.fine();
        assert_eq!(sorted(first.ids()), (1..=10).collect::<Vec<_>>());
        let mut state = first.state;
        // What is added, and how many lie at the cursor already.
        let steps = [
            (vec![], 3),
            (vec![record(11, 3)], 3),
            (vec![], 4),
            (vec![record(12, 3), record(13, 300)], 4),
            (vec![record(14, 300)], 1),
            (vec![], 2),
        ];
        for (added, known) in steps {
            let new: Vec<i64> = added
                .iter()
                .map(|record| record["id"].as_i64().unwrap())
                .collect();
            list.extend(added);
            put(&api, list.clone());
            let next = read(source.as_ref(), keyless(incremental(Some(state))))
                .await
                .fine();
            assert_eq!(sorted(next.ids()), new);
            assert_eq!(next.deduplicated, known, "with {new:?}");
            state = next.state;
        }
    }
}

#[tokio::test]
async fn a_read_that_dies_in_a_window_appends_nothing_twice() {
    let api = Api::start(json!({ "/items": ties() }), 3).await;
    let source = source(&api.uri(), streams());
    let before = read(source.as_ref(), keyless(incremental(None))).await.fine();
    let added = [record(11, 3), record(12, 3), record(13, 9), record(14, 300)];
    put(&api, [ties(), added.to_vec()].concat());
    for advances in 1.. {
        let request = keyless(incremental(Some(before.state.clone())));
        let cut = read_until(source.as_ref(), request, Some(advances)).await.fine();
        if cut.state.complete {
            assert!(advances > 4);
            break;
        }
        let rest = read(source.as_ref(), keyless(incremental(Some(cut.state.clone()))))
            .await
            .fine();
        let ids = sorted([cut.ids(), rest.ids()].concat());
        assert_eq!(ids, [11, 12, 13, 14], "after {:?}", cut.state);
        let next = read(source.as_ref(), keyless(incremental(Some(rest.state))))
            .await
            .fine();
        assert_eq!((next.ids().len(), next.deduplicated), (0, 1));
    }
}

#[tokio::test]
async fn windows_of_a_read_that_was_given_up_hide_nothing() {
    let api = Api::start(json!({ "/items": ties() }), 10).await;
    let source = source(&api.uri(), streams());
    // A full refresh had all windows but did not come to its end.
    let mut given_up = StreamState::default();
    for advances in 1.. {
        let cut = read_until(source.as_ref(), keyless(full(None)), Some(advances)).await;
        if cut.state.complete {
            break;
        }
        given_up = cut.state;
    }
    assert!(given_up.slices.values().any(|state| !state.edge.is_empty()));
    for advances in 1..8 {
        let request = keyless(incremental(Some(given_up.clone())));
        let cut = read_until(source.as_ref(), request, Some(advances)).await.fine();
        let rest = read(source.as_ref(), keyless(incremental(Some(cut.state.clone()))))
            .await
            .fine();
        let ids = sorted([cut.ids(), rest.ids()].concat());
        assert_eq!(ids, (1..=10).collect::<Vec<_>>(), "cut after {advances}");
    }
}

#[tokio::test]
async fn a_window_that_brought_nothing_repeats_nothing_of_the_state() {
    let api = Api::start(json!({ "/items": ties() }), 10).await;
    let source = source(&api.uri(), streams());
    let before = read(source.as_ref(), keyless(incremental(None))).await.fine();
    let base = &before.state.slices[WHOLE];
    assert_eq!(base.edge.len(), 3);
    let next = read(source.as_ref(), keyless(incremental(Some(before.state.clone())))).await;
    assert_eq!(next.fine().state, before.state);
    // Into the second of six windows; the first one has the three.
    put(&api, [ties(), vec![record(11, 300)]].concat());
    let done = SliceState {
        done: true,
        ..SliceState::default()
    };
    for advances in 2.. {
        let request = keyless(incremental(Some(before.state.clone())));
        let cut = read_until(source.as_ref(), request, Some(advances)).await.fine();
        if cut.state.complete {
            assert_eq!(cut.state.slices[WHOLE].edge.len(), 1);
            assert!(advances > 6);
            break;
        }
        let is_window = |key: &str| key.starts_with("@2");
        let windows = cut.state.slices.iter().filter(|(key, _)| is_window(key));
        let told = windows.filter(|(_, state)| **state != done).count();
        assert_eq!(told, cut.ids().len(), "of {:?}", cut.state.slices);
        assert_eq!(&cut.state.slices[WHOLE], base);
        let rest = read(source.as_ref(), keyless(incremental(Some(cut.state.clone())))).await;
        let rest = rest.fine();
        assert_eq!([cut.ids(), rest.ids()].concat(), [11], "cut after {advances}");
        assert_eq!(rest.state.slices[WHOLE].edge.len(), 1);
    }
}
