use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_control::{connections, states};
use weir_protocol::{Error, Result};

use super::{About, Own};
use crate::mcp::caller::Caller;

const ROWS_DEFAULT: usize = 100;
const ROWS_MAX: usize = 1000;

pub(super) fn tool() -> Own {
    Own::new(
        &About {
            name: "query",
            title: "Ask the lake in SQL",
            description: "Answers one reading SQL statement (SELECT, WITH, SHOW TABLES, DESCRIBE) over the company's tables: typed \
                ones are named <source>_<entity>, models gold_<domain>_<entity>. Begin with \
                SHOW TABLES.",
            permission: Permission::DataRead,
        },
        run,
    )
    .of_data()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// One statement that reads.
    sql: String,
    /// So many rows at most; 100 if left out.
    #[serde(default = "rows_default")]
    #[schemars(range(min = 1, max = 1000))]
    limit: usize,
}

fn rows_default() -> usize {
    ROWS_DEFAULT
}

#[derive(Serialize, JsonSchema)]
struct Column {
    name: String,
    /// Type as SQL writes it.
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    columns: Vec<Column>,
    /// Each with one value a column, in their order.
    rows: Vec<Vec<Value>>,
    /// Whether there are more rows than were asked for.
    truncated: bool,
}

async fn run(caller: Caller, input: Input) -> Result<Output> {
    if !(1..=ROWS_MAX).contains(&input.limit) {
        return Err(Error::usage(format!("limit is {}", input.limit)).hint(format!("use 1 to {ROWS_MAX}")));
    }
    caller.check(Permission::DataRead, &Target::Tenant).await?;
    refuse_hidden(&caller, &input.sql).await?;
    let found = caller.data()?.query(&input.sql, input.limit).await?;
    Ok(Output {
        columns: found
            .columns
            .into_iter()
            .map(|column| Column {
                name: column.name,
                kind: column.kind,
            })
            .collect(),
        rows: found.rows,
        truncated: found.truncated,
    })
}

/// Where policies keep a connection's data from the caller, only tables that surely are another one's may be
/// read: those of sources that are seen. What a model is made of is not known here, so it counts as hidden.
async fn refuse_hidden(caller: &Caller, sql: &str) -> Result<()> {
    let (mut seen, mut hidden) = (BTreeSet::new(), BTreeSet::new());
    for connection in connections::list(&caller.state.store, &caller.access.tenant).await? {
        let may = may_read(caller, &connection.name).await?;
        if may { &mut seen } else { &mut hidden }.insert(connection.source);
    }
    if hidden.is_empty() {
        return Ok(());
    }
    let reads = caller.data()?.reads(sql)?;
    let reads = reads.ok_or_else(|| {
        Error::denied("policies keep some tables from you, and this statement does not say which it reads")
            .hint("use a SELECT that names its tables")
    })?;
    match reads.iter().find(|table| !is_seen(table, &seen, &hidden)) {
        None => Ok(()),
        Some(table) => Err(
            Error::denied(format!("policies may keep table '{table}' from you"))
                .with("table", table)
                .hint("read tables of connections that you may read, or ask whoever keeps policies/"),
        ),
    }
}

/// The connection and each of its streams: which tables a stream has is not looked at here.
async fn may_read(caller: &Caller, connection: &str) -> Result<bool> {
    let target = Target::Connection(connection.to_owned());
    if !caller.allows(Permission::DataRead, &target).await? {
        return Ok(false);
    }
    for known in states::list(&caller.state.store, &caller.access.tenant, connection).await? {
        let target = Target::Stream(connection.to_owned(), known.stream);
        if !caller.allows(Permission::DataRead, &target).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Of a seen source, and not of a hidden one whose name is longer.
fn is_seen(table: &str, seen: &BTreeSet<String>, hidden: &BTreeSet<String>) -> bool {
    let table = table.to_ascii_lowercase();
    let table = table.strip_prefix("raw_").unwrap_or(&table);
    let is_of = |source: &String| {
        let source = weir_protocol::name::sanitize(source);
        table
            .strip_prefix(source.as_str())
            .is_some_and(|rest| rest.starts_with('_'))
    };
    seen.iter().any(is_of) && !hidden.iter().any(is_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_of_a_seen_source_is_seen() {
        let set = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>()
        };
        let (seen, hidden) = (set(&["shop", "crm"]), set(&["hr", "shop_pay"]));
        for (table, expected) in [
            ("shop_orders", true),
            ("raw_shop_orders", true),
            ("SHOP_orders", true),
            ("hr_people", false),
            ("raw_hr_people", false),
            ("shop_pay_slips", false),
            ("gold_sales_daily", false),
            ("shoporders", false),
            ("tables", false),
        ] {
            assert_eq!(is_seen(table, &seen, &hidden), expected, "{table}");
        }
    }
}
