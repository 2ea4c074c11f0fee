//! One error type for all crates: a closed kind, our words, named values, and the next step.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as the program's reaction to it depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The command line or a request is malformed.
    Usage,
    /// A project, connection or connector file is invalid.
    Spec,
    /// A template cannot be parsed or rendered.
    Template,
    /// A named thing does not exist.
    NotFound,
    /// The outside system refused the credential, or none is set.
    Auth,
    /// A host, path or action is not allowed.
    Denied,
    /// The outside system answered with an error that trying again does not mend.
    Source,
    /// The outside system cannot be reached, is overloaded or broke off: trying again may help.
    Unavailable,
    /// The outside system asks to wait.
    RateLimited,
    /// A time limit ran out.
    Timeout,
    /// An answer is not in the format that the spec declares.
    Decode,
    /// A named limit (pages, bytes, depth) was reached.
    Limit,
    /// Data breaks the stream's schema contract, and the contract says to stop.
    Schema,
    /// The lake cannot be read or written.
    Destination,
    /// Another writer changed the same thing first.
    Conflict,
    /// Stored state is unreadable or belongs to something else.
    State,
    /// A check, gate or policy refused.
    Gate,
    /// Somebody asked to stop.
    Cancelled,
    /// A defect of weir itself.
    Internal,
}

impl ErrorKind {
    /// The word in logs and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Spec => "spec",
            Self::Template => "template",
            Self::NotFound => "not_found",
            Self::Auth => "auth",
            Self::Denied => "denied",
            Self::Source => "source",
            Self::Unavailable => "unavailable",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Decode => "decode",
            Self::Limit => "limit",
            Self::Schema => "schema",
            Self::Destination => "destination",
            Self::Conflict => "conflict",
            Self::State => "state",
            Self::Gate => "gate",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// The process exit code: 1 failed, 2 usage, 3 config or spec invalid, 4 source,
    /// 5 destination, 6 auth, 7 gate or policy refused.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal | Self::Cancelled | Self::NotFound => 1,
            Self::Usage => 2,
            Self::Spec | Self::Template | Self::State => 3,
            Self::Source
            | Self::Unavailable
            | Self::RateLimited
            | Self::Timeout
            | Self::Decode
            | Self::Limit => 4,
            Self::Destination | Self::Conflict => 5,
            Self::Auth => 6,
            Self::Denied | Self::Schema | Self::Gate => 7,
        }
    }

    /// Whether the same request may succeed when it is sent again later.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::RateLimited | Self::Timeout | Self::Conflict
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happened, with names and values, the cause below it, and what to do next.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            context: Vec::new(),
            hint: None,
            retry_after: None,
            source: None,
        }))
    }

    /// Names a value that helps to find the cause. Never pass a secret.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        // Layers that do not know of each other name the same thing; it is said once.
        if !self.0.context.iter().any(|(k, v)| *k == key && *v == value) {
            self.0.context.push((key, value));
        }
        self
    }

    /// Says what to do next. A hint that is already there stays: the one set nearest to the cause knows best.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Says after how long the same may succeed.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// After how long the same may succeed, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    pub fn next_step(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// Makes a constructor per kind that is common enough to deserve a short name.
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self {
                Self::new(ErrorKind::$kind, message)
            })*
        }
    };
}

constructors! {
    usage => Usage;
    spec => Spec;
    template => Template;
    not_found => NotFound;
    auth => Auth;
    denied => Denied;
    source_failed => Source;
    unavailable => Unavailable;
    timeout => Timeout;
    decode => Decode;
    limit => Limit;
    schema => Schema;
    destination => Destination;
    state => State;
    cancelled => Cancelled;
    internal => Internal;
}

impl fmt::Display for Error {
    /// One line: the message, its values, then the chain of causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if !self.0.context.is_empty() {
            f.write_str(" (")?;
            for (i, (key, value)) in self.0.context.iter().enumerate() {
                let comma = if i == 0 { "" } else { ", " };
                write!(f, "{comma}{key}: {value}")?;
            }
            f.write_str(")")?;
        }
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            // An `Error` below already prints its own causes.
            cause = if error.is::<Self>() { None } else { error.source() };
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {self}", self.0.kind)?;
        if let Some(hint) = &self.0.hint {
            write!(f, " -> {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_values_and_causes_once() {
        let inner = Error::unavailable("connection refused").with("host", "127.0.0.1:1");
        let error = Error::source_failed("cannot read stream")
            .with("stream", "issues")
            .caused_by(inner)
            .hint("start the server");
        assert_eq!(
            error.to_string(),
            "cannot read stream (stream: issues): connection refused (host: 127.0.0.1:1)"
        );
        assert_eq!(error.next_step(), Some("start the server"));
    }

    #[test]
    fn a_value_is_named_once() {
        let error = Error::spec("no")
            .with("stream", "a")
            .with("stream", "a")
            .with("stream", "b");
        assert_eq!(error.to_string(), "no (stream: a, stream: b)");
    }

    #[test]
    fn the_first_hint_stays() {
        let error = Error::auth("refused").hint("near").hint("far");
        assert_eq!(error.next_step(), Some("near"));
    }
}
