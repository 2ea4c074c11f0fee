//! What a worker that has neither the store nor a project says to a server, and what it is answered:
//! few calls, each a JSON object, whoever carries them. `Office` answers, `Remote` asks.

mod calls;
mod office;
mod remote;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use weir_protocol::{Error, Result};

pub use calls::{Lent, Papers};
pub use office::{Office, Supplies};
pub use remote::{Greeting, Remote};

/// Counts changes of the calls that the other side would misunderstand.
pub const PROTOCOL: u32 = 3;
/// Bytes that a call or its answer may have: a checkpoint carries a stream's whole state.
pub const CALL_BYTES_MAX: usize = 64 << 20;

/// Who calls. Read before the call itself, so that versions can tell each other apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    pub protocol: u32,
    /// Of weir.
    pub version: String,
    /// What its operator calls the worker.
    pub name: String,
    /// Tells a process from a later one of the same name.
    pub session: uuid::Uuid,
}

impl Sender {
    pub fn new(name: &str) -> Result<Self> {
        check_name(name)?;
        Ok(Self {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: name.to_owned(),
            session: uuid::Uuid::now_v7(),
        })
    }

    /// Refuses a worker that speaks otherwise than this server.
    fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        if self.protocol == PROTOCOL {
            return Ok(());
        }
        let (older, newer) = if self.protocol < PROTOCOL {
            ("worker", "server's")
        } else {
            ("server", "worker's")
        };
        Err(Error::usage(format!(
            "worker and server speak different versions of the worker protocol: {} and {PROTOCOL}",
            self.protocol
        ))
        .with("worker", &self.version)
        .with("server", env!("CARGO_PKG_VERSION"))
        .hint(format!("upgrade the {older} to the {newer} version")))
    }
}

const NAME_CHARS_MAX: usize = 63;

/// Letters, digits, `-`, `_` and `.`.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(Error::usage(format!("'{name}' cannot be the name of a worker"))
        .hint(format!("use 1 to {NAME_CHARS_MAX} letters, digits, - _ .")))
}

/// Carries calls to a server and its answers back. What the server refused, and that it cannot be
/// reached (`unavailable`, `timeout`), are errors.
#[async_trait]
pub trait Carrier: Send + Sync {
    async fn carry(&self, call: &'static str, body: Vec<u8>) -> Result<Vec<u8>>;
}
