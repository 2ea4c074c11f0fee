use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use futures::TryStreamExt;

use super::file_writer::{FileWriter, Layout};
use super::*;

fn rows(ids: &[i64]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("part", DataType::Utf8, true),
    ]);
    let parts: Vec<_> = ids.iter().map(|id| (id % 2 == 0).then_some("even")).collect();
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(Int64Array::from(ids.to_vec())),
            Arc::new(StringArray::from(parts)),
        ],
    )
    .unwrap()
}

async fn table(dir: &tempfile::TempDir) -> Table {
    let storage = Storage::open(dir.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let schema = rows(&[]).schema();
    Table::create(
        &storage,
        &Path::from("silver/t"),
        &schema,
        &["part".to_owned()],
        &[],
    )
    .await
    .unwrap()
}

async fn append(table: &mut Table, batch: &RecordBatch) -> Change {
    let layout = Layout::of(table, table.schema().clone()).unwrap();
    let mut writer = FileWriter::new(layout, 1 << 20);
    writer.write(batch).await.unwrap();
    let mut change = Change::new("WRITE");
    change.adds = writer
        .finish()
        .await
        .unwrap()
        .iter()
        .map(|file| file.add(true))
        .collect();
    change
}

async fn ids(table: &Table) -> Vec<i64> {
    let batches: Vec<RecordBatch> =
        scan::read_all(table.store(), table.files().unwrap(), table.schema().clone())
            .try_collect()
            .await
            .unwrap();
    let mut ids: Vec<i64> = batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_any()
                .downcast_ref::<Int64Array>()
                .unwrap()
                .values()
                .to_vec()
        })
        .collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn rows_state_and_transaction_stand_in_one_version() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = table(&dir).await;
    let mut change = append(&mut table, &rows(&[1, 2, 3])).await;
    change.transactions = vec![("app".to_owned(), 7)];
    change.domains = vec![("weir.state.c.s".to_owned(), Some("{\"a\":1}".to_owned()))];
    assert_eq!(table.try_commit(&change).await.unwrap(), Attempt::Committed(1));

    let again = Table::open(table.storage(), table.folder()).await.unwrap();
    assert_eq!(ids(&again).await, [1, 2, 3]);
    assert_eq!(again.transaction("app").await.unwrap(), Some(7));
    assert_eq!(
        again.domain("weir.state.c.s").await.unwrap().as_deref(),
        Some("{\"a\":1}")
    );
    assert_eq!(again.files().unwrap().len(), 2);
    let old = again.at(AsOf::Version(0)).await.unwrap();
    assert!(ids(&old).await.is_empty());
    let error = again.at(AsOf::Version(9)).await.err().unwrap();
    assert_eq!(error.kind(), weir_protocol::ErrorKind::NotFound);
}

#[tokio::test]
async fn the_second_of_two_writers_loses_and_sees_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = table(&dir).await;
    let mut two = one.clone();
    let first = append(&mut one, &rows(&[1])).await;
    let second = append(&mut two, &rows(&[2])).await;
    assert_eq!(one.try_commit(&first).await.unwrap(), Attempt::Committed(1));
    assert_eq!(two.try_commit(&second).await.unwrap(), Attempt::Lost);
    assert_eq!(ids(&two).await, [1]);
    assert_eq!(two.try_commit(&second).await.unwrap(), Attempt::Committed(2));
    assert_eq!(ids(&two).await, [1, 2]);
}

#[tokio::test]
async fn log_checkpoints_keep_state_and_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = table(&dir).await;
    for version in 1..=22_i64 {
        let mut change = append(&mut table, &rows(&[version])).await;
        change.transactions = vec![("app".to_owned(), version)];
        change.domains = vec![("d".to_owned(), Some(version.to_string()))];
        assert_eq!(
            table.try_commit(&change).await.unwrap(),
            Attempt::Committed(version)
        );
    }
    assert!(dir.path().join("silver/t/_delta_log/_last_checkpoint").exists());
    let again = Table::open(table.storage(), table.folder()).await.unwrap();
    assert_eq!(again.transaction("app").await.unwrap(), Some(22));
    assert_eq!(again.domain("d").await.unwrap().as_deref(), Some("22"));
    assert_eq!(ids(&again).await.len(), 22);
}

#[tokio::test]
async fn columns_can_be_added_and_old_files_read_as_null() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = table(&dir).await;
    let change = append(&mut table, &rows(&[1])).await;
    table.try_commit(&change).await.unwrap();
    let new = Schema::new(vec![Field::new("extra", DataType::Float64, true)]);
    let mut change = Change::new("ADD COLUMNS");
    change.schema = Some(schema::merge(table.schema(), &new).as_ref().clone());
    table.try_commit(&change).await.unwrap();
    let batches: Vec<RecordBatch> =
        scan::read_all(table.store(), table.files().unwrap(), table.schema().clone())
            .try_collect()
            .await
            .unwrap();
    let extra = batches[0].column_by_name("extra").unwrap();
    assert!(extra.as_any().is::<Float64Array>() && arrow::array::Array::null_count(extra) == 1);
}

#[tokio::test]
async fn statistics_are_as_readers_expect_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = table(&dir).await;
    let change = append(&mut table, &rows(&[1, 3])).await;
    table.try_commit(&change).await.unwrap();
    insta::assert_snapshot!(table.files().unwrap()[0].stats.clone().unwrap(), @r#"{"numRecords":2,"minValues":{"id":1},"maxValues":{"id":3},"nullCount":{"id":0}}"#);
}
