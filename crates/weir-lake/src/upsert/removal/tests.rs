use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use object_store::path::Path;

use super::super::Keys;
use super::super::prune::Wanted;
use super::super::sieve::Sieve;
use super::*;
use crate::storage::Storage;
use crate::table::Change;
use crate::table::file_writer::Layout;

/// More than three row groups, the last of which is small.
const ROWS: i64 = 200_000;

fn rows(ids: impl Iterator<Item = i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.collect();
    let each = |test: fn(i64) -> bool| ids.iter().map(|id| test(*id).then_some(*id)).collect::<Vec<_>>();
    let texts = ids
        .iter()
        .map(|id| (id % 5 > 0).then(|| format!("text {}", id % 9_000)));
    let scores = ids
        .iter()
        .map(|id| if *id == 5 { f64::NAN } else { *id as f64 / 4.0 });
    let at = TimestampMicrosecondArray::from(each(|id| id % 3 > 0)).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 6] = [
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        (
            "half",
            Arc::new(ids.iter().map(|id| *id as f64 / 2.0).collect::<Float64Array>()),
        ),
        ("score", Arc::new(scores.collect::<Float64Array>())),
        ("text", Arc::new(texts.collect::<StringArray>())),
        ("at", Arc::new(at)),
        (
            "flag",
            Arc::new(
                ids.iter()
                    .map(|id| (id % 2 > 0).then_some(id % 4 > 1))
                    .collect::<BooleanArray>(),
            ),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

async fn written(table: &Table, batches: &[RecordBatch]) -> DataFile {
    let mut writer = writer(table);
    for batch in batches {
        writer.write(batch).await.unwrap();
    }
    let files = writer.finish().await.unwrap();
    assert_eq!(files.len(), 1);
    files.into_iter().next().unwrap()
}

fn writer(table: &Table) -> FileWriter {
    FileWriter::new(Layout::of(table, table.schema().clone()).unwrap(), 64 << 20)
}

async fn table(dir: &tempfile::TempDir, batches: &[RecordBatch]) -> Table {
    let storage = Storage::open(dir.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let (folder, schema) = (Path::from("silver/t"), batches[0].schema());
    let mut table = Table::create(&storage, &folder, &schema, &[], &[]).await.unwrap();
    let mut change = Change::new("WRITE");
    change.adds = vec![written(&table, batches).await.add(true)];
    table.try_commit(&change).await.unwrap();
    table
}

async fn ids(table: &Table, files: &[DataFile]) -> Vec<i64> {
    let rows = scan::read_all(table.store(), files.to_vec(), table.schema().clone());
    let batches: Vec<RecordBatch> = rows.try_collect().await.unwrap();
    let ids = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values());
    let mut ids: Vec<i64> = ids.copied().collect();
    ids.sort_unstable();
    ids
}

/// Rows of each row group of a file.
async fn groups(table: &Table, file: &DataFile) -> Vec<u32> {
    let original = Original::open(&table.store(), file).await.unwrap();
    original
        .places()
        .into_iter()
        .map(|places| places.end - places.start)
        .collect()
}

async fn taken_out(table: &Table, file: &DataFile, gone: &[u32]) -> (Outcome, Vec<DataFile>) {
    let (mut writer, mut outcome) = (writer(table), Outcome::default());
    let mut removal = Removal::new(table).unwrap();
    removal
        .take_out(file, gone.to_vec(), &mut writer, &mut outcome)
        .await
        .unwrap();
    let files = writer.finish().await.unwrap();
    removal.finish(&mut outcome).await.unwrap();
    (outcome, files)
}

#[tokio::test]
async fn row_groups_that_keep_their_rows_are_taken_over_as_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    let table = table(&dir, &[rows(0..ROWS)]).await;
    let file = table.files().unwrap().remove(0);
    assert_eq!(groups(&table, &file).await, [65_536, 65_536, 65_536, 3_392]);

    let (_, files) = taken_out(&table, &file, &[70_000, 80_001]).await;
    let left = (0..ROWS).filter(|id| ![70_000, 80_001].contains(id));
    assert!(ids(&table, &files).await.into_iter().eq(left.clone()));
    // The small one is written together with what is left of the second.
    assert_eq!(groups(&table, &files[0]).await, [65_536, 65_536, 65_536, 3_390]);
    // Statistics are those of the same rows written anew.
    let anew = written(&table, &[rows(left)]).await;
    let parsed = |file: &DataFile| -> serde_json::Value {
        serde_json::from_str(file.stats.as_ref().unwrap()).unwrap()
    };
    assert_eq!(parsed(&files[0]), parsed(&anew));
    assert_eq!(
        parsed(&files[0])["minValues"].get("score"),
        None,
        "values without an order were passed over"
    );

    // What was taken over can be taken over again, and the page index tells its rows.
    let (_, again) = taken_out(&table, &files[0], &[100]).await;
    let left = (0..ROWS).filter(|id| ![100, 70_000, 80_001].contains(id)).count();
    assert_eq!(ids(&table, &again).await.len(), left);
    let only = scan::read(
        &table.store(),
        &again[0],
        table.schema(),
        Some(scan::ranges(std::slice::from_ref(&(70_000..70_001)))),
    )
    .await
    .unwrap();
    let only: Vec<RecordBatch> = only.try_collect().await.unwrap();
    assert_eq!(only[0].num_rows(), 1);
}

#[tokio::test]
async fn rows_that_were_marked_before_do_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let table = table(&dir, &[rows(0..ROWS)]).await;
    let file = table.files().unwrap().remove(0);
    let gone = Gone::default().and_of_live(&[3, 140_000]);
    let marked = deletion::put(&table.store(), vec![(file, gone)])
        .await
        .unwrap()
        .remove(0);
    // The row at place 70,000 of those that are left is the one after.
    let (_, files) = taken_out(&table, &marked, &[70_000]).await;
    let left = (0..ROWS).filter(|id| ![3, 70_001, 140_000].contains(id));
    assert!(ids(&table, &files).await.into_iter().eq(left));
    assert_eq!(
        groups(&table, &files[0]).await.len(),
        4,
        "the last group alone could be taken over, and is small"
    );
}

#[tokio::test]
async fn a_file_with_other_columns_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = table(&dir, &[rows(0..ROWS)]).await;
    let file = table.files().unwrap().remove(0);
    let mut fields = table.schema().fields().to_vec();
    fields.push(Arc::new(arrow::datatypes::Field::new(
        "more",
        arrow::datatypes::DataType::Utf8,
        true,
    )));
    let wider = Arc::new(arrow::datatypes::Schema::new(fields));
    table.evolve(&wider, 64 << 20).await.unwrap();
    let (_, files) = taken_out(&table, &file, &[0]).await;
    assert!(ids(&table, &files).await.into_iter().eq(1..ROWS));
}

/// The places that a sieve finds, and those that it should find.
async fn sifted(stored: &RecordBatch, wanted: &RecordBatch, gone: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let dir = tempfile::tempdir().unwrap();
    let table = table(&dir, std::slice::from_ref(stored)).await;
    let file = table.files().unwrap().remove(0);
    let marks = Gone::default().and_of_live(gone);
    let file = deletion::put(&table.store(), vec![(file, marks)])
        .await
        .unwrap()
        .remove(0);
    let keys = Keys::new(vec!["id".to_owned()], None);
    let sieve = Sieve::new(&keys, wanted, table.schema()).unwrap();
    let bounds = Wanted::new("id", wanted.column(0).clone()).unwrap().unwrap();
    let original = Original::open(&table.store(), &file).await.unwrap();
    let found = sieve.candidates(&original, &[bounds]).await.unwrap().unwrap();
    let wanted: Vec<i64> = wanted.column(0).as_primitive::<Int64Type>().values().to_vec();
    let live = stored
        .column(0)
        .as_primitive::<Int64Type>()
        .values()
        .iter()
        .enumerate();
    let live = live.filter(|(place, _)| !gone.contains(&(*place as u32)));
    let expected = live.enumerate().filter(|(_, (_, id))| wanted.contains(id));
    (found, expected.map(|(place, _)| place as u32).collect())
}

#[tokio::test]
async fn a_sieve_finds_the_rows_of_a_load_and_no_others() {
    for (step, name) in [(1, "ascending"), (7_919, "spread")] {
        let stored = rows((0..100_000).map(|n| n * step % 100_000));
        for wanted in [
            vec![0, 1, 50_000, 99_999, 100_000],
            vec![-5],
            (0..1_000).map(|n| n * 97).collect(),
        ] {
            let wanted = rows(wanted.into_iter());
            let (found, expected) = sifted(&stored, &wanted, &[0, 2, 2_048, 50_001, 99_998]).await;
            assert_eq!(found, expected, "{name}");
        }
    }
}
