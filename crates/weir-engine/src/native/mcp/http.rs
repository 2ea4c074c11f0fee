//! A server at an address: each request is one POST through the connection's own client, with its quota, breaker,
//! credential and host rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;
use weir_protocol::{Error, Result};

use super::answer::SAID_CHARS_MAX;
use super::line::Ask;
use super::message::{self, Heard, NEWEST};
use crate::action::CORRELATION_HEADER;
use crate::http::{Answer, Body, Client, Method, Outgoing, Sent, Verdict, show_url};

const SESSION: &str = "mcp-session-id";
const SESSION_CHARS_MAX: usize = 512;

/// How a server wants to be spoken to.
#[derive(Debug, Clone, PartialEq)]
enum Wire {
    Newest,
    /// By a session, if it gave one.
    Sessions {
        version: String,
        session: Option<String>,
    },
}

pub(super) struct HttpLine {
    client: Arc<Client>,
    url: Url,
    headers: Vec<(String, String)>,
    /// Found out by the first who asks.
    wire: Mutex<Option<Wire>>,
    ids: AtomicI64,
    idle_timeout: Duration,
}

/// What came of one POST.
enum Came {
    Heard(Heard),
    /// The session is over, or the revision is not known any more: nothing was done.
    Stale,
}

impl HttpLine {
    /// As [`Client::shut`].
    pub(super) fn shut(&self) -> Option<Error> {
        self.client.shut()
    }

    pub(super) fn new(client: Arc<Client>, url: Url, headers: Vec<(String, String)>) -> Self {
        Self {
            idle_timeout: client.patience().timeout,
            client,
            url,
            headers,
            wire: Mutex::new(None),
            ids: AtomicI64::new(1),
        }
    }

    pub(super) fn said(&self, text: &str) -> String {
        self.client.redactor().excerpt(text.as_bytes(), SAID_CHARS_MAX)
    }

    pub(super) fn clean(&self, text: &str) -> String {
        self.client.redactor().clean(text)
    }

    pub(super) fn place(&self) -> String {
        self.client.redactor().clean(&show_url(&self.url))
    }

    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Heard> {
        // Once more where the server forgot who asks: it refused before it did anything.
        for _ in 0..2 {
            let wire = self.wire().await?;
            match self.post(&wire, ask).await? {
                Came::Heard(heard) => return Ok(heard),
                Came::Stale => self.forget(&wire).await,
            }
        }
        Err(Error::unavailable("the server forgets each session at once")
            .hint("where several servers answer at one address, they have to share their sessions"))
    }

    async fn forget(&self, wire: &Wire) {
        let mut known = self.wire.lock().await;
        if known.as_ref() == Some(wire) {
            *known = None;
        }
    }

    async fn wire(&self) -> Result<Wire> {
        let mut known = self.wire.lock().await;
        if let Some(wire) = known.as_ref() {
            return Ok(wire.clone());
        }
        let wire = self.negotiate().await?;
        *known = Some(wire.clone());
        Ok(wire)
    }

    /// Tries the newest revision, and greets where the server does not know it.
    async fn negotiate(&self) -> Result<Wire> {
        // Once more where a server that may be several refused the revision that it names.
        for _ in 0..2 {
            let id = self.id();
            let discover = message::request(id, "server/discover", json!({}), true);
            let outgoing = self.outgoing(&Wire::Newest, "server/discover", &discover, id);
            let answer = self.send(outgoing, is_refusal).await?;
            match message::hear_body(&answer.body, id) {
                Some(Heard::Result(result)) if message::knows_newest(&result) => return Ok(Wire::Newest),
                Some(Heard::Fault(fault)) if fault.is_unknown_version() && fault.wants_newest => {}
                _ => break,
            }
        }
        self.greet().await
    }

    async fn greet(&self) -> Result<Wire> {
        let id = self.id();
        let silent = Wire::Sessions {
            version: String::new(),
            session: None,
        };
        let greeting = message::request(id, "initialize", message::greeting(), false);
        let outgoing = self.outgoing(&silent, "initialize", &greeting, id);
        let answer = self.send(outgoing, is_rpc_error).await?;
        let result = match message::hear_body(&answer.body, id) {
            Some(Heard::Result(result)) => result,
            Some(Heard::Fault(fault)) => return Err(fault.error(self.said(&fault.message))),
            Some(Heard::Asked(_)) | None => return Err(self.unreadable(&answer)),
        };
        let wire = Wire::Sessions {
            version: message::chosen(&result)?,
            session: session_of(&answer)?,
        };
        let greeted = self.outgoing(&wire, "notifications/initialized", &message::greeted(), id);
        self.send(greeted, |_| false).await?;
        Ok(wire)
    }

    async fn post(&self, wire: &Wire, ask: &Ask<'_>) -> Result<Came> {
        let id = self.id();
        let body = message::request(id, ask.method, ask.params.clone(), *wire == Wire::Newest);
        let mut outgoing = self.outgoing(wire, ask.method, &body, id);
        if *wire == Wire::Newest {
            for (name, value) in &ask.headers {
                outgoing.set_header(name, value.clone());
            }
        }
        if let Some(id) = ask.correlation_id {
            outgoing.set_header(CORRELATION_HEADER, id);
        }
        outgoing.repeatable = ask.repeatable;
        outgoing.delivery = ask.delivery.clone();
        let has_session = matches!(wire, Wire::Sessions { session: Some(_), .. });
        let takes = move |answer: &Answer| is_rpc_error(answer) || (has_session && answer.status == 404);
        let answer = self.send(outgoing, takes).await?;
        match message::hear_body(&answer.body, id) {
            // With a session, 404 says that it is over, whatever stands in the body.
            _ if has_session && answer.status == 404 => Ok(Came::Stale),
            Some(Heard::Fault(fault)) if fault.is_unknown_version() => Ok(Came::Stale),
            Some(heard) => Ok(Came::Heard(heard.with_status(answer.status))),
            None => {
                ask.delivery.leaves_open();
                Err(self.unreadable(&answer))
            }
        }
    }

    async fn send(
        &self,
        outgoing: Outgoing,
        takes: impl Fn(&Answer) -> bool + Send + Sync,
    ) -> Result<Answer> {
        let classify =
            |answer: &Answer| -> Result<Option<Verdict>> { Ok(takes(answer).then_some(Verdict::Success)) };
        match self.client.send(outgoing, &classify).await? {
            Sent::Answer(answer) | Sent::Ignored(answer) | Sent::NotModified(answer) => Ok(answer),
        }
    }

    fn outgoing(&self, wire: &Wire, method: &str, body: &Value, id: i64) -> Outgoing {
        let mut outgoing = Outgoing::new(Method::POST, self.url.clone());
        for (name, value) in &self.headers {
            outgoing.set_header(name, value.clone());
        }
        outgoing.set_header("Accept", "application/json, text/event-stream");
        match wire {
            Wire::Newest => {
                outgoing.set_header("MCP-Protocol-Version", NEWEST);
                outgoing.set_header("Mcp-Method", method);
            }
            Wire::Sessions { version, session } => {
                if !version.is_empty() {
                    outgoing.set_header("MCP-Protocol-Version", version.clone());
                }
                if let Some(session) = session {
                    outgoing.set_header("Mcp-Session-Id", session.clone());
                }
            }
        }
        outgoing.body = Body::Json(body.to_string().into());
        outgoing.is_interactive = true;
        outgoing.idle_timeout = Some(self.idle_timeout);
        outgoing.is_enough = Some(Arc::new(move |body| message::is_enough(body, id)));
        outgoing
    }

    fn id(&self) -> i64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    fn unreadable(&self, answer: &Answer) -> Error {
        Error::decode("the server's answer is none of MCP")
            .with("status", answer.status)
            .with(
                "content type",
                self.said(answer.header("content-type").unwrap_or("none")),
            )
            .hint("check config.url: it has to be the server's streamable HTTP endpoint, as in https://…/mcp")
    }
}

/// The session that a server gave; None where it gives none.
fn session_of(answer: &Answer) -> Result<Option<String>> {
    let Some(session) = answer.header(SESSION) else {
        return Ok(None);
    };
    if session.len() <= SESSION_CHARS_MAX && session.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(session.to_owned()));
    }
    Err(
        Error::decode("the server's session has a name that cannot be sent back")
            .hint("tell whoever keeps the server"),
    )
}

/// An answer by which a server of an older revision says that it does not know the newest.
fn is_refusal(answer: &Answer) -> bool {
    (400..500).contains(&answer.status) && !matches!(answer.status, 401 | 403 | 407 | 408 | 425 | 429)
}

/// A refusal that says why.
fn is_rpc_error(answer: &Answer) -> bool {
    is_refusal(answer) && has_fault(&answer.body)
}

fn has_fault(body: &[u8]) -> bool {
    let read = serde_json::from_slice::<Value>(body);
    read.is_ok_and(|message| message.get("error").is_some_and(Value::is_object))
}
