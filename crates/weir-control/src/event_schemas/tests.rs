use serde_json::json;

use super::*;
use crate::DEFAULT_TENANT;
use crate::store::testing;

fn order(fields: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": fields, "required": required })
}

#[tokio::test]
async fn versions_are_counted_and_the_same_schema_is_registered_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let family = "shop.order_paid";
    let first = order(&json!({ "id": { "type": "string" } }), &["id"]);
    let put = async |schema: &Value, mode| register(&store, DEFAULT_TENANT, family, schema, mode).await;
    assert_eq!(put(&first, Some(Mode::Full)).await.unwrap().version, 1);
    assert_eq!(put(&first, None).await.unwrap().version, 1);
    let second = order(
        &json!({ "id": { "type": "string" }, "note": { "type": "string" } }),
        &["id"],
    );
    let registered = put(&second, None).await.unwrap();
    assert_eq!((registered.version, registered.compatibility), (2, Mode::Full));
    let third = order(&json!({ "id": { "type": "integer" } }), &["id"]);
    let error = put(&third, None).await.unwrap_err();
    let text = format!("{error:?}");
    for part in ["$.id", "type", "integer", "weir event schema check"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    // In a mode that lets it.
    assert_eq!(put(&third, Some(Mode::None)).await.unwrap().version, 3);
    let newest = get(&store, DEFAULT_TENANT, family, None).await.unwrap();
    assert_eq!((newest.version, newest.schema), (3, third));
    assert!(get(&store, "other", family, None).await.is_err());
}

#[tokio::test]
async fn weirs_own_families_are_listed_and_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let all = list(&store, DEFAULT_TENANT).await.unwrap();
    assert_eq!(all.len(), Family::ALL.len());
    for known in &all {
        check_name(&known.family).unwrap();
        check_schema(&known.schema).unwrap();
    }
    let error = register(
        &store,
        DEFAULT_TENANT,
        "run.failed",
        &order(&json!({}), &[]),
        None,
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let error = get(&store, DEFAULT_TENANT, "run.faild", None).await.unwrap_err();
    assert_eq!(error.next_step(), Some("did you mean 'run.failed'?"));
    let error = get(&store, DEFAULT_TENANT, "run.failed", Some(9))
        .await
        .unwrap_err();
    assert!(error.message().contains("version 9"));
}

#[test]
fn what_is_no_schema_is_refused_with_a_next_step() {
    for schema in [
        json!({ "type": "array" }),
        json!(true),
        json!({ "type": "object", "properties": { "a": { "type": "nothing" } } }),
        json!({ "type": "object", "properties": { "a": { "$ref": "https://example.com/a.json" } } }),
        json!({ "type": "object", "description": "x".repeat(300_000) }),
    ] {
        let error = check_schema(&schema).unwrap_err();
        assert!(error.next_step().is_some(), "{error}");
    }
    for name in ["order", "Shop.order", "shop.", ".a", "shop.1a", "shop order.a"] {
        assert!(check_name(name).is_err(), "{name}");
    }
    check_name("shop.order_paid.v2").unwrap();
}
