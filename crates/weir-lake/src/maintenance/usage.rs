//! How much room the lake takes.

use object_store::path::Path;
use weir_protocol::Result;

use crate::lake::Lake;

/// Objects and bytes of one part of the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// `bronze`, `silver`, `gold` or `quarantine`.
    pub part: &'static str,
    pub objects: u64,
    pub bytes: u64,
}

impl Lake {
    /// What is stored, old versions included.
    pub async fn usage(&self) -> Result<Vec<Usage>> {
        let mut all = Vec::new();
        for part in ["bronze", "silver", "gold", "quarantine"] {
            let objects = self.storage.list(&Path::from(part)).await?;
            all.push(Usage {
                part,
                objects: objects.len() as u64,
                bytes: objects.iter().map(|object| object.size).sum(),
            });
        }
        Ok(all)
    }
}
