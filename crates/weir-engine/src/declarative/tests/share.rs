//! Slices that another process reads: the same as if they were read here.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::stream;
use weir_protocol::slices::{Offer, Settled, SliceReaders, SliceTask};

use super::api::{Api, record};
use super::*;

/// Reads every second slice with another source of the same kind; one in four fails there.
struct Others {
    source: Arc<dyn Source>,
    offered: Mutex<usize>,
    is_forgetting: bool,
}

struct Elsewhere {
    source: Arc<dyn Source>,
    task: SliceTask,
    number: usize,
    is_forgetting: bool,
}

#[async_trait]
impl SliceReaders for Others {
    fn out_max(&self) -> usize {
        4
    }

    async fn offer(&self, task: SliceTask) -> Result<Arc<dyn Offer>> {
        let mut offered = self.offered.lock().unwrap();
        *offered += 1;
        // As it goes through the store.
        let task = serde_json::from_str(&serde_json::to_string(&task).unwrap()).unwrap();
        Ok(Arc::new(Elsewhere {
            source: self.source.clone(),
            task,
            number: *offered,
            is_forgetting: self.is_forgetting,
        }))
    }
}

#[async_trait]
impl Offer for Elsewhere {
    async fn free(&self) -> Result<()> {
        match self.number % 2 {
            1 => Ok(()),
            // Somebody is at it until it is settled.
            _ => std::future::pending().await,
        }
    }

    async fn take_back(&self) -> Result<bool> {
        Ok(self.number % 2 == 1)
    }

    async fn settled(&self) -> Result<Settled> {
        match self.number % 4 {
            0 => Ok(Settled::Failed),
            2 => {
                let events = self.source.read_slice(self.task.clone());
                let events: Vec<_> = events.collect().await;
                // Without the end that the state comes with.
                let kept = if self.is_forgetting { 1 } else { events.len() };
                Ok(Settled::Read(stream::iter(events.into_iter().take(kept)).boxed()))
            }
            _ => std::future::pending().await,
        }
    }

    async fn forget(&self) -> Result<()> {
        Ok(())
    }
}

async fn read_shared(
    source: &Arc<dyn Source>,
    other: &Arc<dyn Source>,
    request: ReadRequest,
) -> (Outcome, usize) {
    let others = Arc::new(Others {
        source: other.clone(),
        offered: Mutex::new(0),
        is_forgetting: false,
    });
    let outcome = gather(source.read_with(request.clone(), others.clone()), request, None).await;
    let offered = *others.offered.lock().unwrap();
    (outcome, offered)
}

async fn api() -> Api {
    let mut lists = BTreeMap::new();
    lists.insert(
        "/repos".to_owned(),
        (1..=9).map(|id| json!({ "id": id })).collect::<Vec<_>>(),
    );
    for repo in 1..=9 {
        let records = (1..=repo).map(|day| record(repo * 100 + day, day)).collect();
        lists.insert(format!("/repos/{repo}"), records);
    }
    Api::start(json!(lists), 3).await
}

fn streams(paginate: Value, cursor: Value) -> Value {
    json!([
        { "name": "repos", "path": "/repos", "select": "items", "paginate": { "by": "page_number", "request": { "param": "page" }, "size": { "value": 3 } } },
        { "name": "items", "path": "/repos/{{ slice.repo }}", "select": "items", "paginate": paginate,
          "slices": [{ "by": "parent", "stream": "repos", "fields": { "repo": "id" } }], "cursor": cursor },
    ])
}

#[tokio::test]
async fn records_and_state_are_those_of_a_read_by_one() {
    let api = api().await;
    let pages = json!({ "by": "page_number", "request": { "param": "page" }, "size": { "value": 3 } });
    let cursor = json!({ "field": "at", "request": { "param": "since" } });
    let alone = source(&api.uri(), streams(pages.clone(), cursor.clone()));
    let other = source(&api.uri(), streams(pages, cursor));
    for request in [full(None), incremental(None)] {
        let single = read(alone.as_ref(), request.clone()).await.fine();
        let (shared, offered) = read_shared(&alone, &other, request.clone()).await;
        let shared = shared.fine();
        assert_eq!(offered, 9);
        assert_eq!(shared.id_set(), single.id_set());
        assert_eq!(shared.records.len(), single.records.len());
        assert_eq!(shared.state, single.state);
        // What changed since is all that comes then.
        api.data
            .lock()
            .unwrap()
            .lists
            .get_mut("/repos/4")
            .unwrap()
            .push(record(499, 20));
        let request = incremental(Some(shared.state));
        let (again, _) = read_shared(&alone, &other, request.clone()).await;
        let single = read(alone.as_ref(), request).await.fine();
        assert_eq!(again.fine().state, single.state);
        api.data.lock().unwrap().lists.get_mut("/repos/4").unwrap().pop();
    }
}

#[tokio::test]
async fn a_read_that_was_cut_off_goes_on_with_others() {
    let api = api().await;
    let pages = json!({ "by": "page_number", "request": { "param": "page" }, "size": { "value": 3 } });
    let alone = source(&api.uri(), streams(pages.clone(), Value::Null));
    let all = read(alone.as_ref(), full(None)).await.fine();
    for advances in 1..14 {
        let first = read_until(alone.as_ref(), full(None), Some(advances)).await;
        if first.state.complete {
            // It was not cut off: what follows it begins anew.
            assert!(advances > 5);
            break;
        }
        let (rest, _) = read_shared(&alone, &alone, full(Some(first.state))).await;
        let rest = rest.fine();
        let mut ids = first.records;
        ids.extend(rest.records);
        assert_eq!(
            ids.len(),
            all.records.len(),
            "none is lost, none doubled ({advances})"
        );
        assert!(rest.state.complete);
    }
}

#[tokio::test]
async fn what_has_no_end_is_refused() {
    let api = api().await;
    let pages = json!({ "by": "page_number", "request": { "param": "page" }, "size": { "value": 3 } });
    let alone = source(&api.uri(), streams(pages, Value::Null));
    let others = Arc::new(Others {
        source: alone.clone(),
        offered: Mutex::new(0),
        is_forgetting: true,
    });
    let outcome = gather(alone.read_with(full(None), others), full(None), None).await;
    let error = outcome.error.unwrap();
    assert!(error.message().contains("no end"), "{error:?}");
    assert!(!outcome.state.complete);
}

#[tokio::test]
async fn a_stream_in_one_piece_is_not_offered() {
    let api = api().await;
    let alone = source(
        &api.uri(),
        json!([{ "name": "items", "path": "/repos", "select": "items" }]),
    );
    assert_eq!(alone.slices_at_once("items"), 0);
    let (outcome, offered) = read_shared(&alone, &alone, full(None)).await;
    assert_eq!((outcome.fine().records.len(), offered), (3, 0));
}

#[tokio::test]
async fn who_reads_by_another_connector_or_for_another_account_reads_no_slice() {
    let api = api().await;
    let pages = json!({ "by": "page_number", "request": { "param": "page" }, "size": { "value": 3 } });
    let declared = streams(pages, Value::Null);
    let mut changed = declared.clone();
    changed[1]["params"] = json!({ "kind": "other" });
    let alone = source_of("mine", &api.uri(), declared.clone(), json!({})).unwrap();
    for (account, streams) in [("yours", &declared), ("mine", &changed)] {
        let other = source_of(account, &api.uri(), streams.clone(), json!({})).unwrap();
        let (outcome, _) = read_shared(&alone, &other, full(None)).await;
        assert_eq!(outcome.error.unwrap().kind(), weir_protocol::ErrorKind::Conflict);
    }
    let same = source_of("mine", &api.uri(), declared, json!({})).unwrap();
    let (outcome, _) = read_shared(&alone, &same, full(None)).await;
    assert!(outcome.fine().state.complete);
}
