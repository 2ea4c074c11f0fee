//! Many small syncs leave few files, without anybody asking for it.

use weir_protocol::SyncMode;

use crate::harness::{TestLake, order, plan};

const SYNCS: i64 = 24;
const FILES_MAX: u64 = 11;

async fn files(lake: &TestLake, table: &str) -> u64 {
    let tables = lake.lake.tables().await.unwrap();
    let table = tables.iter().find(|found| found.name == table);
    table.unwrap().files
}

#[tokio::test]
async fn appends_and_merges_leave_few_files_and_every_row() {
    for mode in [
        SyncMode::IncrementalAppend,
        SyncMode::IncrementalMerge,
        SyncMode::IncrementalHistory,
        SyncMode::FullRefreshAppend,
    ] {
        let lake = TestLake::new();
        for run in 0..SYNCS {
            let rows: Vec<_> = (0..5).map(|n| order(run * 5 + n, "01-01", 1.0)).collect();
            lake.sync(&plan(mode, &format!("r{run}")), &[&rows]).await;
        }
        let rows = lake.rows("acme_orders", &["id"]).await;
        let mut expected: Vec<_> = (0..SYNCS * 5).map(|id| format!("{{\"id\":{id}}}")).collect();
        expected.sort();
        assert_eq!(rows, expected, "{mode}");
        let files = files(&lake, "acme_orders").await;
        assert!(files <= FILES_MAX, "{mode}: {files} files");
    }
}

#[tokio::test]
async fn child_tables_are_tidied_with_their_parent() {
    let lake = TestLake::new();
    let mut plan = plan(SyncMode::IncrementalMerge, "r0");
    plan.stream.policy.explode = vec!["lines".to_owned()];
    for run in 0..SYNCS {
        plan.run = format!("r{run}");
        let mut record = order(run, "01-01", 1.0);
        record["lines"] = serde_json::json!([{ "n": 1 }, { "n": 2 }]);
        lake.sync(&plan, &[&[record]]).await;
    }
    assert_eq!(
        lake.rows("acme_orders_lines", &["n"]).await.len(),
        2 * SYNCS as usize
    );
    for table in ["acme_orders", "acme_orders_lines"] {
        let files = files(&lake, table).await;
        assert!(files <= FILES_MAX, "{table}: {files} files");
    }
}
