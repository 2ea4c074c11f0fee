use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
    StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int64Type};
use futures::TryStreamExt;
use object_store::path::Path;
use proptest::prelude::*;

use super::super::{Incoming, Keys, Outcome, Place, Rule, Upsert};
use crate::storage::Storage;
use crate::table::adapt::adapt;
use crate::table::file_writer::{FileWriter, Layout};
use crate::table::original::Original;
use crate::table::{Change, DataFile, Table, scan};

/// More than two row groups that are worth taking over, and one that is not.
const ROWS: i64 = 2 * 65_536 + 9_000 + 65_536;

/// A row by its number and its version: some columns say the same in every version.
fn batch(rows: &[(i64, i64)]) -> RecordBatch {
    let ids = rows.iter().map(|(id, _)| *id);
    let texts = |of: &dyn Fn(i64, i64) -> Option<String>| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|(id, version)| of(*id, *version))
                .collect::<StringArray>(),
        )
    };
    let fixed = texts(&|id, _| (id % 7 > 0).then(|| format!("https://example.com/{id}")));
    let text = texts(&|id, version| (id % 3 > 0).then(|| format!("text {version} of {}", id % 900)));
    let score = rows.iter().map(|(id, version)| {
        Some(if *id == 5 {
            f64::NAN
        } else {
            (id % 50 + version) as f64
        })
    });
    let inner: Vec<(Arc<Field>, ArrayRef)> = vec![
        (
            Arc::new(Field::new("a", DataType::Utf8, true)),
            texts(&|id, _| Some(format!("a{}", id % 20))),
        ),
        (
            Arc::new(Field::new("b", DataType::Utf8, true)),
            texts(&|_, version| Some(format!("b{version}"))),
        ),
    ];
    let tags = texts(&|id, _| Some(format!("tag {}", id % 11)));
    let tags = ListArray::new(
        Arc::new(Field::new_list_field(DataType::Utf8, true)),
        OffsetBuffer::from_lengths(rows.iter().map(|_| 1)),
        tags,
        None,
    );
    let flags: BooleanArray = rows
        .iter()
        .map(|(id, version)| Some((id + version) % 2 > 0))
        .collect();
    let columns: [(&str, ArrayRef); 8] = [
        ("id", Arc::new(ids.collect::<Int64Array>())),
        ("fixed", fixed),
        ("text", text),
        ("score", Arc::new(score.collect::<Float64Array>())),
        ("inner", Arc::new(StructArray::from(inner))),
        ("tags", Arc::new(tags)),
        ("flag", Arc::new(flags)),
        (
            "version",
            Arc::new(
                rows.iter()
                    .map(|(_, version)| Some(*version))
                    .collect::<Int64Array>(),
            ),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

async fn table(dir: &tempfile::TempDir, partitions: &[String]) -> Table {
    let storage = Storage::open(dir.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let schema = batch(&[(0, 0)]).schema();
    let folder = Path::from("silver/t");
    let mut table = Table::create(&storage, &folder, &schema, partitions, &[])
        .await
        .unwrap();
    let mut writer = FileWriter::new(Layout::of(&table, table.schema().clone()).unwrap(), 64 << 20);
    let all: Vec<(i64, i64)> = (0..ROWS).map(|id| (id, 0)).collect();
    for part in all.chunks(10_000) {
        writer.write(&batch(part)).await.unwrap();
    }
    let mut change = Change::new("WRITE");
    change.adds = writer
        .finish()
        .await
        .unwrap()
        .into_iter()
        .map(|file| file.add(true))
        .collect();
    table.try_commit(&change).await.unwrap();
    table
}

async fn merge(table: &mut Table, rows: &[(i64, i64)]) -> Outcome {
    let keys = Keys::new(vec!["id".to_owned()], Some("version".to_owned()));
    let place = Place { store: table.store() };
    let mut incoming = Incoming::new(keys.clone(), 256 << 20, place);
    for part in rows.chunks(5_000) {
        incoming.push(batch(part)).await.unwrap();
    }
    let upsert = Upsert {
        table,
        files: table.files().unwrap(),
        schema: table.schema().clone(),
        keys,
        rule: Rule::Merge,
        vanish: None,
        run: "r",
        memory_bytes: 256 << 20,
    };
    let outcome = upsert.run(&mut incoming, None).await.unwrap();
    let mut change = Change::new("MERGE");
    change.adds = outcome.adds.iter().map(|file| file.add(true)).collect();
    change.removes = outcome.removes.iter().map(|file| file.remove(true)).collect();
    table.try_commit(&change).await.unwrap();
    outcome
}

/// The rows of the files in their order.
async fn stored(table: &Table, files: &[DataFile]) -> Vec<RecordBatch> {
    scan::read_all(table.store(), files.to_vec(), table.schema().clone())
        .try_collect()
        .await
        .unwrap()
}

fn numbers(batches: &[RecordBatch], column: &str) -> Vec<i64> {
    let columns = batches.iter().filter_map(|batch| batch.column_by_name(column));
    columns
        .flat_map(|column| column.as_primitive::<Int64Type>().values().to_vec())
        .collect()
}

/// The table has one row for each key, each with all columns of its newest version.
async fn assert_is(table: &Table, model: &BTreeMap<i64, i64>) {
    let batches = stored(table, &table.files().unwrap()).await;
    let rows: Vec<(i64, i64)> = numbers(&batches, "id")
        .into_iter()
        .zip(numbers(&batches, "version"))
        .collect();
    assert_eq!(rows.iter().copied().collect::<BTreeMap<_, _>>(), *model);
    assert_eq!(rows.len(), model.len(), "a key is doubled");
    let mut at = 0;
    for found in batches {
        let expected = adapt(&batch(&rows[at..at + found.num_rows()]), table.schema()).unwrap();
        for (index, column) in found.columns().iter().enumerate() {
            assert_eq!(
                column,
                expected.column(index),
                "{}",
                found.schema().field(index).name()
            );
        }
        at += found.num_rows();
    }
}

/// A column's bytes in a row group of a file.
async fn chunk(table: &Table, file: &DataFile, group: usize, leaf: usize) -> Vec<u8> {
    let original = Original::open(&table.store(), file).await.unwrap();
    let (start, length) = original.footer.row_group(group).column(leaf).byte_range();
    let range = start..start + length;
    object_store::ObjectStoreExt::get_range(&table.store(), &file.location(), range)
        .await
        .unwrap()
        .to_vec()
}

#[tokio::test]
async fn rows_come_in_the_place_of_those_that_they_replace() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = table(&dir, &[]).await;
    let before = table.files().unwrap().remove(0);
    let changed: Vec<(i64, i64)> = (0..60_000).filter(|id| id % 10 == 3).map(|id| (id, 1)).collect();
    let outcome = merge(&mut table, &changed).await;
    assert_eq!((outcome.landed, outcome.deduplicated), (6_000, 0));
    let mut model: BTreeMap<i64, i64> = (0..ROWS).map(|id| (id, 0)).collect();
    model.extend(changed);
    assert_is(&table, &model).await;
    let after = table.files().unwrap().remove(0);
    let ids = numbers(&stored(&table, std::slice::from_ref(&after)).await, "id");
    assert!(ids.is_sorted(), "the order of the rows is as it was");
    // id, fixed, inner.a and tags say the same; text, score and version do not.
    for (leaf, is_same) in [
        (0, true),
        (1, true),
        (2, false),
        (3, false),
        (6, true),
        (8, false),
    ] {
        let (old, new) = (
            chunk(&table, &before, 0, leaf).await,
            chunk(&table, &after, 0, leaf).await,
        );
        assert_eq!(old == new, is_same, "column {leaf}");
    }
    // Statistics are those of the same rows written anew, and a value without an order is not forgotten.
    let all: Vec<(i64, i64)> = model.into_iter().collect();
    let anew: serde_json::Value = serde_json::from_str(&crate::table::stats::of_batch(&batch(&all))).unwrap();
    let found: serde_json::Value = serde_json::from_str(after.stats.as_ref().unwrap()).unwrap();
    assert_eq!(found, anew);
    assert_eq!(found["minValues"].get("score"), None);
}

#[tokio::test]
async fn a_row_that_changes_its_partition_moves() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = table(&dir, &["flag".to_owned()]).await;
    let mut model: BTreeMap<i64, i64> = (0..ROWS).map(|id| (id, 0)).collect();
    // The first moves, the second stays.
    for rows in [vec![(70_000, 1), (3, 1)], vec![(70_000, 3), (4, 2), (90_000, 1)]] {
        merge(&mut table, &rows).await;
        model.extend(rows);
        assert_is(&table, &model).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn any_changes_come_to_the_newest_version_of_each_row(
        loads in prop::collection::vec(
            prop::collection::vec((0..ROWS + 50, 0..4_i64, 1..900_i64), 1..6), 1..4),
    ) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let mut table = table(&dir, &[]).await;
            let mut model: BTreeMap<i64, i64> = (0..ROWS).map(|id| (id, 0)).collect();
            for spans in loads {
                // Each span changes every so many-th row from some row on; newer versions win.
                let rows: Vec<(i64, i64)> = spans
                    .into_iter()
                    .flat_map(|(from, version, step)| (0..40).map(move |n| (from + n * step, version)))
                    .collect();
                merge(&mut table, &rows).await;
                for (id, version) in rows {
                    let newest = model.entry(id).or_insert(version);
                    *newest = version.max(*newest);
                }
                assert_is(&table, &model).await;
            }
        });
    }
}
