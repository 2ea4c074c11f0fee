//! [`crate::Query`].

use futures::future::join_all;

use super::{holds, same};
use crate::query::{Query, QueryLimits, Rows};
use crate::{Error, Result};

/// A table that the suite asks about. Nobody writes it meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// As it is written in SQL.
    pub table: &'a str,
    /// A column of whole numbers of which no two are equal.
    pub id: &'a str,
    pub rows: usize,
    /// An earlier moment or version, and how many rows the table had then.
    pub before: (&'a str, usize),
}

/// Runs the suite over one table of two rows or more.
pub async fn query(query: &dyn Query, asked: Asked<'_>) -> Result<()> {
    answers_have_their_shape(query, asked).await?;
    limits_are_hard(query, asked).await?;
    versions_are_apart(query, asked).await?;
    only_reading_is_done(query, asked).await?;
    questions_are_independent(query, asked).await
}

async fn ask(query: &dyn Query, sql: &str) -> Result<Rows> {
    let rows = query.query(sql, None, QueryLimits::default()).await;
    let rows = rows.map_err(|error| error.with("question", sql))?;
    let widths = rows.rows.iter().all(|row| row.len() == rows.columns.len());
    holds("a row has one value a column", widths, &rows)?;
    Ok(rows)
}

/// Fails unless the question is refused, with a next step.
async fn refused(query: &dyn Query, sql: &str, as_of: Option<&str>) -> Result<Error> {
    match query.query(sql, as_of, QueryLimits::default()).await {
        Ok(rows) => Err(Error::internal("not so: what cannot be answered is refused")
            .with("question", sql)
            .with("found", format!("{rows:?}"))
            .hint("the trait's documentation says what its implementations promise")),
        Err(error) => {
            holds(
                "a refusal has a next step",
                error.next_step().is_some(),
                &(sql, &error),
            )?;
            Ok(error)
        }
    }
}

async fn answers_have_their_shape(query: &dyn Query, asked: Asked<'_>) -> Result<()> {
    let Asked { table, id, rows, .. } = asked;
    let found = ask(
        query,
        "SELECT 1 AS one, 'x' AS word, CAST(NULL AS BIGINT) AS nothing",
    )
    .await?;
    let names: Vec<&str> = found.columns.iter().map(|column| column.name.as_str()).collect();
    same(
        "columns have the names and the order that were asked for",
        &names,
        &vec!["one", "word", "nothing"],
    )?;
    let kinds = found.columns.iter().all(|column| !column.kind.is_empty());
    holds("columns have types", kinds, &found.columns)?;
    let wanted = vec![vec![1.into(), "x".into(), serde_json::Value::Null]];
    same("values are numbers, texts and nulls", &found.rows, &wanted)?;

    let all = ask(query, &format!("SELECT {id} FROM {table} ORDER BY {id}")).await?;
    same("a table has all its rows", &all.rows.len(), &rows)?;
    holds(
        "an answer that is whole is not cut off",
        !all.truncated,
        &all.truncated,
    )?;
    let ids: Vec<Option<i64>> = all.rows.iter().map(|row| row[0].as_i64()).collect();
    let ascends = ids.windows(2).all(|pair| pair[0].is_some() && pair[0] < pair[1]);
    holds("an order that was asked for is kept", ascends, &ids)?;

    let none = ask(
        query,
        &format!("SELECT {id} AS other FROM {table} WHERE {id} IS NULL AND {id} = 0"),
    )
    .await?;
    same("an answer without rows has its columns", &none.columns.len(), &1)?;
    same("an answer without rows has none", &none.rows.len(), &0)
}

async fn limits_are_hard(query: &dyn Query, asked: Asked<'_>) -> Result<()> {
    let sql = format!("SELECT {} FROM {}", asked.id, asked.table);
    for (rows_max, truncated) in [(asked.rows - 1, true), (asked.rows, false)] {
        let limits = QueryLimits {
            rows_max,
            ..QueryLimits::default()
        };
        let found = query.query(&sql, None, limits).await?;
        same(
            "no more rows come than were allowed",
            &found.rows.len(),
            &rows_max,
        )?;
        same("an answer that is cut off says so", &found.truncated, &truncated)?;
    }
    Ok(())
}

async fn versions_are_apart(query: &dyn Query, asked: Asked<'_>) -> Result<()> {
    let (before, rows) = asked.before;
    let sql = format!("SELECT {} FROM {}", asked.id, asked.table);
    let found = query.query(&sql, Some(before), QueryLimits::default()).await?;
    same("a table is as it was", &found.rows.len(), &rows)?;
    refused(query, &sql, Some("no time at all")).await?;
    refused(query, &sql, Some("1970-01-01T00:00:00Z")).await?;
    refused(query, &sql, Some("4000000000")).await.map(drop)
}

async fn only_reading_is_done(query: &dyn Query, asked: Asked<'_>) -> Result<()> {
    let Asked { table, id, rows, .. } = asked;
    let not_reading = [
        String::new(),
        "no SQL".to_owned(),
        format!("DELETE FROM {table}"),
        format!("UPDATE {table} SET {id} = 0"),
        format!("INSERT INTO {table} SELECT * FROM {table}"),
        format!("DROP TABLE {table}"),
        format!("CREATE TABLE other AS SELECT * FROM {table}"),
        format!("CREATE VIEW other AS SELECT * FROM {table}"),
        format!("COPY {table} TO '/tmp/other.csv'"),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        format!("SELECT 1; DELETE FROM {table}"),
        format!("SELECT {id} FROM {table}; SELECT 1"),
    ];
    for sql in &not_reading {
        refused(query, sql, None).await?;
    }
    refused(query, "SELECT 1 FROM no_table_of_that_name", None).await?;
    refused(
        query,
        &format!("SELECT no_column_of_that_name FROM {table}"),
        None,
    )
    .await?;
    refused(query, "SELECT no_function_of_that_name(1)", None).await?;
    let left = ask(query, &format!("SELECT {id} FROM {table}")).await?;
    same("what is refused changes nothing", &left.rows.len(), &rows)
}

async fn questions_are_independent(query: &dyn Query, asked: Asked<'_>) -> Result<()> {
    let sql = format!("SELECT {0} FROM {1} ORDER BY {0}", asked.id, asked.table);
    let once = ask(query, &sql).await?;
    let answers = join_all((0..4).map(|_| ask(query, &sql))).await;
    for again in answers {
        same(
            "an equal question has an equal answer, at the same time too",
            &again?,
            &once,
        )?;
    }
    Ok(())
}
