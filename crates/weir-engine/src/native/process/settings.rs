//! What a connection says of the program that is its source.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::units::Span;
use weir_protocol::{Error, Result};

/// How long a program may say nothing, where the connection does not say.
const SILENCE: Duration = Duration::from_secs(600);

/// The connection's `config`, as far as it is about running the program. The connector's schema has
/// judged names and types already.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::native) struct ProcessSettings {
    /// Program and arguments; no shell takes them apart.
    pub(in crate::native) command: Vec<String>,
    /// A container image to run instead.
    pub(in crate::native) image: Option<String>,
    /// Further variables of the program's environment.
    pub(in crate::native) env: BTreeMap<String, String>,
    /// The program's own settings.
    pub(in crate::native) settings: Map<String, Value>,
    silence: Option<Span>,
}

impl ProcessSettings {
    pub(in crate::native) fn of(connection: &ConnectionSpec) -> Result<Self> {
        let config = Value::Object(connection.config.clone());
        let given: Self = serde_json::from_value(config).map_err(|error| {
            // The parser's message may quote a value.
            Error::spec("config is not as a program's should be")
                .with("line", error.line())
                .hint("`weir connector show` prints what config may hold")
        })?;
        match (&given.command[..], &given.image) {
            ([], None) => Err(Error::spec("config names no program")
                .hint("write command: [program, argument], or image: where a container runtime is present")),
            ([_, ..], Some(_)) => {
                Err(Error::spec("config has both command and image").hint("keep one of them"))
            }
            _ => Ok(given),
        }
    }

    pub(in crate::native) fn silence(&self) -> Duration {
        self.silence.map_or(SILENCE, Span::get)
    }
}
