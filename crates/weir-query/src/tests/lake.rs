//! The same engine over weir's own lake, in a folder.

use super::*;
use crate::LakeTables;
use crate::models::{ModelRun, RunOptions};
use weir_lake::{Lake, LakeConfig};
use weir_protocol::{ErrorKind, Secret};

fn engine_over(tables: &LakeTables, models: &[(&str, &str)]) -> QueryEngine {
    let files = models
        .iter()
        .map(|(name, text)| (format!("models/{name}.sql").into(), (*text).to_owned()));
    QueryEngine::new(
        Arc::new(tables.clone()),
        Models::load(files).unwrap(),
        Settings::default(),
    )
}

async fn run(tables: &LakeTables, engine: &QueryEngine) -> ModelRun {
    let mut runs = engine
        .run_models(tables, &[], RunOptions::default())
        .await
        .unwrap();
    runs.pop().unwrap()
}

fn model(rows: &str) -> String {
    format!(
        "/* weir\nmaterialize: table\nchecks: [{{ unique: id }}]\n*/\n\
         select * from (values {rows}) as t(id, name)"
    )
}

#[tokio::test]
async fn models_are_built_checked_and_published() {
    let folder = tempfile::tempdir().unwrap();
    let config = LakeConfig {
        location: folder.path().display().to_string(),
        options: Default::default(),
        pii_key: Secret::new("k"),
    };
    let tables = LakeTables::new(Lake::open(config).unwrap());

    // A first build that fails its check publishes nothing at all.
    let wrong = engine_over(&tables, &[("gold_a_b", &model("(1, 'x'), (1, 'y')"))]);
    assert_eq!(run(&tables, &wrong).await.error.unwrap().kind(), ErrorKind::Gate);
    assert_eq!(
        text(
            &ask(
                &wrong,
                "select table_name from information_schema.tables where table_schema = 'gold'"
            )
            .await
        ),
        ""
    );
    assert!(
        refusal(&wrong, "select * from gold_a_b", None)
            .await
            .starts_with("[not_found]")
    );

    let right = engine_over(&tables, &[("gold_a_b", &model("(1, 'x'), (2, 'y')"))]);
    let first = run(&tables, &right).await;
    assert!(first.error.is_none(), "{first:?}");
    assert_eq!(first.rows, Some(2));
    assert_eq!(run(&tables, &wrong).await.error.unwrap().kind(), ErrorKind::Gate);
    assert_eq!(
        text(&ask(&right, "select * from gold_a_b order by id").await),
        "[1,\"x\"]\n[2,\"y\"]"
    );

    let more = engine_over(&tables, &[("gold_a_b", &model("(3, 'z')"))]);
    run(&tables, &more).await;
    assert_eq!(
        text(&ask(&more, "select count(*), max(name) from gold.gold_a_b").await),
        r#"[1,"z"]"#
    );
    let before = first.version.unwrap().to_string();
    let rows = more
        .query(
            "select count(*) from gold_a_b",
            Some(&before),
            QueryLimits::default(),
        )
        .await
        .unwrap();
    assert_eq!(text(&rows), "[2]");
}

#[tokio::test]
async fn an_incremental_model_is_merged() {
    let folder = tempfile::tempdir().unwrap();
    let config = LakeConfig {
        location: folder.path().display().to_string(),
        options: Default::default(),
        pii_key: Secret::new("k"),
    };
    let tables = LakeTables::new(Lake::open(config).unwrap());
    let source = "/* weir\nmaterialize: table\n*/\nselect * from (values ROWS) as t(id, at)";
    let sums = "/* weir\nmaterialize: incremental\nunique_key: [id]\ncursor: at\n*/\n\
                select id, at, now() as built from gold_a_source";
    let with = |rows: &str| {
        engine_over(
            &tables,
            &[
                ("gold_a_source", &source.replace("ROWS", rows)),
                ("gold_a_sums", sums),
            ],
        )
    };
    let engine = with("(1, 10), (2, 20)");
    run(&tables, &engine).await;
    let engine = with("(1, 10), (2, 30), (3, 40)");
    let last = run(&tables, &engine).await;
    assert!(last.error.is_none(), "{last:?}");
    // Row 1 was not built again, so it keeps the earlier time.
    let sql = "select id, at, built = (select max(built) from gold_a_sums) from gold_a_sums order by id";
    insta::assert_snapshot!(text(&ask(&engine, sql).await), @"
    [1,10,false]
    [2,30,true]
    [3,40,true]
    ");
}
