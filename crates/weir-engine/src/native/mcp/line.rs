//! The way to a server: requests go out, and what was said to each comes back.

use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use super::http::HttpLine;
use super::message::{Fault, Heard};
use super::program::ProgramLine;
use crate::http::Delivery;

/// One request to a server.
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) params: Value,
    /// Besides those of every request, where the server speaks the newest protocol.
    pub(super) headers: Vec<(String, String)>,
    /// Of the call that asks.
    pub(super) correlation_id: Option<&'a str>,
    /// Whether sending it twice does no harm.
    pub(super) repeatable: bool,
    pub(super) delivery: Delivery,
}

pub(super) enum Line {
    Http(Box<HttpLine>),
    Program(Box<ProgramLine>),
}

impl Line {
    pub(super) fn shut(&self) -> Option<Error> {
        match self {
            Self::Http(line) => line.shut(),
            Self::Program(_) => None,
        }
    }

    /// A request that changes nothing.
    pub(super) async fn read(&self, method: &str, params: Value) -> Result<Map<String, Value>> {
        let ask = Ask {
            method,
            params,
            headers: Vec::new(),
            correlation_id: None,
            repeatable: true,
            delivery: Delivery::default(),
        };
        self.ask(&ask).await
    }

    /// What the request gave. Its delivery tells whether it may have done something where this fails.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Map<String, Value>> {
        let heard = match self {
            Self::Http(line) => line.ask(ask).await?,
            Self::Program(line) => line.ask(ask).await?,
        };
        match heard {
            Heard::Result(result) => Ok(result),
            Heard::Fault(fault) => Err(self.refused(&fault, ask)),
            Heard::Asked(method) => {
                ask.delivery.leaves_open();
                Err(Error::denied("the server asks something of its own before it goes on")
                    .with("it asks", self.said(&method))
                    .hint("a gateway has nobody to ask: no sampling, no elicitation, no roots; call the server itself"))
            }
        }
    }

    fn refused(&self, fault: &Fault, ask: &Ask<'_>) -> Error {
        if !fault.is_before_any_effect() {
            ask.delivery.leaves_open();
        }
        fault.error(self.said(&fault.message))
    }

    /// A server's text without secrets, on one line.
    pub(super) fn said(&self, text: &str) -> String {
        let said = match self {
            Self::Http(line) => line.said(text),
            Self::Program(line) => line.said(text),
        };
        said.chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect()
    }

    /// A server's output without secrets of the connection: a server that was shown one could tell it on.
    pub(super) fn clean(&self, output: Value) -> Value {
        let text = output.to_string();
        let clean = self.cleaned(&text);
        if clean == text {
            return output;
        }
        serde_json::from_str(&clean).unwrap_or(Value::String(clean))
    }

    /// Whether a server's text holds a secret of the connection.
    pub(super) fn tells(&self, text: &str) -> bool {
        self.cleaned(text) != text
    }

    fn cleaned(&self, text: &str) -> String {
        match self {
            Self::Http(line) => line.clean(text),
            Self::Program(line) => line.clean(text),
        }
    }

    /// Where it leads, as people are shown.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Http(line) => line.place(),
            Self::Program(line) => format!("program:{}", line.name()),
        }
    }
}
