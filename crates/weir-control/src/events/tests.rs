use serde_json::{Value, json};

use super::*;
use crate::DEFAULT_TENANT;
use crate::store::testing;

fn event(run: &str) -> Event {
    Event::of_connection(DEFAULT_TENANT, Family::RunStale, "shop")
        .of(run)
        .with("run", run)
}

#[tokio::test]
async fn what_is_told_is_listed_newest_first_and_filtered() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    for run in ["a", "b", "c"] {
        assert!(append(&store, &event(run)).await.unwrap());
    }
    let other = Event::new("other", Family::AuditBroken, "audit:other");
    append(&store, &other).await.unwrap();
    let listed = list(
        &store,
        DEFAULT_TENANT,
        &EventFilter {
            family: Some("run.*".to_owned()),
            limit: 2,
            ..EventFilter::default()
        },
    )
    .await
    .unwrap();
    let runs: Vec<&Value> = listed.iter().map(|event| &event.data["run"]).collect();
    assert_eq!(runs, ["c", "b"]);
    let rest = list(
        &store,
        DEFAULT_TENANT,
        &EventFilter {
            before: Some(listed[1].id.clone()),
            family: Some("run.stale".to_owned()),
            limit: 9,
            ..EventFilter::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(rest.len(), 1);
    // Another tenant's is not there.
    let error = get(&store, DEFAULT_TENANT, other.id()).await.unwrap_err();
    assert!(error.next_step().unwrap().contains("check its id"));
}

#[tokio::test]
async fn an_occasion_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    assert!(append(&store, &event("a").once("a")).await.unwrap());
    assert!(!append(&store, &event("a").once("a")).await.unwrap());
    assert!(append(&store, &event("a").once("b")).await.unwrap());
    let twice = event("c");
    assert!(append(&store, &twice).await.unwrap());
    assert!(!append(&store, &twice).await.unwrap());
}

#[test]
fn an_envelope_is_a_cloud_event() {
    let stored = StoredEvent {
        id: "0190".to_owned(),
        tenant: "default".to_owned(),
        family: "run.failed".to_owned(),
        version: 1,
        subject: "connection:shop".to_owned(),
        happened_at_ms: 1_700_000_000_123,
        correlation_id: Some("run-1".to_owned()),
        data: Map::from_iter([("run".to_owned(), json!("run-1"))]),
    };
    let envelope = serde_json::to_value(Envelope::from(stored)).unwrap();
    assert_eq!(
        envelope,
        json!({
            "specversion": "1.0",
            "id": "0190",
            "source": "/tenants/default",
            "type": "weir.run.failed",
            "subject": "connection:shop",
            "time": "2023-11-14T22:13:20.123Z",
            "datacontenttype": "application/json",
            "dataschema": "urn:weir:event-schema:run.failed:1",
            "correlationid": "run-1",
            "data": { "run": "run-1" },
        })
    );
}

#[test]
fn every_family_has_a_schema_of_its_own_name() {
    for family in Family::ALL {
        let schema: Value = serde_json::from_str(family.schema()).unwrap();
        assert_eq!(
            schema["$id"],
            format!("urn:weir:event-schema:{family}:{}", family.version())
        );
        assert_eq!(schema["description"], family.about());
        assert_eq!(family.as_str().parse::<Family>().unwrap(), family);
    }
    let error = "run.fialed".parse::<Family>().unwrap_err();
    assert_eq!(error.next_step(), Some("did you mean 'run.failed'?"));
}
