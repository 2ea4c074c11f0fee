use serde_json::json;
use weir_protocol::ErrorKind;

use super::*;
use crate::store::testing;
use crate::{DEFAULT_TENANT, tenants};

#[tokio::test]
async fn an_answer_is_taken_once_from_who_was_asked_about_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let access = Access::command_line(DEFAULT_TENANT);
    let kept = json!({ "round": 1 });
    let shown = ask(&store, &access, "call a", &kept).await.unwrap();
    let somebody = Access {
        principal: "somebody".to_owned(),
        ..access.clone()
    };
    tenants::create(&store, "south").await.unwrap();
    let south = Access::command_line("south");
    let refused = async |access: &Access, about: &str, shown: &str| {
        let error = take(&store, access, about, shown).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
    };
    refused(&somebody, "call a", shown.expose()).await;
    refused(&south, "call a", shown.expose()).await;
    refused(&access, "call b", shown.expose()).await;
    refused(&access, "call a", &format!("{}x", shown.expose())).await;
    refused(&access, "call a", &"x".repeat(1 << 20)).await;
    let taken = take(&store, &access, "call a", shown.expose()).await.unwrap();
    assert_eq!(taken, kept);
    refused(&access, "call a", shown.expose()).await;
}

#[tokio::test]
async fn an_answer_that_comes_late_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let access = Access::command_line(DEFAULT_TENANT);
    let shown = ask(&store, &access, "late", &json!({})).await.unwrap();
    testing::execute(
        &store,
        &format!(
            "UPDATE questions SET expires_at_ms = expires_at_ms - {} WHERE about = '{}'",
            LIFE_MS + 1,
            digest("late")
        ),
    )
    .await;
    take(&store, &access, "late", shown.expose()).await.unwrap_err();
}
