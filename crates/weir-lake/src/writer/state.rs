//! What a commit says about its stream: state, books and which generations the table went through.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use weir_protocol::destination::Committed;
use weir_protocol::{Books, Error, Result, StreamState, SyncMode, WriteMode, WritePlan};

use super::form::TableForm;
use super::generations::{self, Generation};
use super::shape::Shape;
use crate::children::Children;
use crate::table::{Table, columns, stats};
use crate::typed::Inexact;

/// Runs that are remembered with their checkpoints. A process that slept through more than these comes
/// back to nothing that it could still disturb but its own objects.
const WRITERS_MAX: usize = 16;

/// The content of the domain `weir.state.<connection>.<stream>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    pub(crate) connection: String,
    pub(crate) stream: String,
    pub(crate) source: String,
    pub(crate) mode: SyncMode,
    pub(crate) sequence: u64,
    pub(crate) run: String,
    pub(crate) state: StreamState,
    pub(crate) books: Books,
    #[serde(default)]
    pub(crate) bronze_bytes: u64,
    #[serde(default)]
    pub(crate) silver_bytes: u64,
    /// Full refreshes that were published, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "generations")]
    pub(crate) generations: Vec<Generation>,
    /// The mode and key of the rows; none in tables written before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) form: Option<TableForm>,
    /// The first checkpoint that Bronze has lines of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bronze_from: Option<u64>,
    /// Lines of Bronze that the table was made of, those that are held among them; none in tables
    /// written before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lines: Option<u64>,
    /// Checkpoints whose rows a restore took out of the table, oldest first. What they brought is read
    /// again by later ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) undone: Vec<Span>,
    /// Records of this generation that went to quarantine.
    #[serde(default)]
    pub(crate) held: u64,
    /// A full refresh that must not be published; the next writer drops it with its records.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) refused: bool,
    /// The runs that wrote the newest checkpoints, oldest first: objects under their numbers by any
    /// other run were never committed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) writers: Vec<Writer>,
    /// Long columns of the table and its children that are not widened; none in tables written before it
    /// was recorded, until they are rebuilt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) inexact: Option<Inexact>,
    /// Child table to the version that this checkpoint stands for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) children: BTreeMap<String, i64>,
    /// Child table to rows that this run wrote.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) child_rows: BTreeMap<String, u64>,
}

/// Checkpoints from one to another, both among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// A run and the first of the checkpoints that it wrote one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Writer {
    pub(crate) from: u64,
    pub(crate) run: String,
}

impl StateRecord {
    /// That a full refresh of a table without any checkpoint was given up: its number is used up, and no
    /// object under it is the table's, whichever run wrote it.
    pub(crate) fn unused(plan: &WritePlan, shape: &Shape, sequence: u64) -> Self {
        Self {
            connection: plan.connection.clone(),
            stream: plan.stream.name.clone(),
            source: plan.source.clone(),
            mode: plan.mode,
            sequence,
            run: String::new(),
            state: StreamState::default(),
            books: Books::default(),
            bronze_bytes: 0,
            silver_bytes: 0,
            generations: Vec::new(),
            form: Some(TableForm::of(shape)),
            bronze_from: None,
            lines: Some(0),
            undone: Vec::new(),
            held: 0,
            refused: false,
            writers: vec![Writer {
                from: sequence,
                run: String::new(),
            }],
            inexact: Some(Inexact::default()),
            children: BTreeMap::new(),
            child_rows: BTreeMap::new(),
        }
    }

    pub(crate) fn domain_of(connection: &str, stream: &str) -> String {
        format!("weir.state.{connection}.{stream}")
    }

    pub(crate) fn domain(&self) -> String {
        Self::domain_of(&self.connection, &self.stream)
    }

    /// The application id of the Delta transaction.
    pub(crate) fn application(&self) -> String {
        application(&self.connection, &self.stream)
    }

    pub(crate) async fn read(table: &Table, connection: &str, stream: &str) -> Result<Option<Self>> {
        let domain = Self::domain_of(connection, stream);
        let Some(text) = table.domain(&domain).await? else {
            return Ok(None);
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Error::state(format!(
                "the state of stream '{stream}' in the lake is unreadable"
            ))
            .with("table", table.name())
            .with("domain", domain)
            .hint("reset it with `weir state reset`; the next sync then starts over")
            .caused_by(error)
        })
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::internal("a state cannot be written as JSON").caused_by(error))
    }

    /// Whether the table has nothing of this checkpoint any more: a later full refresh replaced it, or
    /// a restore took it back.
    pub(crate) fn is_replaced(&self, sequence: u64) -> bool {
        let undone = |span: &Span| (span.from..=span.to).contains(&sequence);
        if self.undone.iter().any(undone) {
            return true;
        }
        let mut newest_first = self.generations.iter().rev();
        let replaced = newest_first.find(|past| past.mode.write() == WriteMode::Replace);
        replaced.is_some_and(|last| sequence < last.from)
    }

    pub(crate) fn committed(&self) -> Committed {
        Committed {
            sequence: self.sequence,
            run: self.run.clone(),
            state: self.state.clone(),
            books: self.books,
        }
    }

    /// Notes what became of the children of this checkpoint.
    pub(crate) fn add_children(&mut self, children: Children) {
        self.children.extend(children.versions);
        for (table, rows) in children.rows {
            *self.child_rows.entry(table).or_default() += rows;
        }
        self.silver_bytes += children.bytes;
    }

    /// Notes that this checkpoint is its run's.
    pub(crate) fn sign(&mut self) {
        self.writers.retain(|writer| writer.from < self.sequence);
        if self.writers.last().is_none_or(|last| last.run != self.run) {
            let (from, run) = (self.sequence, self.run.clone());
            self.writers.push(Writer { from, run });
        }
        let surplus = self.writers.len().saturating_sub(WRITERS_MAX);
        self.writers.drain(..surplus);
    }

    /// The run that wrote a checkpoint, as far back as that is known.
    pub(crate) fn writer_of(&self, sequence: u64) -> Option<&str> {
        let mut newest_first = self.writers.iter().rev();
        let writer = newest_first.find(|writer| writer.from <= sequence)?;
        Some(&writer.run)
    }

    pub(crate) fn remember(&mut self, generation: Generation) {
        generations::remember(&mut self.generations, generation);
    }
}

/// The long columns of a stream's table and its children that hold integers which a double does not. Where
/// the state does not tell, all are taken for such that the files' statistics do not prove to be others.
pub(crate) fn inexact(
    record: Option<&StateRecord>,
    table: Option<&Table>,
    children: &[(String, SchemaRef)],
) -> Result<Inexact> {
    let known = record.and_then(|record| record.inexact.as_ref());
    let (None, Some(table)) = (known, table) else {
        return Ok(known.cloned().unwrap_or_default());
    };
    let files = table.files()?;
    if children.is_empty() && files.iter().all(|file| file.rows == 0 && file.stats.is_some()) {
        return Ok(Inexact::default());
    }
    let data = columns::data_schema(table.schema());
    let names = data.fields().iter().map(|field| field.name().clone());
    Inexact::unproven(&data, children, &stats::within_double(&files, names.collect()))
}

pub(crate) fn application(connection: &str, stream: &str) -> String {
    format!("weir:{connection}:{stream}")
}
