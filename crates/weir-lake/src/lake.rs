//! The lake: one place with the tables of three layers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, path::Path};
use parquet::arrow::arrow_reader::RowSelection;
use weir_protocol::{Error, Result, Secret};

use crate::children::ChildTable;
use crate::gold;
use crate::storage::Storage;
use crate::table::deletion::Gone;
use crate::table::{AsOf, DataFile, Table, scan};

/// Where the lake lies and what it is opened with.
#[derive(Debug, Clone)]
pub struct LakeConfig {
    /// A folder, or `s3://bucket/prefix` (`gs://`, `az://` in builds with the feature `cloud`).
    pub location: String,
    /// Settings of the object store.
    pub options: BTreeMap<String, String>,
    /// Key of the `hash` treatment of personal fields: equal values stay equal, and only under it.
    pub pii_key: Secret,
}

/// A layer of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    Bronze,
    Silver,
    Gold,
}

impl Layer {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A table as a list shows it.
#[derive(Debug, Clone)]
pub struct TableInfo {
    pub name: String,
    pub layer: Layer,
    pub version: i64,
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
    pub schema: SchemaRef,
    pub partition_columns: Vec<String>,
    /// The table whose exploded lists these rows are.
    pub parent: Option<String>,
}

/// A table at one version, with all that a scan needs.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    pub name: String,
    pub layer: Layer,
    pub version: i64,
    /// All columns, partition columns included.
    pub schema: SchemaRef,
    /// These are not in the files; their values stand in [`DataFile::partition`].
    pub partition_columns: Vec<String>,
    /// Paths are relative to `prefix`.
    pub files: Vec<DataFile>,
    /// Rooted at the file system or the bucket.
    pub store: Arc<dyn ObjectStore>,
    /// The table's folder in `store`.
    pub prefix: Path,
    pub properties: BTreeMap<String, String>,
}

impl TableSnapshot {
    /// Which rows of a file are left; none where all are.
    pub async fn live_rows(&self, file: &DataFile) -> Result<Option<RowSelection>> {
        if file.deletion_vector.is_none() {
            return Ok(None);
        }
        if file.stats.is_none() {
            return Err(Error::destination(format!(
                "the log does not say how many rows '{}' has",
                file.path
            ))
            .with("table", &self.name)
            .hint("run `weir lake compact` for this table"));
        }
        let store: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(self.store.clone(), self.prefix.clone()));
        let gone = Gone::of(&store, file).await?;
        Ok(Some(gone.live(file.rows_stored())))
    }
}

/// Opened once and shared; cheap to clone.
#[derive(Clone)]
pub struct Lake {
    pub(crate) storage: Storage,
    pub(crate) pii_key: Secret,
}

impl Lake {
    /// Opens the lake; a local folder is made where there is none.
    pub fn open(config: LakeConfig) -> Result<Self> {
        Ok(Self {
            storage: Storage::open(&config.location, &config.options)?,
            pii_key: config.pii_key,
        })
    }

    /// A lake at the root of any object store, such as one in memory.
    pub fn over(store: Arc<dyn ObjectStore>, pii_key: Secret) -> Result<Self> {
        Ok(Self {
            storage: Storage::over(store)?,
            pii_key,
        })
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Every Silver and Gold table. A Gold table that was never published is not among them.
    pub async fn tables(&self) -> Result<Vec<TableInfo>> {
        let mut infos = Vec::new();
        for layer in [Layer::Silver, Layer::Gold] {
            let mut names = self.storage.folders(&Path::from(layer.as_str())).await?;
            names.sort();
            for name in names {
                let Some(table) = self.find(layer, &name).await? else {
                    continue;
                };
                let files = table.files()?;
                let child = ChildTable::of(&name, &table.properties()?);
                infos.push(TableInfo {
                    parent: child.map(|child| child.parent),
                    name,
                    layer,
                    version: table.version(),
                    files: files.len() as u64,
                    rows: files.iter().map(|file| file.rows).sum(),
                    bytes: files.iter().map(|file| file.size).sum(),
                    schema: table.schema().clone(),
                    partition_columns: table.partition_columns()?,
                });
            }
        }
        Ok(infos)
    }

    /// A Silver or Gold table by its name, now or as it was.
    pub async fn snapshot(&self, name: &str, as_of: Option<AsOf>) -> Result<TableSnapshot> {
        let (layer, table) = self.table(name).await?;
        let table = match as_of {
            Some(as_of) => table.at(as_of).await?,
            None => table,
        };
        let mut snapshot = self.snapshot_of(layer, &table)?;
        if layer == Layer::Gold {
            snapshot.properties.extend(gold::properties(&table).await?);
        }
        Ok(snapshot)
    }

    pub(crate) fn snapshot_of(&self, layer: Layer, table: &Table) -> Result<TableSnapshot> {
        Ok(TableSnapshot {
            name: table.name().to_owned(),
            layer,
            version: table.version(),
            schema: table.schema().clone(),
            partition_columns: table.partition_columns()?,
            files: table.files()?,
            store: self.storage.root().clone(),
            prefix: Path::from_iter(self.storage.prefix().parts().chain(table.folder().parts())),
            properties: table.properties()?,
        })
    }

    /// All rows of a table, now or as it was, streamed file by file.
    pub async fn rows(
        &self,
        name: &str,
        as_of: Option<AsOf>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let (_, table) = self.table(name).await?;
        let table = match as_of {
            Some(as_of) => table.at(as_of).await?,
            None => table,
        };
        Ok(scan::read_all(
            table.store(),
            table.files()?,
            table.schema().clone(),
        ))
    }

    /// A table that readers may see: a Gold table has its first rows with version 1.
    async fn find(&self, layer: Layer, name: &str) -> Result<Option<Table>> {
        let table = Table::find(&self.storage, &folder(layer, name)).await?;
        Ok(table.filter(|table| layer != Layer::Gold || table.version() > 0))
    }

    /// Finds a table by its name alone: names are unique over the layers by the naming rules.
    pub(crate) async fn table(&self, name: &str) -> Result<(Layer, Table)> {
        for layer in [Layer::Silver, Layer::Gold] {
            if let Some(table) = self.find(layer, name).await? {
                return Ok((layer, table));
            }
        }
        Err(Error::not_found(format!("the lake has no table '{name}'"))
            .hint("`weir lake tables` lists what there is"))
    }
}

/// The folder of a table.
pub(crate) fn folder(layer: Layer, name: &str) -> Path {
    Path::from_iter([layer.as_str(), name])
}

impl FromStr for AsOf {
    type Err = Error;

    /// A table version (a whole number) or a time (RFC 3339).
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(version) = text.parse() {
            return Ok(Self::Version(version));
        }
        text.parse().map(Self::Timestamp).map_err(|error| {
            Error::usage(format!("'{text}' is neither a table version nor a time"))
                .hint("write a whole number, or a time such as 2026-11-21T12:00:00Z")
                .caused_by(error)
        })
    }
}
