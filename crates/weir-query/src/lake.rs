//! weir's own lake as the query engine's tables.

use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::path::Path;
use weir_lake::{GoldBuild, GoldMode, Lake};
use weir_protocol::{Error, ErrorKind, Result};

use crate::tables::{
    AsOf, BronzeObjects, Build, BuildMode, DataFile, GoldWriter, Layer, Snapshot, Staged, TableName, Tables,
};

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

    /// Whether a Gold table has a version after the empty one that it begins with.
    async fn is_published(&self, name: &str) -> Result<bool> {
        let log = self.layer_folder(Layer::Gold).join(name).join("_delta_log");
        let first = log.clone().join(FIRST_COMMIT);
        let later = self
            .lake
            .storage()
            .root()
            .list_with_offset(Some(&log), &first)
            .try_next()
            .await;
        later
            .map(|found| found.is_some())
            .map_err(|error| unlisted(format!("table 'gold.{name}' cannot be listed"), error))
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

const FIRST_COMMIT: &str = "00000000000000000000.json";

/// Gold tables that are looked at side by side.
const LISTINGS_AT_ONCE: usize = 8;

/// Files whose marks are read side by side.
const READS_AT_ONCE: usize = 8;

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
        let names = stream::iter(names).map(async |name| {
            let shown = name.layer != Layer::Gold || self.is_published(&name.name).await?;
            Ok::<_, Error>(shown.then_some(name))
        });
        let names: Vec<_> = names.buffered(LISTINGS_AT_ONCE).try_collect().await?;
        Ok(names.into_iter().flatten().collect())
    }

    async fn snapshot(&self, table: &TableName, as_of: Option<AsOf>) -> Result<Option<Snapshot>> {
        let as_of = as_of.map(|as_of| match as_of {
            AsOf::Version(version) => weir_lake::AsOf::Version(version),
            AsOf::Timestamp(timestamp) => weir_lake::AsOf::Timestamp(timestamp),
        });
        match self.lake.snapshot(&table.name, as_of).await {
            // The first version of a Gold table is empty: nothing was published yet.
            Ok(found) if table.layer == Layer::Gold && found.version == 0 => Ok(None),
            Ok(found) => snapshot(table, found).await.map(Some),
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

async fn snapshot(table: &TableName, found: weir_lake::TableSnapshot) -> Result<Snapshot> {
    let found = &found;
    let files = found.files.iter().cloned().map(|file| async move {
        let inside = Path::parse(&file.path).map_err(|error| {
            Error::destination(format!("table '{table}' names a file that is no path"))
                .with("file", &file.path)
                .caused_by(error)
                .hint("`weir lake restore` goes back to an earlier version")
        })?;
        Ok::<_, Error>(DataFile {
            path: Path::from_iter(found.prefix.parts().chain(inside.parts())),
            size_bytes: file.size,
            rows: Some(file.rows),
            live: found.live_rows(&file).await?,
            partition_values: file.partition,
            stats: file.stats,
        })
    });
    let files = stream::iter(files).buffered(READS_AT_ONCE).try_collect().await?;
    Ok(Snapshot {
        table: table.clone(),
        version: found.version,
        schema: found.schema.clone(),
        partition_columns: found.partition_columns.clone(),
        files,
        store: found.store.clone(),
        reader_features: Vec::new(),
        properties: found.properties.clone(),
    })
}

#[async_trait]
impl GoldWriter for LakeTables {
    async fn stage(&self, build: Build) -> Result<Box<dyn Staged>> {
        let mode = match build.mode {
            BuildMode::Replace => GoldMode::Replace,
            BuildMode::Merge { keys } => GoldMode::Merge { keys },
        };
        let table = TableName::new(Layer::Gold, &build.model);
        let built = self
            .lake
            .build_gold(
                &build.model,
                build.schema,
                build.rows,
                mode,
                build.properties,
                build.memory_bytes,
            )
            .await?;
        let snapshot = snapshot(&table, built.snapshot.clone()).await?;
        Ok(Box::new(StagedGold {
            lake: self.lake.clone(),
            built,
            snapshot,
        }))
    }
}

/// Files of a model that no version of its table holds yet.
struct StagedGold {
    lake: Lake,
    built: GoldBuild,
    snapshot: Snapshot,
}

#[async_trait]
impl Staged for StagedGold {
    fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    async fn publish(self: Box<Self>) -> Result<i64> {
        self.lake.publish_gold(self.built).await
    }

    async fn discard(self: Box<Self>) -> Result<()> {
        self.lake.discard_gold(self.built).await;
        Ok(())
    }
}
