//! What a query engine needs from a lake: names, snapshots, Bronze objects, and a way to stage a
//! built model before readers see it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use object_store::{ObjectMeta, ObjectStore, path::Path};
use parquet::arrow::arrow_reader::RowSelection;
use serde::Serialize;
use weir_protocol::{Error, Result};

/// The part of the lake a table lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    Bronze,
    Silver,
    Gold,
}

impl Layer {
    pub const ALL: [Self; 3] = [Self::Silver, Self::Gold, Self::Bronze];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TableName {
    pub layer: Layer,
    pub name: String,
}

impl TableName {
    pub fn new(layer: Layer, name: impl Into<String>) -> Self {
        Self {
            layer,
            name: name.into(),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.layer.as_str(), self.name)
    }
}

/// Which past state of the lake is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    Version(i64),
    Timestamp(Timestamp),
}

impl AsOf {
    /// A table version (`17`), an RFC 3339 timestamp, or a date (its first moment in UTC).
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Ok(version) = text.parse::<i64>()
            && version >= 0
        {
            return Ok(Self::Version(version));
        }
        if let Ok(timestamp) = text.parse::<Timestamp>() {
            return Ok(Self::Timestamp(timestamp));
        }
        text.parse::<jiff::civil::Date>()
            .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC))
            .map(|midnight| Self::Timestamp(midnight.timestamp()))
            .map_err(|_| {
                Error::usage(format!("'{text}' is neither a timestamp nor a table version"))
                    .hint("write 2026-11-21T09:30:00Z, 2026-11-21, or a version number such as 17")
            })
    }
}

impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version}"),
            Self::Timestamp(timestamp) => timestamp.fmt(f),
        }
    }
}

/// One state of a Silver or Gold table: the files that make it up, and how to read them.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub table: TableName,
    pub version: i64,
    /// All columns, those of the partition included.
    pub schema: SchemaRef,
    pub partition_columns: Vec<String>,
    pub files: Vec<DataFile>,
    pub store: Arc<dyn ObjectStore>,
    /// Reader features the table's protocol demands.
    pub reader_features: Vec<String>,
    /// What the writer of a model noted on the table.
    pub properties: BTreeMap<String, String>,
}

impl Snapshot {
    /// Rows in all files, where every file says how many it holds.
    pub fn rows(&self) -> Option<u64> {
        self.files.iter().map(|file| file.rows).sum()
    }
}

/// An active Parquet file of a snapshot.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Path inside the snapshot's store.
    pub path: Path,
    pub size_bytes: u64,
    pub rows: Option<u64>,
    /// Partition column to value as the table's log writes it; none for null.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// The log's statistics of this file (`minValues`, `maxValues`, `nullCount`) as JSON.
    pub stats: Option<String>,
    /// The rows that are left where some are marked as gone; none where all are there.
    pub live: Option<RowSelection>,
}

/// The objects of one Bronze stream: zstd-compressed JSON Lines.
#[derive(Debug, Clone)]
pub struct BronzeObjects {
    pub store: Arc<dyn ObjectStore>,
    pub objects: Vec<ObjectMeta>,
}

/// How a built model meets the table that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildMode {
    Replace,
    /// Rows with the same key are exchanged, others stay.
    Merge {
        keys: Vec<String>,
    },
}

/// A model's rows on their way to the lake.
pub struct Build {
    pub model: String,
    pub schema: SchemaRef,
    pub rows: BoxStream<'static, Result<RecordBatch>>,
    pub mode: BuildMode,
    /// Noted on the table, found again in [`Snapshot::properties`].
    pub properties: BTreeMap<String, String>,
    /// Bytes that the writer may hold.
    pub memory_bytes: u64,
}

/// The lake as the query engine sees it.
#[async_trait]
pub trait Tables: Send + Sync {
    /// Every table there is, in all layers.
    async fn list(&self) -> Result<Vec<TableName>>;

    /// The published state of a Silver or Gold table; none where there is no such table (or was none then).
    async fn snapshot(&self, table: &TableName, as_of: Option<AsOf>) -> Result<Option<Snapshot>>;

    /// The objects of a Bronze table; none where there is no such table.
    async fn bronze(&self, name: &str) -> Result<Option<BronzeObjects>>;
}

/// Where models are built.
#[async_trait]
pub trait GoldWriter: Send + Sync {
    /// Writes a model's rows where no reader sees them yet.
    async fn stage(&self, build: Build) -> Result<Box<dyn Staged>>;
}

/// A built model that waits for its checks.
#[async_trait]
pub trait Staged: Send + Sync {
    /// The table as it will be once published.
    fn snapshot(&self) -> &Snapshot;

    /// Makes it what readers see, and says which version it became.
    async fn publish(self: Box<Self>) -> Result<i64>;

    async fn discard(self: Box<Self>) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_timestamps_and_dates() {
        assert_eq!(AsOf::parse("17").unwrap(), AsOf::Version(17));
        assert_eq!(
            AsOf::parse("2026-11-21").unwrap(),
            AsOf::parse("2026-11-21T00:00:00Z").unwrap()
        );
        insta::assert_snapshot!(format!("{:?}", AsOf::parse("yesterday").unwrap_err()), @"[usage] 'yesterday' is neither a timestamp nor a table version -> write 2026-11-21T09:30:00Z, 2026-11-21, or a version number such as 17");
        assert!(AsOf::parse("-1").is_err());
    }
}
