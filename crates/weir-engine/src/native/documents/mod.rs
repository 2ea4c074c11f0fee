//! Documents: what stands in a file, by the action `extract`, and in the files of a folder, as a stream.
//!
//! The code that takes files apart runs in a process of its own with limits (`reader`): a file that makes it fail takes
//! nothing else along.

mod extract;
mod place;
mod reader;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result, Source};

use super::files::FilesSource;
use crate::EngineSettings;
pub(crate) use extract::Extract;
pub(super) use reader::{FILE_BYTES_MAX, Reader};

/// The stream of a connection's folder.
pub(super) fn source(connection: &ConnectionSpec, engine: &EngineSettings) -> Result<Arc<dyn Source>> {
    if connection.config.get("path").is_none() {
        return Err(Error::spec("config.path is missing, so there is no folder to read")
            .with("connection", &connection.connection)
            .hint("name a folder: config: { path: ./contracts }; the action `extract` also takes files without one"));
    }
    let reader = Arc::new(Reader::new(connection, engine)?);
    Ok(Arc::new(FilesSource::of_documents(
        connection,
        engine.clock.clone(),
        reader,
    )?))
}
