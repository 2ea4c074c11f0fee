//! The primary keys that the lake holds, as digests.

use std::collections::BTreeMap;
use std::io::Write;

use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{Stream, StreamExt as _, stream};
use serde_json::{Map, Value};
use weir_control::reconcile::{Entry, key_digest, version};
use weir_protocol::query::QueryLimits;
use weir_protocol::{Error, Result};
use weir_query::{Format, QueryEngine};

use crate::wiring::Wiring;

/// Longest time that reading a table's keys may take.
const READ_S_MAX: u64 = 24 * 3600;

pub(crate) struct LakeKeys {
    engine: QueryEngine,
    /// Columns of each table.
    columns: BTreeMap<String, Vec<String>>,
}

impl LakeKeys {
    pub(crate) async fn open(wiring: &Wiring) -> Result<Self> {
        let tables = wiring.lake()?.tables().await?;
        let columns = tables.into_iter().map(|table| {
            let names = table
                .schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
            (table.name, names)
        });
        Ok(Self {
            columns: columns.collect(),
            engine: wiring.query_engine().await?,
        })
    }

    /// Keys and versions of a table's rows; begins to read when the first one is asked for. A table that
    /// does not exist has none. Without `versions` all are the same.
    pub(crate) fn of(
        &self,
        table: String,
        primary_key: Vec<String>,
        versions: bool,
    ) -> impl Stream<Item = Result<Entry>> + Send + use<> {
        let engine = self.engine.clone();
        let sql = self
            .columns
            .get(&table)
            .map(|columns| statement(&table, &primary_key, columns, versions));
        stream::once(async move {
            let (out, digests) = unbounded();
            if let Some(sql) = sql {
                let keys = primary_key.len();
                tokio::spawn(async move { Box::pin(read(engine, sql, keys, out)).await });
            }
            digests
        })
        .flatten()
    }
}

/// Reads key by key; what goes wrong is the stream's last item.
async fn read(engine: QueryEngine, sql: String, keys: usize, out: UnboundedSender<Result<Entry>>) {
    let limits = QueryLimits {
        rows_max: usize::MAX,
        timeout_s: READ_S_MAX,
        ..QueryLimits::default()
    };
    let mut lines = Lines {
        out: out.clone(),
        keys,
        rest: Vec::new(),
    };
    let read = engine.write(&sql, None, limits, Format::Json, &mut lines).await;
    if let Err(error) = read
        && out.unbounded_send(Err(error)).is_err()
    {
        tracing::debug!("nobody waits for the lake's keys any more");
    }
}

/// One row a key; rows that were deleted at the source or are outdated versions do not count.
fn statement(table: &str, primary_key: &[String], columns: &[String], versions: bool) -> String {
    let mut fields: Vec<String> = primary_key
        .iter()
        .enumerate()
        .map(|(nth, path)| {
            let mut parts = path.split('.');
            let first = format!("\"{}\"", parts.next().unwrap_or_default().replace('"', "\"\""));
            let inner: String = parts
                .map(|part| format!("['{}']", part.replace('\'', "''")))
                .collect();
            format!("{first}{inner} AS k{nth}")
        })
        .collect();
    let has = |name: &str| columns.iter().any(|column| column == name);
    if versions && has("_cursor") {
        fields.push("\"_cursor\" AS v".to_owned());
    }
    let mut wheres = Vec::new();
    if has("_deleted_at") {
        wheres.push("\"_deleted_at\" IS NULL");
    }
    if has("_is_current") {
        wheres.push("\"_is_current\"");
    }
    let wheres = if wheres.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", wheres.join(" AND "))
    };
    format!("SELECT {} FROM silver.\"{table}\"{wheres}", fields.join(", "))
}

/// Takes the engine's JSON, an object a line, and sends each row's digest on.
struct Lines {
    out: UnboundedSender<Result<Entry>>,
    keys: usize,
    rest: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(bytes.len());
        };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        for line in whole.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b",").unwrap_or(line);
            if line.starts_with(b"{") && self.out.unbounded_send(digest(line, self.keys)).is_err() {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn digest(line: &[u8], keys: usize) -> Result<Entry> {
    let row: Map<String, Value> = serde_json::from_slice(line).map_err(|error| {
        Error::internal("the lake's keys are not JSON")
            .caused_by(error)
            .hint("report it")
    })?;
    let null = Value::Null;
    let values: Vec<&Value> = (0..keys)
        .map(|nth| row.get(&format!("k{nth}")).unwrap_or(&null))
        .collect();
    let cursor = row.get("v").and_then(Value::as_str);
    Ok(Entry {
        key: key_digest(values),
        version: version(cursor.map(str::as_bytes)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_found_however_the_bytes_are_cut() {
        let text = b"[\n{\"k0\":1},\n{\"k0\":\"a\\nb\"}\n]\n";
        for size in 1..text.len() {
            let (out, mut digests) = unbounded();
            let mut lines = Lines {
                out,
                keys: 1,
                rest: Vec::new(),
            };
            for part in text.chunks(size) {
                lines.write_all(part).unwrap();
            }
            drop(lines);
            let mut found = Vec::new();
            while let Ok(digest) = digests.try_recv() {
                found.push(digest.unwrap());
            }
            assert_eq!(
                found,
                [json!(1), json!("a\nb")].map(|id| Entry {
                    key: key_digest([&id]),
                    version: 0
                }),
                "chunks of {size}"
            );
        }
    }

    #[test]
    fn asks_for_current_rows_only() {
        let columns = ["id", "_deleted_at", "_is_current"].map(str::to_owned);
        insta::assert_snapshot!(
            statement("t", &["id".to_owned(), "user.login".to_owned()], &columns, true),
            @r#"SELECT "id" AS k0, "user"['login'] AS k1 FROM silver."t" WHERE "_deleted_at" IS NULL AND "_is_current""#
        );
    }
}
