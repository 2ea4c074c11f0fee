//! Which files make which stream.

use std::collections::BTreeMap;

use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

use super::config::{CsvOptions, FileStream, FilesConfig};
use super::format::{self, Compression, Format};
use super::place::{File, Place, compile};

/// Names shown of what was found instead.
const NAMES_SHOWN: usize = 5;

#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) files: Vec<Typed>,
    pub(super) primary_key: Vec<String>,
    pub(super) cursor: Option<String>,
}

/// A file with everything that is needed to read it.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) file: File,
    pub(super) format: Format,
    pub(super) compression: Compression,
    pub(super) csv: CsvOptions,
}

/// The streams of a connection with their files as they are now, in the order in which they are
/// declared, or by name where the files make them.
pub(super) async fn find(place: &Place, config: &FilesConfig) -> Result<Vec<Stream>> {
    let listing = place.list().await?;
    let files = listing.files;
    let streams = if config.streams.is_empty() {
        by_name(place, &files, config)?
    } else {
        declared(place, &files, config)?
    };
    if streams.is_empty() {
        let error = nothing(place.shown(), &files);
        return Err(match listing.others.as_slice() {
            [] => error,
            others => error.with("other files there", others.join(", ")),
        });
    }
    Ok(streams)
}

pub(super) fn pick(mut streams: Vec<Stream>, name: &str) -> Result<Stream> {
    if let Some(index) = streams.iter().position(|stream| stream.name == name) {
        return Ok(streams.swap_remove(index));
    }
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    let error = Error::not_found(format!("no files make a stream '{name}'"));
    Err(match closest(name, &names) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint(format!("there are {}", names.join(", "))),
    })
}

/// A stream for each file at the top and each folder at the top, by its name.
fn by_name(place: &Place, files: &[File], config: &FilesConfig) -> Result<Vec<Stream>> {
    let mut streams: BTreeMap<String, Vec<Typed>> = BTreeMap::new();
    for file in files {
        let Some(typed) = typed(file, config.format, &config.csv) else {
            tracing::debug!(file = %file.name, "left out: its ending names no known format");
            continue;
        };
        let top = match file.name.split_once('/') {
            Some((folder, _)) => folder,
            None => format::named(&file.name).stem,
        };
        let name = format::stream_name(top);
        if name.is_empty() {
            return Err(Error::spec(format!("no stream name can be made of '{top}'"))
                .with("path", place.shown())
                .hint("declare it: config.streams: [{ name: …, pattern: … }]"));
        }
        streams.entry(name).or_default().push(typed);
    }
    let streams = streams.into_iter().map(|(name, files)| Stream {
        name,
        files,
        primary_key: Vec::new(),
        cursor: None,
    });
    Ok(streams.collect())
}

fn declared(place: &Place, files: &[File], config: &FilesConfig) -> Result<Vec<Stream>> {
    config
        .streams
        .iter()
        .map(|declared| one_declared(place, files, config, declared))
        .collect()
}

fn one_declared(
    place: &Place,
    files: &[File],
    config: &FilesConfig,
    declared: &FileStream,
) -> Result<Stream> {
    let pattern = compile(&declared.pattern)?;
    let matching: Vec<File> = files
        .iter()
        .filter(|file| pattern.matches(&file.name))
        .cloned()
        .collect();
    if matching.is_empty() {
        let shown = format!("{} with pattern '{}'", place.shown(), declared.pattern);
        return Err(nothing(&shown, files).with("stream", &declared.name));
    }
    let format = declared.format.or(config.format);
    let csv = declared.csv.as_ref().unwrap_or(&config.csv);
    let files: Result<Vec<Typed>> = matching
        .iter()
        .map(|file| {
            typed(file, format, csv).ok_or_else(|| unknown_format(&file.name).with("stream", &declared.name))
        })
        .collect();
    Ok(Stream {
        name: declared.name.clone(),
        files: files?,
        primary_key: declared.primary_key.clone(),
        cursor: declared.cursor.clone(),
    })
}

fn typed(file: &File, format: Option<Format>, csv: &CsvOptions) -> Option<Typed> {
    let named = format::named(file.location.filename().unwrap_or(&file.name));
    let format = match format {
        None | Some(Format::Auto) => named.format?,
        Some(format) => format,
    };
    let mut csv = csv.clone();
    if named.tabs && csv.delimiter == CsvOptions::default().delimiter {
        csv.delimiter = '\t';
    }
    Some(Typed {
        file: file.clone(),
        format,
        // A Parquet file is compressed inside.
        compression: if format == Format::Parquet {
            Compression::None
        } else {
            named.compression
        },
        csv,
    })
}

fn unknown_format(file: &str) -> Error {
    Error::spec(format!("the format of '{file}' is not known"))
        .hint("set format to csv, jsonl, json or parquet, or narrow the pattern")
}

fn nothing(shown: &str, files: &[File]) -> Error {
    if files.is_empty() {
        return Error::source_failed(format!("no files in {shown}"))
            .hint("check config.path; hidden files (a name that begins with . or _) do not count");
    }
    let found: Vec<&str> = files
        .iter()
        .take(NAMES_SHOWN)
        .map(|file| file.name.as_str())
        .collect();
    let more = files.len().saturating_sub(NAMES_SHOWN);
    let tail = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Error::source_failed(format!("no file of a known format in {shown}"))
        .with("found", format!("{}{tail}", found.join(", ")))
        .hint("set config.format, or a pattern that matches (endings known: csv, tsv, jsonl, ndjson, json, parquet, each also .gz or .zst)")
}
