//! Commands with their limits, and what their failures mean. No error holds what a message says.
//!
//! The library's own commands take the end of a connection, and a refusal, for the end of a list: what was not given
//! then would pass for not there. Here an answer is whole only where the server says so.

use async_imap::error::Error as ImapError;
use async_imap::imap_proto::{MailboxDatum, Response, ResponseCode, Status};
use weir_protocol::{Error, Result};

use super::{ANSWER_BYTES_MAX, Mailbox, Opened};
use crate::native::email::trouble::{Refusal, Stage, Trouble};

/// Characters of a server's words that are shown.
const WORDS_CHARS_MAX: usize = 200;

impl Mailbox {
    /// Sends a command and looks at each response until the server says that there are no more. `bytes_max`: of all of
    /// them. Each has to come in time.
    pub(super) async fn ask(
        &mut self,
        command: &'static str,
        line: &str,
        bytes_max: u64,
        mut take: impl FnMut(&Response<'_>) + Send,
    ) -> Result<(), Trouble> {
        self.session.get_mut().allow(bytes_max);
        let sent = tokio::time::timeout(self.timeout, self.session.run_command(line)).await;
        let sent = sent.map_err(|_| self.silent(command))?;
        let id = sent.map_err(|error| trouble(&self.host, command, error))?;
        loop {
            let next = tokio::time::timeout(self.timeout, self.session.read_response()).await;
            let next = next.map_err(|_| self.silent(command))?;
            let next = next.map_err(|error| broken(&self.host, &error.into()))?;
            let response = next.ok_or_else(|| broken(&self.host, &ImapError::ConnectionLost))?;
            match response.parsed() {
                Response::Done { tag, status, outcome } if *tag == id => {
                    let words = || outcome.information.as_deref().unwrap_or_default().to_owned();
                    return match status {
                        Status::Ok => Ok(()),
                        Status::Bad => Err(trouble(&self.host, command, ImapError::Bad(words()))),
                        _ => Err(trouble(&self.host, command, ImapError::No(words()))),
                    };
                }
                other => take(other),
            }
        }
    }

    fn silent(&self, command: &'static str) -> Trouble {
        Trouble::Broken(
            Error::timeout("the mail server stopped answering")
                .with("host", &self.host)
                .with("command", command)
                .with("limit", format!("{} ms", self.timeout.as_millis()))
                .hint("try again; raise reliability.timeout where the server is only slow"),
        )
    }

    /// Opens a folder to look at it, where it is not open already. `anew` asks again how far it goes.
    pub(super) async fn examine(&mut self, path: &str, anew: bool) -> Result<Opened, Trouble> {
        if let Some(opened) = &self.opened
            && opened.path == path
            && !anew
        {
            return Ok(opened.clone());
        }
        self.opened = None;
        let (mut validity, mut next) = (None, None);
        let line = format!("EXAMINE {}", quoted(path)?);
        self.ask("examine", &line, ANSWER_BYTES_MAX, |response| {
            if let Response::Data { outcome, .. } = response {
                match outcome.code {
                    Some(ResponseCode::UidValidity(number)) => validity = Some(number),
                    Some(ResponseCode::UidNext(number)) => next = Some(number),
                    _ => {}
                }
            }
        })
        .await?;
        let validity = validity.ok_or_else(|| {
            Error::source_failed("the mail server numbers no messages (it has no UIDVALIDITY)")
                .with("folder", path)
                .hint("such a folder cannot be read on; leave it out of config.imap.folders")
        })?;
        let next = match next {
            Some(next) => next,
            // The newest message, where there is one.
            None => self
                .search("UID *")
                .await?
                .last()
                .map_or(1, |newest| newest.saturating_add(1)),
        };
        let opened = Opened {
            path: path.to_owned(),
            validity,
            next,
        };
        self.opened = Some(opened.clone());
        Ok(opened)
    }

    /// UIDs of the open folder that fit, in order.
    pub(super) async fn search(&mut self, query: &str) -> Result<Vec<u32>, Trouble> {
        let mut found = Vec::new();
        let line = format!("UID SEARCH {query}");
        self.ask("search", &line, ANSWER_BYTES_MAX, |response| {
            if let Response::MailboxData(MailboxDatum::Search(uids)) = response {
                found.extend_from_slice(uids);
            }
        })
        .await?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// A text as an argument of a command.
pub(super) fn quoted(text: &str) -> Result<String> {
    if text.chars().any(char::is_control) {
        return Err(Error::spec("a folder's name holds control characters")
            .with("name", text.escape_debug())
            .hint("leave it out of config.imap.folders, or rename it at the server"));
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// A refusal, or what broke.
pub(super) fn trouble(host: &str, command: &'static str, error: ImapError) -> Trouble {
    let (code, words) = match error {
        // IMAP has no numbers: what passes is told by a word (RFC 5530).
        ImapError::No(words) if words.contains("UNAVAILABLE") || words.contains("INUSE") => (421, words),
        ImapError::No(words) => (550, words),
        ImapError::Bad(words) => (500, words),
        other => return Trouble::Broken(broken(host, &other)),
    };
    let words = words.chars().take(WORDS_CHARS_MAX).collect();
    Trouble::Refused(Refusal {
        code,
        words,
        stage: Stage::Command(command),
        server: "imap",
    })
}

pub(super) fn broken(host: &str, error: &ImapError) -> Error {
    let problem = match error {
        ImapError::Io(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
            return Error::limit("the mail server sends more than it announced")
                .with("host", host)
                .hint("look at the server; weir reads no more of one answer than it asked for");
        }
        // What cannot be parsed stands whole in the library's words.
        ImapError::Io(error) if error.kind() == std::io::ErrorKind::Other => {
            "an answer cannot be read".to_owned()
        }
        ImapError::Io(error) => error.kind().to_string(),
        ImapError::ConnectionLost => "the server closed it".to_owned(),
        ImapError::Validate(_) => {
            return Error::spec("a name or password holds a line break")
                .with("host", host)
                .hint("mend credential.username and credential.password");
        }
        _ => "an answer cannot be read".to_owned(),
    };
    Error::unavailable("the connection to the mail server broke")
        .with("host", host)
        .with("problem", problem)
        .hint("try again; what was read is kept. If it stays, look at the server")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_argument() {
        assert_eq!(quoted("a \"b\" \\ c").unwrap(), r#""a \"b\" \\ c""#);
        assert!(quoted("a\r\nA1 DELETE INBOX").is_err());
    }
}
