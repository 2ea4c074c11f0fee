//! What is told, each with the JSON Schema of its data: `events/<family>/<version>.json`. A new family
//! is a line here and its file. A file that was released is never edited: the next version is written.

use std::fmt;
use std::str::FromStr;

use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

macro_rules! families {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $about:literal;)*) => {
        /// A kind of event that weir itself tells.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Family {
            $($(#[$doc])* $name,)*
        }

        impl Family {
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$name),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// What it tells, in a sentence.
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$name => $about,)*
                }
            }

            /// The schema of its data, in its newest version.
            pub fn schema(self) -> &'static str {
                match self {
                    $(Self::$name => include_str!(concat!("../../events/", $word, "/1.json")),)*
                }
            }
        }
    };
}

families! {
    /// A run began.
    RunStarted = "run.started", "A run began.";
    /// A run ended well.
    RunSucceeded = "run.succeeded", "A run ended well.";
    /// A run failed.
    RunFailed = "run.failed", "A run failed.";
    /// A run was stopped.
    RunCancelled = "run.cancelled", "A run was stopped.";
    /// A run's process died or hung; its streams are free for the next run.
    RunStale = "run.stale", "A run's process died or hung; its streams are free for the next run.";
    /// A scheduled moment had no successful run by the time it was promised.
    SlaMissed = "sla.missed", "A scheduled moment had no successful run by the time it was promised.";
    /// A column of a table appeared, widened, vanished, or met values that do not fit it.
    SchemaChanged = "schema.changed", "A column of a table appeared, widened, vanished, or met values that do not fit it.";
    /// A run put records into quarantine.
    QuarantineGrown = "quarantine.grown", "A run put records into quarantine.";
    /// A connection's circuit breaker opened: requests are refused for a while.
    BreakerOpened = "breaker.opened", "A connection's circuit breaker opened: requests are refused for a while.";
    /// A connection's circuit breaker closed: requests flow again.
    BreakerClosed = "breaker.closed", "A connection's circuit breaker closed: requests flow again.";
    /// A credential expires soon.
    CredentialExpiring = "credential.expiring", "A credential expires soon.";
    /// A credential expired or was refused: it has to be given anew.
    CredentialExpired = "credential.expired", "A credential expired or was refused: it has to be given anew.";
    /// A credential was replaced.
    CredentialRotated = "credential.rotated", "A credential was replaced.";
    /// A connection was added, changed or removed.
    ConnectionChanged = "connection.changed", "A connection was added, changed or removed.";
    /// The audit trail does not verify: a record was changed, moved or removed.
    AuditBroken = "audit.broken", "The audit trail does not verify: a record was changed, moved or removed.";
    /// The disk of the lake is nearly full.
    DestinationFilling = "destination.filling", "The disk of the lake is nearly full.";
    /// The disk of the lake has room again.
    DestinationEased = "destination.eased", "The disk of the lake has room again.";
    /// A checkpoint gate refused data: it is not published.
    GateFailed = "gate.failed", "A checkpoint gate refused data: it is not published.";
    /// A webhook or channel took an event not even after all tries.
    DeliveryFailed = "delivery.failed", "A webhook or channel took an event not even after all tries.";
    /// An alert was raised, or is told again because it still stands.
    AlertRaised = "alert.raised", "An alert was raised, or is told again because it still stands.";
    /// What an alert was raised for is over.
    AlertResolved = "alert.resolved", "What an alert was raised for is over.";
    /// A call ended.
    CallEnded = "call.ended", "A call ended.";
    /// Nobody but a person can find out whether a call happened.
    CallUncertain = "call.uncertain", "Nobody but a person can find out whether a call happened.";
    /// A run of a bundle began.
    BundleStarted = "bundle.started", "A run of a bundle began.";
    /// A run of a bundle takes back what is done: a step failed, or it was cancelled.
    BundleCompensating = "bundle.compensating", "A run of a bundle takes back what is done: a step failed, or it was cancelled.";
    /// A run of a bundle waits until a person does something.
    BundleParked = "bundle.parked", "A run of a bundle waits until a person does something.";
    /// A run of a bundle ended.
    BundleEnded = "bundle.ended", "A run of a bundle ended.";
    /// A call waits for people to approve it.
    ApprovalRequested = "approval.requested", "A call waits for people to approve it.";
    /// A call that waited was approved, rejected, expired, or its approval became void.
    ApprovalDecided = "approval.decided", "A call that waited was approved, rejected, expired, or its approval became void.";
    /// Somebody tries a channel.
    AlertTest = "alert.test", "Somebody tries a channel.";
    /// An outside system sent a message.
    HookReceived = "hook.received", "An outside system sent a message.";
    /// The MCP server behind a connection changed its tools.
    ToolsChanged = "tools.changed", "The MCP server behind a connection added, changed or removed tools; changed ones are not offered until somebody accepts them.";
    /// Somebody accepted what the server behind a connection has.
    ToolsAccepted = "tools.accepted", "Somebody accepted the tools of the MCP server behind a connection as they are.";
    /// Somebody tries a webhook.
    WebhookTest = "webhook.test", "Somebody tries a webhook.";
}

impl Family {
    /// The newest version of its schema.
    pub fn version(self) -> u32 {
        1
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Family {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(found) = Self::ALL.into_iter().find(|family| family.as_str() == text) {
            return Ok(found);
        }
        let words = Self::ALL.map(Self::as_str);
        let error = Error::usage(format!("there is no event '{text}'"));
        Err(match closest(text, &words) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint(format!("there are {}", words.join(", "))),
        })
    }
}
