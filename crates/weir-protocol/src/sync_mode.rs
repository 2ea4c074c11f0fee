//! How a stream is read, and how it is written.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadMode {
    /// Everything, each time.
    FullRefresh,
    /// What changed since the stored cursor.
    Incremental,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteMode {
    /// Rows are added; those already there stay.
    Append,
    /// The table is exchanged as a whole when the read is complete; until then readers see the old one.
    Replace,
    /// One row a primary key, newest cursor wins. After a full refresh, vanished keys get `_deleted_at`.
    Merge,
    /// Slowly changing dimension type 2: a row for each version, `_valid_from`, `_valid_to`, `_is_current`.
    History,
}

/// A pair that makes sense. Written `full_refresh_append`, `incremental_merge` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    FullRefreshAppend,
    FullRefreshReplace,
    FullRefreshMerge,
    FullRefreshHistory,
    IncrementalAppend,
    IncrementalMerge,
    IncrementalHistory,
}

impl SyncMode {
    pub const ALL: [Self; 7] = [
        Self::FullRefreshAppend,
        Self::FullRefreshReplace,
        Self::FullRefreshMerge,
        Self::FullRefreshHistory,
        Self::IncrementalAppend,
        Self::IncrementalMerge,
        Self::IncrementalHistory,
    ];

    pub fn read(self) -> ReadMode {
        match self {
            Self::FullRefreshAppend
            | Self::FullRefreshReplace
            | Self::FullRefreshMerge
            | Self::FullRefreshHistory => ReadMode::FullRefresh,
            Self::IncrementalAppend | Self::IncrementalMerge | Self::IncrementalHistory => {
                ReadMode::Incremental
            }
        }
    }

    pub fn write(self) -> WriteMode {
        match self {
            Self::FullRefreshAppend | Self::IncrementalAppend => WriteMode::Append,
            Self::FullRefreshReplace => WriteMode::Replace,
            Self::FullRefreshMerge | Self::IncrementalMerge => WriteMode::Merge,
            Self::FullRefreshHistory | Self::IncrementalHistory => WriteMode::History,
        }
    }

    /// The mode a stream gets when nobody chose one: as exact as its key and cursor allow.
    pub fn default_for(has_primary_key: bool, has_cursor: bool) -> Self {
        match (has_primary_key, has_cursor) {
            (true, true) => Self::IncrementalMerge,
            (true, false) => Self::FullRefreshMerge,
            (false, true) => Self::IncrementalAppend,
            (false, false) => Self::FullRefreshReplace,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::FullRefreshAppend => "full_refresh_append",
            Self::FullRefreshReplace => "full_refresh_replace",
            Self::FullRefreshMerge => "full_refresh_merge",
            Self::FullRefreshHistory => "full_refresh_history",
            Self::IncrementalAppend => "incremental_append",
            Self::IncrementalMerge => "incremental_merge",
            Self::IncrementalHistory => "incremental_history",
        }
    }

    /// Whether rows are told apart by a primary key.
    pub fn needs_primary_key(self) -> bool {
        matches!(self.write(), WriteMode::Merge | WriteMode::History)
    }
}

impl fmt::Display for SyncMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SyncMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| {
                let all: Vec<_> = Self::ALL.iter().map(|mode| mode.as_str()).collect();
                Error::spec(format!("'{text}' is not a sync mode"))
                    .hint(format!("use one of {}", all.join(", ")))
            })
    }
}
