//! One message to a server over SMTP. Until its last line is sent nothing has happened: what fails before surely had no
//! effect.

use std::error::Error as StdError;
use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use weir_protocol::{Error, Result};

use super::link::Dialer;
use super::settings::{Security, Server};
use super::signature::Login;
use super::trouble::{Refusal, Stage, Trouble};
use crate::http::{Delivery, before_sending};
use crate::notify::tls_parameters;

/// Bytes of all answers of one session.
const ANSWERS_BYTES_MAX: u64 = 4 << 20;

/// A connection's way out.
pub(super) struct Smtp<'a> {
    pub(super) dialer: &'a Dialer,
    pub(super) server: &'a Server,
    /// For each part of the exchange: until logged in, until the message is asked for, until it is taken.
    pub(super) timeout: Duration,
}

impl Smtp<'_> {
    /// Logs in and leaves.
    pub(super) async fn check(&self, login: &Login) -> Result<(), Trouble> {
        let mut connection = self.within("logging in", self.connect(login)).await?;
        self.leave(&mut connection).await;
        Ok(())
    }

    /// Hands the message over; gives the server's words about it.
    pub(super) async fn send(
        &self,
        login: &Login,
        message: &Message,
        delivery: &Delivery,
    ) -> Result<String, Trouble> {
        let bytes = message.formatted();
        let mut connection = self.within("logging in", self.connect(login)).await?;
        self.within(
            "naming recipients",
            self.announce(&mut connection, message, &bytes),
        )
        .await?;
        delivery.begins();
        let taken = tokio::time::timeout(self.timeout, connection.message(&bytes)).await;
        let taken = taken.map_err(|_| {
            Error::timeout("the mail server did not say whether it took the message")
                .with("host", &self.server.host)
                .with("limit", format!("{} s", self.timeout.as_secs()))
                .hint("find out in the mailbox of sent messages, or from its recipient")
        })?;
        let response = taken.map_err(|error| self.trouble(&error, Stage::Content))?;
        self.leave(&mut connection).await;
        Ok(response.message().collect::<Vec<_>>().join(" "))
    }

    /// What is before the message may be tried again.
    async fn within<T>(
        &self,
        doing: &str,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(done) => done.map_err(Trouble::before_sending),
            Err(_) => Err(Trouble::Broken(before_sending(
                Error::timeout(format!("the mail server did not answer while {doing}"))
                    .with("host", &self.server.host)
                    .with("port", self.server.port)
                    .with("limit", format!("{} s", self.timeout.as_secs()))
                    .hint(
                        "if the port expects TLS from the start (465), set tls: tls; else look at the server",
                    ),
            ))),
        }
    }

    async fn connect(&self, login: &Login) -> Result<AsyncSmtpConnection, Trouble> {
        let mut link = self.dialer.open(self.server).await?;
        link.allow(ANSWERS_BYTES_MAX);
        let name = ClientId::default();
        let opened = AsyncSmtpConnection::connect_with_transport(Box::new(link), &name).await;
        let mut connection = opened.map_err(|error| self.trouble(&error, Stage::Greeting))?;
        if self.server.tls == Security::Starttls {
            if !connection.server_info().supports_feature(Extension::StartTls) {
                return Err(Trouble::Broken(no_starttls(self.server)));
            }
            let parameters = tls_parameters(&self.server.host, self.dialer.roots_pem.as_deref())?;
            let encrypted = connection.starttls(parameters, &name).await;
            encrypted.map_err(|error| self.trouble(&error, Stage::Encryption))?;
        }
        self.log_in(&mut connection, login).await?;
        Ok(connection)
    }

    async fn log_in(&self, connection: &mut AsyncSmtpConnection, login: &Login) -> Result<(), Trouble> {
        let (mechanisms, username, secret) = match login {
            Login::Nobody => return Ok(()),
            Login::Password { username, password } => (DEFAULT_MECHANISMS, username, password),
            Login::Token { username, token } => (&[Mechanism::Xoauth2][..], username, token),
        };
        let info = connection.server_info();
        if !mechanisms
            .iter()
            .any(|mechanism| info.supports_auth_mechanism(*mechanism))
        {
            return Err(Trouble::Broken(
                Error::spec("the mail server takes no login of this kind here")
                    .with("host", &self.server.host)
                    .with("port", self.server.port)
                    .with("wanted", mechanisms.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))
                    .hint("use the port for submission (587 with starttls, 465 with tls), or credential.method none for a relay without logins"),
            ));
        }
        let credentials = Credentials::new(username.clone(), secret.expose().to_owned());
        match connection.auth(mechanisms, &credentials).await {
            Ok(_) => Ok(()),
            // A token's refusal comes as a challenge, which nobody answers.
            Err(error) if error.is_client() => Err(Trouble::Refused(Refusal::login("the login was refused"))),
            Err(error) => Err(self.trouble(&error, Stage::Login)),
        }
    }

    /// Sender and recipients, each of whom the server has to take: a message reaches all or none.
    async fn announce(
        &self,
        connection: &mut AsyncSmtpConnection,
        message: &Message,
        bytes: &[u8],
    ) -> Result<(), Trouble> {
        let envelope = message.envelope();
        let info = connection.server_info();
        let mut parameters = Vec::new();
        let names = envelope.to().iter().chain(envelope.from());
        if !names.into_iter().all(|address| address.to_string().is_ascii()) {
            if !info.supports_feature(Extension::SmtpUtfEight) {
                return Err(Trouble::Broken(
                    Error::usage("the mail server takes only addresses in ASCII")
                        .with("host", &self.server.host)
                        .hint("use another address of this recipient"),
                ));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !bytes.is_ascii() {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let from = Mail::new(envelope.from().cloned(), parameters);
        let answered = connection.command(from).await;
        answered.map_err(|error| self.trouble(&error, Stage::Sender))?;
        for recipient in envelope.to() {
            let answered = connection.command(Rcpt::new(recipient.clone(), Vec::new())).await;
            let stage = Stage::Recipient(recipient.to_string());
            answered.map_err(|error| self.trouble(&error, stage))?;
        }
        let answered = connection.command(Data).await;
        answered.map_err(|error| self.trouble(&error, Stage::Sender))?;
        Ok(())
    }

    /// What the server did before counts, whatever it says to this.
    async fn leave(&self, connection: &mut AsyncSmtpConnection) {
        if tokio::time::timeout(Duration::from_secs(2), connection.quit())
            .await
            .is_err()
        {
            tracing::debug!(host = %self.server.host, "the mail server does not say goodbye");
        }
    }

    fn trouble(&self, error: &lettre::transport::smtp::Error, stage: Stage) -> Trouble {
        let words = error.source().map(ToString::to_string).unwrap_or_default();
        let code = error
            .status()
            .and_then(|code| code.to_string().parse::<u16>().ok());
        if let Some(code) = code {
            return Trouble::Refused(Refusal {
                code,
                words,
                stage,
                server: "smtp",
            });
        }
        // An end in the middle is told as an answer, too.
        let is_foreign = error.is_response() && !words.contains("incomplete");
        let (message, hint) = if error.is_tls() {
            (
                "no encryption could be agreed on with the mail server",
                "check that the host's name is the one in its certificate; name a certificate authority of your own by tls.ca_file of the connection",
            )
        } else if is_foreign {
            (
                "the server does not speak SMTP",
                "check host and port: 587 or 465, mostly",
            )
        } else {
            (
                "the connection to the mail server broke",
                "try again; if it stays, look at the server and at firewalls in between",
            )
        };
        let error = if error.is_tls() || is_foreign {
            Error::denied(message)
        } else {
            Error::unavailable(message)
        };
        Trouble::Broken(
            error
                .with("host", &self.server.host)
                .with("port", self.server.port)
                .with("problem", words)
                .hint(hint),
        )
    }
}

pub(super) fn no_starttls(server: &Server) -> Error {
    Error::denied("the mail server offers no STARTTLS, so the password would be sent unencrypted")
        .with("host", &server.host)
        .with("port", server.port)
        .hint("set tls: tls with its port for TLS (465 SMTP, 993 IMAP), or let the server offer STARTTLS")
}
