//! Typed rows since the last checkpoint.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use futures::TryStreamExt;
use object_store::path::Path;
use weir_protocol::Result;

use crate::children::ChildRows;
use crate::storage::Storage;
use crate::table::file_writer::{self, FileWriter, Layout, Purpose};
use crate::table::{DataFile, scan, schema};
use crate::upsert::{Incoming, Keys, Place, SeenKeys};

/// Where rows wait.
pub(crate) enum Gathered {
    /// They are compared with the table at the checkpoint.
    Keyed(Incoming),
    /// They are added as they are: files are written at once.
    Plain(Plain),
}

pub(crate) struct Plain {
    storage: Storage,
    folder: Path,
    partitions: Vec<String>,
    memory_bytes: u64,
    writer: Option<FileWriter>,
    done: Vec<(SchemaRef, Vec<DataFile>)>,
    rows: u64,
    /// Takes the lists of the rows, if they are exploded.
    children: Option<Box<ChildRows>>,
    /// Where somebody will ask whether a key came twice.
    keys: Option<SeenKeys>,
}

impl Gathered {
    pub(crate) fn keyed(keys: Keys, held_max: u64, storage: &Storage, folder: &Path) -> Self {
        Self::Keyed(Incoming::new(keys, held_max, Place::of(storage, folder)))
    }

    pub(crate) fn plain(
        storage: &Storage,
        folder: &Path,
        partitions: Vec<String>,
        memory_bytes: u64,
    ) -> Self {
        Self::Plain(Plain {
            storage: storage.clone(),
            folder: folder.clone(),
            partitions,
            memory_bytes,
            writer: None,
            done: Vec::new(),
            rows: 0,
            children: None,
            keys: None,
        })
    }

    /// Rows that are added as they are go without their lists, which `children` takes.
    pub(crate) fn exploding(self, children: Option<ChildRows>) -> Self {
        match self {
            Self::Plain(plain) => Self::Plain(Plain {
                children: children.map(Box::new),
                ..plain
            }),
            keyed @ Self::Keyed(_) => keyed,
        }
    }

    /// Remembers the keys of rows that are added as they are.
    pub(crate) fn remembering(self, keys: Keys) -> Self {
        match self {
            Self::Plain(plain) => {
                let keys = SeenKeys::new(keys, plain.memory_bytes);
                Self::Plain(Plain {
                    keys: Some(keys),
                    ..plain
                })
            }
            keyed @ Self::Keyed(_) => keyed,
        }
    }

    pub(crate) fn rows(&self) -> u64 {
        match self {
            Self::Keyed(incoming) => incoming.rows(),
            Self::Plain(plain) => plain.rows,
        }
    }

    pub(crate) async fn push(&mut self, batch: RecordBatch) -> Result<()> {
        match self {
            Self::Keyed(incoming) => incoming.push(batch).await,
            Self::Plain(plain) => plain.push(&batch).await,
        }
    }
}

impl Plain {
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    async fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        let parents = match &mut self.children {
            Some(children) => {
                children.land(batch).await?;
                children.parents(batch)?
            }
            None => batch.clone(),
        };
        let batch = &parents;
        if let Some(keys) = &mut self.keys
            && !keys.add(batch)?
        {
            self.keys = None;
        }
        let fits = |writer: &FileWriter| schema::equal(writer.schema(), batch.schema_ref());
        if self.writer.as_ref().is_some_and(|writer| !fits(writer)) {
            self.close().await?;
        }
        let layout = || Layout {
            store: self.storage.within(&self.folder),
            below: String::new(),
            schema: batch.schema(),
            partitions: self.partitions.clone(),
            purpose: Purpose::Table,
        };
        let memory = self.memory_bytes;
        self.writer
            .get_or_insert_with(|| FileWriter::new(layout(), memory))
            .write(batch)
            .await
    }

    pub(crate) fn take_children(&mut self) -> Option<ChildRows> {
        self.children.take().map(|children| *children)
    }

    /// Whether a key came twice; none where that is not known.
    pub(crate) fn has_duplicates(&mut self) -> Option<bool> {
        self.keys.as_mut().map(SeenKeys::have_duplicates)
    }

    async fn close(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            let schema = writer.schema().clone();
            self.done.push((schema, writer.finish().await?));
        }
        Ok(())
    }

    /// The files with the columns of the table. Those that were written before a type was widened
    /// are written again.
    pub(crate) async fn finish(&mut self, target: &SchemaRef) -> Result<Vec<DataFile>> {
        self.close().await?;
        let store = self.storage.within(&self.folder);
        let mut files = Vec::new();
        for (schema, done) in std::mem::take(&mut self.done) {
            if !schema::needs_rewrite(&schema, target) {
                files.extend(done);
                continue;
            }
            let layout = Layout {
                store: store.clone(),
                below: String::new(),
                schema: target.clone(),
                partitions: self.partitions.clone(),
                purpose: Purpose::Table,
            };
            let mut writer = FileWriter::new(layout, self.memory_bytes);
            let mut rows = scan::read_all(store.clone(), done.clone(), target.clone());
            while let Some(batch) = rows.try_next().await? {
                writer.write(&batch).await?;
            }
            files.extend(writer.finish().await?);
            file_writer::discard(&store, &done).boxed().await;
        }
        self.done.push((target.clone(), files.clone()));
        Ok(files)
    }
}
