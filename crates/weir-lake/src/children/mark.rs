//! What a child table's commits say about its parent, and how a child that is ahead is taken back.

use std::collections::BTreeMap;

use futures::FutureExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use weir_protocol::{Error, ErrorKind, Result};

use super::{child_folder, sequence_of};
use crate::maintenance::{check_files, difference};
use crate::storage::Storage;
use crate::table::widen::ATTEMPTS_MAX;
use crate::table::{AsOf, Attempt, Change, Table, schema};
use crate::writer::state::application;

const PARENT: &str = "weir.parent";
const PARENT_CONNECTION: &str = "weir.parentConnection";
const PARENT_STREAM: &str = "weir.parentStream";
/// Metadata domain of a child's mark.
const DOMAIN: &str = "weir.child";

/// One child table, and whose child it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChildTable {
    pub(crate) name: String,
    pub(crate) parent: String,
    pub(crate) connection: String,
    pub(crate) stream: String,
}

/// The newest commit of a child's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The parent's checkpoint that these rows belong to.
    pub(crate) sequence: u64,
    /// The checkpoint that the parent stood at when they were written; none before its first.
    pub(crate) after: Option<u64>,
    /// Version of the child before them.
    pub(crate) before: i64,
}

impl Mark {
    pub(crate) async fn read(table: &Table) -> Result<Option<Self>> {
        let Some(text) = table.domain(DOMAIN).await? else {
            return Ok(None);
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Error::destination(format!(
                "the mark of child table '{}' is unreadable",
                table.name()
            ))
            .hint("rebuild its parent with `weir lake rebuild`")
            .caused_by(error)
        })
    }

    /// Whether the child's rows belong to a checkpoint that the parent does not have.
    pub(crate) fn is_ahead_of(&self, sequence: Option<u64>) -> bool {
        self.sequence > sequence.unwrap_or(0)
    }
}

impl ChildTable {
    /// The child that a table's properties describe; none for a table that is nobody's child.
    pub(crate) fn of(name: &str, properties: &BTreeMap<String, String>) -> Option<Self> {
        Some(Self {
            name: name.to_owned(),
            parent: properties.get(PARENT)?.clone(),
            connection: properties.get(PARENT_CONNECTION)?.clone(),
            stream: properties.get(PARENT_STREAM)?.clone(),
        })
    }

    pub(crate) fn folder(&self) -> Path {
        child_folder(&self.name)
    }

    /// The application id of the parent's transactions, and so of the child's.
    pub(crate) fn application(&self) -> String {
        application(&self.connection, &self.stream)
    }

    pub(crate) fn properties(&self, primary_key: &[String]) -> Vec<(String, String)> {
        vec![
            (
                crate::writer::shape::PRIMARY_KEY.to_owned(),
                primary_key.join(","),
            ),
            (PARENT.to_owned(), self.parent.clone()),
            (PARENT_CONNECTION.to_owned(), self.connection.clone()),
            (PARENT_STREAM.to_owned(), self.stream.clone()),
        ]
    }

    /// The table, if there is one. A table of that name that is not this child is refused.
    pub(crate) async fn find(&self, storage: &Storage) -> Result<Option<Table>> {
        let Some(table) = Table::find(storage, &self.folder()).await? else {
            return Ok(None);
        };
        let found = Self::of(&self.name, &table.properties()?);
        if found.as_ref() == Some(self) {
            return Ok(Some(table));
        }
        let error = Error::spec(format!("table '{}' is not the child of this stream", self.name))
            .with("connection", &self.connection)
            .with("stream", &self.stream);
        Err(match found {
            Some(other) => error
                .with("its connection", other.connection)
                .with("its stream", other.stream)
                .hint("a child table takes one stream: give this connection a `source` of its own"),
            None => error.hint("another stream writes a table of that name: give one of them another entity"),
        })
    }

    /// The change that carries a child's mark.
    pub(crate) fn change(&self, operation: &'static str, mark: &Mark) -> Result<Change> {
        let mut change = Change::new(operation);
        let sequence = i64::try_from(mark.sequence)
            .map_err(|error| Error::internal("a checkpoint's number is too large").caused_by(error))?;
        let text = serde_json::to_string(mark)
            .map_err(|error| Error::internal("a mark cannot be written as JSON").caused_by(error))?;
        change.transactions = vec![(self.application(), sequence)];
        change.domains = vec![(DOMAIN.to_owned(), Some(text))];
        change.notes = vec![
            ("weir.parent".to_owned(), self.parent.clone().into()),
            ("weir.sequence".to_owned(), mark.sequence.into()),
        ];
        Ok(change)
    }

    /// The version that the table is taken back to when its stream is next opened; none where it
    /// stands for what its parent holds.
    pub(crate) async fn goes_back_to(&self, storage: &Storage, table: &Table) -> Result<Option<i64>> {
        let Some(mark) = Mark::read(table).await? else {
            return Ok(None);
        };
        let sequence = match Table::find(storage, &child_folder(&self.parent)).await? {
            Some(parent) => sequence_of(&parent, &self.application()).await?,
            None => None,
        };
        Ok(mark.is_ahead_of(sequence).then_some(mark.before))
    }

    /// Takes the table back to what it was before the parent's checkpoint `sequence` was left
    /// behind. A parent that is gone leaves an empty child.
    pub(crate) async fn roll_back(&self, table: &mut Table, sequence: Option<u64>) -> Result<()> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(mark) = Mark::read(table).await? else {
                return Ok(());
            };
            if !mark.is_ahead_of(sequence) {
                return Ok(());
            }
            let target = match sequence {
                None => None,
                Some(_) if mark.after == sequence => Some(mark.before),
                Some(sequence) => return Err(self.parted(&mark, sequence)),
            };
            tracing::warn!(
                table = self.name,
                checkpoint = mark.sequence,
                parent = sequence,
                "taking back children of a checkpoint that was never committed"
            );
            let back = Mark {
                sequence: sequence.unwrap_or(0),
                after: None,
                before: mark.before,
            };
            if let Attempt::Committed(_) = self.put_back(table, target, &back).await? {
                return Ok(());
            }
        }
        Err(table.contended())
    }

    /// Tries once to make the table what it was at a version, or empty. The table is refreshed in
    /// any case.
    pub(crate) async fn put_back(
        &self,
        table: &mut Table,
        version: Option<i64>,
        mark: &Mark,
    ) -> Result<Attempt> {
        let mut change = self.change("RESTORE", mark)?;
        let mut wanted = Vec::new();
        if let Some(version) = version {
            let target = table.at(AsOf::Version(version)).await?;
            wanted = target.files()?;
            check_files(table, &wanted).await?;
            if !schema::equal(target.schema(), table.schema()) {
                change.schema = Some(target.schema().as_ref().clone());
            }
        }
        let moved = difference(table, &wanted)?;
        change.adds = moved.adds;
        change.removes = moved.removes;
        table.try_commit(&change).boxed().await
    }

    fn parted(&self, mark: &Mark, sequence: u64) -> Error {
        Error::new(
            ErrorKind::Conflict,
            format!(
                "child table '{}' and its parent do not belong together any more",
                self.name
            ),
        )
        .with("child's checkpoint", mark.sequence)
        .with("parent's checkpoint", sequence)
        .hint("the parent was put back from outside: move the child's folder away and rebuild the parent with `weir lake rebuild`")
    }
}
