//! Lists, windows, parents and products of them.

use super::api::{Api, record};
use super::*;

#[tokio::test]
async fn parents_nest_three_deep() {
    let api = Api::start(
        json!({
            "/orgs": [{ "id": 1, "name": "a b" }, { "id": 2, "name": "c/d" }, { "id": 3, "name": null }],
            "/orgs/a%20b/repos": [{ "id": 10 }, { "id": 11 }],
            "/orgs/c%2Fd/repos": [{ "id": 20 }],
            "/repos/10/issues": [{ "id": 100 }],
            "/repos/11/issues": [],
            "/repos/20/issues": [{ "id": 200 }, { "id": 201 }],
            "/a b/issues/100/notes": [],
        }),
        10,
    )
    .await;
    {
        let mut data = api.data.lock().unwrap();
        for (org, issue) in [("a%20b", 100), ("c%2Fd", 200), ("c%2Fd", 201)] {
            data.lists.insert(
                format!("/{org}/issues/{issue}/notes"),
                vec![json!({ "id": issue * 10 })],
            );
        }
    }
    let parent =
        |stream: &str, fields: Value| json!([{ "by": "parent", "stream": stream, "fields": fields }]);
    let source = source(
        &api.uri(),
        json!([
            { "name": "items", "path": "/{{ slice.org }}/issues/{{ slice.issue }}/notes", "select": "items",
              "slices": parent("issues", json!({ "issue": "id", "org": "slice.org" })) },
            { "name": "issues", "path": "/repos/{{ slice.repo }}/issues", "select": "items",
              "slices": parent("repos", json!({ "repo": "id", "org": "slice.org" })) },
            { "name": "repos", "path": "/orgs/{{ slice.org }}/repos", "select": "items",
              "slices": parent("orgs", json!({ "org": "name" })) },
            { "name": "orgs", "path": "/orgs", "select": "items" },
        ]),
    );
    let out = read(source.as_ref(), full(None)).await.fine();
    assert_eq!(out.id_set(), [1000, 2000, 2010].into());
    assert!(out.state.complete);
    let log = api.log();
    assert_eq!(
        log.iter().filter(|request| *request == "/orgs").count(),
        1,
        "a parent is read once: {log:?}"
    );
    assert_eq!(log.len(), 1 + 2 + 3 + 3);
}

#[tokio::test]
async fn products_of_lists_and_parents() {
    let api = Api::start(
        json!({ "/repos": [{ "id": 1, "on": true }, { "id": 2, "on": false }, { "id": 3, "on": true }, { "id": 3, "on": true }],
            "/x/1": [{ "id": 1 }], "/x/3": [{ "id": 3 }], "/y/1": [{ "id": 11 }], "/y/3": [{ "id": 13 }] }),
        10,
    )
    .await;
    let source = source(
        &api.uri(),
        json!([
            { "name": "repos", "path": "/repos", "select": "items" },
            { "name": "items", "path": "/{{ slice.kind }}/{{ slice.repo }}", "select": "items",
              "transform": [{ "add": { "kind": "{{ slice.kind }}" } }],
              "slices": [{ "by": "list", "name": "kind", "values": ["x", "y"], "param": "k" },
                { "by": "parent", "stream": "repos", "fields": { "repo": "id" }, "when": "{{ record.on }}" }] },
        ]),
    );
    let out = read(source.as_ref(), full(None)).await.fine();
    let mut ids = out.ids();
    ids.sort_unstable();
    assert_eq!(ids, [1, 3, 11, 13], "a parent that is listed twice is read once");
    assert!(
        out.records
            .iter()
            .all(|record| (record["kind"] == "y") == (record["id"].as_i64().unwrap() > 10))
    );
    assert!(api.log().contains(&"/y/3?k=y".to_owned()));
}

#[tokio::test]
async fn incremental_parents_are_asked_for_changes_only() {
    let api = Api::start(
        json!({ "/repos": [record(1, 1), record(2, 2)], "/repos/1": [record(10, 1)], "/repos/2": [record(20, 2)] }),
        10,
    )
    .await;
    let streams = json!([
        { "name": "repos", "path": "/repos", "select": "items", "cursor": { "field": "at", "request": { "param": "since" } } },
        { "name": "items", "path": "/repos/{{ slice.repo }}", "select": "items", "primary_key": ["id"],
          "cursor": { "field": "at", "request": { "param": "since" } },
          "slices": [{ "by": "parent", "stream": "repos", "fields": { "repo": "id" }, "incremental": true }] },
    ]);
    let source = source(&api.uri(), streams);
    let first = read(source.as_ref(), incremental(None)).await.fine();
    assert_eq!(first.id_set(), [10, 20].into());
    api.log();
    let second = read(source.as_ref(), incremental(Some(first.state.clone())))
        .await
        .fine();
    assert_eq!(
        api.log(),
        [
            "/repos?since=2024-01-02T00%3A00%3A00Z",
            "/repos/2?since=2024-01-02T00%3A00%3A00Z"
        ]
    );
    assert_eq!(second.state, first.state);
}

/// A source of one record a slice, with the cursor that `at` says.
async fn many(count: i64, at: impl Fn(i64) -> i64) -> (Api, Arc<dyn Source>) {
    let lists = (1..=count).map(|id| (format!("/l/{id}"), json!([record(id, at(id))])));
    let api = Api::start(Value::Object(lists.collect()), 10).await;
    let values: Vec<i64> = (1..=count).collect();
    let source = source(
        &api.uri(),
        json!([{ "name": "items", "path": "/l/{{ slice.n }}", "select": "items", "primary_key": ["id"],
            "cursor": { "field": "at", "request": { "param": "since" } },
            "slices": [{ "by": "list", "name": "n", "values": values }] }]),
    );
    (api, source)
}

#[tokio::test]
async fn many_slices_share_cursors_with_those_that_are_near() {
    let (api, source) = many(250, |id| 10 + id).await;
    let out = read(source.as_ref(), incremental(None)).await.fine();
    assert_eq!(out.id_set().len(), 250);
    assert!(out.state.slices.is_empty() && out.state.floor.is_none());
    assert_eq!(out.state.groups.len(), 50);
    for id in 1..=250 {
        let key = format!("{{\"n\":{id}}}");
        let cursor = out.state.cursor_of(&key).unwrap().as_str().unwrap();
        let at = |id: i64| record(id, 10 + id)["at"].as_str().unwrap().to_owned();
        assert!(
            *cursor <= *at(id) && *cursor >= *at(id - 4),
            "{id} is read from {cursor}"
        );
    }
    api.log();
    let again = read(source.as_ref(), incremental(Some(out.state.clone())))
        .await
        .fine();
    assert_eq!(again.id_set().len(), 250);
    assert_eq!(again.state, out.state);
    assert!(api.log()[0].ends_with("?since=2024-01-11T00%3A00%3A00Z"));
}

#[tokio::test]
async fn a_slice_that_appears_among_many_is_read_from_the_start() {
    let (_api, source) = many(250, |id| 10 + id).await;
    let out = read(source.as_ref(), incremental(None)).await.fine();
    let (api, source) = many(251, |id| if id == 251 { 1 } else { 10 + id }).await;
    let after = read(source.as_ref(), incremental(Some(out.state))).await.fine();
    assert_eq!(
        after.id_set().len(),
        251,
        "its records are older than those of the others"
    );
    assert!(api.log().contains(&"/l/251".to_owned()));
    let since = |id: i64| {
        let cursor = after.state.cursor_of(&format!("{{\"n\":{id}}}"));
        cursor.unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(since(251), "2024-01-01T00:00:00Z");
    assert!(
        *since(250) > *record(0, 250)["at"].as_str().unwrap(),
        "no other one goes back for it"
    );
}

#[tokio::test]
async fn a_floor_that_was_set_holds_for_slices_that_appear() {
    let (_api, source) = many(250, |id| 10 + id).await;
    let set = StreamState {
        floor: Some(record(0, 100)["at"].clone()),
        complete: true,
        ..StreamState::default()
    };
    let out = read(source.as_ref(), incremental(Some(set))).await.fine();
    assert_eq!(out.id_set().len(), 161, "from the 100th day on");
    let (_api, source) = many(251, |id| if id == 251 { 1 } else { 10 + id }).await;
    let after = read(source.as_ref(), incremental(Some(out.state))).await.fine();
    assert!(!after.id_set().contains(&251));
}

#[tokio::test]
async fn a_window_needs_a_start() {
    let api = Api::start(json!({}), 10).await;
    let source = source(
        &api.uri(),
        json!([{ "name": "items", "path": "/l", "cursor": { "field": "at" }, "slices": [{ "by": "date_window", "step": "1d" }] }]),
    );
    let error = read(source.as_ref(), full(None)).await.error.unwrap();
    insta::assert_snapshot!(format!("{error:?}"), @r#"[spec] slices by date_window have no start (stream: items) -> set cursor.start, as in "{{ config.start_date }}" (with a default), and a cursor.format that is a time"#);
}
