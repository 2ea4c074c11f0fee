//! What a table's rows are by mode and key, and which changes of either keep them right.

use serde::{Deserialize, Serialize};
use weir_protocol::{Error, Result, SyncMode, WriteMode};

use super::shape::Shape;

/// The mode and key that the rows of a table were written by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableForm {
    pub(crate) mode: SyncMode,
    pub(crate) primary_key: Vec<String>,
}

impl TableForm {
    pub(crate) fn of(shape: &Shape) -> Self {
        Self {
            mode: shape.mode,
            primary_key: shape.primary_key.clone(),
        }
    }

    /// Whether rows written by `new` beside those that are there make a right table.
    pub(crate) fn allows(&self, new: &Self) -> bool {
        let same_key = self.primary_key == new.primary_key;
        match (self.mode.write(), new.mode.write()) {
            // The next full refresh exchanges every row.
            (_, WriteMode::Replace) => true,
            (WriteMode::Append, WriteMode::Append) => {
                // An incremental append tells a repeated read by the key.
                let by_key = [self.mode, new.mode].contains(&SyncMode::IncrementalAppend);
                same_key || !by_key
            }
            (WriteMode::Merge, WriteMode::Merge) | (WriteMode::History, WriteMode::History) => same_key,
            // A replaced table is a beginning like any other: what comes is added to it.
            (WriteMode::Replace, WriteMode::Append) => same_key || new.mode == SyncMode::FullRefreshAppend,
            // A replaced table has each key once.
            (WriteMode::Replace, WriteMode::Merge) => same_key && !self.primary_key.is_empty(),
            _ => false,
        }
    }

    /// Refuses a mode or key that would make the table wrong.
    pub(crate) fn check(&self, shape: &Shape) -> Result<()> {
        let new = Self::of(shape);
        if self.allows(&new) {
            return Ok(());
        }
        let key = |form: &Self| match form.primary_key.join(", ") {
            key if key.is_empty() => "no key".to_owned(),
            key => format!("key {key}"),
        };
        Err(Error::spec(format!(
            "table '{}' was written as {} with {}, the stream now says {} with {}",
            shape.name,
            self.mode,
            key(self),
            new.mode,
            key(&new)
        ))
        .with("stream", &shape.stream)
        .hint(format!(
            "`weir lake rebuild {} {}` makes the table anew from Bronze under the new mode and key; or set both back",
            shape.connection, shape.stream
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(mode: SyncMode, key: &[&str]) -> TableForm {
        TableForm {
            mode,
            primary_key: key.iter().map(|path| (*path).to_owned()).collect(),
        }
    }

    #[test]
    fn only_changes_that_keep_the_rows_right_are_allowed() {
        use SyncMode as M;
        let (id, other): (&[&str], &[&str]) = (&["id"], &["id", "shop"]);
        let allowed = [
            (M::FullRefreshMerge, id, M::IncrementalMerge, id),
            (M::IncrementalMerge, id, M::FullRefreshMerge, id),
            (M::FullRefreshAppend, id, M::IncrementalAppend, id),
            (M::FullRefreshAppend, id, M::FullRefreshAppend, &[]),
            (M::FullRefreshHistory, id, M::IncrementalHistory, id),
            (M::FullRefreshReplace, id, M::IncrementalMerge, id),
            (M::IncrementalHistory, id, M::FullRefreshReplace, &[]),
            // What `sync --full` makes of it, and the way back.
            (M::IncrementalAppend, id, M::FullRefreshReplace, id),
            (M::FullRefreshReplace, id, M::IncrementalAppend, id),
            (M::FullRefreshReplace, &[], M::IncrementalAppend, &[]),
        ];
        let refused = [
            (M::IncrementalAppend, id, M::IncrementalAppend, &[][..]),
            (M::IncrementalMerge, id, M::IncrementalMerge, other),
            (M::IncrementalMerge, id, M::IncrementalHistory, id),
            (M::IncrementalHistory, id, M::IncrementalMerge, id),
            (M::IncrementalAppend, id, M::IncrementalMerge, id),
            (M::IncrementalMerge, id, M::IncrementalAppend, id),
            (M::FullRefreshReplace, &[], M::IncrementalMerge, id),
            (M::FullRefreshReplace, id, M::IncrementalHistory, id),
            (M::FullRefreshReplace, id, M::IncrementalAppend, &[]),
        ];
        let allows = |(old, old_key, new, new_key)| form(old, old_key).allows(&form(new, new_key));
        for change in allowed {
            assert!(allows(change), "{change:?}");
        }
        for change in refused {
            assert!(!allows(change), "{change:?}");
        }
    }
}
