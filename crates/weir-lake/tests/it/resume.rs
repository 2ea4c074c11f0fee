//! Writers that stop anywhere, and those that come after.

use weir_protocol::{ErrorKind, SyncMode, WritePlan};

use crate::harness::{TestLake, batch, complete, order, partly, plan, raw_batch};

const TABLE: &str = "acme_orders";

#[tokio::test]
async fn what_was_not_committed_is_not_there() {
    for mode in SyncMode::ALL {
        let lake = TestLake::new();
        let plan = plan(mode, "r1");
        let mut writer = lake.open(&plan).await;
        writer.write(batch(&[order(1, "01-01", 1.0)])).await.unwrap();
        writer.checkpoint(&partly(0)).await.unwrap();
        writer.write(batch(&[order(2, "01-01", 2.0)])).await.unwrap();
        drop(writer);

        let mut again = lake.open(&plan).await;
        let committed = again.committed().unwrap().clone();
        assert_eq!(committed.state, partly(0), "{mode}");
        assert_eq!((committed.books.read, committed.books.landed), (1, 1), "{mode}");
        again
            .write(batch(&[order(2, "01-01", 2.0), order(3, "01-01", 3.0)]))
            .await
            .unwrap();
        let receipt = again.finish(&complete(1)).await.unwrap().published().unwrap();
        assert_eq!((receipt.books.read, receipt.books.landed), (3, 3), "{mode}");
        assert_eq!(lake.rows(TABLE, &["id"]).await.len(), 3, "{mode}");
    }
}

#[tokio::test]
async fn reading_again_changes_nothing_where_there_is_a_key() {
    for mode in [
        SyncMode::IncrementalMerge,
        SyncMode::IncrementalAppend,
        SyncMode::IncrementalHistory,
        SyncMode::FullRefreshMerge,
        SyncMode::FullRefreshHistory,
        SyncMode::FullRefreshReplace,
    ] {
        let lake = TestLake::new();
        let rows = [order(1, "01-01", 1.0), order(2, "01-02", 2.0)];
        lake.sync(&plan(mode, "r1"), &[&rows]).await;
        let columns = ["id", "at", "total"];
        let before = lake.rows(TABLE, &columns).await;
        let receipt = lake.sync(&plan(mode, "r2"), &[&rows, &rows]).await;
        assert_eq!(lake.rows(TABLE, &columns).await, before, "{mode}");
        assert!(
            receipt.books.balance() && receipt.books.read == 4,
            "{mode}: {receipt:?}"
        );
    }
}

#[tokio::test]
async fn an_unchanged_checkpoint_makes_no_version() {
    let lake = TestLake::new();
    let plan = plan(SyncMode::IncrementalMerge, "r1");
    let mut writer = lake.open(&plan).await;
    writer.write(batch(&[order(1, "01-01", 1.0)])).await.unwrap();
    let one = writer.checkpoint(&partly(0)).await.unwrap();
    let two = writer.checkpoint(&partly(0)).await.unwrap();
    assert_eq!(one, two);
}

#[tokio::test]
async fn a_full_refresh_that_was_complete_is_published_by_the_next_writer() {
    let lake = TestLake::new();
    let plan = plan(SyncMode::FullRefreshReplace, "r1");
    let mut writer = lake.open(&plan).await;
    writer.write(batch(&[order(1, "01-01", 1.0)])).await.unwrap();
    writer.checkpoint(&complete(1)).await.unwrap();
    drop(writer);
    assert!(lake.lake.snapshot(TABLE, None).await.is_err());
    let writer = lake.open(&plan).await;
    assert!(writer.committed().unwrap().state.complete);
    assert_eq!(lake.rows(TABLE, &["id"]).await.len(), 1);
}

#[tokio::test]
async fn restart_forgets_an_interrupted_full_refresh() {
    let lake = TestLake::new();
    let mut plan = plan(SyncMode::FullRefreshReplace, "r1");
    let mut writer = lake.open(&plan).await;
    writer.write(batch(&[order(1, "01-01", 1.0)])).await.unwrap();
    writer.checkpoint(&partly(0)).await.unwrap();
    drop(writer);
    plan.restart = true;
    plan.run = "r2".to_owned();
    let mut writer = lake.open(&plan).await;
    assert!(writer.committed().is_none());
    writer.write(batch(&[order(2, "01-01", 2.0)])).await.unwrap();
    writer.finish(&complete(1)).await.unwrap().published().unwrap();
    assert_eq!(lake.rows(TABLE, &["id"]).await, [r#"{"id":2}"#]);
}

#[tokio::test]
async fn of_two_writers_of_a_stream_the_later_is_refused() {
    let lake = TestLake::new();
    let mut one = lake.open(&plan(SyncMode::IncrementalMerge, "r1")).await;
    let mut two = lake.open(&plan(SyncMode::IncrementalMerge, "r2")).await;
    one.write(batch(&[order(1, "01-01", 1.0)])).await.unwrap();
    two.write(batch(&[order(2, "01-01", 2.0)])).await.unwrap();
    one.checkpoint(&partly(0)).await.unwrap();
    let error = two.checkpoint(&partly(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.next_step().is_some());
    assert_eq!(lake.rows(TABLE, &["id"]).await, [r#"{"id":1}"#]);
    assert_eq!(
        two.write(batch(&[])).await.unwrap_err().kind(),
        ErrorKind::Internal
    );
}

#[tokio::test]
async fn a_checkpoint_that_changes_nothing_uses_up_no_number() {
    let lake = TestLake::new();
    let merge = |run| plan(SyncMode::IncrementalMerge, run);
    lake.sync(&merge("r1"), &[&[order(1, "01-01", 1.0)]]).await;
    let mut writer = lake.open(&merge("r2")).await;
    let state = writer.committed().unwrap().state.clone();
    // Known already, then nothing at all, then news.
    writer.write(batch(&[order(1, "01-01", 1.0)])).await.unwrap();
    writer.checkpoint(&state).await.unwrap();
    writer.checkpoint(&state).await.unwrap();
    writer.write(batch(&[order(2, "01-02", 2.0)])).await.unwrap();
    writer.checkpoint(&partly(3)).await.unwrap();
    drop(writer);
    drop(lake.open(&merge("r3")).await);
    let before = lake.rows("acme_orders", &["id", "total"]).await;
    assert_eq!(before.len(), 2);
    lake.lake.rebuild(&merge("r4"), false).await.unwrap();
    assert_eq!(lake.rows("acme_orders", &["id", "total"]).await, before);
}

#[tokio::test]
async fn held_records_before_the_first_table_keep_their_bronze() {
    let lake = TestLake::new();
    let mut by_day = plan(SyncMode::IncrementalMerge, "r1");
    by_day.stream.policy.partition_by = vec!["day(at)".to_owned()];
    let mut writer = lake.open(&by_day).await;
    writer
        .write(raw_batch(&["{not json".to_owned()], "2026-11-21T10:00:00Z"))
        .await
        .unwrap();
    let books = writer.checkpoint(&partly(0)).await.unwrap().books;
    assert_eq!((books.read, books.quarantined), (1, 1));
    writer
        .write(raw_batch(&["{nor this".to_owned()], "2026-11-21T10:00:00Z"))
        .await
        .unwrap();
    writer.checkpoint(&partly(1)).await.unwrap();
    writer.write(batch(&[order(1, "01-01", 1.0)])).await.unwrap();
    let books = writer.checkpoint(&partly(2)).await.unwrap().books;
    assert_eq!((books.read, books.landed, books.quarantined), (3, 1, 2));
    drop(writer);
    drop(
        lake.open(&WritePlan {
            run: "r2".to_owned(),
            ..by_day.clone()
        })
        .await,
    );
    let held = lake.lake.quarantined("acme", "orders", 0).await.unwrap().total;
    assert_eq!(held, 2);
    lake.lake
        .rebuild(
            &WritePlan {
                run: "r3".to_owned(),
                ..by_day
            },
            false,
        )
        .await
        .unwrap();
    assert_eq!(lake.rows("acme_orders", &["id"]).await.len(), 1);
}
