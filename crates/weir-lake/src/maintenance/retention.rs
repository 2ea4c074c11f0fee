//! How long Bronze objects and Silver partitions stay.

use futures::FutureExt;
use jiff::Timestamp;
use object_store::{ObjectMeta, path::Path};
use weir_protocol::{Error, Result};

use super::{archive, compact};
use crate::children::together;
use crate::failpoint;
use crate::lake::{Lake, Layer, folder};
use crate::storage::Storage;
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{Attempt, Change, DataFile, Table};
use crate::writer::shape;
use crate::writer::state::StateRecord;

/// Keys of vanishing parents are held in so much memory before they are spilled.
const MEMORY_BYTES: u64 = 32 << 20;

/// What went from Bronze.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BronzeRetention {
    pub objects: u64,
    pub bytes: u64,
    pub archived: bool,
}

/// What went from a Silver table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SilverRetention {
    pub files: u64,
    pub rows: u64,
    pub version: i64,
    pub archived: bool,
}

impl Lake {
    /// Bronze objects of one table (or of all) that were written before `before` go: to the
    /// archive, if there is one, and then away. Only what the archive holds whole is deleted.
    pub async fn retain_bronze(
        &self,
        table: Option<&str>,
        before: Timestamp,
        archive: Option<&Storage>,
    ) -> Result<BronzeRetention> {
        let prefix = match table {
            Some(table) => Path::from_iter(["bronze", table]),
            None => Path::from("bronze"),
        };
        let mut old: Vec<ObjectMeta> = self.storage.list(&prefix).await?;
        old.retain(|object| object.last_modified.timestamp_millis() < before.as_millisecond());
        if let Some(archive) = archive {
            archive::copy(&self.storage, archive, &old, Timestamp::now())
                .boxed()
                .await?;
        }
        failpoint::reach("lake.after_archive")?;
        for object in &old {
            failpoint::reach("lake.in_retention")?;
            self.storage.delete(&object.location).await?;
        }
        Ok(BronzeRetention {
            objects: old.len() as u64,
            bytes: old.iter().map(|object| object.size).sum(),
            archived: archive.is_some(),
        })
    }

    /// Partitions of a Silver table whose date lies before `before` go, in one version. The table
    /// must be partitioned by year, month or day of a column, or by a date.
    pub async fn retain_silver(
        &self,
        name: &str,
        before: Timestamp,
        archive: Option<&Storage>,
    ) -> Result<SilverRetention> {
        let mut table = Table::open(&self.storage, &folder(Layer::Silver, name)).await?;
        together::refuse_child(&table, "cut")?;
        let column = dated_partition(&table)?;
        if let Some(archive) = archive {
            // The archive has no log that could say which rows are gone.
            for file in older(&table, &column, before)? {
                if file.deletion_vector.is_some() {
                    compact::join(&mut table, &[file], MEMORY_BYTES).boxed().await?;
                }
            }
            let old = older(&table, &column, before)?;
            if old.iter().any(|file| file.deletion_vector.is_some()) {
                return Err(table.contended());
            }
            let objects = objects(&self.storage, &table, &old).await?;
            archive::copy(&self.storage, archive, &objects, Timestamp::now())
                .boxed()
                .await?;
        }
        failpoint::reach("lake.after_archive")?;
        for _ in 0..ATTEMPTS_MAX {
            let old = older(&table, &column, before)?;
            let mut done = SilverRetention {
                files: old.len() as u64,
                rows: old.iter().map(|file| file.rows).sum(),
                version: table.version(),
                archived: archive.is_some(),
            };
            if old.is_empty() {
                return Ok(done);
            }
            let mut change = Change::new("DELETE");
            change.removes = old.iter().map(|file| file.remove(true)).collect();
            change.domains = forget_children(&table, &old).boxed().await?;
            failpoint::reach("lake.in_silver_retention")?;
            match table.try_commit(&change).await? {
                Attempt::Committed(version) => {
                    failpoint::reach("lake.after_silver_retention")?;
                    done.version = version;
                    return Ok(done);
                }
                Attempt::Lost if archive.is_some() => {
                    // The other writer may have changed what was archived.
                    return Err(table.contended());
                }
                Attempt::Lost => {}
            }
        }
        Err(table.contended())
    }
}

/// Removes the children of rows in these files; what the parent's state says of them from now on.
async fn forget_children(table: &Table, old: &[DataFile]) -> Result<Vec<(String, Option<String>)>> {
    let Some((connection, stream)) = shape::stream_of(&table.properties()?) else {
        return Ok(Vec::new());
    };
    let record = StateRecord::read(table, &connection, &stream).await?;
    let Some(mut record) = record.filter(|record| !record.children.is_empty()) else {
        return Ok(Vec::new());
    };
    record.children = together::forget(table, &record, old, MEMORY_BYTES)
        .boxed()
        .await?;
    failpoint::reach("lake.after_child_commit")?;
    Ok(vec![(record.domain(), Some(record.to_json()?))])
}

/// The first partition column whose values are dates, and how they are written.
fn dated_partition(table: &Table) -> Result<(String, &'static str)> {
    let columns = table.partition_columns()?;
    let found = columns.iter().find_map(|column| {
        let pattern = match column.as_str() {
            name if name.starts_with("_year_") => "%Y",
            name if name.starts_with("_month_") => "%Y-%m",
            name if name.starts_with("_day_") => "%Y-%m-%d",
            name => match table
                .schema()
                .field_with_name(name)
                .map(arrow::datatypes::Field::data_type)
            {
                Ok(arrow::datatypes::DataType::Date32) => "%Y-%m-%d",
                _ => return None,
            },
        };
        Some((column.clone(), pattern))
    });
    found.ok_or_else(|| {
        Error::spec(format!("table '{}' has no partition by date", table.name()))
            .with("partition_by", columns.join(", "))
            .hint("add partition_by: [month(…)] to the stream and rebuild the table, or keep it without retention")
    })
}

/// Files of partitions that end before that time. A partition without date stays.
fn older(table: &Table, by: &(String, &'static str), before: Timestamp) -> Result<Vec<DataFile>> {
    let (column, pattern) = by;
    let border = before.strftime(pattern).to_string();
    let mut files = table.files()?;
    files.retain(|file| {
        let value = file.partition.get(column).and_then(Option::as_ref);
        value.is_some_and(|value| *value < border)
    });
    Ok(files)
}

async fn objects(storage: &Storage, table: &Table, files: &[DataFile]) -> Result<Vec<ObjectMeta>> {
    let mut objects = storage.list(table.folder()).await?;
    let paths: std::collections::BTreeSet<String> = files
        .iter()
        .map(|file| format!("{}/{}", table.folder(), file.path))
        .collect();
    objects.retain(|object| paths.contains(object.location.as_ref()));
    Ok(objects)
}
