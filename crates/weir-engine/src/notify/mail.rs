//! One message to a mail server, encrypted: by TLS from the start, or by STARTTLS, which is required.
//! Plain only to this machine.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use weir_protocol::{Error, ErrorKind, Result, Secret};

const TIMEOUT: Duration = Duration::from_secs(15);

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// From the start; port 465.
    Tls,
    /// After a plain greeting, required; port 587.
    StartTls,
    /// Not at all; only to this machine. Port 25.
    None,
}

/// A mail server, and who sends.
#[derive(Clone)]
pub struct Smtp {
    pub host: String,
    pub port: Option<u16>,
    pub tls: SmtpTls,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// A further root certificate, PEM.
    pub root_pem: Option<Vec<u8>>,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Smtp({})", self.host)
    }
}

#[derive(Debug, Clone)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    pub subject: String,
    pub text: String,
    /// Names what belongs together, so that mail programs show it as one conversation.
    pub thread: Option<String>,
}

/// Hands the message over to the server, which has it then.
pub async fn send(smtp: &Smtp, mail: &Mail) -> Result<()> {
    let message = message(mail)?;
    let transport = transport(smtp)?;
    let sent = transport.send(message).await;
    let Err(error) = sent else { return Ok(()) };
    let (kind, hint) = if error.is_permanent() {
        (
            ErrorKind::Denied,
            "the server refuses it for good: check sender, recipients and the account's password",
        )
    } else if error.is_tls() {
        (
            ErrorKind::Unavailable,
            "check `tls`, the host's name, and its certificate (`root_certificate` names one of your own)",
        )
    } else {
        (
            ErrorKind::Unavailable,
            "check host and port, and that the mail server is up",
        )
    };
    Err(Error::new(kind, "the mail server did not take the message")
        .with("host", &smtp.host)
        .caused_by(error)
        .hint(hint))
}

fn message(mail: &Mail) -> Result<Message> {
    let mut builder = Message::builder()
        .from(mailbox(&mail.from)?)
        .subject(mail.subject.as_str())
        .date_now()
        .message_id(None);
    for to in &mail.to {
        builder = builder.to(mailbox(to)?);
    }
    if let Some(thread) = &mail.thread {
        builder = builder.references(format!("<{thread}@weir>"));
    }
    builder
        .header(ContentType::TEXT_PLAIN)
        .body(mail.text.clone())
        .map_err(|error| {
            Error::spec("the message cannot be written")
                .caused_by(error)
                .hint("name one recipient at least")
        })
}

fn mailbox(text: &str) -> Result<Mailbox> {
    text.parse().map_err(|error| {
        Error::spec(format!("'{text}' is no mail address"))
            .caused_by(error)
            .hint("write it as in weir@example.com, or Weir <weir@example.com>")
    })
}

fn transport(smtp: &Smtp) -> Result<AsyncSmtpTransport<Tokio1Executor>> {
    let parameters = || tls_parameters(&smtp.host, smtp.root_pem.as_deref());
    let (port, tls) = match smtp.tls {
        SmtpTls::Tls => (465, Tls::Wrapper(parameters()?)),
        SmtpTls::StartTls => (587, Tls::Required(parameters()?)),
        SmtpTls::None if is_here(&smtp.host) => (25, Tls::None),
        SmtpTls::None => {
            return Err(
                Error::new(ErrorKind::Denied, "mail would leave this machine unencrypted")
                    .with("host", &smtp.host)
                    .hint("set `tls: starttls` or `tls: tls`"),
            );
        }
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(smtp.host.as_str())
        .port(smtp.port.unwrap_or(port))
        .tls(tls)
        .timeout(Some(TIMEOUT));
    if let (Some(username), Some(password)) = (&smtp.username, &smtp.password) {
        builder = builder.credentials(Credentials::new(username.clone(), password.expose().to_owned()));
    }
    Ok(builder.build())
}

/// How TLS to a mail server is set up; `root_pem` are further root certificates.
pub(crate) fn tls_parameters(host: &str, root_pem: Option<&[u8]>) -> Result<TlsParameters> {
    let failed = |error: lettre::transport::smtp::Error| {
        Error::spec("TLS to the mail server cannot be set up")
            .with("host", host)
            .caused_by(error)
            .hint("check the certificate authority that is named, and the machine's root certificates")
    };
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = root_pem {
        builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(failed)?);
    }
    builder.build().map_err(failed)
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp(host: &str, tls: SmtpTls) -> Smtp {
        Smtp {
            host: host.to_owned(),
            port: None,
            tls,
            username: None,
            password: None,
            root_pem: None,
        }
    }

    #[test]
    fn plain_mail_stays_on_this_machine() {
        for host in ["mail.example.com", "10.0.0.1", "localhost.example.com"] {
            let error = transport(&smtp(host, SmtpTls::None)).unwrap_err();
            assert!(error.next_step().unwrap().contains("starttls"));
        }
        for host in ["localhost", "127.0.0.1", "::1"] {
            assert!(transport(&smtp(host, SmtpTls::None)).is_ok());
        }
    }

    #[test]
    fn a_text_adds_no_header() {
        let mail = Mail {
            from: "weir@example.com".to_owned(),
            to: vec!["a@example.com".to_owned()],
            subject: "x\r\nBcc: evil@example.com".to_owned(),
            text: "تنبيه".to_owned(),
            thread: Some("1".to_owned()),
        };
        let bytes = message(&mail).unwrap().formatted();
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.to_lowercase().contains("\r\nbcc:"), "{text}");
        assert!(text.contains("References: <1@weir>"));
        let nobody = Mail {
            to: vec!["a b".to_owned()],
            ..mail
        };
        assert!(message(&nobody).unwrap_err().next_step().is_some());
    }
}
