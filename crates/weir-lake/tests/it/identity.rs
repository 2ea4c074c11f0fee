//! What a stream finds under its names and is not its own.

use std::path::{Path, PathBuf};

use serde_json::json;
use weir_protocol::spec::Contract;
use weir_protocol::{ErrorKind, SyncMode, WritePlan};

use crate::harness::{TestLake, batch, complete, order, partly, plan};

fn objects(lake: &TestLake, folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![lake.dir.path().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else {
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

const BRONZE: &str = "bronze/raw_acme_orders";

fn known(known_sequence: u64) -> WritePlan {
    WritePlan {
        known_sequence,
        ..plan(SyncMode::IncrementalMerge, "r9")
    }
}

/// Two checkpoints: the second one's object is named after the first's.
async fn two_checkpoints() -> TestLake {
    let lake = TestLake::new();
    lake.sync(
        &plan(SyncMode::IncrementalMerge, "r1"),
        &[&[order(1, "01-01", 1.0)], &[order(2, "01-02", 2.0)]],
    )
    .await;
    let found = objects(&lake, BRONZE);
    assert_eq!(found.len(), 2, "{found:?}");
    lake
}

/// An object of checkpoint `sequence`, as a writer leaves it that dies before its commit.
fn leave_object(lake: &TestLake, folder: &str, sequence: u64) {
    let any = objects(lake, folder).pop().unwrap();
    let name = any.file_name().unwrap().to_str().unwrap();
    let (_, rest) = name.split_once('-').unwrap();
    std::fs::copy(&any, any.with_file_name(format!("{sequence:010}-{rest}"))).unwrap();
}

fn remove_table(lake: &TestLake) {
    std::fs::remove_dir_all(lake.dir.path().join("silver/acme_orders")).unwrap();
}

#[tokio::test]
async fn a_leftover_goes_once_its_number_is_anothers_and_a_checkpoint_that_happened_is_refused() {
    let lake = two_checkpoints().await;
    let sequence = lake.open(&known(0)).await.committed().unwrap().sequence;
    let before = objects(&lake, BRONZE);
    leave_object(&lake, BRONZE, sequence + 1);
    drop(lake.open(&known(sequence)).await);
    assert_eq!(
        objects(&lake, BRONZE).len(),
        before.len() + 1,
        "its run may only sleep, and commit it yet"
    );
    let mut next = known(sequence);
    next.run = "r2".to_owned();
    let sequence = lake.sync(&next, &[&[order(7, "01-07", 7.0)]]).await.sequence;
    let after = objects(&lake, BRONZE);
    assert_eq!(
        after.len(),
        before.len() + 1,
        "the leftover is gone, and it alone"
    );
    // Its run slept through that.
    leave_object(&lake, BRONZE, sequence);
    let old = objects(&lake, BRONZE).pop().unwrap();
    let late = old.to_str().unwrap().replace("-r2-", "-r1-");
    std::fs::rename(&old, &late).unwrap();
    drop(lake.open(&known(sequence)).await);
    assert!(
        !objects(&lake, BRONZE).contains(&late.into()),
        "nor does what it wrote late"
    );
    let before = objects(&lake, BRONZE);

    leave_object(&lake, BRONZE, sequence + 1);
    let error = lake.lake_open_error(&known(sequence + 1)).await;
    assert_eq!(error.kind(), ErrorKind::State, "{error}");
    assert!(error.next_step().unwrap().contains("newest copy"), "{error:?}");
    assert_eq!(
        objects(&lake, BRONZE).len(),
        before.len() + 1,
        "nothing was touched"
    );

    leave_object(&lake, BRONZE, sequence + 2);
    lake.lake_open_error(&known(0)).await;
    assert_eq!(lake.lake.set_aside(&known(0)).await.unwrap(), 2);
    drop(lake.open(&known(0)).await);
    assert_eq!(objects(&lake, BRONZE), before);
    assert_eq!(objects(&lake, "set_aside/bronze/raw_acme_orders").len(), 2);
}

#[tokio::test]
async fn records_of_a_table_that_is_gone_are_refused_until_they_are_set_aside() {
    let lake = two_checkpoints().await;
    remove_table(&lake);
    let error = lake.lake_open_error(&known(0)).await;
    assert!(error.message().contains("Bronze"), "{error}");
    assert!(
        error
            .next_step()
            .unwrap()
            .contains("weir lake rebuild shop orders"),
        "{error:?}"
    );
    // One object alone may be a first checkpoint that never happened, unless the store knows it.
    std::fs::remove_file(objects(&lake, BRONZE).pop().unwrap()).unwrap();
    lake.lake_open_error(&known(1)).await;
    assert_eq!(objects(&lake, BRONZE).len(), 1);
    let mut next = known(0);
    next.run = "r2".to_owned();
    lake.sync(&next, &[&[order(7, "01-07", 7.0)]]).await;
    assert_eq!(objects(&lake, BRONZE).len(), 1);
    assert_eq!(objects(&lake, "set_aside/bronze/raw_acme_orders").len(), 1);
}

#[tokio::test]
async fn a_table_of_another_connection_or_stream_is_refused_with_its_name() {
    let lake = two_checkpoints().await;
    let mut other = known(0);
    other.connection = "second".to_owned();
    let error = lake.lake_open_error(&other).await;
    assert_eq!(error.kind(), ErrorKind::Spec);
    assert!(
        error.message().contains("'shop'") && error.message().contains("'second'"),
        "{error}"
    );
    let mut other = known(0);
    other.stream.name = "purchases".to_owned();
    let error = lake.lake_open_error(&other).await;
    assert!(error.message().contains("stream 'orders'"), "{error}");
    let mut other = known(2);
    other.stream.entity = "sales".to_owned();
    let error = lake.lake_open_error(&other).await;
    assert!(error.next_step().unwrap().contains("entity"), "{error:?}");
}

#[tokio::test]
async fn a_refused_full_refresh_of_many_checkpoints_stands_in_nobodys_way() {
    let lake = TestLake::new();
    let mut strict = plan(SyncMode::FullRefreshReplace, "r1");
    strict.stream.policy.contract = Contract::Quarantine;
    strict.stream.schema = Some(json!({ "type": "object", "properties": {
        "id": { "type": "integer" }, "at": { "type": "string" }, "total": { "type": "number" } } }));
    lake.sync(&strict, &[&[order(1, "01-01", 1.0)]]).await;
    strict.run = "r2".to_owned();
    let mut writer = lake.open(&strict).await;
    for page in 0..3 {
        let wrong = json!({ "id": page, "at": "2026-01-01", "total": "much" });
        writer.write(batch(&[wrong])).await.unwrap();
        writer.checkpoint(&partly(page)).await.unwrap();
    }
    assert!(writer.finish(&complete(3)).await.unwrap().refusal.is_some());
    let held = objects(&lake, "quarantine/acme_orders").len();
    assert!(held >= 3, "they can be looked at: {held}");
    // The next run begins anew, and what the refused one left goes with it.
    strict.run = "r3".to_owned();
    strict.known_sequence = 10;
    let receipt = lake.sync(&strict, &[&[order(2, "01-02", 2.0)]]).await;
    assert_eq!(receipt.books.landed, 1);
    assert_eq!(objects(&lake, "quarantine/acme_orders"), [] as [&Path; 0]);
    assert_eq!(lake.rows("acme_orders", &["id"]).await, [r#"{"id":2}"#]);
}
