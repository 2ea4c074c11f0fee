//! A server that is a program: messages are lines on its standard input and output. It answers one request at a
//! time; one that was cut off in the middle is ended, as nobody knows where it stands.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;
use tokio::sync::Mutex;
use weir_protocol::{Error, Result};

use super::answer::SAID_CHARS_MAX;
use super::line::Ask;
use super::message::{self, Heard, METHOD_NOT_FOUND};
use crate::native::process::{Line, Program, Running};

pub(super) struct ProgramLine {
    program: Program,
    /// None where it does not run.
    talk: Mutex<Option<Talk>>,
    /// Longest wait for one answer.
    limit: Duration,
}

/// A program that runs and was greeted.
struct Talk {
    running: Running,
    input: ChildStdin,
    is_newest: bool,
    id: i64,
}

impl ProgramLine {
    pub(super) fn new(program: Program, limit: Duration) -> Self {
        Self {
            program,
            talk: Mutex::new(None),
            limit,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.program.name()
    }

    pub(super) fn said(&self, text: &str) -> String {
        self.program.redactor().excerpt(text.as_bytes(), SAID_CHARS_MAX)
    }

    pub(super) fn clean(&self, text: &str) -> String {
        self.program.redactor().clean(text)
    }

    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Heard> {
        let turn = tokio::time::timeout(self.limit, self.talk.lock()).await;
        let mut kept = turn.map_err(|_| {
            Error::unavailable(format!("'{}' is busy with other calls", self.name()))
                .with("limit", format!("{} s", self.limit.as_secs()))
                .hint("nothing was sent: ask again")
        })?;
        // Taken out: whoever gives up in the middle ends the program with it.
        let mut talk = match kept.take().and_then(Talk::if_it_runs) {
            Some(talk) => talk,
            None => self.begin().await?,
        };
        ask.delivery.begins();
        let heard = match tokio::time::timeout(self.limit, talk.ask(ask)).await {
            Ok(heard) => heard.map_err(|error| talk.running.with_tail(error))?,
            Err(_) => {
                return Err(Error::timeout(format!(
                    "'{}' did not answer in time and was ended",
                    self.name()
                ))
                .with("limit", format!("{} s", self.limit.as_secs()))
                .hint("raise reliability.timeout of the connection if it is always so slow"));
            }
        };
        ask.delivery.is_known();
        *kept = Some(talk);
        Ok(heard)
    }

    async fn begin(&self) -> Result<Talk> {
        let (running, input) = self.program.converse(self.program.folder()?)?;
        let mut talk = Talk {
            running,
            input,
            is_newest: false,
            id: 0,
        };
        match tokio::time::timeout(self.limit, talk.greet()).await {
            Ok(greeted) => greeted.map_err(|error| talk.running.with_tail(error))?,
            Err(_) => {
                let error = Error::timeout(format!("'{}' did not greet in time", self.name()))
                    .hint("run it by hand: it has to speak MCP over standard input and output");
                return Err(talk.running.with_tail(error));
            }
        }
        Ok(talk)
    }
}

impl Talk {
    fn if_it_runs(mut self) -> Option<Self> {
        self.running.is_running().then_some(self)
    }

    /// Programs that know the newest revision alone refuse to be greeted.
    async fn greet(&mut self) -> Result<()> {
        match self.exchange("initialize", message::greeting()).await? {
            Heard::Result(result) => {
                message::chosen(&result)?;
                return self.write(&message::greeted()).await;
            }
            Heard::Fault(_) | Heard::Asked(_) => self.is_newest = true,
        }
        match self.exchange("server/discover", json!({})).await? {
            Heard::Result(result) if message::knows_newest(&result) => Ok(()),
            _ => Err(
                Error::source_failed("the program speaks no revision of MCP that weir knows")
                    .hint("bring it up to date"),
            ),
        }
    }

    async fn ask(&mut self, ask: &Ask<'_>) -> Result<Heard> {
        self.exchange(ask.method, ask.params.clone()).await
    }

    async fn exchange(&mut self, method: &str, params: Value) -> Result<Heard> {
        self.id += 1;
        let id = self.id;
        let request = message::request(id, method, params, self.is_newest);
        self.write(&request).await?;
        loop {
            let said = match self.running.next_line().await? {
                None => return Err(gone()),
                Some(Line::Whole(line) | Line::Cut(line)) => serde_json::from_slice::<Value>(line),
            };
            // What is no message is something that a program prints by mistake.
            let Ok(message) = said else { continue };
            match (message["method"].as_str(), message.get("id")) {
                (Some(asked), Some(asked_id)) => {
                    let answer = refusal(asked, asked_id);
                    self.write(&answer).await?;
                }
                _ => {
                    if let Some(heard) = message::hear(&message, id) {
                        return Ok(heard);
                    }
                }
            }
        }
    }

    async fn write(&mut self, message: &Value) -> Result<()> {
        let mut line = message.to_string();
        line.push('\n');
        let written = async {
            self.input.write_all(line.as_bytes()).await?;
            self.input.flush().await
        };
        written.await.map_err(|error| gone().caused_by(error))
    }
}

/// A program is told at once that nobody is here to be asked.
fn refusal(method: &str, id: &Value) -> Value {
    if method == "ping" {
        return json!({ "jsonrpc": "2.0", "id": id, "result": {} });
    }
    let error = json!({ "code": METHOD_NOT_FOUND, "message": "a gateway answers no questions of a server" });
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

fn gone() -> Error {
    Error::unavailable("the program ended before it answered").hint("run it by hand to see what it says")
}
