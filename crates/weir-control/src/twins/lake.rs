use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use serde_json::Value;
use weir_protocol::destination::Committed;
use weir_protocol::*;

use super::Death;

/// A row and whether its key vanished at the source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) record: Value,
    pub(crate) deleted: bool,
}

/// What is durable of one stream.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<Row>,
    /// Held back until an exchange.
    staged: Vec<Row>,
    /// Keys that the running full read has seen.
    seen: BTreeSet<u64>,
    committed: Option<Committed>,
    /// The newest checkpoint that readers see: where a refused refresh leaves the table.
    published: Option<Committed>,
    version: i64,
}

/// A lake in memory: everything in it is durable, everything in a writer is lost with it.
#[derive(Clone, Default)]
pub(crate) struct Lake {
    tables: Arc<Mutex<BTreeMap<String, Table>>>,
    /// Checkpoints that fail with a conflict, counted down.
    pub(crate) conflicts: Arc<AtomicI64>,
    /// Records that are not accounted for, to show that somebody notices.
    pub(crate) miscounts: Arc<AtomicU64>,
    /// Whether the next read is refused when it is to be published.
    pub(crate) refuses: Arc<AtomicBool>,
    pub(crate) death: Arc<Mutex<Option<Arc<Death>>>>,
}

impl Lake {
    fn tables(&self) -> MutexGuard<'_, BTreeMap<String, Table>> {
        self.tables.lock().unwrap()
    }

    pub(crate) fn rows(&self, stream: &str) -> Vec<Row> {
        self.tables()
            .get(stream)
            .map(|table| table.rows.clone())
            .unwrap_or_default()
    }

    pub(crate) fn committed(&self, stream: &str) -> Option<Committed> {
        self.tables().get(stream)?.committed.clone()
    }

    pub(crate) fn forget(&self) {
        self.tables().clear();
    }

    async fn step(&self) {
        let death = self.death.lock().unwrap().clone();
        if let Some(death) = death {
            death.step().await;
        }
    }
}

#[async_trait]
impl Destination for Lake {
    async fn open(&self, plan: WritePlan) -> Result<Box<dyn StreamWriter>> {
        self.step().await;
        let mut tables = self.tables();
        let table = tables.entry(plan.stream.name.clone()).or_default();
        let complete = table
            .committed
            .as_ref()
            .is_none_or(|committed| committed.state.complete);
        if plan.restart && is_held_back(plan.mode) {
            table.committed = table.published.clone();
        }
        if plan.restart || (plan.mode.read() == ReadMode::FullRefresh && complete) {
            table.staged.clear();
            table.seen.clear();
        }
        let committed = table.committed.clone();
        let books = committed.as_ref().filter(|committed| committed.run == plan.run);
        let books = books.map(|committed| committed.books).unwrap_or_default();
        Ok(Box::new(Writer {
            lake: self.clone(),
            plan,
            accepted: Vec::new(),
            committed,
            books,
            left_out: Books::default(),
        }))
    }
}

struct Writer {
    lake: Lake,
    plan: WritePlan,
    accepted: Vec<Value>,
    committed: Option<Committed>,
    books: Books,
    /// Of accepted batches: what the source itself left out.
    left_out: Books,
}

/// Whether nobody sees what is read in this mode before it is read to its end.
fn is_held_back(mode: SyncMode) -> bool {
    mode.read() == ReadMode::FullRefresh && mode.write() != WriteMode::Append
}

fn key(record: &Value) -> u64 {
    record["id"].as_u64().unwrap()
}

impl Table {
    /// Gives back whether the record changed anything.
    fn take(&mut self, record: Value, mode: SyncMode) -> bool {
        match mode.write() {
            WriteMode::Append => self.rows.push(Row {
                record,
                deleted: false,
            }),
            WriteMode::Replace => self.staged.push(Row {
                record,
                deleted: false,
            }),
            WriteMode::Merge | WriteMode::History => {
                self.seen.insert(key(&record));
                let old = self.rows.iter_mut().find(|row| key(&row.record) == key(&record));
                match old {
                    Some(row) if row.record["updated"].as_u64() >= record["updated"].as_u64() => {
                        row.deleted = false;
                        return false;
                    }
                    Some(row) => {
                        *row = Row {
                            record,
                            deleted: false,
                        }
                    }
                    None => self.rows.push(Row {
                        record,
                        deleted: false,
                    }),
                }
            }
        }
        true
    }

    fn publish(&mut self, mode: SyncMode) {
        if mode.read() == ReadMode::Incremental {
            return;
        }
        match mode.write() {
            WriteMode::Replace => self.rows = std::mem::take(&mut self.staged),
            WriteMode::Merge | WriteMode::History => {
                for row in &mut self.rows {
                    row.deleted = !self.seen.contains(&key(&row.record));
                }
                self.seen.clear();
            }
            WriteMode::Append => {}
        }
    }
}

impl Writer {
    async fn commit(&mut self, state: &StreamState, last: bool) -> Result<Receipt> {
        self.lake.step().await;
        if self.lake.conflicts.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Err(Error::new(ErrorKind::Conflict, "another writer was first").hint("again"));
        }
        let receipt = {
            let mut tables = self.lake.tables();
            let table = tables.entry(self.plan.stream.name.clone()).or_default();
            if table.committed != self.committed {
                return Err(Error::new(ErrorKind::Conflict, "another run wrote the stream").hint("again"));
            }
            self.books += std::mem::take(&mut self.left_out);
            for record in std::mem::take(&mut self.accepted) {
                self.books.read += 1;
                if table.take(record, self.plan.mode) {
                    self.books.landed += 1;
                } else {
                    self.books.deduplicated += 1;
                }
            }
            self.books.landed -= self.lake.miscounts.swap(0, Ordering::SeqCst);
            if last {
                table.publish(self.plan.mode);
            }
            table.version += 1;
            let committed = Committed {
                sequence: table.committed.as_ref().map_or(0, |committed| committed.sequence) + 1,
                run: self.plan.run.clone(),
                state: state.clone(),
                books: self.books,
            };
            table.committed = Some(committed.clone());
            if last || !is_held_back(self.plan.mode) {
                table.published = Some(committed.clone());
            }
            self.committed = Some(committed.clone());
            Receipt {
                sequence: committed.sequence,
                table: format!("{}_{}", self.plan.source, self.plan.stream.name),
                version: table.version,
                books: self.books,
                bronze_bytes: 0,
                silver_bytes: 0,
                schema_changes: Vec::new(),
                quarantine_reasons: Vec::new(),
                child_rows: BTreeMap::new(),
            }
        };
        // Dying here is the crash between lake and control store.
        self.lake.step().await;
        Ok(receipt)
    }
}

#[async_trait]
impl StreamWriter for Writer {
    fn committed(&self) -> Option<&Committed> {
        self.committed.as_ref()
    }

    async fn write(&mut self, batch: Batch) -> Result<()> {
        self.lake.step().await;
        self.left_out += Books {
            read: batch.filtered + batch.deduplicated,
            filtered: batch.filtered,
            deduplicated: batch.deduplicated,
            ..Books::default()
        };
        for record in &batch.records {
            self.accepted
                .push(serde_json::from_slice(batch.json(record)).unwrap());
        }
        Ok(())
    }

    async fn checkpoint(&mut self, state: &StreamState) -> Result<Receipt> {
        self.commit(state, false).await
    }

    async fn finish(mut self: Box<Self>, state: &StreamState) -> Result<Finished> {
        if !self.lake.refuses.swap(false, Ordering::SeqCst) {
            let receipt = self.commit(state, true).await?;
            return Ok(Finished {
                receipt,
                refusal: None,
            });
        }
        let receipt = self.commit(state, false).await?;
        let mut tables = self.lake.tables();
        let table = tables.entry(self.plan.stream.name.clone()).or_default();
        table.committed = table.published.clone();
        table.staged.clear();
        Ok(Finished {
            receipt,
            refusal: Some(Error::new(ErrorKind::Gate, "nothing of it fits").hint("mend it")),
        })
    }
}
