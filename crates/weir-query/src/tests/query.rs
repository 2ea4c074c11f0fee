use super::*;
use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use memory::NewFile;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use weir_protocol::ErrorKind;

use crate::Format;
use crate::tables::{Layer, TableName};

fn issues() -> TableName {
    TableName::new(Layer::Silver, "github_issues")
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("month", DataType::Utf8, true),
        Field::new("title", DataType::Utf8, true),
    ]))
}

/// Version 0: one old file, of a narrower schema. Version 1: another, and one with null as its partition.
pub(super) async fn lake() -> Arc<MemoryLake> {
    let lake = Arc::new(MemoryLake::default());
    let old = NewFile {
        rows: batch(vec![("id", Arc::new(Int32Array::from(vec![1, 2])))]),
        partition: vec![("month", Some("2026-10"))],
        stats: Some(r#"{"minValues":{"id":1},"maxValues":{"id":2},"nullCount":{"id":0}}"#.into()),
    };
    lake.append(&issues(), "2026-10-01T00:00:00Z", schema(), &["month"], vec![old])
        .await;
    let new = |ids: Vec<i64>, titles: Vec<&str>| {
        batch(vec![
            ("id", Arc::new(Int64Array::from(ids))),
            ("title", Arc::new(StringArray::from(titles))),
        ])
    };
    let files = vec![
        NewFile {
            rows: new(vec![3, 4], vec!["c", "d"]),
            partition: vec![("month", Some("2026-11"))],
            stats: Some(r#"{"minValues":{"id":3},"maxValues":{"id":4},"nullCount":{"id":0}}"#.into()),
        },
        NewFile {
            rows: new(vec![5], vec!["e"]),
            partition: vec![("month", None)],
            stats: None,
        },
    ];
    lake.append(&issues(), "2026-11-01T00:00:00Z", schema(), &["month"], files)
        .await;
    lake
}

#[tokio::test]
async fn old_files_are_read_in_the_new_schema() {
    let engine = engine(&lake().await);
    let rows = ask(&engine, "select * from github_issues order by id").await;
    insta::assert_snapshot!(text(&rows), @r#"
    [1,"2026-10",null]
    [2,"2026-10",null]
    [3,"2026-11","c"]
    [4,"2026-11","d"]
    [5,null,"e"]
    "#);
    assert_eq!(rows.columns[0].kind, "bigint");
    assert_eq!(
        text(&ask(&engine, "select count(*), max(id) from silver.github_issues").await),
        "[5,5]"
    );
    assert_eq!(
        text(
            &ask(
                &engine,
                "select title from github_issues where month = '2026-11' and id > 3"
            )
            .await
        ),
        r#"["d"]"#
    );
}

#[tokio::test]
async fn files_that_cannot_match_are_left_out() {
    let engine = engine(&lake().await);
    for (filter, files) in [
        ("month = '2026-11'", "part-1"),
        ("month is null", "part-2"),
        ("id = 2 and month is not null", "part-0"),
    ] {
        let plan = text(
            &ask(
                &engine,
                &format!("explain select id from github_issues where {filter}"),
            )
            .await,
        );
        let read: Vec<&str> = ["part-0", "part-1", "part-2"]
            .into_iter()
            .filter(|file| plan.contains(file))
            .collect();
        assert_eq!(read, [files], "{filter}: {plan}");
    }
    assert_eq!(
        text(&ask(&engine, "select id from github_issues where month is null").await),
        "[5]"
    );
    assert_eq!(
        text(
            &ask(
                &engine,
                "select count(*) from github_issues where id > 900 and month > 'a'"
            )
            .await
        ),
        "[0]"
    );
}

#[tokio::test]
async fn time_travel() {
    let lake = lake().await;
    let engine = engine(&lake);
    let at = async |as_of: &str| {
        let sql = "select count(*) from github_issues";
        text(
            &engine
                .query(sql, Some(as_of), QueryLimits::default())
                .await
                .unwrap(),
        )
    };
    assert_eq!(at("0").await, "[2]");
    assert_eq!(at("1").await, "[5]");
    assert_eq!(at("2026-10-15").await, "[2]");
    assert_eq!(at("2026-11-01T00:00:00Z").await, "[5]");
    let one = "select * from github_issues";
    insta::assert_snapshot!(refusal(&engine, one, Some("2020-01-01")).await, @"[not_found] table 'silver.github_issues' was not there at 2020-01-01T00:00:00Z -> ask a later time, or leave out --as-of");
    let other = TableName::new(Layer::Silver, "github_users");
    lake.append(&other, "2026-01-01T00:00:00Z", schema(), &[], vec![])
        .await;
    let two = "select 1 from github_issues, github_users";
    insta::assert_snapshot!(refusal(&engine, two, Some("0")).await, @"[usage] version 0 could be of any of 2 tables (tables: silver.github_issues, silver.github_users) -> ask with a timestamp when a query reads several tables");
    assert!(
        engine
            .query(two, Some("2026-11-02"), QueryLimits::default())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn errors_name_the_nearest() {
    let engine = engine(&lake().await);
    insta::assert_snapshot!(refusal(&engine, "select * from github_isues", None).await, @"[not_found] there is no table 'github_isues' -> did you mean 'github_issues'?");
    insta::assert_snapshot!(refusal(&engine, "select titel from github_issues", None).await, @"[usage] there is no column 'titel' -> did you mean 'title'?");
    insta::assert_snapshot!(refusal(&engine, "select zzzzzzz from github_issues", None).await, @"[usage] there is no column 'zzzzzzz' -> columns here are: id, month, title");
    insta::assert_snapshot!(refusal(&engine, "selct 1", None).await, @"[usage] the SQL cannot be read: sql parser error: Expected: an SQL statement, found: selct at Line: 1, Column: 1 -> check the spelling near that place");
    insta::assert_snapshot!(refusal(&engine, "select cast('x' as int)", None).await, @"[decode] Cast error: Cannot cast string 'x' to value of Int32 type -> look at the column's type with DESCRIBE, and use try_cast where values may not fit");
    for sql in [
        "select * from read_parquet('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from read_csv('/etc/passwd')",
    ] {
        assert!(
            engine.query(sql, None, QueryLimits::default()).await.is_err(),
            "{sql}"
        );
    }
}

#[tokio::test]
async fn what_is_there_can_be_shown() {
    let engine = engine(&lake().await);
    let tables = text(&ask(&engine, "show tables").await);
    assert!(
        tables.contains(r#"["weir","silver","github_issues","BASE TABLE"]"#),
        "{tables}"
    );
    assert_eq!(tables.matches("github_issues").count(), 1);
    assert!(text(&ask(&engine, "describe github_issues").await).contains("title"));
    assert!(text(&ask(&engine, "show columns from github_issues").await).contains("title"));
}

#[tokio::test]
async fn limits_hold() {
    let engine = engine(&lake().await);
    let few = QueryLimits {
        rows_max: 2,
        ..QueryLimits::default()
    };
    let rows = engine
        .query("select id from github_issues", None, few)
        .await
        .unwrap();
    assert_eq!((rows.rows.len(), rows.truncated), (2, true));
    let exact = QueryLimits {
        rows_max: 5,
        ..QueryLimits::default()
    };
    assert!(
        !engine
            .query("select id from github_issues", None, exact)
            .await
            .unwrap()
            .truncated
    );

    let small = QueryLimits {
        memory_bytes: 64 << 10,
        ..QueryLimits::default()
    };
    let sql = "select count(*) from (select distinct a.value, b.value from range(0, 300) a, range(0, 300) b)";
    let error = engine.query(sql, None, small).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error:?}");
    assert!(error.next_step().is_some());

    let short = QueryLimits {
        timeout_s: 0,
        ..QueryLimits::default()
    };
    let error = engine
        .query("select id from github_issues", None, short)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn tables_that_plain_parquet_cannot_tell_are_refused() {
    let lake = lake().await;
    let engine = engine(&lake);
    lake.edit(&issues(), |snapshot| {
        snapshot.reader_features = vec!["columnMapping".into()];
    });
    insta::assert_snapshot!(refusal(&engine, "select 1 from github_issues", None).await, @"[destination] table 'silver.github_issues' needs reader features that the query engine does not know: columnMapping (version: 1) -> write the table anew without these features (`weir lake rebuild` does it for Silver)");
}

#[tokio::test]
async fn rows_marked_as_gone_are_not_seen() {
    let lake = lake().await;
    let engine = engine(&lake);
    lake.edit(&issues(), |snapshot| {
        snapshot.reader_features = vec!["deletionVectors".into()];
        let marked = &mut snapshot.files[1];
        marked.rows = Some(1);
        marked.live = Some(RowSelection::from(vec![
            RowSelector::skip(1),
            RowSelector::select(1),
        ]));
        // Of the marked row: it says nothing about the others.
        marked.stats = Some(
            r#"{"numRecords":2,"minValues":{"id":3},"maxValues":{"id":4},"nullCount":{"title":1}}"#.into(),
        );
    });
    let all = "select count(*), count(title), min(id) from github_issues where id > 2";
    assert_eq!(text(&ask(&engine, all).await), "[2,2,4]");
    let titled = "select id from github_issues where title is not null and id < 5";
    assert_eq!(text(&ask(&engine, titled).await), "[4]");
    assert_eq!(
        text(&ask(&engine, "select id from github_issues where id = 3").await),
        ""
    );
}

#[tokio::test]
async fn bronze_is_read_as_received() {
    let lake = Arc::new(MemoryLake::default());
    let line = |at: &str, id: u32| {
        format!(
            r#"{{"emitted_at":"{at}","source":"github","stream":"issues","cursor":"2026-01-0{id}","record":{{"id":{id},"user":{{"login":"u{id}"}}}}}}"#
        )
    };
    let (first, second) = (line("2026-01-01T00:00:00Z", 1), line("2026-02-01T00:00:00Z", 2));
    lake.put_bronze("raw_github_issues", "a", &format!("{first}\n{second}\n"))
        .await;
    let engine = engine(&lake);
    let sql = "select cursor, json_get(record, 'user.login'), json_get_int(record, 'id'), json_get(record, 'none') \
               from bronze.raw_github_issues order by 1";
    insta::assert_snapshot!(text(&ask(&engine, sql).await), @r#"
    ["2026-01-01","u1",1,null]
    ["2026-01-02","u2",2,null]
    "#);
    let early = engine
        .query(
            "select record from raw_github_issues",
            Some("2026-01-15"),
            QueryLimits::default(),
        )
        .await;
    assert_eq!(
        text(&early.unwrap()),
        r#"["{\"id\":1,\"user\":{\"login\":\"u1\"}}"]"#
    );
    lake.put_bronze("raw_github_broken", "b", &format!("{first}\nnonsense\n"))
        .await;
    insta::assert_snapshot!(refusal(&engine, "select * from bronze.raw_github_broken", None).await, @"[decode] a Bronze object is damaged (object: bronze/raw_github_broken/b.jsonl.zst, line: 2): expected ident at line 1 column 2 -> move the object away (its records are read again by `weir sync --full`)");
}

#[tokio::test]
async fn answers_are_written_in_four_formats() {
    let engine = engine(&lake().await);
    let sql = "select a.id, a.title, make_array(a.id, 0) as pair, named_struct('a', a.title) as nested, b.id \
               from github_issues a join github_issues b using (id) order by a.id desc limit 2";
    let write = async |format: Format| {
        let mut out = Vec::new();
        let written = engine
            .write(sql, None, QueryLimits::default(), format, &mut out)
            .await
            .unwrap();
        assert_eq!((written.rows, written.truncated), (2, false));
        out
    };
    insta::assert_snapshot!(String::from_utf8(write(Format::Table).await).unwrap(), @r#"
    +----+-------+-------+-----------+------+
    | id | title | pair  | nested    | id_2 |
    +----+-------+-------+-----------+------+
    | 5  | e     | [5,0] | {"a":"e"} | 5    |
    | 4  | d     | [4,0] | {"a":"d"} | 4    |
    +----+-------+-------+-----------+------+
    "#);
    insta::assert_snapshot!(String::from_utf8(write(Format::Json).await).unwrap(), @r#"
    [
    {"id":5,"title":"e","pair":[5,0],"nested":{"a":"e"},"id_2":5},
    {"id":4,"title":"d","pair":[4,0],"nested":{"a":"d"},"id_2":4}
    ]
    "#);
    insta::assert_snapshot!(String::from_utf8(write(Format::Csv).await).unwrap(), @r#"
    id,title,pair,nested,id_2
    5,e,"[5,0]","{""a"":""e""}",5
    4,d,"[4,0]","{""a"":""d""}",4
    "#);
    assert!(write(Format::Parquet).await.starts_with(b"PAR1"));
    let mut out = Vec::new();
    engine
        .write(
            "select id from github_issues where id > 99",
            None,
            QueryLimits::default(),
            Format::Json,
            &mut out,
        )
        .await
        .unwrap();
    assert_eq!(out, b"[\n]\n");
}
