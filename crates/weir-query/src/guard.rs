//! Lets exactly one reading statement through.

use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement as Sql, Visit, Visitor};
use std::ops::ControlFlow;
use weir_protocol::{Error, Result};

use crate::{failure, nesting};

/// A query longer than this is refused before it is parsed.
pub(crate) const SQL_BYTES_MAX: usize = 1 << 20;

/// Parses one statement and refuses everything that could do more than read.
pub(crate) fn read_only(sql: &str) -> Result<Statement> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(Error::limit(format!(
            "the SQL has {} bytes, at most {SQL_BYTES_MAX} are read",
            sql.len()
        ))
        .hint("split it, or make it a model"));
    }
    nesting::check(sql)?;
    let mut statements = DFParser::parse_sql(sql).map_err(failure::explain)?;
    let Some(statement) = statements.pop_front() else {
        return Err(Error::usage("there is no SQL statement").hint("write a query, as in SELECT 1"));
    };
    if !statements.is_empty() {
        return Err(
            Error::usage(format!("{} statements came at once", statements.len() + 1))
                .hint("send one statement at a time"),
        );
    }
    check(&statement)?;
    Ok(statement)
}

/// Only a query (SELECT, WITH, VALUES): what a model or a check may be.
pub(crate) fn query_only(sql: &str) -> Result<Statement> {
    let statement = read_only(sql)?;
    match &statement {
        Statement::Statement(inner) if matches!(**inner, Sql::Query(_)) => Ok(statement),
        other => Err(
            Error::usage(format!("'{}' is not a query", verb(&other.to_string())))
                .hint("write a SELECT, WITH or VALUES query"),
        ),
    }
}

fn check(statement: &Statement) -> Result<()> {
    match statement {
        Statement::Statement(inner) => check_sql(inner),
        Statement::Explain(explain) => check(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => {
            Err(refused(&statement.to_string()))
        }
    }
}

fn check_sql(statement: &Sql) -> Result<()> {
    match statement {
        Sql::Query(_)
        | Sql::ExplainTable { .. }
        | Sql::ShowTables { .. }
        | Sql::ShowColumns { .. }
        | Sql::ShowFunctions { .. } => {}
        Sql::Explain { statement, .. } => return check_sql(statement),
        other => return Err(refused(&other.to_string())),
    }
    // A writing statement may hide in a query's body: WITH x AS (…) INSERT INTO …, SELECT … INTO t.
    match statement.visit(&mut Writes) {
        ControlFlow::Break(found) => Err(refused(&found)),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Writes;

impl Visitor for Writes {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        if !query.locks.is_empty() {
            return ControlFlow::Break("FOR UPDATE".to_owned());
        }
        match writes(&query.body) {
            Some(found) => ControlFlow::Break(found),
            None => ControlFlow::Continue(()),
        }
    }
}

fn writes(body: &SetExpr) -> Option<String> {
    match body {
        SetExpr::Select(select) => select.into.as_ref().map(|_| "SELECT INTO".to_owned()),
        SetExpr::SetOperation { left, right, .. } => writes(left).or_else(|| writes(right)),
        SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => None,
        other => Some(other.to_string()),
    }
}

fn verb(sql: &str) -> String {
    let words: Vec<&str> = sql.split_whitespace().take(2).collect();
    words.join(" ").to_uppercase()
}

fn refused(sql: &str) -> Error {
    Error::denied(format!("'{}' is not allowed here: queries only read", verb(sql))).hint(
        "use SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES, SHOW COLUMNS or DESCRIBE; models write Gold tables",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_protocol::ErrorKind;

    #[test]
    fn reading_passes() {
        for sql in [
            "select 1",
            "with a as (select 1 x) select * from a;",
            "values (1), (2)",
            "explain select 1",
            "explain analyze select 1",
            "describe github_issues",
            "show tables",
            "show columns from github_issues",
            "show functions",
            "(select 1) union all (select 2)",
            "select * from (values (1)) t",
        ] {
            read_only(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for sql in [
            "insert into t values (1)",
            "update t set a = 1",
            "delete from t",
            "drop table t",
            "create table t as select 1",
            "create view v as select 1",
            "create or replace view v as select 1",
            "create external table t stored as csv location '/etc/passwd'",
            "copy (select 1) to '/tmp/x.csv'",
            "copy t from '/etc/passwd'",
            "set datafusion.execution.batch_size = 1",
            "reset datafusion.execution.batch_size",
            "explain insert into t values (1)",
            "explain copy (select 1) to '/tmp/x.csv'",
            "explain explain delete from t",
            "with a as (select 1) insert into t select * from a",
            "select 1 into t",
            "select * from (select 1 into t) x",
            "select 1 union all select 1 into t",
            "select * from t for update",
            "create function f() returns int return 1",
            "prepare p as select 1",
            "execute p",
            "begin",
            "commit",
            "truncate table t",
            "alter table t add column a int",
            "grant select on t to u",
            "call f()",
            "use other",
            "show all",
            "show datafusion.execution.batch_size",
            "analyze table t",
            "vacuum",
            "attach database 'x' as y",
            "load 'x'",
            "kill 1",
            "merge into t using s on t.a = s.a when matched then delete",
            "declare c cursor for select 1",
            "create catalog x",
            "create schema x",
        ] {
            assert!(read_only(sql).is_err(), "{sql} passed the guard");
        }
    }

    #[test]
    fn what_parses_but_writes_is_denied() {
        for sql in [
            "delete from t",
            "copy (select 1) to 'x.csv'",
            "select 1 into t",
            "set a = 1",
        ] {
            assert_eq!(read_only(sql).unwrap_err().kind(), ErrorKind::Denied, "{sql}");
        }
        insta::assert_snapshot!(format!("{:?}", read_only("drop table t").unwrap_err()), @"[denied] 'DROP TABLE' is not allowed here: queries only read -> use SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES, SHOW COLUMNS or DESCRIBE; models write Gold tables");
    }

    #[test]
    fn one_statement_at_a_time() {
        insta::assert_snapshot!(format!("{:?}", read_only("select 1; select 2").unwrap_err()), @"[usage] 2 statements came at once -> send one statement at a time");
        insta::assert_snapshot!(format!("{:?}", read_only(" ; ").unwrap_err()), @"[usage] there is no SQL statement -> write a query, as in SELECT 1");
        assert!(read_only("select 1; drop table t").is_err());
        assert!(read_only(&format!("select {}1{}", "(".repeat(5000), ")".repeat(5000))).is_err());
    }

    #[test]
    fn a_model_is_a_query() {
        assert!(query_only("select 1").is_ok());
        assert!(query_only("show tables").is_err());
        assert!(query_only("explain select 1").is_err());
    }
}
