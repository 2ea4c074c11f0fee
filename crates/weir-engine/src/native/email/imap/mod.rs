//! A mailbox over IMAP, only looked at: folders are opened read-only, and no flag changes.

mod command;
mod fetch;
mod folders;
mod page;
mod sent;
mod utf7;

use std::time::Duration;

use async_imap::{Client, Session};
use weir_protocol::{Error, Result};

use super::link::{Dialer, Link};
use super::settings::{Security, Server};
use super::signature::Login;
use super::smtp::no_starttls;
use super::trouble::{Refusal, Stage, Trouble};
pub(super) use fetch::Facts;
pub(super) use page::{PageHead, PageWish};

/// Bytes of any answer but that to a fetch of messages.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// A folder that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Opened {
    /// As the server spells it.
    path: String,
    validity: u32,
    /// UIDs from here on are given to messages to come.
    next: u32,
}

/// Logged in.
pub(super) struct Mailbox {
    session: Session<Link>,
    opened: Option<Opened>,
    /// For each answer of the server.
    timeout: Duration,
    host: String,
}

impl Mailbox {
    pub(super) async fn open(
        dialer: &Dialer,
        server: &Server,
        login: &Login,
        timeout: Duration,
    ) -> Result<Self, Trouble> {
        let opening = tokio::time::timeout(timeout, Self::log_in(dialer, server, login));
        let session = opening.await.unwrap_or_else(|_| {
            Err(Trouble::Broken(
                Error::timeout("the mail server did not let weir log in in time")
                    .with("host", &server.host)
                    .with("port", server.port)
                    .with("limit", format!("{} s", timeout.as_secs()))
                    .hint(
                        "if the port expects TLS from the start (993), set tls: tls; else look at the server",
                    ),
            ))
        })?;
        Ok(Self {
            session,
            opened: None,
            timeout,
            host: server.host.clone(),
        })
    }

    async fn log_in(dialer: &Dialer, server: &Server, login: &Login) -> Result<Session<Link>, Trouble> {
        let mut link = dialer.open(server).await?;
        link.allow(ANSWER_BYTES_MAX);
        let mut client = Client::new(link);
        let greeting = client.read_response().await;
        let greeting = greeting.map_err(|error| command::broken(&server.host, &error.into()))?;
        if greeting.is_none() {
            let error = async_imap::error::Error::ConnectionLost;
            return Err(Trouble::Broken(command::broken(&server.host, &error)));
        }
        if server.tls == Security::Starttls {
            let begun = client.run_command_and_check_ok("STARTTLS", None).await;
            match begun {
                Ok(()) => {}
                Err(async_imap::error::Error::No(_) | async_imap::error::Error::Bad(_)) => {
                    return Err(Trouble::Broken(no_starttls(server)));
                }
                Err(error) => return Err(Trouble::Broken(command::broken(&server.host, &error))),
            }
            // What came before encryption began is forgotten with the client.
            let mut link = dialer.secure(server, client.into_inner().into_plain()?).await?;
            link.allow(ANSWER_BYTES_MAX);
            client = Client::new(link);
        }
        let logged_in = match login {
            Login::Nobody => {
                return Err(Trouble::Broken(
                    Error::auth("reading mail needs a login")
                        .hint("set credential: { method: basic, username: …, password: … }"),
                ));
            }
            Login::Password { username, password } => client.login(username, password.expose()).await,
            Login::Token { username, token } => {
                let answer = format!("user={username}\x01auth=Bearer {}\x01\x01", token.expose());
                client
                    .authenticate("XOAUTH2", Xoauth2 { answer: Some(answer) })
                    .await
            }
        };
        logged_in.map_err(
            |(error, _)| match command::trouble(&server.host, "login", error) {
                Trouble::Refused(refusal) if refusal.code >= 500 => Trouble::Refused(Refusal {
                    stage: Stage::Login,
                    ..refusal
                }),
                other => other,
            },
        )
    }
}

struct Xoauth2 {
    answer: Option<String>,
}

impl async_imap::Authenticator for Xoauth2 {
    type Response = String;

    fn process(&mut self, _challenge: &[u8]) -> String {
        // A second challenge tells why it was refused; an empty answer ends it.
        self.answer.take().unwrap_or_default()
    }
}
