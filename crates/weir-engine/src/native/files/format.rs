//! What a file holds, told by its name.

use serde::Deserialize;
use weir_protocol::name;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// By the name's ending.
    Auto,
    Csv,
    Jsonl,
    Json,
    Parquet,
    /// One record a file: what stands in it. Only of the source of documents.
    #[serde(skip)]
    Document,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

const COMPRESSIONS: &[(&str, Compression)] = &[("gz", Compression::Gzip), ("zst", Compression::Zstd)];

const FORMATS: &[(&str, Format)] = &[
    ("csv", Format::Csv),
    ("tsv", Format::Csv),
    ("jsonl", Format::Jsonl),
    ("ndjson", Format::Jsonl),
    ("json", Format::Json),
    ("parquet", Format::Parquet),
    ("pq", Format::Parquet),
];

/// A file's name taken apart: `orders.csv.gz` is (`orders`, csv, gzip).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub(super) stem: &'a str,
    /// None where the ending says nothing.
    pub(super) format: Option<Format>,
    pub(super) compression: Compression,
    /// Whether the name says that columns are set apart by tabs.
    pub(super) tabs: bool,
}

pub(super) fn named(file_name: &str) -> Named<'_> {
    let (rest, compression) = split(file_name, COMPRESSIONS).unwrap_or((file_name, Compression::None));
    let (stem, format) = match split(rest, FORMATS) {
        Some((stem, format)) => (stem, Some(format)),
        None => (rest.split('.').next().unwrap_or(rest), None),
    };
    Named {
        stem,
        format,
        compression,
        tabs: rest.to_ascii_lowercase().ends_with(".tsv"),
    }
}

/// The stream that a file or folder of this name belongs to, empty where no name can be made of it.
pub(super) fn stream_name(stem: &str) -> String {
    name::sanitize(stem)
}

fn split<'a, T: Copy>(name: &'a str, endings: &[(&str, T)]) -> Option<(&'a str, T)> {
    let (stem, ending) = name.rsplit_once('.')?;
    let ending = ending.to_ascii_lowercase();
    let found = endings.iter().find(|(known, _)| *known == ending)?;
    Some((stem, found.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_format_and_compression() {
        let found = named("Orders.2024.CSV.gz");
        assert_eq!((found.stem, found.format), ("Orders.2024", Some(Format::Csv)));
        assert_eq!(found.compression, Compression::Gzip);
        assert_eq!(named("events.ndjson").format, Some(Format::Jsonl));
        assert_eq!(named("part-0.snappy.parquet").format, Some(Format::Parquet));
        assert!(named("x.tsv").tabs);
    }

    #[test]
    fn an_unknown_ending_says_nothing() {
        assert_eq!(named("README").format, None);
        assert_eq!(named("notes.txt").format, None);
        assert_eq!(named("notes.txt.gz").compression, Compression::Gzip);
    }
}
