//! Child rows into their tables, before the parent commits.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use weir_protocol::{Error, Result};

use super::mark::Mark;
use super::rows::Load;
use super::{ChildRows, ChildRule, ChildTable};
use crate::failpoint;
use crate::table::file_writer;
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{Attempt, Table};
use crate::typed::INDEX;
use crate::upsert::{ByParent, Keys, Outcome};
use crate::writer::gathered::Gathered;

/// Where the children of a checkpoint stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Children {
    /// Child table to version, for those that were written.
    pub(crate) versions: BTreeMap<String, i64>,
    /// Child table to rows that were written.
    pub(crate) rows: BTreeMap<String, u64>,
    pub(crate) bytes: u64,
}

/// The parent's checkpoint that is about to be committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next {
    pub(crate) sequence: u64,
    /// The one that it stands at.
    pub(crate) after: Option<u64>,
}

impl ChildRows {
    /// Commits the children. `schema` is that of the parent's rows, lists included. Children that a
    /// lost try of the same checkpoint left ahead are taken back first.
    pub(crate) async fn commit(self, schema: &SchemaRef, next: Next) -> Result<Children> {
        failpoint::reach("lake.before_child_commit")?;
        let mut done = Children::default();
        let Self {
            family,
            storage,
            memory_bytes,
            rule,
            mut loads,
        } = self;
        for (field, child) in family.tables() {
            let load = loads.remove(field);
            let found = child.find(&storage).await?;
            let elements = load.as_ref().map_or(0, |load| load.elements);
            let is_needed = match &found {
                // A table is made for the first element.
                None => elements > 0,
                Some(_) => load.is_some() || rule == ChildRule::Whole,
            };
            let Some(load) = load.filter(|_| is_needed) else {
                if let Some(table) = found.filter(|_| is_needed) {
                    let writing = Writing {
                        child: &child,
                        table,
                        rule,
                        memory_bytes,
                        next,
                    };
                    writing.empty(&mut done).await?;
                }
                continue;
            };
            let list = family.exploder.lists(schema).find(|(name, _)| *name == field);
            let (_, list) = list.ok_or_else(|| {
                Error::internal("an exploded list has rows but no column").hint("report this defect")
            })?;
            let none = arrow::array::RecordBatch::new_empty(schema.clone());
            let columns = family.exploder.explode(&none, list.name(), false)?.schema();
            let mut keys = family.exploder.parent_columns();
            keys.push(INDEX.to_owned());
            let mut table = match found {
                Some(table) => table,
                None => {
                    let properties = child.properties(&keys);
                    Table::create(&storage, &child.folder(), &columns, &[], &properties)
                        .boxed()
                        .await?
                }
            };
            child.roll_back(&mut table, next.after).boxed().await?;
            table.evolve(&columns, memory_bytes).boxed().await?;
            let writing = Writing {
                child: &child,
                table,
                rule,
                memory_bytes,
                next,
            };
            writing
                .write(load, family.exploder.parent_columns(), &mut done)
                .boxed()
                .await?;
        }
        failpoint::reach("lake.after_child_commit")?;
        Ok(done)
    }
}

struct Writing<'a> {
    child: &'a ChildTable,
    table: Table,
    rule: ChildRule,
    memory_bytes: u64,
    next: Next,
}

impl Writing<'_> {
    /// No child is left.
    async fn empty(mut self, done: &mut Children) -> Result<()> {
        self.child.roll_back(&mut self.table, self.next.after).await?;
        for _ in 0..ATTEMPTS_MAX {
            let outcome = Outcome {
                removes: self.table.files()?,
                ..Outcome::default()
            };
            if self.tried(&outcome, 0, done).await? {
                return Ok(());
            }
        }
        Err(self.table.contended())
    }

    async fn write(mut self, load: Load, keys: Vec<String>, done: &mut Children) -> Result<()> {
        let elements = load.elements;
        match load.rows {
            Gathered::Plain(mut plain) => {
                let adds = plain.finish(self.table.schema()).await?;
                for _ in 0..ATTEMPTS_MAX {
                    let outcome = Outcome {
                        adds: adds.clone(),
                        removes: match self.rule {
                            ChildRule::Whole => self.table.files()?,
                            _ => Vec::new(),
                        },
                        ..Outcome::default()
                    };
                    if self.tried(&outcome, elements, done).await? {
                        return Ok(());
                    }
                }
            }
            Gathered::Keyed(mut incoming) => {
                for _ in 0..ATTEMPTS_MAX {
                    let by_parent = ByParent {
                        table: &self.table,
                        keys: Keys::new(keys.clone(), None),
                        keeps_past: self.rule == ChildRule::History,
                        memory_bytes: self.memory_bytes,
                    };
                    let outcome = by_parent.run(&mut incoming).boxed().await?;
                    if self.tried(&outcome, elements, done).await? {
                        incoming.clear().await;
                        return Ok(());
                    }
                    file_writer::discard(&self.table.store(), &outcome.adds)
                        .boxed()
                        .await;
                }
            }
        }
        Err(self.table.contended())
    }

    /// Tries once to commit; a commit that would change nothing is none.
    async fn tried(&mut self, outcome: &Outcome, rows: u64, done: &mut Children) -> Result<bool> {
        if !(outcome.adds.is_empty() && outcome.removes.is_empty()) {
            let mark = Mark {
                sequence: self.next.sequence,
                after: self.next.after,
                before: self.table.version(),
            };
            let mut change = self.child.change("WRITE CHILDREN", &mark)?;
            change.adds = outcome.adds.iter().map(|file| file.add(true)).collect();
            change.removes = outcome.removes.iter().map(|file| file.remove(true)).collect();
            if self.table.try_commit(&change).boxed().await? == Attempt::Lost {
                return Ok(false);
            }
        }
        done.bytes += outcome.adds.iter().map(|file| file.size).sum::<u64>();
        done.versions
            .insert(self.child.name.clone(), self.table.version());
        if rows > 0 {
            done.rows.insert(self.child.name.clone(), rows);
        }
        Ok(true)
    }
}
