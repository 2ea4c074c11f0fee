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

#[tokio::test]
async fn a_disk_is_told_of_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let tell = async |used_percent| {
        let disk = Disk {
            location: "/lake".to_owned(),
            used_percent,
            free_bytes: 1,
        };
        tell_disk(&store, DEFAULT_TENANT, &disk, 90).await.unwrap()
    };
    assert!(!tell(50).await);
    assert!(tell(91).await);
    assert!(!tell(95).await);
    assert!(!tell(87).await);
    assert!(tell(80).await);
    assert!(!tell(80).await);
    assert!(tell(90).await);
}

/// `docs/reference/events.md`, from the families and their schemas. A new one is written beside it.
#[test]
fn the_reference_says_what_the_schemas_say() {
    let mut text = String::from(
        "# Events\n\nMade from the schemas in `crates/weir-control/events/` by a test of weir-control. \
         Fields in bold are always there.\n",
    );
    for family in Family::ALL {
        let schema: Value = serde_json::from_str(family.schema()).unwrap();
        let required = schema["required"].as_array().unwrap();
        text += &format!(
            "\n## `{family}`\n\n{} Version {}.\n\n| field | type | |\n|---|---|---|\n",
            family.about(),
            family.version()
        );
        for (name, field) in schema["properties"].as_object().unwrap() {
            let name_shown = if required.contains(&json!(name)) {
                format!("**{name}**")
            } else {
                name.clone()
            };
            let kind = match &field["type"] {
                Value::String(kind) => kind.clone(),
                Value::Array(kinds) => {
                    let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
                    kinds.join(" or ")
                }
                _ => String::new(),
            };
            let about = field["description"].as_str().unwrap_or_default();
            text += &format!("| {name_shown} | {kind} | {about} |\n");
        }
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/events.md");
    if std::fs::read_to_string(&path).unwrap_or_default() != text {
        let new = path.with_extension("md.new");
        std::fs::write(&new, text).unwrap();
        panic!("read {} and move it over {}", new.display(), path.display());
    }
}
