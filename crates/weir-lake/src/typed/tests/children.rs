//! Exploded lists.

use arrow::array::Array;

use super::*;
use crate::table::columns;

fn exploding(primary_key: &[&str]) -> WritePlan {
    let mut wish = plan(None, Contract::Evolve);
    wish.stream.policy.explode = vec!["lines".to_owned()];
    wish.stream.primary_key = primary_key.iter().map(|path| (*path).to_owned()).collect();
    wish
}

fn exploder(primary_key: &[&str]) -> Exploder {
    let keys: Vec<String> = primary_key.iter().map(|path| (*path).to_owned()).collect();
    Exploder::new(&["lines".to_owned()], &keys).unwrap()
}

fn shown(batch: &RecordBatch, columns: &[&str]) -> String {
    let names = batch.schema();
    let picked: Vec<usize> = columns.iter().map(|name| names.index_of(name).unwrap()).collect();
    arrow::util::pretty::pretty_format_batches(&[batch.project(&picked).unwrap()])
        .unwrap()
        .to_string()
}

#[test]
fn elements_become_rows_with_their_parents_key() {
    let mut typer = Typer::new(&exploding(&["key.id"]), None, b"key").unwrap();
    let decoded = typer
        .decode(&of(&[
            json!({"key": {"id": 1}, "lines": [{"id": 7, "_run": "own"}, null, {"id": 8}]}),
            json!({"key": {"id": 2}, "lines": []}),
            json!({"key": {"id": "x"}, "lines": [{"id": 9}]}),
            json!({"lines": [{"id": 10}]}),
            json!({"key": {"id": 3}, "lines": [{"id": 11}]}),
        ]))
        .unwrap();
    let exploder = exploder(&["key.id"]);
    let child = exploder.explode(&decoded.rows, "lines", false).unwrap();
    insta::assert_snapshot!(shown(&child, &["_parent_key_id", "_index", "id", "element_run", "_run"]), @"
    +----------------+--------+----+-------------+-------+
    | _parent_key_id | _index | id | element_run | _run  |
    +----------------+--------+----+-------------+-------+
    | 1              | 0      | 7  | own         | run-1 |
    | 1              | 1      |    |             | run-1 |
    | 1              | 2      | 8  |             | run-1 |
    | x              | 0      | 9  |             | run-1 |
    | 3              | 0      | 11 |             | run-1 |
    +----------------+--------+----+-------------+-------+
    ");
    let parents = exploder.parent_schema(typer.schema());
    assert!(parents.column_with_name("lines").is_none());

    // A later run finds the same columns again, from the tables alone.
    let children = [("lines".to_owned(), columns::data_schema(&child.schema()))];
    let later = Typer::with_children(
        &exploding(&["key.id"]),
        Some(parents),
        &children,
        &Inexact::default(),
        b"key",
    )
    .unwrap();
    let none = RecordBatch::new_empty(later.row_schema());
    let again = exploder.explode(&none, "lines", false).unwrap();
    assert_eq!(again.schema(), child.schema());
}

#[test]
fn a_row_tells_that_it_was_written_and_a_digest_tells_its_lists() {
    let mut typer = Typer::new(&exploding(&["id"]), None, b"key").unwrap();
    let decoded = typer
        .decode(&of(&[
            json!({"id": 1, "lines": [{"a": 1}, {"a": 2}]}),
            json!({"id": 2, "lines": []}),
            json!({"id": 3, "lines": [{"a": 1}, {"a": 2}]}),
            json!({"id": 4}),
            json!({"id": 5, "lines": [{"a": 2}, {"a": 1}]}),
        ]))
        .unwrap();
    let exploder = exploder(&["id"]);
    let child = exploder.explode(&decoded.rows, "lines", true).unwrap();
    insta::assert_snapshot!(shown(&child, &["_parent_id", "_index", "a"]), @"
    +------------+--------+---+
    | _parent_id | _index | a |
    +------------+--------+---+
    | 1          |        |   |
    | 1          | 0      | 1 |
    | 1          | 1      | 2 |
    | 2          |        |   |
    | 3          |        |   |
    | 3          | 0      | 1 |
    | 3          | 1      | 2 |
    | 4          |        |   |
    | 5          |        |   |
    | 5          | 0      | 2 |
    | 5          | 1      | 1 |
    +------------+--------+---+
    ");
    let digests = exploder.digests(&decoded.rows).unwrap();
    assert_eq!(digests.value(0), digests.value(2));
    assert_ne!(digests.value(0), digests.value(4));
    assert!(digests.is_null(3) && !digests.is_null(1));
}

#[test]
fn a_child_table_grows_with_its_elements() {
    let mut typer = Typer::new(&exploding(&["id"]), None, b"key").unwrap();
    typer
        .decode(&of(&[json!({"id": 1, "lines": [{"a": 1}]})]))
        .unwrap();
    let decoded = typer
        .decode(&of(&[json!({"id": 2, "lines": [{"a": 1.5, "b": "x"}]})]))
        .unwrap();
    let changes: Vec<_> = decoded
        .changes
        .iter()
        .map(|change| (change.column.as_str(), change.kind))
        .collect();
    assert_eq!(
        changes,
        [
            ("lines[].a", SchemaChangeKind::Widened),
            ("lines[].b", SchemaChangeKind::Added)
        ]
    );
}

#[test]
fn scalars_explode_into_one_column() {
    let mut typer = Typer::new(&exploding(&["id"]), None, b"key").unwrap();
    let decoded = typer
        .decode(&of(&[json!({"id": 1, "lines": ["a", "b"]})]))
        .unwrap();
    insta::assert_snapshot!(shown(&exploder(&["id"]).explode(&decoded.rows, "lines", false).unwrap(), &["_parent_id", "_index", "value"]), @"
    +------------+--------+-------+
    | _parent_id | _index | value |
    +------------+--------+-------+
    | 1          | 0      | a     |
    | 1          | 1      | b     |
    +------------+--------+-------+
    ");
}

#[test]
fn exploding_needs_a_key() {
    let error = Typer::new(&exploding(&[]), None, b"key").err().unwrap();
    assert!(error.to_string().contains("no primary key"), "{error}");
    assert!(error.next_step().is_some());
}
