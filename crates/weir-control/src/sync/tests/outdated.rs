//! Full refreshes that were cut off, of a source that changed since.

use weir_protocol::ErrorKind;

use super::*;
use crate::DEFAULT_TENANT;
use SyncMode::{FullRefreshAppend, FullRefreshMerge, FullRefreshReplace, IncrementalAppend};

/// A version of which a read was cut off after nine of twelve records, and the next version.
async fn cut_off(world: &World, mode: SyncMode, plan: impl Fn(&Api) -> SyncPlan) -> Api {
    let mut api = items(12);
    (api.version, api.fails_at_page) = (Some(1), Some(3));
    let cut = sync(&world.store, plan(&api)).await.unwrap();
    assert_eq!((cut.status, cut.streams[0].mode), (RunStatus::Failed, mode));
    (api.version, api.fails_at_page) = (Some(2), None);
    api.items.lock().unwrap().remove(0);
    api
}

async fn told(world: &World, outcome: &SyncOutcome) -> Vec<String> {
    let notices = runs::notices(&world.store, DEFAULT_TENANT, &outcome.run).await;
    notices
        .unwrap()
        .into_iter()
        .map(|notice| notice.message)
        .collect()
}

#[tokio::test]
async fn what_waits_is_given_up_and_read_anew_by_the_next_run() {
    let world = World::new().await;
    let plan = |api: &Api| world.keyless(api, FullRefreshReplace);
    let api = cut_off(&world, FullRefreshReplace, plan).await;
    assert!(!world.lake.committed("orders").unwrap().state.complete);
    let outcome = sync(&world.store, plan(&api)).await.unwrap();
    assert_eq!((outcome.exit_code(), outcome.books().read), (0, 11));
    assert_eq!(world.ids("orders"), (2..=12).collect::<Vec<_>>());
    let told = told(&world, &outcome).await;
    assert!(told[0].contains("begun anew: it is another version"), "{told:?}");
}

#[tokio::test]
async fn an_incremental_run_makes_the_refresh_anew_that_another_left() {
    let world = World::new().await;
    let plan = |api: &Api| world.keyless(api, IncrementalAppend);
    let asked = |api: &Api| {
        let mut plan = plan(api);
        plan.options.full = true;
        plan
    };
    let api = cut_off(&world, FullRefreshReplace, asked).await;
    let outcome = sync(&world.store, plan(&api)).await.unwrap();
    assert_eq!(outcome.exit_code(), 0, "{:?}", outcome.first_error());
    assert_eq!(outcome.streams[0].mode, FullRefreshReplace);
    assert_eq!(world.ids("orders"), (2..=12).collect::<Vec<_>>());
    let told = told(&world, &outcome).await;
    assert!(told.iter().any(|told| told.contains("anew")), "{told:?}");
    let outcome = sync(&world.store, plan(&api)).await.unwrap();
    assert_eq!(
        (outcome.streams[0].mode, outcome.books().read),
        (IncrementalAppend, 0)
    );
}

#[tokio::test]
async fn where_a_key_tells_records_apart_the_read_goes_on() {
    let world = World::new().await;
    let plan = |api: &Api| world.plan(api, &[("orders", FullRefreshMerge)]);
    let api = cut_off(&world, FullRefreshMerge, plan).await;
    // Nine are passed over, of the eleven that are left.
    let outcome = sync(&world.store, plan(&api)).await.unwrap();
    assert_eq!((outcome.exit_code(), outcome.books().read), (0, 2));
}

#[tokio::test]
async fn a_refresh_that_appends_lands_all_or_nothing() {
    let world = World::new().await;
    let plan = |api: &Api| world.keyless(api, FullRefreshAppend);
    let api = cut_off(&world, FullRefreshAppend, plan).await;
    assert!(world.lake.rows("orders").is_empty() && world.lake.committed("orders").is_none());
    let outcome = sync(&world.store, plan(&api)).await.unwrap();
    assert_eq!((outcome.exit_code(), outcome.books().read), (0, 11));
    assert_eq!(world.ids("orders"), (2..=12).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_appended_in_part_all_the_same_is_left_to_a_person() {
    let world = World::new().await;
    let mut api = items(12);
    api.fails_at_page = Some(3);
    let plan = |api: &Api| world.keyless(api, FullRefreshAppend);
    sync(&world.store, plan(&api)).await.unwrap();
    assert_eq!(world.ids("orders").len(), 9);
    (api.version, api.fails_at_page) = (Some(2), None);
    let outcome = sync(&world.store, plan(&api)).await.unwrap();
    let error = outcome.first_error().unwrap();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert!(error.next_step().unwrap().contains("lake restore"), "{error:?}");
    assert_eq!(world.ids("orders").len(), 9);
    let mut kept = plan(&api);
    (kept.options.full, kept.options.restart) = (true, true);
    assert_eq!(sync(&world.store, kept).await.unwrap().exit_code(), 0);
    assert_eq!(world.ids("orders").len(), 21);
}
