//! Sources that need code. A connector names one in `native:`; this is the list.

pub mod files;
pub mod http_json;

use std::sync::Arc;

use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result, Source};

type Constructor = fn(&ConnectionSpec) -> Result<Arc<dyn Source>>;

const NATIVE: &[(&str, Constructor)] = &[("files", |connection| {
    Ok(Arc::new(files::FilesSource::new(connection)?))
})];

/// Makes the native source of this name for a connection.
pub fn connect(name: &str, connection: &ConnectionSpec) -> Result<Arc<dyn Source>> {
    let names: Vec<&str> = NATIVE.iter().map(|(name, _)| *name).collect();
    match NATIVE.iter().find(|(known, _)| *known == name) {
        Some((_, constructor)) => constructor(connection),
        None => Err(Error::spec(format!("there is no native source '{name}'"))
            .hint(format!("write native: {}", names.join(" or ")))),
    }
}
