//! Parents that are listed by what changed: nothing that changes while a read runs, or is interrupted, is lost.

use super::api::{Api, record};
use super::*;

fn streams(parent_cursor: &Value) -> Value {
    json!([
        { "name": "repos", "path": "/repos", "select": "items", "etag": true, "cursor": parent_cursor },
        { "name": "items", "path": "/repos/{{ slice.repo }}", "select": "items", "primary_key": ["id"],
          "cursor": { "field": "at", "request": { "param": "since" } },
          "slices": [{ "by": "parent", "stream": "repos", "fields": { "repo": "id" }, "incremental": true }] },
    ])
}

fn by_time() -> Value {
    json!({ "field": "at", "request": { "param": "since" } })
}

fn by_version() -> Value {
    json!({ "field": "version", "format": "integer" })
}

fn repo(id: i64, at: &str, version: i64) -> Value {
    json!({ "id": id, "at": at, "version": version })
}

async fn api() -> Api {
    let repos = [
        repo(1, "2024-01-01T00:00:00Z", 1),
        repo(2, "2024-01-02T00:00:00Z", 2),
        repo(3, "2024-01-03T00:00:00Z", 3),
    ];
    let lists = json!({ "/repos": repos,
        "/repos/1": [record(10, 1)], "/repos/2": [record(20, 2)], "/repos/3": [record(30, 3)] });
    Api::start(lists, 10).await
}

/// One record more in the first repository; after it the last one changed.
fn change(api: &Api) {
    let mut data = api.data.lock().unwrap();
    let added = json!({ "id": 11, "at": "2026-11-21T01:00:00Z" });
    data.lists.get_mut("/repos/1").unwrap().push(added);
    let repos = vec![
        repo(1, "2026-11-21T01:00:00Z", 4),
        repo(2, "2024-01-02T00:00:00Z", 2),
        repo(3, "2026-11-21T02:00:00Z", 5),
    ];
    data.lists.insert("/repos".into(), repos);
}

/// A read that died once the first repository was read to its end.
async fn cut(source: &dyn Source) -> Outcome {
    for advances in 1.. {
        let first = read_until(source, incremental(None), Some(advances)).await.fine();
        assert!(
            !first.state.complete,
            "the first repository was never done before the rest"
        );
        let is_done = |key: &str| first.state.slices.get(key).is_some_and(|state| state.done);
        if is_done(r#"{"repo":1}"#) {
            return first;
        }
    }
    unreachable!()
}

#[tokio::test]
async fn what_changed_in_a_slice_that_an_interrupted_read_had_done_comes_with_the_run_after() {
    for cursor in [by_time(), by_version()] {
        let api = api().await;
        let source = source(&api.uri(), streams(&cursor));
        let first = cut(source.as_ref()).await;
        change(&api);
        let second = read(source.as_ref(), incremental(Some(first.state.clone())))
            .await
            .fine();
        assert!(
            second.state.complete && !second.id_set().contains(&11),
            "{cursor}"
        );
        let third = read(source.as_ref(), incremental(Some(second.state)))
            .await
            .fine();
        assert!(third.id_set().contains(&11), "{cursor}: {:?}", third.ids());
    }
}

#[tokio::test]
async fn a_parent_that_changes_while_a_read_runs_is_listed_again_even_where_its_etag_stands() {
    let api = api().await;
    // Without a bound in it, the address of the first page stays the same.
    let source = source(&api.uri(), streams(&json!({ "field": "at" })));
    change(&api);
    api.data.lock().unwrap().etag = Some("\"v1\"".into());
    let first = read(source.as_ref(), incremental(None)).await.fine();
    assert_eq!(first.id_set(), [10, 11, 20, 30].into());
    api.log();
    read(source.as_ref(), incremental(Some(first.state))).await.fine();
    let log = api.log();
    let asked: BTreeSet<&str> = log
        .iter()
        .filter_map(|request| request.split('?').next())
        .collect();
    assert_eq!(asked, ["/repos", "/repos/1", "/repos/2", "/repos/3"].into());
}

#[tokio::test]
async fn versions_of_parents_are_left_behind_by_two_reads() {
    let api = api().await;
    let source = source(&api.uri(), streams(&by_version()));
    let mut state = None;
    let mut asked = Vec::new();
    for _ in 0..3 {
        let out = read(source.as_ref(), incremental(state)).await.fine();
        asked.push(api.log().len());
        state = Some(out.state);
    }
    assert_eq!(asked, [4, 4, 2], "the third lists from where the first ended");
}

#[tokio::test]
async fn parents_of_parents_are_held_back_as_well() {
    let lists = json!({
        "/orgs": [record(1, 1), { "id": 2, "at": "2026-11-21T02:00:00Z" }],
        "/orgs/1": [{ "id": 10, "at": "2026-11-21T01:00:00Z" }], "/orgs/2": [record(20, 2)],
        "/repos/10": [record(100, 1)], "/repos/20": [record(200, 2)],
    });
    let api = Api::start(lists, 10).await;
    let streams = json!([
        { "name": "orgs", "path": "/orgs", "select": "items", "cursor": by_time() },
        { "name": "repos", "path": "/orgs/{{ slice.org }}", "select": "items", "cursor": by_time(),
          "slices": [{ "by": "parent", "stream": "orgs", "fields": { "org": "id" }, "incremental": true }] },
        { "name": "items", "path": "/repos/{{ slice.repo }}", "select": "items", "primary_key": ["id"],
          "slices": [{ "by": "parent", "stream": "repos", "fields": { "repo": "id" }, "incremental": true }] },
    ]);
    let source = source(&api.uri(), streams);
    let first = read(source.as_ref(), incremental(None)).await.fine();
    api.log();
    let second = read(source.as_ref(), incremental(Some(first.state))).await.fine();
    assert_eq!(second.id_set(), [100, 200].into());
    assert_eq!(api.log()[0], "/orgs?since=2024-01-01T00%3A00%3A00Z");
}
