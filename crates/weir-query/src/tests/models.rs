use super::*;
use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
use std::path::Path;

use crate::models::{ModelRun, ModelStatus, RunOptions};
use crate::tables::{Layer, TableName};
use weir_protocol::ErrorKind;

const VIEW: &str =
    "/* weir\nmaterialize: view\n*/\nselect id, state from github_issues where state <> 'spam'";
const TABLE: &str = "/* weir
materialize: table
checks:
  - { not_null: id }
  - { unique: [id] }
  - { accepted_values: { column: state, values: [open, closed] } }
  - { row_count: { min: 1 } }
*/
select * from gold_eng_clean";

async fn add(lake: &MemoryLake, ids: &[&str], states: &[&str], times: &[i64]) {
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(StringArray::from(ids.to_vec())) as _, true),
        ("state", Arc::new(StringArray::from(states.to_vec())) as _, true),
        ("updated", Arc::new(Int64Array::from(times.to_vec())) as _, true),
    ])
    .unwrap();
    let table = TableName::new(Layer::Silver, "github_issues");
    lake.append(
        &table,
        "2026-01-01T00:00:00Z",
        rows.schema(),
        &[],
        vec![rows.into()],
    )
    .await;
}

async fn run(engine: &QueryEngine, lake: &MemoryLake, names: &[&str], downstream: bool) -> Vec<ModelRun> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    engine
        .run_models(
            lake,
            &names,
            RunOptions {
                downstream,
                ..RunOptions::default()
            },
        )
        .await
        .unwrap()
}

#[tokio::test]
async fn a_model_is_built_after_what_it_reads() {
    let lake = Arc::new(MemoryLake::default());
    add(&lake, &["a", "b", "c"], &["open", "closed", "spam"], &[1, 2, 3]).await;
    // The table's name sorts before the view's, so only the graph gives the right order.
    let engine = engine_with(&lake, &[("gold_eng_board", TABLE), ("gold_eng_clean", VIEW)]);
    let runs = run(&engine, &lake, &["gold_eng_clean"], true).await;
    let told: Vec<_> = runs
        .iter()
        .map(|run| (run.name.as_str(), run.status, run.rows))
        .collect();
    assert_eq!(
        told,
        [
            ("gold_eng_clean", ModelStatus::Built, None),
            ("gold_eng_board", ModelStatus::Built, Some(2))
        ]
    );
    let rows = ask(
        &engine,
        "select id from gold_eng_board join gold.gold_eng_clean using (id) order by id",
    )
    .await;
    assert_eq!(text(&rows), "[\"a\"]\n[\"b\"]");
    insta::assert_snapshot!(engine.models().graph().to_text(), @"
    github_issues   silver
    gold_eng_clean  view        <- github_issues
    gold_eng_board  table       <- gold_eng_clean
    ");
    insta::assert_snapshot!(engine.models().graph().to_dot(), @r#"
    digraph models {
      rankdir=LR;
      "github_issues" [label="github_issues\nsilver"];
      "gold_eng_clean" [label="gold_eng_clean\nview"];
      "github_issues" -> "gold_eng_clean";
      "gold_eng_board" [label="gold_eng_board\ntable"];
      "gold_eng_clean" -> "gold_eng_board";
    }
    "#);
}

#[tokio::test]
async fn a_failed_check_keeps_what_was_published() {
    let lake = Arc::new(MemoryLake::default());
    add(&lake, &["a"], &["open"], &[1]).await;
    let engine = engine_with(&lake, &[("gold_eng_board", TABLE), ("gold_eng_clean", VIEW)]);
    assert_eq!(run(&engine, &lake, &[], false).await[1].version, Some(0));
    add(&lake, &["b"], &["weird"], &[2]).await;
    let objects = lake.objects().await;
    let runs = run(&engine, &lake, &["gold_eng_board"], false).await;
    let error = runs[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::Gate);
    insta::assert_snapshot!(format!("{error:?}"), @r#"[gate] model 'gold_eng_board' fails its check accepted_values(state) (sample: state: "weird", times: 1) -> the version published before stays; mend the model or its sources and run it again"#);
    assert_eq!(
        text(&ask(&engine, "select id from gold_eng_board").await),
        r#"["a"]"#
    );
    assert_eq!(lake.objects().await, objects, "the unpublished build is removed");

    let lenient = TABLE.replace("closed] } }", "closed] }, severity: warn }");
    let engine = engine_with(&lake, &[("gold_eng_board", &lenient), ("gold_eng_clean", VIEW)]);
    let runs = run(&engine, &lake, &["gold_eng_board"], false).await;
    assert_eq!((runs[0].status, runs[0].rows), (ModelStatus::Built, Some(2)));
    assert!(runs[0].checks.iter().any(|check| !check.passed));
}

#[tokio::test]
async fn what_reads_a_failed_model_is_skipped() {
    let lake = Arc::new(MemoryLake::default());
    add(&lake, &["a"], &["open"], &[1]).await;
    let broken = "/* weir\nmaterialize: view\n*/\nselect nonsense from github_issues";
    let other = "/* weir\nmaterialize: table\n*/\nselect count(*) as n from github_issues";
    let engine = engine_with(
        &lake,
        &[
            ("gold_eng_board", TABLE),
            ("gold_eng_clean", broken),
            ("gold_eng_other", other),
        ],
    );
    let runs = run(&engine, &lake, &[], false).await;
    let told: Vec<_> = runs.iter().map(|run| (run.name.as_str(), run.status)).collect();
    assert_eq!(
        told,
        [
            ("gold_eng_clean", ModelStatus::Failed),
            ("gold_eng_board", ModelStatus::Skipped),
            ("gold_eng_other", ModelStatus::Built)
        ]
    );
}

#[tokio::test]
async fn an_incremental_model_reads_only_what_is_new() {
    let lake = Arc::new(MemoryLake::default());
    add(&lake, &["a", "b"], &["open", "open"], &[1, 2]).await;
    let model = |version: u32, mark: &str| {
        format!(
            "/* weir\nmaterialize: incremental\nversion: {version}\nunique_key: [id]\ncursor: updated\n*/\n\
             select id, state, updated, '{mark}' as mark from github_issues \
             where weir_last('updated') is null or updated >= weir_last('updated')"
        )
    };
    let first = engine_with(&lake, &[("gold_eng_new", &model(1, "x"))]);
    assert_eq!(run(&first, &lake, &[], false).await[0].rows, Some(2));
    // One row at the cursor's edge, one beyond, one late: the late one is not seen, by definition.
    add(
        &lake,
        &["c", "a", "late"],
        &["open", "closed", "open"],
        &[2, 5, 0],
    )
    .await;
    let runs = run(&first, &lake, &[], false).await;
    assert!(runs[0].error.is_none(), "{runs:?}");
    let sql = "select id, state, updated from gold_eng_new order by id, updated";
    insta::assert_snapshot!(text(&ask(&first, sql).await), @r#"
    ["a","closed",5]
    ["b","open",2]
    ["c","open",2]
    "#);
    // Another algorithm builds it anew, from everything.
    let second = engine_with(&lake, &[("gold_eng_new", &model(2, "x"))]);
    run(&second, &lake, &[], false).await;
    assert_eq!(
        text(&ask(&second, "select count(*) from gold_eng_new").await),
        "[5]"
    );
}

fn load(files: &[(&str, &str)]) -> String {
    let files = files
        .iter()
        .map(|(name, text)| (Path::new(name).to_owned(), (*text).to_owned()));
    format!("{:?}", Models::load(files).unwrap_err())
}

#[test]
fn wrong_models_are_refused() {
    let view = |sql: &str| format!("/* weir\nmaterialize: view\n*/\n{sql}");
    let circle = [
        (
            "gold_a_a.sql",
            view("with x as (select * from gold_a_b) select * from x"),
        ),
        ("gold_a_b.sql", view("select (select max(id) from gold_a_c) as m")),
        (
            "gold_a_c.sql",
            view("select 1 as id union all select m from gold.gold_a_a"),
        ),
    ];
    let circle: Vec<_> = circle.iter().map(|(name, text)| (*name, text.as_str())).collect();
    insta::assert_snapshot!(load(&circle), @"[spec] models read each other: gold_a_a -> gold_a_b -> gold_a_c -> gold_a_a (file: gold_a_a.sql) -> break the circle: move what both need into a model of its own");
    insta::assert_snapshot!(load(&[("m/gold_a_b.sql", "select 1")]), @"[spec] m/gold_a_b.sql:1: the model has no front matter -> begin the file with /* weir, then lines such as `materialize: table`, then */");
    insta::assert_snapshot!(load(&[("m/issues.sql", VIEW)]), @"[spec] 'issues' is not a valid model name (file: m/issues.sql) -> name a model gold_<domain>_<entity>, as in gold_engineering_open_issues");
    insta::assert_snapshot!(load(&[("m/gold_a_b.sql", "\n/* weir\nmaterialise: view\n*/\nselect 1")]), @"[spec] m/gold_a_b.sql:3:1: unknown field `materialise`, expected one of materialize, description, owner, version, unique_key, cursor, target, checks (line: materialise: view) -> did you mean 'materialize'?");
    insta::assert_snapshot!(load(&[("m/gold_a_b.sql", "/* weir\nmaterialize: incremental\n*/\nselect 1")]), @"[spec] m/gold_a_b.sql: an incremental model needs a unique_key -> name the columns that tell its rows apart, as in `unique_key: [repository, week]`");
    insta::assert_snapshot!(load(&[("m/gold_a_b.sql", "/* weir\nmaterialize: table\nchecks: [{ unique: a, not_null: a }]\n*/\nselect 1")]), @"[spec] m/gold_a_b.sql: a check names exactly one kind -> write one of not_null, unique, accepted_values, row_count, sql in each entry of `checks`");
    insta::assert_snapshot!(load(&[("m/gold_a_b.sql", &view("drop table x"))]), @"[denied] 'DROP TABLE' is not allowed here: queries only read (file: m/gold_a_b.sql) -> use SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES, SHOW COLUMNS or DESCRIBE; models write Gold tables");
    insta::assert_snapshot!(load(&[("m/gold_a_b.sql", &view("select weir_last('x')"))]), @"[spec] model 'gold_a_b' uses weir_last but is not incremental (file: m/gold_a_b.sql) -> set `materialize: incremental` and a `unique_key`, or leave weir_last out");
    insta::assert_snapshot!(load(&[("m/gold_a_b.sql", VIEW), ("n/gold_a_b.sql", VIEW)]), @"[spec] model 'gold_a_b' is defined twice (first: m/gold_a_b.sql, second: n/gold_a_b.sql) -> rename or remove one of the files");
}

#[tokio::test]
async fn columns_that_a_table_cannot_hold() {
    let lake = Arc::new(MemoryLake::default());
    let bad = "/* weir\nmaterialize: table\n*/\nselect count(*) from range(0, 3)";
    let good = "/* weir\nmaterialize: table\n*/\nselect null as nothing, now() as at, arrow_cast(1, 'UInt64') as big";
    let engine = engine_with(&lake, &[("gold_a_bad", bad), ("gold_a_good", good)]);
    let runs = run(&engine, &lake, &[], false).await;
    insta::assert_snapshot!(format!("{:?}", runs[0].error), @"Some([spec] model 'gold_a_bad' has a column named 'count(*)' -> give it a plain name: `count(*) as issues`)");
    assert!(runs[1].error.is_none(), "{runs:?}");
    let kinds: Vec<_> = ask(&engine, "select * from gold_a_good")
        .await
        .columns
        .into_iter()
        .map(|c| c.kind)
        .collect();
    assert_eq!(kinds, ["text", "timestamp with time zone", "bigint"]);
}
