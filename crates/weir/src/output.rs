//! Rows on standard output, as a table for people, or as JSON or CSV for programs.

use std::io::Write as _;

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, TableComponent, presets};
use serde_json::{Map, Value};
use weir_protocol::{Error, ErrorKind, Result};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Csv,
    Parquet,
}

/// Named columns and their values.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sheet {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Sheet {
    pub(crate) fn new<const N: usize>(columns: [&str; N]) -> Self {
        Self {
            columns: columns.map(str::to_owned).to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn push<const N: usize>(&mut self, row: [Value; N]) {
        self.rows.push(row.to_vec());
    }

    pub(crate) fn print(&self, format: Format) -> Result<()> {
        match format {
            Format::Table => raw(&self.to_table()),
            Format::Json => raw(&self.to_json()),
            Format::Csv => raw(&self.to_csv()?),
            Format::Parquet => {
                return Err(
                    Error::usage("only `weir query` can write Parquet").hint("use table, json or csv")
                );
            }
        }
        Ok(())
    }

    /// Aligned columns. No row prints as a line that says so.
    pub(crate) fn to_table(&self) -> String {
        if self.rows.is_empty() {
            return "(none)\n".to_owned();
        }
        let mut table = Table::new();
        table
            .load_preset(presets::UTF8_HORIZONTAL_ONLY)
            .remove_style(TableComponent::HorizontalLines)
            .remove_style(TableComponent::MiddleIntersections)
            .remove_style(TableComponent::LeftBorderIntersections)
            .remove_style(TableComponent::RightBorderIntersections)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(&self.columns);
        for row in &self.rows {
            table.add_row(row.iter().map(|value| {
                let cell = Cell::new(shown(value));
                if value.is_number() {
                    cell.set_alignment(CellAlignment::Right)
                } else {
                    cell
                }
            }));
        }
        format!("{table}\n")
    }

    pub(crate) fn to_json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let pairs = self.columns.iter().cloned().zip(row.iter().cloned());
                Value::Object(pairs.collect::<Map<String, Value>>())
            })
            .collect();
        format!("{:#}\n", Value::Array(rows))
    }

    pub(crate) fn to_csv(&self) -> Result<String> {
        let failed = |error: csv::Error| Error::internal("cannot write CSV").caused_by(error);
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.columns).map_err(failed)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(plain)).map_err(failed)?;
        }
        let bytes = writer
            .into_inner()
            .map_err(|error| Error::internal("cannot write CSV").caused_by(error.into_error()))?;
        String::from_utf8(bytes).map_err(|error| Error::internal("CSV is not UTF-8").caused_by(error))
    }
}

/// A value in a cell of a table: numbers get thousands separators.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.as_i64().map_or_else(|| number.to_string(), thousands),
        other => plain(other),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// 1234567 as 1,234,567.
pub(crate) fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        out.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes with the unit that suits it.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut size = count;
    let mut tenths = 0;
    while size >= 1024 && unit + 1 < UNITS.len() {
        tenths = (size % 1024) * 10 / 1024;
        size /= 1024;
        unit += 1;
    }
    if unit == 0 {
        format!("{size} {}", UNITS[unit])
    } else {
        format!("{size}.{tenths} {}", UNITS[unit])
    }
}

/// A time in milliseconds since 1970 as RFC 3339, to the second.
pub(crate) fn time(ms: Option<i64>) -> Value {
    ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .and_then(|at| at.round(jiff::Unit::Second).ok())
        .map_or(Value::Null, |at| Value::from(at.to_string()))
}

/// A line for people.
pub(crate) fn line(text: impl AsRef<str>) {
    raw(&format!("{}\n", text.as_ref()));
}

/// A question, on standard error: what is asked for is no output.
pub(crate) fn prompt(text: &str) {
    let mut out = std::io::stderr().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::error!(%error, "cannot write to standard error");
    }
}

/// Text as it is. A reader that went away (`| head`) is no failure: the rest is not wanted.
pub(crate) fn raw(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        tracing::error!(%error, "cannot write to standard output");
    }
}

/// What writing an answer somewhere failed with.
pub(crate) fn refused(place: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Destination, format!("cannot write to {place}"))
        .caused_by(error)
        .hint("check that the folder exists, may be written to, and has room")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let mut sheet = Sheet::new(["stream", "read", "note"]);
        sheet.push(["issues".into(), 1_234_567.into(), Value::Null]);
        sheet.push(["a,b".into(), 5.into(), "x \"y\"".into()]);
        sheet
    }

    #[test]
    fn prints_for_people() {
        insta::assert_snapshot!(sheet().to_table(), @r#"
        ────────────────────────────
         stream   read        note  
        ════════════════════════════
         issues   1,234,567         
         a,b              5   x "y" 
        ────────────────────────────
        "#);
    }

    #[test]
    fn prints_for_programs() {
        let json: Value = serde_json::from_str(&sheet().to_json()).unwrap();
        assert_eq!(json[0]["read"], 1_234_567);
        insta::assert_snapshot!(sheet().to_csv().unwrap(), @r#"
        stream,read,note
        issues,1234567,
        "a,b",5,"x ""y"""
        "#);
    }

    #[test]
    fn sizes_and_thousands() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
        assert_eq!(thousands(-1000), "-1,000");
        assert_eq!(thousands(999), "999");
    }
}
