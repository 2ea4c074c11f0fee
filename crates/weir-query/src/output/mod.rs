//! Answers as text or files.

mod cells;
mod kind;

use std::io::Write;
use std::str::FromStr;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv::WriterBuilder;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::WriterProperties;
use weir_protocol::{Error, ErrorKind, Result};

use crate::answer::Answer;
use crate::engine::too_wide;
use crate::failure::arrow;

pub(crate) use cells::Cells;
pub(crate) use kind::kind;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns for people.
    Table,
    /// One array of objects.
    Json,
    /// With a header; nested values are JSON text.
    Csv,
    Parquet,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            other => Err(Error::usage(format!("'{other}' is not an output format"))
                .hint("use one of table, json, csv, parquet")),
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub rows: u64,
    /// Whether `rows_max` cut the answer off.
    pub truncated: bool,
}

pub(crate) async fn write(
    answer: &mut Answer,
    format: Format,
    memory_bytes: usize,
    out: &mut (dyn Write + Send),
) -> Result<Written> {
    let rows = match format {
        Format::Table => table(answer, memory_bytes, out).await?,
        Format::Json => json(answer, out).await?,
        Format::Csv => csv(answer, out).await?,
        Format::Parquet => parquet(answer, out).await?,
    };
    out.flush().map_err(|error| refused(&error))?;
    Ok(Written {
        rows,
        truncated: answer.truncated,
    })
}

fn refused(error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("the answer cannot be written: {error}"),
    )
    .hint("look at the output's place: does the folder exist, is there room?")
}

async fn table(answer: &mut Answer, memory_bytes: usize, out: &mut (dyn Write + Send)) -> Result<u64> {
    let (mut shown, mut rows, mut held_bytes) = (Vec::new(), 0, 0);
    while let Some(batch) = answer.next().await? {
        rows += batch.num_rows() as u64;
        let batch = cells::flat(&batch)?;
        held_bytes += batch.get_array_memory_size();
        if held_bytes > memory_bytes {
            return Err(too_wide(memory_bytes));
        }
        shown.push(batch);
    }
    if shown.is_empty() {
        shown.push(cells::flat(&RecordBatch::new_empty(answer.schema().clone()))?);
    }
    let text = pretty_format_batches(&shown).map_err(arrow)?;
    writeln!(out, "{text}").map_err(|error| refused(&error))?;
    Ok(rows)
}

async fn json(answer: &mut Answer, out: &mut (dyn Write + Send)) -> Result<u64> {
    let names = cells::distinct_names(answer.schema());
    let mut rows = 0_u64;
    let mut text = vec![b'['];
    while let Some(batch) = answer.next().await? {
        Cells::of(&batch, |cells| {
            for row in 0..batch.num_rows() {
                text.extend_from_slice(if rows == 0 { b"\n" } else { b",\n" });
                cells.object(row, &names, &mut text)?;
                rows += 1;
            }
            Ok(())
        })?;
        out.write_all(&text).map_err(|error| refused(&error))?;
        text.clear();
    }
    text.extend_from_slice(b"\n]\n");
    out.write_all(&text).map_err(|error| refused(&error))?;
    Ok(rows)
}

async fn csv(answer: &mut Answer, out: &mut (dyn Write + Send)) -> Result<u64> {
    let mut writer = WriterBuilder::new().with_header(true).build(out);
    let empty = RecordBatch::new_empty(answer.schema().clone());
    writer.write(&cells::flat(&empty)?).map_err(arrow)?;
    let mut rows = 0;
    while let Some(batch) = answer.next().await? {
        rows += batch.num_rows() as u64;
        writer.write(&cells::flat(&batch)?).map_err(arrow)?;
    }
    Ok(rows)
}

async fn parquet(answer: &mut Answer, out: &mut (dyn Write + Send)) -> Result<u64> {
    let level = ZstdLevel::try_new(3).map_err(|error| parquet_refused(&error))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .build();
    let schema = cells::distinct(answer.schema());
    let mut writer = ArrowWriter::try_new(out, schema.clone(), Some(properties))
        .map_err(|error| parquet_refused(&error))?;
    let mut rows = 0;
    while let Some(batch) = answer.next().await? {
        rows += batch.num_rows() as u64;
        let batch = RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).map_err(arrow)?;
        writer.write(&batch).map_err(|error| parquet_refused(&error))?;
    }
    writer.close().map_err(|error| parquet_refused(&error))?;
    Ok(rows)
}

fn parquet_refused(error: &ParquetError) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("the answer cannot be written as Parquet: {error}"),
    )
    .hint("cast columns of unusual types to text, and look at free space")
}
