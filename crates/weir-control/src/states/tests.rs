use super::*;
use crate::leases::Owner;
use crate::runs::{self, Begin, Trigger};
use crate::store::testing;

fn at(cursor: i64) -> StreamState {
    StreamState {
        floor: Some(cursor.into()),
        complete: true,
        ..StreamState::default()
    }
}

#[tokio::test]
async fn a_wish_holds_until_a_checkpoint_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let shop = Connection::new("shop", "http_json", "shop");
    let mode = SyncMode::IncrementalAppend;
    let current = || get(&store, "default", "shop", "orders");
    let advance_to = async |lease: &Lease, sequence: u64| {
        let state = &at(i64::try_from(sequence).unwrap());
        let advanced = store.write(lease.scope(), "advance", |db, _| {
            Box::pin(async move { advance(db, lease, sequence, mode, state).await })
        });
        advanced.await.unwrap();
    };

    // Before anything was synced.
    set(&store, &shop, "orders", &Wish::From(at(5))).await.unwrap();
    assert_eq!(
        current().await.unwrap().unwrap().open_wish(0),
        Some(&Wish::From(at(5)))
    );

    let streams = [("orders".to_owned(), mode)];
    let started = runs::start_sync(
        &store,
        &shop,
        &streams,
        &Begin::Anew(Trigger::Person),
        &Owner::this_process(),
    )
    .await;
    let lease = started.unwrap().1.remove(0);
    // While a run has the stream, nobody changes where it stands.
    set(&store, &shop, "orders", &Wish::Reset).await.unwrap_err();
    advance_to(&lease, 1).await;
    assert_eq!(current().await.unwrap().unwrap().wish, None);

    leases::release(&store, &lease).await.unwrap();
    set(&store, &shop, "orders", &Wish::Reset).await.unwrap();
    let stored = current().await.unwrap().unwrap();
    assert_eq!(stored.open_wish(1), Some(&Wish::Reset));
    // A checkpoint that the store does not know yet came after the wish... it is the newer word.
    assert_eq!(stored.open_wish(2), None);
    assert_eq!(stored.state, at(1));
}
