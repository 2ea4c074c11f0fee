//! Can the lake be written, read and deleted from?

use bytes::Bytes;
use jiff::Timestamp;
use object_store::{ObjectStoreExt as _, path::Path};
use uuid::Uuid;
use weir_protocol::{Error, Result};

use crate::lake::Lake;
use crate::storage::failed;

const TEXT: &[u8] = b"weir was here; delete this if you find it";

impl Lake {
    /// Writes a small object, reads it and deletes it. Gives back the storage's own time of writing.
    pub async fn probe(&self) -> Result<Timestamp> {
        let path = Path::from("probe").join(Uuid::new_v4().simple().to_string());
        self.storage.put(&path, Bytes::from_static(TEXT)).await?;
        let found = self.storage.get(&path).await?;
        let meta = self.storage.store().head(&path).await;
        let meta = meta.map_err(|error| failed("read", &path, error))?;
        self.storage.delete(&path).await?;
        if found != TEXT {
            return Err(
                Error::destination("the lake gave back other bytes than were written")
                    .with("object", path)
                    .hint("the storage or something in front of it is broken; do not write to it"),
            );
        }
        let seconds = meta.last_modified.timestamp();
        Timestamp::from_second(seconds).map_err(|error| {
            Error::destination("the storage's clock shows no usable time")
                .caused_by(error)
                .hint("set the clock of the storage")
        })
    }
}
