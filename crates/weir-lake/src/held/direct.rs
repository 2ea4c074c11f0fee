//! Released records put into the table as it is.

use futures::FutureExt;
use weir_protocol::{Books, Result, WriteMode};

use super::typed::Retyped;
use crate::failpoint;
use crate::lake::Lake;
use crate::quarantine::{self, Decision};
use crate::table::file_writer;
use crate::table::{Attempt, Table};
use crate::typed::Inexact;
use crate::upsert::{Outcome, Rule, Upsert};
use crate::writer::checkpoint;
use crate::writer::gathered::Gathered;
use crate::writer::shape::Shape;
use crate::writer::state::StateRecord;

pub(super) struct Direct<'a> {
    pub(super) lake: &'a Lake,
    pub(super) shape: &'a Shape,
    pub(super) record: &'a StateRecord,
    pub(super) decision: &'a Decision,
    pub(super) memory_bytes: u64,
}

/// How it ended.
pub(super) enum Landing {
    Committed {
        landed: u64,
        /// Rows that the table has already, as new or newer.
        known: u64,
        version: i64,
    },
    /// The rows would not come to what they would have been in their time; nothing was changed.
    Inexact,
    /// Another writer was faster.
    Lost,
}

impl Direct<'_> {
    /// One commit: rows, and that the decision was carried out.
    pub(super) async fn land(&self, table: &mut Table, retyped: &Retyped) -> Result<Landing> {
        let before = table.version();
        let rule = self.rule();
        let storage = &self.lake.storage;
        let folder = table.folder().clone();
        let mut rows = match rule {
            Some(_) => Gathered::keyed(self.shape.keys(), self.memory_bytes, storage, &folder),
            None => {
                let partitions = self.shape.partition_columns();
                Gathered::plain(storage, &folder, partitions, self.memory_bytes)
            }
        };
        for batch in &retyped.rows {
            rows.push(batch.clone()).await?;
        }
        table.evolve(&retyped.schema, self.memory_bytes).boxed().await?;
        let outcome = self.outcome(table, rows, rule).boxed().await?;
        let is_new = outcome.removes.is_empty() && outcome.deduplicated == 0;
        if !is_new && matches!(rule, Some(Rule::History | Rule::Distinct)) {
            file_writer::discard(&table.store(), &outcome.adds).boxed().await;
            return Ok(Landing::Inexact);
        }
        let change = self.change(&outcome, &retyped.inexact)?;
        failpoint::reach("lake.in_release")?;
        tracing::debug!(
            table = self.shape.name,
            before,
            landed = outcome.landed,
            "held records are released"
        );
        match table.try_commit(&change).await? {
            Attempt::Committed(version) => Ok(Landing::Committed {
                landed: outcome.landed,
                known: outcome.deduplicated,
                version,
            }),
            Attempt::Lost => {
                file_writer::discard(&table.store(), &outcome.adds).boxed().await;
                Ok(Landing::Lost)
            }
        }
    }

    /// What late rows do to those of their key.
    fn rule(&self) -> Option<Rule> {
        match self.shape.mode.write() {
            WriteMode::Replace if self.shape.primary_key.is_empty() => None,
            WriteMode::Replace | WriteMode::Merge => Some(Rule::Late),
            WriteMode::Append | WriteMode::History => self.shape.rule(),
        }
    }

    async fn outcome(&self, table: &Table, rows: Gathered, rule: Option<Rule>) -> Result<Outcome> {
        let mut incoming = match rows {
            Gathered::Keyed(incoming) => incoming,
            Gathered::Plain(mut plain) => {
                return Ok(Outcome {
                    landed: plain.rows(),
                    adds: plain.finish(table.schema()).await?,
                    ..Outcome::default()
                });
            }
        };
        let keys = match rule {
            Some(Rule::Distinct) => self.shape.keys().versions(),
            _ => self.shape.keys(),
        };
        let upsert = Upsert {
            table,
            files: table.files()?,
            schema: table.schema().clone(),
            keys,
            rule: rule.unwrap_or(Rule::Late),
            vanish: None,
            run: "",
            memory_bytes: self.memory_bytes,
        };
        let outcome = upsert.run(&mut incoming, None).boxed().await?;
        incoming.clear().await;
        Ok(outcome)
    }

    /// A sync at work must see that the table changed under it: where its rows go straight into the
    /// table, the number of the checkpoint goes on. A full refresh in its staging table is not
    /// disturbed: it is compared with the table when it is published.
    fn change(&self, outcome: &Outcome, inexact: &Inexact) -> Result<crate::table::Change> {
        let mut record = self.record.clone();
        record.inexact = record.inexact.map(|_| inexact.clone());
        if !self.shape.is_staged() {
            record.sequence += 1;
            record.run.clone_from(&self.decision.id);
            record.books = Books::default();
        }
        let mut change = checkpoint::change("RELEASE", outcome, &record)?;
        change
            .transactions
            .push((quarantine::application(&self.decision.id), 1));
        Ok(change)
    }
}
