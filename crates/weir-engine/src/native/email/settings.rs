//! What a connection says of its mail servers. The connector's schema has filled in the defaults.

use serde::Deserialize;
use serde_json::Value;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result};

/// How a connection to a server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Security {
    /// From the start.
    Tls,
    /// After a plain greeting; a server that offers none is refused.
    Starttls,
    /// Not at all.
    None,
}

/// Where a server is.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Security,
    /// Allows `tls: none` to other machines than this one.
    pub(super) unencrypted: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Written {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    smtp: Option<WrittenServer>,
    #[serde(default)]
    imap: Option<WrittenImap>,
}

#[derive(Debug, Clone, Deserialize)]
struct WrittenServer {
    host: String,
    port: Option<u16>,
    tls: Option<Security>,
    #[serde(default)]
    allow_unencrypted: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct WrittenImap {
    #[serde(flatten)]
    server: WrittenServer,
    #[serde(default)]
    folders: Vec<String>,
    #[serde(default)]
    sent_folder: Option<String>,
    #[serde(default)]
    server_keeps_sent: bool,
    #[serde(default = "message_bytes")]
    message_bytes_max: u32,
    #[serde(default)]
    attachment_bytes_max: u64,
}

/// A mailbox that is read.
#[derive(Debug, Clone)]
pub(super) struct Imap {
    pub(super) server: Server,
    /// Names as people see them; empty: all but those of drafts, junk, trash, and copies of everything.
    pub(super) folders: Vec<String>,
    /// Where sent messages lie; None: the one that the server marks so.
    pub(super) sent_folder: Option<String>,
    /// Whether the server itself keeps what is sent over SMTP, so that a message that is not there was not sent.
    pub(super) server_keeps_sent: bool,
    /// Of a message above this only the header is read.
    pub(super) message_bytes_max: u32,
    /// Attachments up to this come with their content.
    pub(super) attachment_bytes_max: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Whose tokens they are, where tokens sign.
    pub(super) username: Option<String>,
    pub(super) smtp: Option<Server>,
    pub(super) imap: Option<Imap>,
}

impl Settings {
    pub(super) fn of(connection: &ConnectionSpec) -> Result<Self> {
        let config = Value::Object(connection.config.clone());
        let written: Written = serde_json::from_value(config).map_err(|error| {
            Error::spec("config does not describe mail servers")
                .with("connection", &connection.connection)
                .caused_by(error)
                .hint("`weir connector show` prints what config may hold")
        })?;
        if written.smtp.is_none() && written.imap.is_none() {
            return Err(Error::spec("config names no mail server")
                .with("connection", &connection.connection)
                .hint("set config.smtp to send, config.imap to read, or both"));
        }
        Ok(Self {
            username: written.username,
            smtp: written
                .smtp
                .map(|server| server.resolve(smtp_port, Security::Starttls)),
            imap: written.imap.map(WrittenImap::resolve),
        })
    }
}

impl WrittenServer {
    fn resolve(self, port: fn(Security) -> u16, default: Security) -> Server {
        let tls = self.tls.unwrap_or(default);
        Server {
            host: self.host,
            port: self.port.unwrap_or_else(|| port(tls)),
            tls,
            unencrypted: self.allow_unencrypted,
        }
    }
}

impl WrittenImap {
    fn resolve(self) -> Imap {
        Imap {
            server: self.server.resolve(imap_port, Security::Tls),
            folders: self.folders,
            sent_folder: self.sent_folder,
            server_keeps_sent: self.server_keeps_sent,
            message_bytes_max: self.message_bytes_max,
            attachment_bytes_max: self.attachment_bytes_max,
        }
    }
}

fn smtp_port(tls: Security) -> u16 {
    match tls {
        Security::Tls => 465,
        Security::Starttls => 587,
        Security::None => 25,
    }
}

fn imap_port(tls: Security) -> u16 {
    match tls {
        Security::Tls => 993,
        Security::Starttls | Security::None => 143,
    }
}

fn message_bytes() -> u32 {
    10 << 20
}
