//! Records that are parsed and written anew, one after the other into one text.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;
use weir_protocol::{Error, Result};

use super::decode::offset;
use crate::extract::Exact;

#[derive(Default)]
pub(crate) struct Texts {
    body: Vec<u8>,
    spans: Vec<Range<u32>>,
}

impl Texts {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self {
            body: Vec::with_capacity(bytes),
            spans: Vec::new(),
        }
    }

    /// `exact` is what the record was parsed by.
    pub(crate) fn push(&mut self, record: &Value, exact: &Exact) -> Result<()> {
        let start = offset(self.body.len())?;
        exact.write(record, &mut self.body)?;
        self.spans.push(start..offset(self.body.len())?);
        Ok(())
    }

    /// A record as it stands.
    pub(super) fn copy(&mut self, record: &[u8]) -> Result<()> {
        let start = offset(self.body.len())?;
        self.body.extend_from_slice(record);
        self.spans.push(start..offset(self.body.len())?);
        Ok(())
    }

    pub(crate) fn finish(self) -> (Bytes, Vec<Range<u32>>) {
        (self.body.into(), self.spans)
    }
}

/// A record as a value.
pub(crate) fn parsed(text: &[u8], exact: &Exact) -> Result<Value> {
    exact.parse(text).map_err(|error| {
        Error::decode("a record is not valid JSON")
            .caused_by(error)
            .hint("check what the source answers")
    })
}
