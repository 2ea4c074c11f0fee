use super::*;
use crate::store::testing;

#[tokio::test]
async fn are_registered_changed_and_found_near() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let error = get(&store, DEFAULT_TENANT, "gh").await.unwrap_err();
    assert!(error.next_step().unwrap().contains("weir sync"));

    let mut github = Connection::new("github", "github", "github");
    register(&store, &github).await.unwrap();
    github.source = "gh".to_owned();
    register(&store, &github).await.unwrap();
    assert_eq!(list(&store, DEFAULT_TENANT).await.unwrap(), [github]);
    assert!(list(&store, "other").await.unwrap().is_empty());

    let error = get(&store, DEFAULT_TENANT, "githup").await.unwrap_err();
    assert_eq!(error.next_step(), Some("did you mean 'github'?"));
}
