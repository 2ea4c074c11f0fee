//! Models: built, then published.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt;
use weir_lake::{GoldBuild, GoldMode};

use crate::harness::TestLake;

const MODEL: &str = "gold_sales_totals";

async fn build(lake: &TestLake, ids: &[i64], value: f64, mode: GoldMode) -> GoldBuild {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("total", DataType::Float64, true),
    ]));
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![
            Arc::new(Int64Array::from(ids.to_vec())),
            Arc::new(Float64Array::from(vec![value; ids.len()])),
        ],
    )
    .unwrap();
    let rows = futures::stream::iter([Ok(batch)]).boxed();
    lake.lake
        .build_gold(MODEL, schema, rows, mode, BTreeMap::new(), 16 << 20)
        .await
        .unwrap()
}

#[tokio::test]
async fn readers_see_a_model_only_when_it_is_published() {
    let lake = TestLake::new();
    let first = build(&lake, &[1, 2], 1.0, GoldMode::Replace).await;
    assert!(lake.lake.snapshot(MODEL, None).await.is_err());
    assert!(lake.lake.tables().await.unwrap().is_empty());
    assert_eq!(first.snapshot.files.len(), 1);
    lake.lake.publish_gold(first).await.unwrap();
    assert_eq!(lake.rows(MODEL, &["id"]).await.len(), 2);

    let rejected = build(&lake, &[9], 9.0, GoldMode::Replace).await;
    lake.lake.discard_gold(rejected).await;
    assert_eq!(lake.rows(MODEL, &["id"]).await.len(), 2);

    let second = build(&lake, &[3], 3.0, GoldMode::Replace).await;
    lake.lake.publish_gold(second).await.unwrap();
    assert_eq!(lake.rows(MODEL, &["id"]).await, [r#"{"id":3}"#]);
}

#[tokio::test]
async fn a_model_can_grow_or_be_merged() {
    let lake = TestLake::new();
    let merge = || GoldMode::Merge {
        keys: vec!["id".to_owned()],
    };
    for (ids, value, mode) in [(&[1, 2][..], 1.0, GoldMode::Append), (&[2, 3][..], 2.0, merge())] {
        let build = build(&lake, ids, value, mode).await;
        lake.lake.publish_gold(build).await.unwrap();
    }
    assert_eq!(
        lake.rows(MODEL, &["id", "total"]).await,
        [
            r#"{"id":1,"total":1.0}"#,
            r#"{"id":2,"total":2.0}"#,
            r#"{"id":3,"total":2.0}"#
        ]
    );
    let one = build(&lake, &[1], 5.0, merge()).await;
    let two = build(&lake, &[1], 6.0, merge()).await;
    lake.lake.publish_gold(one).await.unwrap();
    let error = lake.lake.publish_gold(two).await.unwrap_err();
    assert_eq!(error.kind(), weir_protocol::ErrorKind::Conflict);
}
