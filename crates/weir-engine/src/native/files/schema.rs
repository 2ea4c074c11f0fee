//! The schema of a stream, found in its files before they are read.

use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use weir_protocol::{Error, Result};

use super::column::{self, ColumnType, Guess};
use super::format::Format;
use super::place::Place;
use super::streams::{Stream, Typed};
use super::{bytes, csv, parquet};

/// Rows that are looked at, over all files together.
const SAMPLE_ROWS: usize = 1_000;
/// Files that are looked at, spread over all of the stream's.
const SAMPLE_FILES: usize = 5;

/// None for JSON: its values carry their types themselves.
pub(super) async fn infer(place: &Place, stream: &Stream) -> Result<Option<Value>> {
    let chosen = spread(&stream.files);
    let place = place.clone();
    let runtime = Handle::current();
    // Opening files reads from the store, which this thread must not wait for.
    tokio::task::spawn_blocking(move || infer_blocking(&runtime, &place, &chosen))
        .await
        .map_err(|error| {
            Error::internal("looking at files failed")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })?
}

fn infer_blocking(runtime: &Handle, place: &Place, files: &[Typed]) -> Result<Option<Value>> {
    let mut names: Vec<String> = Vec::new();
    let mut guesses: Vec<Guess> = Vec::new();
    let mut properties = Map::new();
    for typed in files {
        match typed.format {
            Format::Csv => {
                let content = bytes::open(runtime, place, &typed.file, typed.compression, 0)?;
                let rows = SAMPLE_ROWS / files.len().max(1);
                let (columns, found) = csv::sample(content, &typed.csv, &typed.file.name, rows)?;
                for (column, guess) in columns.into_iter().zip(found) {
                    match names.iter().position(|name| *name == column) {
                        Some(index) => guesses[index].join(&guess),
                        None => {
                            names.push(column);
                            guesses.push(guess);
                        }
                    }
                }
            }
            Format::Parquet => {
                if let Value::Object(found) =
                    parquet::schema(runtime, place, &typed.file)?["properties"].take()
                {
                    for (name, kind) in found {
                        properties.entry(name).or_insert(kind);
                    }
                }
            }
            Format::Json | Format::Jsonl | Format::Auto | Format::Document => {}
        }
    }
    let types: Vec<ColumnType> = guesses.iter().map(Guess::decide).collect();
    if let Value::Object(found) = column::schema(&names, &types)["properties"].take() {
        properties.extend(found);
    }
    Ok((!properties.is_empty()).then(|| json!({ "type": "object", "properties": properties })))
}

/// The first and the last file, and some between.
fn spread(files: &[Typed]) -> Vec<Typed> {
    let last = files.len().saturating_sub(1);
    let mut chosen: Vec<usize> = (0..SAMPLE_FILES).map(|n| n * last / (SAMPLE_FILES - 1)).collect();
    chosen.dedup();
    chosen
        .into_iter()
        .filter_map(|index| files.get(index).cloned())
        .collect()
}
