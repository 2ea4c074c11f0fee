//! What a mail server refused, and what broke on the way.

use serde_json::{Value, json};
use weir_protocol::{Error, ErrorKind};

use crate::http::before_sending;

/// Where in the exchange a refusal came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Greeting,
    Encryption,
    Login,
    Sender,
    Recipient(String),
    Content,
    /// A command of IMAP.
    Command(&'static str),
}

/// An answer that says no. Whatever was asked for was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// As SMTP numbers it.
    pub(super) code: u16,
    pub(super) words: String,
    pub(super) stage: Stage,
    /// Which of the servers: `smtp` or `imap`.
    pub(super) server: &'static str,
}

#[derive(Debug)]
pub(super) enum Trouble {
    Refused(Refusal),
    Broken(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

impl Trouble {
    /// Marks what may be tried again, as nothing was sent yet that counts.
    pub(super) fn before_sending(self) -> Self {
        match self {
            Self::Broken(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                Self::Broken(before_sending(error))
            }
            other => other,
        }
    }
}

impl Refusal {
    /// Of SMTP, where it comes as no answer of its own.
    pub(super) fn login(words: impl Into<String>) -> Self {
        Self {
            code: 535,
            words: words.into(),
            stage: Stage::Login,
            server: "smtp",
        }
    }

    /// The status of HTTP that means the same.
    pub(super) fn status(&self) -> u16 {
        let is_enhanced =
            |code: &str| self.words.starts_with(code) || self.words.contains(&format!(" {code}"));
        match (self.code, &self.stage) {
            (530 | 534 | 535 | 538, _) | (500..=599, Stage::Login) => 401,
            // Known not to be taken, and to be tried again: unlike 503, which leaves that open.
            (400..=499, _) => 425,
            (552, _) => 413,
            _ if is_enhanced("5.3.4") => 413,
            _ if is_enhanced("5.7.") => 403,
            _ => 422,
        }
    }

    /// Whether the server as a whole is not there at the moment.
    pub(super) fn is_outage(&self) -> bool {
        let is_late = matches!(self.stage, Stage::Sender | Stage::Recipient(_) | Stage::Content);
        self.code == 421 || ((400..=499).contains(&self.code) && !is_late)
    }

    pub(super) fn body(&self) -> Value {
        let (stage, recipient) = match &self.stage {
            Stage::Greeting => ("greeting", None),
            Stage::Encryption => ("encryption", None),
            Stage::Login => ("login", None),
            Stage::Sender => ("sender", None),
            Stage::Recipient(recipient) => ("recipient", Some(recipient)),
            Stage::Content => ("content", None),
            Stage::Command(command) => (*command, None),
        };
        let mut body =
            json!({ "server": self.server, "code": self.code, "reply": self.words, "refused": stage });
        if let Some(recipient) = recipient {
            body["recipient"] = recipient.as_str().into();
        }
        body
    }
}
