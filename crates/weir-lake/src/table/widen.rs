//! Columns of a table changed: new ones by metadata alone, wider types by writing files again.

use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use futures::TryStreamExt;
use weir_protocol::{Error, ErrorKind, Result};

use super::commit::{Attempt, Change};
use super::file_writer::{self, FileWriter, Layout};
use super::{Table, deletion, scan, schema};

/// Tries against other writers before giving up.
pub(crate) const ATTEMPTS_MAX: u32 = 20;

impl Table {
    /// Gives the table the columns of `wanted` beside its own. Where a type is widened, every file
    /// is written again with it, in the same version.
    pub(crate) async fn evolve(&mut self, wanted: &SchemaRef, memory_bytes: u64) -> Result<()> {
        for _ in 0..ATTEMPTS_MAX {
            let target = schema::merge(self.schema(), wanted);
            if schema::equal(self.schema(), &target) {
                return Ok(());
            }
            let mut change = Change::new("CHANGE COLUMNS");
            change.schema = Some(target.as_ref().clone());
            let mut written = Vec::new();
            if schema::needs_rewrite(self.schema(), &target) {
                let old = self.files()?;
                written = self.rewrite(&old, &target, memory_bytes).await?;
                change.removes = old.iter().map(|file| file.remove(false)).collect();
                change.adds = written.iter().map(|file| file.add(false)).collect();
            }
            match self.try_commit(&change).await? {
                Attempt::Committed(_) => return Ok(()),
                Attempt::Lost => file_writer::discard(&self.store(), &written).boxed().await,
            }
        }
        Err(self.contended())
    }

    /// Settles whether rows that go are marked. Marks that are there stay either way.
    pub(crate) async fn mark_rows(&mut self, wanted: bool) -> Result<()> {
        for _ in 0..ATTEMPTS_MAX {
            if self.marks_rows()? == wanted {
                return Ok(());
            }
            let mut change = Change::new("SET TBLPROPERTIES");
            change.schema = Some(self.schema().as_ref().clone());
            change.properties = vec![(deletion::ENABLED.to_owned(), wanted.to_string())];
            if let Attempt::Committed(_) = self.try_commit(&change).await? {
                return Ok(());
            }
        }
        Err(self.contended())
    }

    async fn rewrite(
        &self,
        files: &[super::DataFile],
        target: &SchemaRef,
        memory_bytes: u64,
    ) -> Result<Vec<super::DataFile>> {
        let layout = Layout::of(self, target.clone())?;
        let mut writer = FileWriter::new(layout, memory_bytes);
        let mut rows = scan::read_all(self.store(), files.to_vec(), target.clone());
        while let Some(batch) = rows.try_next().await? {
            writer.write(&batch).await?;
        }
        writer.finish().await
    }

    pub(crate) fn contended(&self) -> Error {
        Error::new(
            ErrorKind::Conflict,
            format!("table '{}' is changed by others all the time", self.name()),
        )
        .with("attempts", ATTEMPTS_MAX)
        .hint("run again when fewer writers are at work on this table")
    }
}
