use super::*;
use crate::runs::{self, Begin, Trigger};
use crate::store::testing;
use weir_protocol::SyncMode;

#[tokio::test]
async fn a_lease_that_was_taken_over_is_worth_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let github = Connection::new("github", "github", "github");
    let streams = [("issues".to_owned(), SyncMode::IncrementalMerge)];
    let me = Owner::this_process();
    let start = || runs::start_sync(&store, &github, &streams, &Begin::Anew(Trigger::Person), &me);

    let (_, first) = start().await.unwrap();
    renew(&store, &first[0]).await.unwrap();
    expire_all(&store).await;
    let (_, second) = start().await.unwrap();
    assert_eq!((first[0].term, second[0].term), (1, 2));

    let error = renew(&store, &first[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // Giving back what is not held any more takes nothing from the new holder.
    release(&store, &first[0]).await.unwrap();
    renew(&store, &second[0]).await.unwrap();

    release(&store, &second[0]).await.unwrap();
    let (_, third) = start().await.unwrap();
    assert_eq!(third[0].term, 3);
}

#[tokio::test]
async fn a_clock_that_was_put_back_makes_no_lease_longer() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let github = Connection::new("github", "github", "github");
    let streams = [("issues".to_owned(), SyncMode::IncrementalMerge)];
    let me = Owner::this_process();
    let start = || runs::start_sync(&store, &github, &streams, &Begin::Anew(Trigger::Person), &me);

    let (_, first) = start().await.unwrap();
    start().await.unwrap_err();
    // As if the clock had been an hour ahead when the lease was taken.
    let ahead = "UPDATE leases SET expires_at_ms = expires_at_ms + 3600000";
    testing::execute(&store, ahead).await;
    let (_, second) = start().await.unwrap();
    assert_eq!((first[0].term, second[0].term), (1, 2));
}
