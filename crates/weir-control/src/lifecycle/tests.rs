use serde_json::json;

use super::*;
use crate::DEFAULT_TENANT;
use crate::store::testing;

fn spec(version: &str, change: impl FnOnce(&mut serde_json::Value)) -> ConnectorSpec {
    let mut value = json!({
        "spec": 1, "connector": "acme", "version": version, "name": { "en": "Acme" },
        "hosts": ["api.acme.test"],
        "config": { "type": "object", "properties": { "account": { "type": "string" } } },
        "streams": [
            {
                "name": "orders", "path": "/orders", "primary_key": ["id"],
                "cursor": { "field": "updated_at" },
                "schema": { "type": "object", "properties": {
                    "id": { "type": "integer" }, "total": { "type": "integer" },
                    "day": { "type": "string", "format": "date" }
                } }
            },
            { "name": "customers", "path": "/customers", "primary_key": ["id"] }
        ]
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn new(version: &str, change: impl FnOnce(&mut serde_json::Value)) -> NewVersion {
    let spec = spec(version, change);
    let text = serde_json::to_string(&spec).unwrap();
    NewVersion {
        digest: text.len().to_string() + version,
        files: BTreeMap::from([("connector.yaml".to_owned(), text)]),
        spec,
    }
}

struct World {
    _folder: tempfile::TempDir,
    store: Store,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        Self {
            _folder: folder,
            store,
        }
    }

    async fn promote(&self, new: &NewVersion) -> Result<Promoted> {
        promote(&self.store, DEFAULT_TENANT, new, None).await
    }

    async fn to_staging(&self, new: &NewVersion) {
        for stage in [Stage::Draft, Stage::Approved, Stage::Staging] {
            assert_eq!(self.promote(new).await.unwrap().version.stage, stage);
        }
    }

    async fn staged(&self, new: &NewVersion, keys_missing: u64) -> Result<()> {
        let staged = Staged {
            digest: new.digest.clone(),
            connection: "shop".to_owned(),
            run: "run-1".to_owned(),
            at_ms: 1,
            streams: vec![StagedStream {
                stream: "orders".to_owned(),
                rows: 3,
                production_rows: Some(3),
                keys_missing,
                keys_new: 0,
                columns_lost: Vec::new(),
                columns_new: Vec::new(),
                error: None,
            }],
        };
        keep_staged(&self.store, DEFAULT_TENANT, ("acme", &new.spec.version), &staged).await
    }

    async fn to_production(&self, new: &NewVersion) {
        self.to_staging(new).await;
        self.staged(new, 0).await.unwrap();
        assert_eq!(self.promote(new).await.unwrap().version.stage, Stage::Production);
    }

    async fn production(&self) -> String {
        production(&self.store, DEFAULT_TENANT, "acme")
            .await
            .unwrap()
            .unwrap()
            .version
    }
}

#[tokio::test]
async fn a_version_comes_into_production_step_by_step_and_back() {
    let world = World::new().await;
    assert!(
        production(&world.store, DEFAULT_TENANT, "acme")
            .await
            .unwrap()
            .is_none()
    );
    let first = new("1.0.0", |_| {});
    world.promote(&first).await.unwrap();
    // Under the lifecycle, and not there yet: nothing is read with it.
    let error = production(&world.store, DEFAULT_TENANT, "acme")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gate);
    for stage in [Stage::Approved, Stage::Staging] {
        assert_eq!(world.promote(&first).await.unwrap().version.stage, stage);
    }
    let error = world.promote(&first).await.unwrap_err();
    assert!(error.message().contains("never synced"), "{error}");
    world.staged(&first, 2).await.unwrap();
    let error = world.promote(&first).await.unwrap_err();
    assert!(
        error.message().contains("2 keys of production are missing"),
        "{error}"
    );
    world.staged(&first, 0).await.unwrap();
    assert_eq!(
        world.promote(&first).await.unwrap().version.stage,
        Stage::Production
    );
    assert_eq!(
        world.promote(&first).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    rollback(&world.store, DEFAULT_TENANT, "acme").await.unwrap_err();

    let second = new("1.1.0", |spec| {
        spec["streams"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "name": "refunds", "path": "/refunds" }));
    });
    world.to_production(&second).await;
    assert_eq!(world.production().await, "1.1.0");
    let back = rollback(&world.store, DEFAULT_TENANT, "acme").await.unwrap();
    assert_eq!((back.version.as_str(), back.files.len()), ("1.0.0", 1));
    assert_eq!(world.production().await, "1.0.0");
    let filter = audit::EntryFilter {
        limit: 50,
        action: Some("connector.rollback".to_owned()),
        ..Default::default()
    };
    assert_eq!(
        audit::list(&world.store, DEFAULT_TENANT, &filter)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn what_was_approved_changes_no_more() {
    let world = World::new().await;
    world.promote(&new("1.0.0", |_| {})).await.unwrap();
    let changed = new("1.0.0", |spec| spec["docs"] = json!("https://acme.test/docs"));
    // A draft may change, and is a draft again.
    assert_eq!(world.promote(&changed).await.unwrap().version.stage, Stage::Draft);
    assert_eq!(
        world.promote(&changed).await.unwrap().version.stage,
        Stage::Approved
    );
    let error = world.promote(&new("1.0.0", |_| {})).await.unwrap_err();
    assert!(
        error.next_step().unwrap().contains("raise the version"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_breaking_change_needs_a_major_version_and_says_why() {
    let world = World::new().await;
    world.to_production(&new("1.0.0", |_| {})).await;
    let broken = |version| {
        new(version, |spec| {
            spec["streams"][0]["primary_key"] = json!(["uuid"]);
        })
    };
    let error = world.promote(&broken("1.1.0")).await.unwrap_err();
    assert!(
        error.message().contains("its key changes from (id) to (uuid)"),
        "{error}"
    );
    assert!(error.next_step().unwrap().contains("2.0.0"), "{error:?}");
    assert_eq!(world.promote(&broken("2.0.0")).await.unwrap().findings.len(), 1);
    let error = world.promote(&new("0.9.0", |_| {})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gate);
}

#[tokio::test]
async fn of_two_who_promote_at_once_each_moves_it_one_step_at_most() {
    let world = World::new().await;
    let first = new("1.0.0", |_| {});
    let all = futures::future::join_all((0..4).map(|_| world.promote(&first))).await;
    let done = all.iter().filter(|outcome| outcome.is_ok()).count();
    let stage = versions(&world.store, DEFAULT_TENANT, "acme").await.unwrap()[0].stage;
    let steps = Stage::ALL.iter().position(|other| *other == stage).unwrap() + 1;
    assert_eq!(done, steps);
}

type Change = fn(&mut serde_json::Value);

fn reach(change: Change) -> Vec<(Level, String)> {
    let found = compare(&spec("1.0.0", |_| {}), &spec("1.0.1", change));
    found
        .into_iter()
        .map(|finding| (finding.level, finding.reason))
        .collect()
}

fn finds(change: Change, level: Level, says: &str) {
    let found = reach(change);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].0 == level && found[0].1.contains(says),
        "{found:?} is not {level}: {says}"
    );
}

#[test]
fn every_difference_of_a_stream_is_found_with_its_reach() {
    assert_eq!(reach(|_| {}), []);
    finds(
        |s| {
            s["streams"].as_array_mut().unwrap().remove(1);
        },
        Level::Major,
        "it is removed",
    );
    finds(
        |s| s["streams"][0]["primary_key"] = json!(["id", "shop"]),
        Level::Major,
        "its key changes",
    );
    finds(
        |s| s["streams"][0]["cursor"]["format"] = json!("epoch_s"),
        Level::Major,
        "the format of its cursor changes from rfc3339 to epoch_s",
    );
    finds(
        |s| s["streams"][0]["cursor"]["format"] = json!(["rfc3339", "date"]),
        Level::Minor,
        "further formats",
    );
    finds(
        |s| s["streams"][0]["cursor"]["field"] = json!("created_at"),
        Level::Major,
        "its cursor changes",
    );
    finds(
        |s| s["streams"][1]["entity"] = json!("people"),
        Level::Major,
        "entity changes",
    );
    finds(
        |s| s["streams"][1]["pii"] = json!({ "email": "hash" }),
        Level::Major,
        "personal fields",
    );
    finds(
        |s| s["streams"][1]["explode"] = json!(["tags"]),
        Level::Minor,
        "child table",
    );
}

#[test]
fn every_difference_of_fields_and_settings_is_found_with_its_reach() {
    finds(
        |s| {
            s["streams"][0]["schema"]["properties"]
                .as_object_mut()
                .unwrap()
                .remove("total");
        },
        Level::Major,
        "field total is removed",
    );
    finds(
        |s| s["streams"][0]["schema"]["properties"]["total"]["type"] = json!("string"),
        Level::Major,
        "from integer to string",
    );
    finds(
        |s| s["streams"][0]["schema"]["properties"]["total"]["type"] = json!("number"),
        Level::Minor,
        "wider",
    );
    finds(
        |s| s["streams"][0]["schema"]["properties"]["day"]["format"] = json!("date-time"),
        Level::Minor,
        "wider",
    );
    finds(
        |s| s["streams"][0]["schema"]["properties"]["note"] = json!({ "type": "string" }),
        Level::Minor,
        "note is new",
    );
    finds(
        |s| s["config"]["required"] = json!(["account"]),
        Level::Major,
        "required now",
    );
    finds(
        |s| s["config"]["properties"] = json!({}),
        Level::Major,
        "it is removed",
    );
    finds(
        |s| s["hosts"] = json!(["api.acme.test", "eu.acme.test"]),
        Level::Minor,
        "may now reach",
    );
}
