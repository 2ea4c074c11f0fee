//! weir's own lake as the query engine's tables.

use async_trait::async_trait;
use futures::TryStreamExt;
use object_store::path::Path;
use weir_lake::Lake;
use weir_protocol::{Error, ErrorKind, Result};

use crate::tables::{AsOf, BronzeObjects, DataFile, Layer, Snapshot, TableName, Tables};

/// Reads tables from a [`Lake`].
#[derive(Clone)]
pub struct LakeTables {
    lake: Lake,
}

impl LakeTables {
    pub fn new(lake: Lake) -> Self {
        Self { lake }
    }

    fn layer_folder(&self, layer: Layer) -> Path {
        self.lake.storage().prefix().clone().join(layer.as_str())
    }

    async fn folders(&self, layer: Layer) -> Result<Vec<String>> {
        let folder = self.layer_folder(layer);
        let found = self
            .lake
            .storage()
            .root()
            .list_with_delimiter(Some(&folder))
            .await
            .map_err(|error| {
                unlisted(
                    format!("the tables of layer {} cannot be listed", layer.as_str()),
                    error,
                )
            })?;
        Ok(found
            .common_prefixes
            .iter()
            .filter_map(|path| path.filename().map(str::to_owned))
            .collect())
    }
}

const BRONZE_ENDING: &str = ".jsonl.zst";

#[async_trait]
impl Tables for LakeTables {
    async fn list(&self) -> Result<Vec<TableName>> {
        let mut names = Vec::new();
        for layer in Layer::ALL {
            names.extend(
                self.folders(layer)
                    .await?
                    .into_iter()
                    .map(|name| TableName::new(layer, name)),
            );
        }
        Ok(names)
    }

    async fn snapshot(&self, table: &TableName, as_of: Option<AsOf>) -> Result<Option<Snapshot>> {
        let as_of = as_of.map(|as_of| match as_of {
            AsOf::Version(version) => weir_lake::AsOf::Version(version),
            AsOf::Timestamp(timestamp) => weir_lake::AsOf::Timestamp(timestamp),
        });
        match self.lake.snapshot(&table.name, as_of).await {
            Ok(found) => Ok(Some(snapshot(table, found)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn bronze(&self, name: &str) -> Result<Option<BronzeObjects>> {
        let store = self.lake.storage().root().clone();
        let listed: Vec<_> = store
            .list(Some(&self.layer_folder(Layer::Bronze).join(name)))
            .try_collect()
            .await
            .map_err(|error| {
                unlisted(
                    format!("the objects of Bronze table '{name}' cannot be listed"),
                    error,
                )
            })?;
        let mut objects: Vec<_> = listed
            .into_iter()
            .filter(|object| object.location.as_ref().ends_with(BRONZE_ENDING))
            .collect();
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(Some(BronzeObjects { store, objects }))
    }
}

fn unlisted(message: String, error: object_store::Error) -> Error {
    Error::destination(message)
        .caused_by(error)
        .hint("`weir doctor` checks the lake's location and credentials")
}

fn snapshot(table: &TableName, found: weir_lake::TableSnapshot) -> Result<Snapshot> {
    let prefix = found.prefix;
    let files = found
        .files
        .into_iter()
        .map(|file| {
            let inside = Path::parse(&file.path).map_err(|error| {
                Error::destination(format!("table '{table}' names a file that is no path"))
                    .with("file", &file.path)
                    .caused_by(error)
                    .hint("`weir lake restore` goes back to an earlier version")
            })?;
            Ok(DataFile {
                path: Path::from_iter(prefix.parts().chain(inside.parts())),
                size_bytes: file.size,
                rows: Some(file.rows),
                partition_values: file.partition,
                stats: file.stats,
                deletion_vector: false,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Snapshot {
        table: table.clone(),
        version: found.version,
        schema: found.schema,
        partition_columns: found.partition_columns,
        files,
        store: found.store,
        reader_features: Vec::new(),
        properties: found.properties,
    })
}
