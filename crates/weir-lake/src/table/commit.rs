//! Writing one version of a table.
//!
//! The log entry is written by us through delta-rs' log store rather than by its commit builder:
//! without DataFusion that builder refuses tables with metadata domains, and we need to read the
//! transaction version again between two tries.

use arrow::datatypes::Schema;
use bytes::Bytes;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;
use deltalake::kernel::{
    Action, Add, CommitInfo, DomainMetadata, Metadata, MetadataExt, Protocol, Remove, StructType,
    Transaction, new_metadata,
};
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use object_store::path::Path;
use serde_json::json;
use weir_protocol::{Error, Result};

use super::{Table, deletion, failed, now_ms, schema};
use crate::storage::Storage;

/// A Parquet checkpoint of the log is written every so many versions, so that opening stays cheap.
const CHECKPOINT_VERSIONS: i64 = 20;

/// What a version changes. All of it becomes visible at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    /// The operation's name in the table's history.
    pub(crate) operation: &'static str,
    pub(crate) adds: Vec<Add>,
    pub(crate) removes: Vec<Remove>,
    /// The columns from this version on.
    pub(crate) schema: Option<Schema>,
    /// Values of the table's properties from this version on; they come with a schema.
    pub(crate) properties: Vec<(String, String)>,
    /// Application ids and their versions.
    pub(crate) transactions: Vec<(String, i64)>,
    /// Metadata domains and what they hold from now on; none removes the domain.
    pub(crate) domains: Vec<(String, Option<String>)>,
    /// Shown in the table's history.
    pub(crate) notes: Vec<(String, serde_json::Value)>,
}

impl Change {
    pub(crate) fn new(operation: &'static str) -> Self {
        Self {
            operation,
            ..Self::default()
        }
    }

    /// Everything but the table's columns and properties.
    fn append_to(&self, actions: &mut Vec<Action>) {
        for (application, version) in &self.transactions {
            let transaction = Transaction::new_with_last_update(application, *version, Some(now_ms()));
            actions.push(Action::Txn(transaction));
        }
        for (domain, configuration) in &self.domains {
            actions.push(Action::DomainMetadata(DomainMetadata {
                domain: domain.clone(),
                configuration: configuration.clone().unwrap_or_default(),
                removed: configuration.is_none(),
            }));
        }
        actions.extend(self.removes.iter().cloned().map(Action::Remove));
        actions.extend(self.adds.iter().cloned().map(Action::Add));
    }
}

/// How a try to write the next version ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    Committed(i64),
    /// Another writer took the version; the table is refreshed to see what it did.
    Lost,
}

impl Table {
    /// Makes an empty table. One that another writer made at the same time is opened.
    pub(crate) async fn create(
        storage: &Storage,
        folder: &Path,
        columns: &Schema,
        partitions: &[String],
        properties: &[(String, String)],
    ) -> Result<Self> {
        let empty = Change::new("CREATE TABLE");
        Self::create_with(storage, folder, columns, partitions, properties, &empty).await?;
        Self::open(storage, folder).await
    }

    /// Makes a table whose first version holds `change`; lost where there is a table already.
    pub(crate) async fn create_with(
        storage: &Storage,
        folder: &Path,
        columns: &Schema,
        partitions: &[String],
        properties: &[(String, String)],
        change: &Change,
    ) -> Result<Attempt> {
        let columns = schema::to_delta(columns)?;
        let metadata = new_metadata(&columns, partitions, properties.iter().cloned())
            .map_err(|error| failed("create", folder, error.into()))?;
        let mut actions = vec![
            info(change.operation, &change.notes),
            Action::Protocol(protocol(marks_rows(properties))?),
            Action::Metadata(metadata),
        ];
        change.append_to(&mut actions);
        let log = storage.log_store(folder)?;
        let entry = Bytes::from(lines(&actions)?);
        let written = write(&log, folder, 0, entry).await;
        match written.map_err(|error| failed("create", folder, error))? {
            true => Ok(Attempt::Committed(0)),
            false => Ok(Attempt::Lost),
        }
    }

    /// Tries once to write the version after this one, and moves to it.
    pub(crate) async fn try_commit(&mut self, change: &Change) -> Result<Attempt> {
        let attempt = self.commit_last(change).await?;
        if matches!(attempt, Attempt::Committed(version) if self.version() < version) {
            self.refresh().await?;
        }
        Ok(attempt)
    }

    /// As [`Table::try_commit`] for a table that is not looked at afterwards: it may stay where it
    /// was, which saves the reading of what was just written.
    pub(crate) async fn commit_last(&mut self, change: &Change) -> Result<Attempt> {
        let version = self.version() + 1;
        let actions = self.actions(change)?;
        let entry = Bytes::from(lines(&actions)?);
        let wanted = u64::try_from(version)
            .map_err(|error| Error::internal("a table version is negative").caused_by(error))?;
        let written = write(&self.log, &self.folder, wanted, entry).await;
        if !written.map_err(|error| failed("commit to", &self.folder, error))? {
            tracing::debug!(table = self.name(), version, "another writer took the version");
            self.refresh().await?;
            return Ok(Attempt::Lost);
        }
        if version % CHECKPOINT_VERSIONS == 0 {
            self.refresh().await?;
            self.write_checkpoint().await;
        }
        Ok(Attempt::Committed(version))
    }

    /// The version is durable already; a log checkpoint that fails only costs time, so it is told and not returned.
    async fn write_checkpoint(&self) {
        if let Err(error) = deltalake::checkpoints::create_checkpoint(&self.delta, None).await {
            tracing::warn!(table = self.name(), %error, "cannot write a checkpoint of the table's log");
        }
    }

    fn actions(&self, change: &Change) -> Result<Vec<Action>> {
        let mut actions = vec![info(change.operation, &change.notes)];
        if let Some(columns) = &change.schema {
            let columns = schema::to_delta(columns)?;
            if marks_rows(&change.properties) && !self.marks_rows()? {
                actions.push(Action::Protocol(protocol(true)?));
            }
            actions.push(Action::Metadata(
                self.metadata_with(&columns, &change.properties)?,
            ));
        }
        change.append_to(&mut actions);
        Ok(actions)
    }

    fn metadata_with(&self, columns: &StructType, properties: &[(String, String)]) -> Result<Metadata> {
        let metadata = self.snapshot()?.metadata().clone().with_schema(columns);
        let metadata = properties.iter().fold(metadata, |metadata, (key, value)| {
            metadata?.add_config_key(key.clone(), value.clone())
        });
        metadata.map_err(|error| failed("change the columns of", &self.folder, error.into()))
    }
}

/// Writes the log entry of a version; false where another writer has written it.
///
/// A store's client repeats a request whose answer it lost, and is told then that the entry is there: it
/// is ours if it says what we wrote. Taken for another's, the files that it names would be discarded.
async fn write(
    log: &LogStoreRef,
    folder: &Path,
    version: u64,
    entry: Bytes,
) -> Result<bool, DeltaTableError> {
    let given = CommitOrBytes::LogBytes(entry.clone());
    match log.write_commit_entry(version, given, uuid::Uuid::new_v4()).await {
        Ok(()) => Ok(true),
        Err(TransactionError::VersionAlreadyExists(_)) => {
            let found = log.read_commit_entry(version).await?;
            let is_ours = found.is_some_and(|found| found == entry);
            if is_ours {
                tracing::debug!(%folder, version, "the version was written by a try whose answer was lost");
            }
            Ok(is_ours)
        }
        Err(error) => Err(error.into()),
    }
}

/// Readers need nothing special (version 1) unless rows are marked as gone; writers must know
/// metadata domains.
fn protocol(marks_rows: bool) -> Result<Protocol> {
    let protocol = if marks_rows {
        json!({
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["deletionVectors"],
            "writerFeatures": ["appendOnly", "invariants", "domainMetadata", "deletionVectors"],
        })
    } else {
        json!({
            "minReaderVersion": 1,
            "minWriterVersion": 7,
            "writerFeatures": ["appendOnly", "invariants", "domainMetadata"],
        })
    };
    serde_json::from_value(protocol)
        .map_err(|error| Error::internal("delta-rs refuses our table protocol").caused_by(error))
}

fn marks_rows(properties: &[(String, String)]) -> bool {
    properties
        .iter()
        .any(|(key, value)| key == deletion::ENABLED && value == "true")
}

fn info(operation: &str, notes: &[(String, serde_json::Value)]) -> Action {
    Action::CommitInfo(CommitInfo {
        timestamp: Some(now_ms()),
        operation: Some(operation.to_owned()),
        operation_parameters: Some(std::collections::HashMap::new()),
        engine_info: Some(concat!("weir/", env!("CARGO_PKG_VERSION")).to_owned()),
        info: notes.iter().cloned().collect(),
        ..CommitInfo::default()
    })
}

fn lines(actions: &[Action]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for action in actions {
        serde_json::to_writer(&mut out, action)
            .map_err(|error| Error::internal("a log action cannot be written").caused_by(error))?;
        out.push(b'\n');
    }
    Ok(out)
}
