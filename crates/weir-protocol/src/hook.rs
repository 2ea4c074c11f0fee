//! What an outside system sends by itself, and how it is read as a stream.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct Arrived {
    pub method: String,
    /// As the sender wrote it, with host and query: some sign it.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub at: Timestamp,
}

impl Arrived {
    /// The first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What is made of a request whose signature is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The sender asks whether somebody is there, and waits for exactly this text.
    Answer(String),
    Messages(Vec<Message>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The sender's own where it names one, else a digest of the message: sent again, it is the same.
    pub id: String,
    /// What it tells, in the sender's words.
    pub kind: Option<String>,
    /// JSON text.
    pub body: String,
    /// Whether the event that tells of it has the body.
    pub tells_body: bool,
}

/// Knows the messages of one connection by their signatures.
pub trait Receiver: Send + Sync {
    /// An error of the kind `auth` where the signature is wrong, missing or too old.
    fn take(&self, arrived: &Arrived) -> Result<Taken>;
}

/// A message that was taken down, by its place among those of its connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Grows with every message; a later one is never seen before an earlier one.
    pub place: i64,
    pub id: String,
    pub kind: Option<String>,
    /// Milliseconds since 1970.
    pub received_at_ms: i64,
    /// JSON text.
    pub body: String,
}

/// Whoever keeps what was received for a connection.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// The next ones after a place, in order, at most `limit`.
    async fn after(&self, place: i64, limit: u32) -> Result<Vec<Received>>;

    /// Everything up to a place is in the lake: it need not be kept for it any more.
    async fn landed(&self, place: i64) -> Result<()>;
}
