//! What every implementation of `Query` holds, over both lakes.

use weir_lake::{Lake, LakeConfig};
use weir_protocol::Secret;
use weir_protocol::conformance::{self, Asked};

use super::*;
use crate::LakeTables;
use crate::models::RunOptions;

#[tokio::test]
async fn the_engine_over_a_lake_in_memory_conforms() {
    let lake = query::lake().await;
    let asked = Asked {
        table: "silver.github_issues",
        id: "id",
        rows: 5,
        before: ("0", 2),
    };
    conformance::query(&engine(&lake), asked).await.unwrap();
}

#[tokio::test]
async fn the_engine_over_a_lake_in_a_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let config = LakeConfig {
        location: folder.path().display().to_string(),
        options: Default::default(),
        pii_key: Secret::new("k"),
    };
    let tables = LakeTables::new(Lake::open(config).unwrap());
    let mut before = None;
    for rows in ["(1, 'x'), (2, 'y')", "(1, 'x'), (2, 'y'), (3, 'z')"] {
        let model = format!("/* weir\nmaterialize: table\n*/\nselect * from (values {rows}) as t(id, name)");
        let models = [("models/gold_a_b.sql".into(), model)];
        let engine = QueryEngine::new(
            Arc::new(tables.clone()),
            Models::load(models).unwrap(),
            Settings::default(),
        );
        let mut runs = engine
            .run_models(&tables, &[], RunOptions::default())
            .await
            .unwrap();
        let version = runs.pop().unwrap().version.unwrap().to_string();
        let Some(first) = before.replace(version) else {
            continue;
        };
        let asked = Asked {
            table: "gold.gold_a_b",
            id: "id",
            rows: 3,
            before: (&first, 2),
        };
        conformance::query(&engine, asked).await.unwrap();
    }
}
