use super::*;
use crate::store::testing;
use crate::{DEFAULT_TENANT, tenants};

async fn world() -> (tempfile::TempDir, Store, Access) {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    (folder, store, Access::command_line(DEFAULT_TENANT))
}

fn answer() -> Answer {
    Answer {
        status: 201,
        headers: vec![("etag".to_owned(), "\"1\"".to_owned())],
        body: "{}".to_owned(),
    }
}

async fn first(store: &Store, access: &Access, key: &str) -> Ticket {
    match begin(store, access, key, "d").await.unwrap() {
        Begun::First(ticket) => ticket,
        Begun::Replay(answer) => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn of_many_at_once_one_goes_on_and_later_ones_get_its_answer() {
    let (_folder, store, access) = world().await;
    let begun = futures::future::join_all((0..5).map(|_| begin(&store, &access, "k", "d"))).await;
    let mut tickets = Vec::new();
    for begun in begun {
        match begun {
            Ok(Begun::First(ticket)) => tickets.push(ticket),
            Ok(Begun::Replay(answer)) => panic!("{answer:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
        }
    }
    assert_eq!(tickets.len(), 1);
    finish(&store, &tickets[0], &answer()).await.unwrap();
    assert_eq!(
        begin(&store, &access, "k", "d").await.unwrap(),
        Begun::Replay(answer())
    );
    let error = begin(&store, &access, "k", "other").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Spec);
}

#[tokio::test]
async fn a_key_belongs_to_a_tenant_and_a_principal_for_a_day() {
    let (_folder, store, access) = world().await;
    let ticket = first(&store, &access, "k").await;
    finish(&store, &ticket, &answer()).await.unwrap();
    tenants::create(&store, "north").await.unwrap();
    first(&store, &Access::command_line("north"), "k").await;
    let somebody = Access {
        principal: "somebody".to_owned(),
        ..access.clone()
    };
    first(&store, &somebody, "k").await;
    testing::execute(
        &store,
        "UPDATE idempotency_keys SET began_at_ms = began_at_ms - 86400001",
    )
    .await;
    first(&store, &access, "k").await;
}

#[tokio::test]
async fn one_that_broke_off_is_not_done_again_and_a_refused_one_is_free() {
    let (_folder, store, access) = world().await;
    first(&store, &access, "k").await;
    testing::execute(
        &store,
        "UPDATE idempotency_keys SET began_at_ms = began_at_ms - 120001",
    )
    .await;
    let error = begin(&store, &access, "k", "d").await.unwrap_err();
    assert!(error.message().contains("not known"), "{error}");
    let ticket = first(&store, &access, "other").await;
    release(&store, &ticket).await.unwrap();
    first(&store, &access, "other").await;
    for key in ["", "a b", "ä", &"k".repeat(256)] {
        assert_eq!(
            begin(&store, &access, key, "d").await.unwrap_err().kind(),
            ErrorKind::Usage
        );
    }
}

#[test]
fn requests_that_differ_have_other_digests() {
    assert_ne!(digest("POST", "/a", b"b"), digest("POST", "/ab", b""));
    assert_ne!(digest("POST", "/a", b""), digest("PUT", "/a", b""));
    assert_eq!(digest("POST", "/a", b"x"), digest("POST", "/a", b"x"));
}
