//! Requests to mail servers: what an action, a stream or a check asks for, carried out over SMTP or IMAP.
//!
//! | path | does |
//! |---|---|
//! | `/send` | sends the message in the body (JSON) |
//! | `/sent` | looks for `message_id` among sent messages |
//! | `/folders` | one line of JSON a folder |
//! | `/messages` | messages of `folder` after `after`: a line of JSON about the page, then one each |
//! | `/check` | logs in to each server |

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result};

use super::imap::{Mailbox, PageWish};
use super::letter::{Letter, bare_id};
use super::link::Dialer;
use super::settings::{Imap, Settings};
use super::signature::Login;
use super::smtp::Smtp;
use super::trouble::{Refusal, Trouble};
use crate::http::{Answer, Body, Carrier, ClientSettings, Clock, HeaderMap, Outgoing, before_sending};

/// So long a server may take to say that it took a message (RFC 5321, 4.5.3.2.6).
const TAKING_SECONDS_MAX: i64 = 600;

/// Speaks SMTP and IMAP for one connection.
pub(super) struct MailCarrier {
    settings: Settings,
    dialer: Dialer,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    /// Logged in, and kept for the next page. What fails is not put back.
    mailbox: Mutex<Option<Mailbox>>,
}

impl MailCarrier {
    pub(super) fn new(connection: &ConnectionSpec, settings: &ClientSettings) -> Result<Self> {
        Ok(Self {
            settings: Settings::of(connection)?,
            dialer: Dialer::new(settings),
            timeout: settings.patience.timeout,
            clock: settings.clock.clone(),
            mailbox: Mutex::default(),
        })
    }

    async fn dispatch(&self, out: &Outgoing) -> Result<Vec<u8>, Trouble> {
        let login = Login::of(out, self.settings.username.as_deref())?;
        let params: HashMap<String, String> = out.url.query_pairs().into_owned().collect();
        match out.url.path() {
            "/send" => self.send(out, &login).await,
            "/sent" => self.sent(&params, &login).await,
            "/folders" => {
                let imap = self.imap()?;
                let mut mailbox = self.mailbox(imap, &login).await?;
                let lines = mailbox.folder_lines(imap).await?;
                self.keep(mailbox).await;
                Ok(lines)
            }
            "/messages" => {
                let (imap, wish) = (self.imap()?, PageWish::of(&params)?);
                let mut mailbox = self.mailbox(imap, &login).await?;
                let page = mailbox.page(imap, &wish).await?;
                self.keep(mailbox).await;
                Ok(page)
            }
            "/check" => self.check(&login).await,
            other => Err(Trouble::Broken(
                Error::spec(format!("mail servers know no '{other}'"))
                    .hint("paths are /send, /sent, /folders, /messages and /check"),
            )),
        }
    }

    fn smtp(&self) -> Result<Smtp<'_>> {
        let server = self.settings.smtp.as_ref().ok_or_else(|| {
            Error::spec("the connection has no server to send by")
                .hint("set config.smtp: { host: …, tls: starttls }")
        })?;
        Ok(Smtp {
            dialer: &self.dialer,
            server,
            timeout: self.timeout,
        })
    }

    fn imap(&self) -> Result<&Imap> {
        self.settings.imap.as_ref().ok_or_else(|| {
            Error::spec("the connection has no mailbox to read").hint("set config.imap: { host: … }")
        })
    }

    async fn send(&self, out: &Outgoing, login: &Login) -> Result<Vec<u8>, Trouble> {
        let smtp = self.smtp()?;
        let Body::Json(body) = &out.body else {
            return Err(Trouble::Broken(
                Error::spec("the request to send has no JSON").hint("give the message under `json`"),
            ));
        };
        let letter = Letter::parse(body)?;
        let message = letter.message()?;
        let words = smtp.send(login, &message, &out.delivery).await?;
        Ok(line(&json!({
            "message_id": bare_id(&letter.message_id),
            "accepted": message.envelope().to().len(),
            "reply": words,
        })))
    }

    /// That a message is not there says something only where the server itself keeps what is sent, and once it has had its
    /// time to say that it took it.
    async fn sent(&self, params: &HashMap<String, String>, login: &Login) -> Result<Vec<u8>, Trouble> {
        let id = bare_id(params.get("message_id").map_or("", String::as_str));
        let Some(imap) = &self.settings.imap else {
            return Ok(line(&json!({ "messages": [], "complete": false })));
        };
        let mut mailbox = self.mailbox(imap, login).await?;
        let found = mailbox.find_sent(imap, id).await?;
        self.keep(mailbox).await;
        let messages: Vec<Value> = found
            .into_iter()
            .map(|(folder, uid)| json!({ "message_id": id, "folder": folder, "uid": uid }))
            .collect();
        let began_at: Option<i64> = params.get("began_at").and_then(|at| at.parse().ok());
        let is_settled = began_at.is_some_and(|at| self.clock.now().as_second() - at >= TAKING_SECONDS_MAX);
        Ok(line(
            &json!({ "messages": messages, "complete": imap.server_keeps_sent && is_settled }),
        ))
    }

    async fn check(&self, login: &Login) -> Result<Vec<u8>, Trouble> {
        if self.settings.smtp.is_some() {
            self.smtp()?.check(login).await?;
        }
        if let Some(imap) = &self.settings.imap {
            // What is kept was logged in before, and says nothing of the credential as it is now.
            let server = &imap.server;
            let mut mailbox = Mailbox::open(&self.dialer, server, login, self.timeout).await?;
            mailbox.chosen(imap).await?;
        }
        Ok(line(&json!({ "ok": true })))
    }

    async fn mailbox(&self, imap: &Imap, login: &Login) -> Result<Mailbox, Trouble> {
        if let Some(kept) = self.mailbox.lock().await.take() {
            return Ok(kept);
        }
        Mailbox::open(&self.dialer, &imap.server, login, self.timeout).await
    }

    /// For whoever comes next. What failed is not kept.
    async fn keep(&self, mailbox: Mailbox) {
        *self.mailbox.lock().await = Some(mailbox);
    }

    fn answer(&self, out: &Outgoing, status: u16, body: Vec<u8>) -> Answer {
        Answer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::from(body),
            url: out.url.clone(),
            received_at: self.clock.now(),
        }
    }
}

#[async_trait]
impl Carrier for MailCarrier {
    async fn carry(&self, out: &Outgoing) -> Result<Answer> {
        match self.dispatch(out).await {
            Ok(body) => Ok(self.answer(out, 200, body)),
            Err(Trouble::Broken(error)) => Err(error),
            Err(Trouble::Refused(refusal)) if refusal.is_outage() => Err(outage(&refusal)),
            Err(Trouble::Refused(refusal)) => Ok(self.answer(out, refusal.status(), line(&refusal.body()))),
        }
    }
}

fn outage(refusal: &Refusal) -> Error {
    before_sending(
        Error::unavailable("the mail server takes nothing at the moment")
            .with("answer", refusal.body())
            .hint("try again later; if it stays, ask whoever runs the server"),
    )
}

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// A number of a request's query.
pub(super) fn number<T: FromStr>(params: &HashMap<String, String>, name: &'static str) -> Result<T> {
    let text = params.get(name).map_or("", String::as_str);
    text.parse().map_err(|_| {
        Error::internal("a request for a page lacks a number")
            .with("parameter", name)
            .hint("report it")
    })
}
