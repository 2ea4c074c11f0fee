//! What performs a connection's actions, as the rest of weir sees it.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::spec::{ActionSpec, Approval};

/// The actions of one connection, ready to be performed.
#[async_trait]
pub trait Actions: Send + Sync {
    /// Key and version of the connector that declares them.
    fn connector(&self) -> (&str, &str);

    /// Names exactly what a call would be made by: the connector's whole spec and the connection's settings,
    /// without secrets. A call that was sent under another one is neither sent again nor looked up.
    fn fingerprint(&self) -> &str;

    fn specs(&self) -> Vec<&ActionSpec>;

    /// The one of this name.
    fn spec(&self, action: &str) -> Result<&ActionSpec>;

    /// What the connector says of approvals where an action says nothing.
    fn approval(&self) -> Approval;

    /// The input with its schema's defaults filled in; an error names the field and what is allowed.
    fn check(&self, action: &str, input: &Map<String, Value>) -> Result<Map<String, Value>>;

    /// The exact request that a call would send, without credential. Sends nothing.
    fn show(&self, call: &Call) -> Result<Shown>;

    /// Why nothing would be sent for this action now, such as an open circuit breaker. None: it would be tried.
    /// A look from outside, which changes nothing.
    fn shut(&self, _action: &str) -> Option<Error> {
        None
    }

    /// Sends it. Whatever happens, the outcome says whether the effect is there, is not, or is not known.
    async fn perform(&self, call: &Call) -> Performed;

    /// The effect of an earlier try of this call, where the action declares how to find it. None: the vendor
    /// surely has no such effect. Where the search ended before that was sure, it is an error.
    async fn look_up(&self, call: &Call) -> Result<Option<Reply>>;
}

/// One call whose input has been checked. The key is the same for each try of the same call, and is what
/// the vendor knows it by.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub action: String,
    pub input: Map<String, Value>,
    pub idempotency_key: String,
    /// What it belongs to: the run of a bundle, else the call itself. Templates may send it along.
    pub correlation_id: String,
    /// When it began, before anything was sent: milliseconds since 1970. None where it has not begun.
    pub began_at_ms: Option<i64>,
}

/// What a call came to.
#[derive(Debug)]
pub enum Performed {
    Done(Reply),
    /// It surely had no effect.
    Failed(Error),
    /// It may have had its effect, and nothing here can tell.
    Uncertain(Error),
}

/// What the vendor answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub output: Value,
    /// The vendor's id of what was made or changed.
    pub remote_id: Option<String>,
    /// HTTP status.
    pub status: u16,
    /// What of the output is not as the action declares, though the effect is there.
    pub warning: Option<String>,
}

/// What would be sent. Secrets of the connection are blotted out; what signs the request is not in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    pub method: String,
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// JSON as it is, other bodies as text.
    pub body: Option<Value>,
}
