//! A complete full refresh becomes the table: in one version, or not at all.

use std::collections::BTreeSet;

use futures::FutureExt;
use weir_protocol::{Error, ErrorKind, Result, WriteMode};

use super::checkpoint::{Written, already_there, bytes, change, table as main_table};
use super::generations::Generation;
use super::shape::Shape;
use super::staging::{self, Staging};
use super::state::StateRecord;
use crate::children::{ChildRows, ChildRule, Next, sequence_of};
use crate::failpoint;
use crate::storage::Storage;
use crate::table::file_writer;
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{Attempt, DataFile, Table, schema};
use crate::upsert::{Incoming, Outcome, Place, Rule, Upsert, has_duplicates, held_max};

pub(crate) struct Publish<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) shape: &'a Shape,
    pub(crate) staging: Staging,
    pub(crate) memory_bytes: u64,
    /// Microseconds since the epoch: when rows that the refresh lacks are said to have vanished.
    pub(crate) at: i64,
    /// Generations that the table went through before.
    pub(crate) generations: Vec<Generation>,
    /// The first checkpoint of the refresh.
    pub(crate) from: u64,
}

impl Publish<'_> {
    pub(crate) async fn run(self) -> Result<Written> {
        failpoint::reach("lake.before_publish")?;
        let staged = &self.staging.table;
        let columns = self.shape.table_schema(staged.schema());
        let mut main = main_table(self.storage, self.shape, &self.shape.folder, &columns)
            .boxed()
            .await?;
        let mut done = None;
        for _ in 0..ATTEMPTS_MAX {
            if let Some(found) = already_there(&main, &self.staging.record).boxed().await? {
                done = Some(found);
                break;
            }
            // Whoever used the numbers up gave this refresh up, and its Bronze with it.
            let before = sequence_of(&main, &self.staging.record.application()).await?;
            if before.unwrap_or(0) + 1 != self.from {
                return Err(staging::given_up(&self.staging.record));
            }
            let adopts = self.adopts(&main).await?;
            if !adopts || self.shape.mode.write() != WriteMode::Replace {
                main.evolve(&columns, self.memory_bytes).await?;
            }
            let mut children = self.children();
            let outcome = if adopts {
                self.adopt(&main)?
            } else {
                self.merge(&main, children.as_mut()).await?
            };
            let mut record = self.record(&outcome, &main).boxed().await?;
            let after = self.commit_children(&main, children, &mut record).boxed().await?;
            let mut change = change("PUBLISH FULL REFRESH", &outcome, &record)?;
            if adopts && !schema::equal(main.schema(), &columns) {
                change.schema = Some(columns.as_ref().clone());
            }
            failpoint::reach("lake.in_publish")?;
            if before.is_none() && !staging::is_begun(self.storage, staged.folder()).await? {
                return Err(staging::given_up(&self.staging.record));
            }
            match main.try_commit(&change).await? {
                Attempt::Committed(version) => {
                    done = Some(Written { record, version });
                    break;
                }
                Attempt::Lost if adopts => {}
                Attempt::Lost => {
                    if let Some(family) = self.shape.children() {
                        family.roll_back(self.storage, after).boxed().await?;
                    }
                    file_writer::discard(&main.store(), &outcome.adds).boxed().await;
                }
            }
        }
        let Some(written) = done else {
            return Err(main.contended());
        };
        failpoint::reach("lake.after_publish")?;
        self.clean(&main).await?;
        Ok(written)
    }

    /// Why this full refresh must not be published, if so; it is given up then. One of which no record
    /// fits would leave an empty table where a full one was.
    pub(crate) async fn refusal(&mut self) -> Result<Option<Error>> {
        let Staging {
            table: staged,
            record,
        } = &mut self.staging;
        if record.held == 0 || staged.files()?.iter().any(|file| file.rows > 0) {
            return Ok(None);
        }
        // The next run reads anew; going on would publish this one after all. Until then the records
        // that are held can be looked at.
        record.refused = true;
        let mark = change("REFUSE FULL REFRESH", &Outcome::default(), record)?;
        if let Attempt::Lost = staged.try_commit(&mark).await? {
            return Err(staged.contended());
        }
        let refusal = Error::new(
            ErrorKind::Gate,
            format!(
                "no record of the full refresh of stream '{}' fits: all {} wait in quarantine",
                record.stream, record.held
            ),
        )
        .with("table", &self.shape.name)
        .hint(format!(
            "the table stays as it was; see `weir quarantine list {} {}`, mend the stream's select or schema, and sync again",
            record.connection, record.stream
        ));
        Ok(Some(refusal))
    }

    /// Whether the staged files can become the table's as they are.
    async fn adopts(&self, main: &Table) -> Result<bool> {
        if self.shape.children().is_some() {
            // Staged rows have their lists, which are exploded now.
            return Ok(false);
        }
        let whole = match self.shape.mode.write() {
            WriteMode::Replace => true,
            WriteMode::Merge => main.files()?.is_empty(),
            WriteMode::History | WriteMode::Append => false,
        };
        if !whole || self.shape.primary_key.is_empty() {
            return Ok(whole);
        }
        let staged = &self.staging.table;
        let twice = has_duplicates(
            &staged.store(),
            &staged.files()?,
            staged.schema(),
            &self.shape.keys(),
            self.memory_bytes,
        )
        .boxed()
        .await?;
        Ok(!twice)
    }

    /// The staged files under the paths that they have from the main table's folder.
    fn adopt(&self, main: &Table) -> Result<Outcome> {
        let staged = &self.staging.table;
        let folder = staged.name();
        let adds = staged.files()?.into_iter().map(|file| DataFile {
            path: format!("{folder}/{}", file.path),
            ..file
        });
        let adds: Vec<DataFile> = adds.collect();
        Ok(Outcome {
            landed: adds.iter().map(|file| file.rows).sum(),
            adds,
            removes: main.files()?,
            ..Outcome::default()
        })
    }

    async fn merge(&self, main: &Table, children: Option<&mut ChildRows>) -> Result<Outcome> {
        let staged = &self.staging.table;
        let replace = self.shape.mode.write() == WriteMode::Replace;
        let place = Place::of(self.storage, staged.folder());
        let mut incoming = Incoming::from_files(
            self.shape.keys(),
            held_max(self.memory_bytes),
            place,
            staged.files()?,
            staged.schema(),
        )
        .boxed()
        .await?;
        let upsert = Upsert {
            table: main,
            files: if replace { Vec::new() } else { main.files()? },
            schema: match self.shape.children() {
                Some(family) => family.load_schema(main.schema(), staged.schema()),
                None => main.schema().clone(),
            },
            keys: self.shape.keys(),
            rule: match self.shape.mode.write() {
                WriteMode::History => Rule::History,
                _ => Rule::Merge,
            },
            vanish: self.vanishes().then_some(self.at),
            run: &self.staging.record.run,
            memory_bytes: self.memory_bytes,
        };
        let mut outcome = upsert.run(&mut incoming, children).boxed().await?;
        incoming.clear().await;
        if replace {
            outcome.removes = main.files()?;
        }
        Ok(outcome)
    }

    fn children(&self) -> Option<ChildRows> {
        let family = self.shape.children()?;
        let rule = match self.shape.mode.write() {
            WriteMode::Replace => ChildRule::Whole,
            _ => family.rule(),
        };
        Some(ChildRows::new(family, self.storage, self.memory_bytes / 2, rule))
    }

    /// Commits the children, if there are any, and gives the checkpoint that the main table stands at.
    async fn commit_children(
        &self,
        main: &Table,
        children: Option<ChildRows>,
        record: &mut StateRecord,
    ) -> Result<Option<u64>> {
        let Some(rows) = children else {
            return Ok(None);
        };
        let before = StateRecord::read(main, &record.connection, &record.stream).await?;
        record.children = before.map(|before| before.children).unwrap_or_default();
        let next = Next {
            sequence: record.sequence,
            after: sequence_of(main, &record.application()).await?,
        };
        record.add_children(rows.commit(self.staging.table.schema(), next).boxed().await?);
        Ok(next.after)
    }

    /// Whether a key that the refresh lacks is known to be gone. Where records went to quarantine
    /// their keys may be among the missing ones, and nothing is said.
    fn vanishes(&self) -> bool {
        let tells = self.shape.mode.write() != WriteMode::Replace;
        if tells && self.staging.record.held > 0 {
            tracing::warn!(
                table = self.shape.name,
                quarantined = self.staging.record.held,
                "vanished rows are not marked: records of this full refresh wait in quarantine"
            );
        }
        tells && self.staging.record.held == 0
    }

    /// The refresh's record, with rows that turned out to be no news counted as such.
    async fn record(&self, outcome: &Outcome, main: &Table) -> Result<StateRecord> {
        let mut record = self.staging.record.clone();
        if self.shape.mode.write() != WriteMode::Replace {
            // Held records may have been released into the table meanwhile.
            let theirs = StateRecord::read(main, &record.connection, &record.stream).await?;
            let theirs = theirs.and_then(|theirs| theirs.inexact);
            if let (Some(ours), Some(theirs)) = (&mut record.inexact, theirs) {
                ours.join(&theirs);
            }
        }
        let staged = outcome.landed + outcome.deduplicated;
        let known = outcome.deduplicated.min(record.books.landed).min(staged);
        record.books.landed -= known;
        record.books.deduplicated += known;
        record.silver_bytes += bytes(&outcome.adds);
        record.generations.clone_from(&self.generations);
        record.remember(Generation {
            from: self.from,
            to: record.sequence,
            at: self.at,
            mode: record.mode,
            vanish: self.vanishes(),
            empty: record.held == 0 && self.staging.table.files()?.iter().all(|file| file.rows == 0),
        });
        record.held = 0;
        Ok(record)
    }

    /// Removes what the main table did not take.
    async fn clean(&self, main: &Table) -> Result<()> {
        let folder = self.staging.table.folder();
        let taken: BTreeSet<String> = main.files()?.into_iter().map(|file| file.path).collect();
        let unused: Vec<DataFile> = self
            .staging
            .table
            .files()?
            .into_iter()
            .filter(|file| !taken.contains(&format!("{}/{}", self.staging.table.name(), file.path)))
            .collect();
        staging::drop_log(self.storage, folder).boxed().await?;
        file_writer::discard(&self.staging.table.store(), &unused)
            .boxed()
            .await;
        Ok(())
    }
}
