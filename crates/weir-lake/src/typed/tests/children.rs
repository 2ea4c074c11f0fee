//! Exploded lists.

use super::*;

fn exploding(primary_key: &[&str]) -> WritePlan {
    let mut wish = plan(None, Contract::Evolve);
    wish.stream.policy.explode = vec!["lines".to_owned()];
    wish.stream.primary_key = primary_key.iter().map(|path| (*path).to_owned()).collect();
    wish
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
    let (field, child) = &decoded.children[0];
    assert_eq!(field, "lines");
    insta::assert_snapshot!(shown(child, &["_parent_key_id", "_index", "id", "element_run", "_run"]), @"
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
    assert!(decoded.rows.column_by_name("lines").is_none());
    let (_, schema) = &typer.child_schemas()[0];
    assert_eq!(schema, &child.schema());

    // A later run finds the same columns again, from the tables alone.
    let registered = Some(Arc::clone(typer.schema()));
    let children = typer.child_schemas();
    let later = Typer::with_children(&exploding(&["key.id"]), registered, &children, b"key").unwrap();
    assert_eq!(later.child_schemas(), children);
    assert_eq!(later.schema(), typer.schema());
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
    insta::assert_snapshot!(shown(&decoded.children[0].1, &["_parent_id", "_index", "value"]), @"
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
