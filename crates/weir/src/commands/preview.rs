use std::borrow::Cow;
use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;
use serde_json::{Map, Value};
use weir_lake::typed::Mask;
use weir_protocol::{Error, ReadEvent, ReadRequest, Result, Source};

use super::Context;
use crate::output::{Format, Sheet, line, raw};
use crate::wiring::{Wiring, chosen_streams};

/// Longest time a preview may take.
const TIME_MAX: Duration = Duration::from_secs(60);
/// A table with more columns than this is printed with fields as rows.
const COLUMNS_MAX: usize = 8;
/// Records shown side by side when fields are rows.
const SIDE_BY_SIDE_MAX: usize = 3;
const CELL_CHARS_MAX: usize = 48;

/// Look at a few typed records, personal fields as Silver shows them; writes nothing to the lake
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir preview github issues\n  weir preview github issues --rows 3 --format json"
)]
pub(crate) struct PreviewArgs {
    /// Name of the connection
    connection: String,
    /// The stream; without it, the first one
    stream: Option<String>,
    /// How many records
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rows: u64,
}

pub(crate) async fn run(args: &PreviewArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let (stream, records) = look(&wiring, &args.connection, args.stream.as_deref(), args.rows).await?;
    if context.format() == Format::Json {
        raw(&format!("{:#}\n", Value::from(records)));
        return Ok(());
    }
    let columns = columns(&records);
    if context.format() == Format::Table {
        line(format!("{stream}: {} records", records.len()));
    }
    if context.format() == Format::Table && columns.len() > COLUMNS_MAX {
        by_field(&columns, &records).print(context.format())
    } else {
        by_record(&columns, &records, context.format()).print(context.format())
    }
}

/// The first records of a stream, as Silver would show them, with the stream's name: the first one if none
/// is named. Writes nothing.
pub(crate) async fn look(
    wiring: &Wiring,
    connection: &str,
    stream: Option<&str>,
    rows: u64,
) -> Result<(String, Vec<Value>)> {
    let spec = wiring.connection(connection)?;
    let source = wiring.source(&spec).await?;
    let named: Vec<String> = stream.map(ToOwned::to_owned).into_iter().collect();
    let streams = chosen_streams(source.as_ref(), &spec, &named).await?;
    let stream = streams.first().ok_or_else(|| {
        Error::not_found(format!("connection '{connection}' has no stream"))
            .hint("declare streams in the connection's or the connector's file")
    })?;
    let pii = &stream.policy.pii;
    let mut mask = match pii.is_empty() {
        true => None,
        false => Mask::new(pii, wiring.pii_key()?.expose().as_bytes())?,
    };
    let reading = first_records(source.as_ref(), &stream.name, rows, mask.as_mut());
    let records = tokio::time::timeout(TIME_MAX, reading)
        .await
        .unwrap_or_else(|_| {
            Err(Error::timeout("the source gave no answer within a minute")
                .with("stream", &stream.name)
                .hint("`weir check` tells whether it can be reached at all"))
        })?;
    Ok((stream.name.clone(), records))
}

async fn first_records(
    source: &dyn Source,
    stream: &str,
    rows: u64,
    mut mask: Option<&mut Mask>,
) -> Result<Vec<Value>> {
    let mut request = ReadRequest::full(stream);
    request.records_max = Some(rows);
    let mut events = source.read(request);
    let mut records = Vec::new();
    while let Some(event) = events.next().await {
        match event? {
            ReadEvent::Batch(batch) => {
                for record in &batch.records {
                    records.push(shown(batch.json(record), mask.as_deref_mut()));
                }
            }
            ReadEvent::Notice(notice) => tracing::warn!(stream, "{}", notice.message),
            ReadEvent::Advance(_) | ReadEvent::Progress(_) => {}
        }
        if records.len() as u64 >= rows {
            break;
        }
    }
    records.truncate(usize::try_from(rows).unwrap_or(usize::MAX));
    Ok(records)
}

/// A record as Silver would show it. What is not JSON would go to quarantine; here it is shown as
/// text, unless some of it may be personal.
fn shown(json: &[u8], mask: Option<&mut Mask>) -> Value {
    const NOT_JSON: &str = "(not JSON)";
    let (json, may_show) = match mask {
        None => (Some(Cow::Borrowed(json)), true),
        Some(mask) => (mask.record(json).map(Cow::Owned), false),
    };
    let parsed = json.as_deref().and_then(|json| serde_json::from_slice(json).ok());
    parsed.unwrap_or_else(|| {
        let text = match json {
            Some(json) if may_show => String::from_utf8_lossy(&json).into_owned(),
            _ => "not shown: the stream has personal fields".to_owned(),
        };
        Value::from(Map::from_iter([(NOT_JSON.to_owned(), text.into())]))
    })
}

struct Column {
    name: String,
    kind: &'static str,
}

/// All fields in the order they are first seen, with a type that holds all their values.
fn columns(records: &[Value]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for record in records {
        for (name, value) in record.as_object().into_iter().flatten() {
            let kind = kind(value);
            match columns.iter_mut().find(|column| column.name == *name) {
                Some(column) => column.kind = widest(column.kind, kind),
                None => columns.push(Column {
                    name: name.clone(),
                    kind,
                }),
            }
        }
    }
    columns
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "double",
        Value::Number(_) => "long",
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => "timestamp",
        Value::String(text) if text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok() => "date",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "struct",
    }
}

fn widest(one: &'static str, other: &'static str) -> &'static str {
    match (one, other) {
        (one, other) if one == other => one,
        ("null", kind) | (kind, "null") => kind,
        ("long", "double") | ("double", "long") => "double",
        ("date", "timestamp") | ("timestamp", "date") => "timestamp",
        ("date" | "timestamp" | "string", "date" | "timestamp" | "string") => "string",
        _ => "mixed",
    }
}

fn by_record(columns: &[Column], records: &[Value], format: Format) -> Sheet {
    Sheet {
        columns: columns
            .iter()
            .map(|column| match format {
                Format::Table => format!("{}\n{}", column.name, column.kind),
                Format::Json | Format::Csv | Format::Parquet => column.name.clone(),
            })
            .collect(),
        rows: records
            .iter()
            .map(|record| {
                columns
                    .iter()
                    .map(|column| cell(&record[&column.name], format))
                    .collect()
            })
            .collect(),
    }
}

fn by_field(columns: &[Column], records: &[Value]) -> Sheet {
    let shown = &records[..records.len().min(SIDE_BY_SIDE_MAX)];
    let mut sheet = Sheet::new(["field", "type"]);
    sheet
        .columns
        .extend((1..=shown.len()).map(|nth| format!("record {nth}")));
    for column in columns {
        let mut row = vec![column.name.as_str().into(), column.kind.into()];
        row.extend(
            shown
                .iter()
                .map(|record| cell(&record[&column.name], Format::Table)),
        );
        sheet.rows.push(row);
    }
    sheet
}

fn cell(value: &Value, format: Format) -> Value {
    if format != Format::Table || value.is_number() || value.is_null() {
        return value.clone();
    }
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned);
    let text = text.replace(['\n', '\r'], " ");
    if text.chars().count() <= CELL_CHARS_MAX {
        return text.into();
    }
    let cut: String = text.chars().take(CELL_CHARS_MAX - 1).collect();
    format!("{cut}…").into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_those_that_hold_all_values() {
        let records = vec![
            json!({"id": 1, "at": "2026-01-01T00:00:00Z", "n": null, "x": 1}),
            json!({"id": 2.5, "at": "soon", "n": [1], "x": {"a": 1}}),
        ];
        let kinds: Vec<_> = columns(&records)
            .iter()
            .map(|column| (column.name.clone(), column.kind))
            .collect();
        insta::assert_debug_snapshot!(kinds, @r#"
        [
            (
                "id",
                "double",
            ),
            (
                "at",
                "string",
            ),
            (
                "n",
                "list",
            ),
            (
                "x",
                "mixed",
            ),
        ]
        "#);
    }

    #[test]
    fn long_cells_are_cut_and_say_so() {
        let text = cell(&"é".repeat(100).into(), Format::Table);
        assert_eq!(text.as_str().unwrap().chars().count(), CELL_CHARS_MAX);
        assert!(text.as_str().unwrap().ends_with('…'));
    }
}
