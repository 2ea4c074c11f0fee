//! Objects moved to a colder place, with a manifest that says what went when.

use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::buffered::BufWriter;
use object_store::{ObjectMeta, ObjectStoreExt, path::Path};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use weir_protocol::{Error, Result};

use crate::storage::{Storage, failed};

/// One line of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// Relative to the lake, and to the archive.
    pub path: String,
    pub bytes: u64,
    pub archived_at: Timestamp,
}

/// Copies objects and writes their manifest. What this returns may be deleted from the lake.
pub(super) async fn copy(
    from: &Storage,
    to: &Storage,
    objects: &[ObjectMeta],
    now: Timestamp,
) -> Result<Vec<Archived>> {
    let mut archived = Vec::new();
    for object in objects {
        copy_one(from, to, object).await?;
        archived.push(Archived {
            path: object.location.to_string(),
            bytes: object.size,
            archived_at: now,
        });
    }
    if !archived.is_empty() {
        let mut lines = Vec::new();
        for line in &archived {
            serde_json::to_writer(&mut lines, line)
                .map_err(|error| Error::internal("a manifest cannot be written").caused_by(error))?;
            lines.push(b'\n');
        }
        let name = format!(
            "manifests/{}-{}.jsonl",
            now.as_millisecond(),
            uuid::Uuid::now_v7().simple()
        );
        to.put(&Path::from(name), lines.into()).await?;
    }
    Ok(archived)
}

async fn copy_one(from: &Storage, to: &Storage, object: &ObjectMeta) -> Result<()> {
    let path = &object.location;
    let read = from
        .store()
        .get(path)
        .await
        .map_err(|error| failed("read", path, error))?;
    let mut chunks = read.into_stream();
    let mut writer = BufWriter::new(to.store().clone(), path.clone());
    let broken = |error: std::io::Error| {
        Error::destination(format!("cannot archive '{path}'"))
            .hint("check that the archive's location is reachable and writable; nothing was deleted")
            .caused_by(error)
    };
    while let Some(chunk) = chunks
        .try_next()
        .await
        .map_err(|error| failed("read", path, error))?
    {
        writer.write_all(&chunk).await.map_err(broken)?;
    }
    writer.shutdown().await.map_err(broken)?;
    let copy = to
        .store()
        .head(path)
        .await
        .map_err(|error| failed("read", path, error))?;
    if copy.size != object.size {
        return Err(
            Error::destination(format!("the archived copy of '{path}' is not whole"))
                .with("bytes", object.size)
                .with("archived", copy.size)
                .hint("nothing was deleted; run retention again"),
        );
    }
    Ok(())
}
