use super::*;
use crate::DEFAULT_TENANT;
use crate::store::testing;

#[tokio::test]
async fn are_made_once_beside_the_default_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    create(&store, "north").await.unwrap();
    let names: Vec<String> = list(&store)
        .await
        .unwrap()
        .into_iter()
        .map(|tenant| tenant.name)
        .collect();
    assert_eq!(names, [DEFAULT_TENANT, "north"]);
    let error = create(&store, "north").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = get(&store, "nort").await.unwrap_err();
    assert_eq!(error.next_step(), Some("did you mean 'north'?"));
}

#[test]
fn a_name_is_short_and_plain() {
    for name in ["a", "north-1", "a_b", &"x".repeat(63)] {
        check_name(name).unwrap();
    }
    for name in ["", "*", "North", "a b", "a/b", "ä", &"x".repeat(64)] {
        assert!(check_name(name).unwrap_err().next_step().is_some(), "{name}");
    }
}
