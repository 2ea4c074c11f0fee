use super::*;
use crate::runs::{self, RunFilter, RunStatus};
use crate::store::testing;
use crate::{Connection, DEFAULT_TENANT};

struct World {
    _folder: tempfile::TempDir,
    store: Store,
    shop: Connection,
}

impl World {
    async fn new(spec: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        let shop = Connection::new("shop", "http_json", "shop");
        put(&store, &shop, Some(&serde_json::from_str(spec).unwrap()))
            .await
            .unwrap();
        Self {
            _folder: folder,
            store,
            shop,
        }
    }

    async fn schedule(&self) -> Schedule {
        list(&self.store, DEFAULT_TENANT).await.unwrap().remove(0)
    }

    /// As if so much time had passed since the schedule was made.
    async fn put_back(&self, ms: i64) {
        let next = self.schedule().await.next_due_at_ms - ms;
        testing::execute(
            &self.store,
            &format!("UPDATE schedules SET next_due_at_ms = {next}"),
        )
        .await;
    }

    async fn runs(&self) -> Vec<crate::Run> {
        runs::list(&self.store, DEFAULT_TENANT, &RunFilter::default())
            .await
            .unwrap()
    }
}

const DAY: i64 = 86_400_000;

#[tokio::test]
async fn each_moment_becomes_one_run_whoever_looks() {
    let world = World::new(r#"{"catch_up": "each"}"#).await;
    assert_eq!(tick(&world.store).await.unwrap(), 0);
    world.put_back(2 * DAY).await;
    let ticks = futures::future::join_all((0..5).map(|_| tick(&world.store))).await;
    let queued: u64 = ticks.into_iter().map(Result::unwrap).sum();
    assert_eq!((queued, world.runs().await.len()), (2, 2));
    assert_eq!(tick(&world.store).await.unwrap(), 0);
}

#[tokio::test]
async fn a_paused_schedule_waits_and_goes_on() {
    let world = World::new("{}").await;
    pause(&world.store, DEFAULT_TENANT, "shop", true).await.unwrap();
    world.put_back(2 * DAY).await;
    assert_eq!(tick(&world.store).await.unwrap(), 0);
    pause(&world.store, DEFAULT_TENANT, "shop", false).await.unwrap();
    assert_eq!(tick(&world.store).await.unwrap(), 1);
    let error = pause(&world.store, DEFAULT_TENANT, "nowhere", true)
        .await
        .unwrap_err();
    assert!(error.next_step().unwrap().contains("schedule:"));
}

#[tokio::test]
async fn only_a_changed_schedule_begins_anew() {
    let world = World::new("{}").await;
    world.put_back(DAY).await;
    let before = world.schedule().await;
    put(&world.store, &world.shop, Some(&ScheduleSpec::default()))
        .await
        .unwrap();
    assert_eq!(world.schedule().await, before);
    let hourly = serde_json::from_str(r#"{"tier": "critical"}"#).unwrap();
    put(&world.store, &world.shop, Some(&hourly)).await.unwrap();
    assert!(world.schedule().await.next_due_at_ms > before.next_due_at_ms);
    put(&world.store, &world.shop, None).await.unwrap();
    assert_eq!(list(&world.store, DEFAULT_TENANT).await.unwrap(), []);
}

#[tokio::test]
async fn what_was_kept_is_counted_by_moment_and_not_by_attempt() {
    let world = World::new(r#"{"catch_up": "each", "jitter": "0s"}"#).await;
    world.put_back(3 * DAY).await;
    tick(&world.store).await.unwrap();
    // Three moments, all over by now: one in time, one late, one never.
    let runs = world.runs().await;
    let end = async |run: &str, status: &str, after: &str| {
        let sql = format!("UPDATE runs SET status = '{status}', finished_at_ms = {after} WHERE id = '{run}'");
        testing::execute(&world.store, &sql).await;
    };
    end(&runs[0].id, "succeeded", "due_at_ms + 1").await;
    end(&runs[1].id, "succeeded", "promised_by_ms + 1").await;
    end(&runs[2].id, "failed", "due_at_ms + 1").await;
    let measured = compliance(&world.store, DEFAULT_TENANT, 0).await.unwrap();
    let [(name, shop)] = measured.as_slice() else {
        panic!("{measured:?}")
    };
    assert_eq!(name, "shop");
    assert_eq!((shop.due, shop.kept, shop.succeeded), (3, 1, 2));
    assert!((shop.kept_share() - 1.0 / 3.0).abs() < 1e-9);
    assert_eq!(overall_compliance(&world.store, 0).await.unwrap(), *shop);
    assert_eq!(runs[0].status, RunStatus::Queued);
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_keeps_no_other_from_its_moment() {
    let world = World::new("{}").await;
    let other = Connection::new("other", "http_json", "other");
    put(&world.store, &other, Some(&ScheduleSpec::default()))
        .await
        .unwrap();
    world.put_back(2 * DAY).await;
    let broken = "UPDATE schedules SET timing = '{', next_due_at_ms = 1 WHERE connection = 'other'";
    testing::execute(&world.store, broken).await;
    assert_eq!(tick(&world.store).await.unwrap(), 1);
}

#[tokio::test]
async fn a_run_that_still_waits_stands_for_the_next_moment_too() {
    let world = World::new("{}").await;
    world.put_back(2 * DAY).await;
    assert_eq!(tick(&world.store).await.unwrap(), 1);
    testing::execute(&world.store, "UPDATE runs SET due_at_ms = due_at_ms - 1").await;
    world.put_back(2 * DAY).await;
    assert_eq!(tick(&world.store).await.unwrap(), 0);
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn the_schedule_of_a_connection_that_is_gone_is_removed() {
    let world = World::new("{}").await;
    keep_only(&world.store, DEFAULT_TENANT, &["shop".to_owned()])
        .await
        .unwrap();
    assert_eq!(list(&world.store, DEFAULT_TENANT).await.unwrap().len(), 1);
    keep_only(&world.store, DEFAULT_TENANT, &[]).await.unwrap();
    assert_eq!(list(&world.store, DEFAULT_TENANT).await.unwrap(), []);
}
