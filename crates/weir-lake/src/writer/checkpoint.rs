//! The checkpoint: rows, transaction and state in one version of a table.

use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use weir_protocol::{Error, ErrorKind, Result};

use super::gathered::Gathered;
use super::shape::Shape;
use super::state::StateRecord;
use crate::children::{ChildRows, Next, sequence_of};
use crate::failpoint;
use crate::storage::Storage;
use crate::table::file_writer;
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{Attempt, Change, DataFile, Table};
use crate::upsert::{Incoming, Outcome, Rule, Upsert};

/// One checkpoint that is to be committed.
pub(crate) struct Checkpoint<'a> {
    pub(crate) shape: &'a Shape,
    /// The table's columns, as far as the stream's rows say.
    pub(crate) schema: SchemaRef,
    /// The same with the lists that go to child tables.
    pub(crate) whole: SchemaRef,
    /// None where rows are added without looking at the table.
    pub(crate) rule: Option<Rule>,
    pub(crate) memory_bytes: u64,
    /// State and books, without what the rows come to.
    pub(crate) record: StateRecord,
    /// The table has this state already and nothing was held: unless a row changes, there is nothing to commit.
    pub(crate) is_idle: bool,
}

/// What stands in the table now.
pub(crate) struct Written {
    pub(crate) record: StateRecord,
    pub(crate) version: i64,
}

/// Rows on their way into the table.
enum Load {
    /// Compared with the table anew for each version that is tried.
    Rows(Box<Incoming>),
    /// Written already.
    Files(Outcome),
}

impl Checkpoint<'_> {
    /// The table is not moved to the version that was written.
    pub(crate) async fn commit(self, rows: Gathered, table: &mut Table) -> Result<Written> {
        table.evolve(&self.schema, self.memory_bytes).await?;
        // Children of added rows are committed once, whatever version the parent then takes.
        let mut appended = None;
        let mut given = None;
        let mut load = match rows {
            Gathered::Keyed(incoming) => Load::Rows(Box::new(incoming)),
            Gathered::Plain(mut plain) => {
                appended = plain.take_children();
                Load::Files(Outcome {
                    landed: plain.rows(),
                    adds: plain.finish(table.schema()).await?,
                    ..Outcome::default()
                })
            }
        };
        for _ in 0..ATTEMPTS_MAX {
            if let Some(found) = already_there(table, &self.record).boxed().await? {
                return Ok(found);
            }
            let mut children = self.children(&load, table);
            let outcome = match &mut load {
                Load::Files(outcome) => outcome.clone(),
                Load::Rows(incoming) => {
                    let upsert = self.upsert(table)?;
                    upsert.run(incoming, children.as_mut()).boxed().await?
                }
            };
            let mut record = with_outcome(&self.record, &outcome)?;
            if self.is_idle && outcome.changes_nothing() {
                record.sequence -= 1;
                let version = table.version();
                return Ok(Written { record, version });
            }
            let next = Next {
                sequence: record.sequence,
                after: sequence_of(table, &record.application()).await?,
            };
            if let Some(rows) = appended.take() {
                given = Some(rows.commit(&self.whole, next).boxed().await?);
            }
            if let Some(rows) = children {
                record.add_children(rows.commit(&self.whole, next).boxed().await?);
            } else if let Some(given) = given.clone() {
                record.add_children(given);
            }
            let change = change("WRITE", &outcome, &record)?;
            failpoint::reach("lake.before_commit")?;
            match table.commit_last(&change).await? {
                Attempt::Committed(version) => {
                    failpoint::reach("lake.after_commit")?;
                    if let Load::Rows(incoming) = load {
                        incoming.clear().await;
                    }
                    return Ok(Written { record, version });
                }
                Attempt::Lost if matches!(load, Load::Files(_)) => {}
                Attempt::Lost => self.drop_try(&outcome, table, next).boxed().await?,
            }
        }
        Err(table.contended())
    }

    /// A place for the children of rows that are compared with the table.
    fn children(&self, load: &Load, table: &Table) -> Option<ChildRows> {
        let family = self.shape.children().filter(|_| matches!(load, Load::Rows(_)))?;
        let rule = family.rule();
        Some(ChildRows::new(
            family,
            table.storage(),
            self.memory_bytes / 2,
            rule,
        ))
    }

    fn upsert<'a>(&'a self, table: &'a Table) -> Result<Upsert<'a>> {
        Ok(Upsert {
            table,
            files: table.files()?,
            schema: match self.shape.children() {
                Some(family) => family.load_schema(table.schema(), &self.whole),
                None => table.schema().clone(),
            },
            keys: match self.rule {
                Some(Rule::Distinct) => self.shape.keys().versions(),
                _ => self.shape.keys(),
            },
            rule: self.rule.unwrap_or(Rule::Merge),
            vanish: None,
            run: &self.record.run,
            memory_bytes: self.memory_bytes,
        })
    }

    /// Takes back what was written for a version that another writer took.
    async fn drop_try(&self, outcome: &Outcome, table: &Table, next: Next) -> Result<()> {
        if let Some(family) = self.shape.children() {
            family.roll_back(table.storage(), next.after).boxed().await?;
        }
        file_writer::discard(&table.store(), &outcome.adds).boxed().await;
        Ok(())
    }
}

fn with_outcome(record: &StateRecord, outcome: &Outcome) -> Result<StateRecord> {
    let mut record = record.clone();
    record.books.landed += outcome.landed;
    record.books.deduplicated += outcome.deduplicated;
    record.silver_bytes += bytes(&outcome.adds);
    balanced(&record)?;
    Ok(record)
}

/// A change that carries a stream's state.
pub(crate) fn change(operation: &'static str, outcome: &Outcome, record: &StateRecord) -> Result<Change> {
    let mut record = record.clone();
    record.sign();
    let mut change = Change::new(operation);
    change.adds = outcome.adds.iter().map(|file| file.add(true)).collect();
    change.removes = outcome.removes.iter().map(|file| file.remove(true)).collect();
    let sequence = i64::try_from(record.sequence)
        .map_err(|error| Error::internal("a checkpoint's number is too large").caused_by(error))?;
    change.transactions = vec![(record.application(), sequence)];
    change.domains = vec![(record.domain(), Some(record.to_json()?))];
    change.notes = vec![
        ("weir.run".to_owned(), record.run.clone().into()),
        ("weir.sequence".to_owned(), record.sequence.into()),
    ];
    Ok(change)
}

/// The checkpoint as it was committed before, when the answer to that commit was lost. Another
/// writer's is a conflict.
pub(crate) async fn already_there(table: &Table, record: &StateRecord) -> Result<Option<Written>> {
    let found = table.transaction(&record.application()).await?;
    let wanted = i64::try_from(record.sequence).unwrap_or(i64::MAX);
    if found.is_none_or(|found| found < wanted) {
        return Ok(None);
    }
    let theirs = StateRecord::read(table, &record.connection, &record.stream).await?;
    match theirs {
        Some(theirs) if theirs.sequence == record.sequence && theirs.run == record.run => Ok(Some(Written {
            version: table.version(),
            record: theirs,
        })),
        _ => Err(Error::new(
            ErrorKind::Conflict,
            format!("another run wrote stream '{}' in the meantime", record.stream),
        )
        .with("table", table.name())
        .with("checkpoint", record.sequence)
        .with("found", found.unwrap_or_default())
        .hint("let only one run write a stream at a time, then sync again: nothing was lost")),
    }
}

fn balanced(record: &StateRecord) -> Result<()> {
    if record.books.balance() {
        return Ok(());
    }
    Err(Error::internal("the books of this checkpoint do not balance")
        .with("books", format!("{:?}", record.books))
        .hint("nothing was committed; report this defect with the run's log"))
}

/// Bytes that were written for these files: those with marked rows stood there before.
pub(crate) fn bytes(files: &[DataFile]) -> u64 {
    let written = files.iter().filter(|file| file.deletion_vector.is_none());
    written.map(|file| file.size).sum()
}

/// Refuses to write a table that is partitioned in another way than its stream says.
pub(crate) fn check_partitions(table: &Table, shape: &Shape) -> Result<()> {
    let (theirs, ours) = (table.partition_columns()?, shape.partition_columns());
    if theirs == ours {
        return Ok(());
    }
    Err(
        Error::spec(format!("table '{}' is partitioned in another way", shape.name))
            .with("table", theirs.join(", "))
            .with("stream", ours.join(", "))
            .hint("set partition_by back, or move the table's folder away and sync with --full"),
    )
}

/// Makes a table what its stream says it is to be.
pub(crate) async fn ready(mut table: Table, shape: &Shape) -> Result<Table> {
    check_partitions(&table, shape)?;
    table.mark_rows(shape.marks_rows).await?;
    Ok(table)
}

/// Makes the table if it is not there yet.
pub(crate) async fn table(
    storage: &Storage,
    shape: &Shape,
    folder: &object_store::path::Path,
    schema: &SchemaRef,
) -> Result<Table> {
    if let Some(table) = Table::find(storage, folder).await? {
        return ready(table, shape).boxed().await;
    }
    shape.check_partitions(schema)?;
    let partitions = shape.partition_columns();
    let made = Table::create(storage, folder, schema, &partitions, &shape.properties())
        .boxed()
        .await?;
    failpoint::reach("lake.after_create")?;
    Ok(made)
}
