//! JSON-RPC as MCP has it: what is sent, and what an answer says.

use serde_json::{Map, Value, json};
use weir_protocol::{Error, Result};

/// The newest revision: each request stands for itself.
pub(super) const NEWEST: &str = "2026-07-28";
/// The revision that is asked for where a server needs to be initialized.
pub(super) const SESSIONS: &str = "2025-11-25";
/// Revisions that a server may answer with then.
pub(super) const KNOWN: [&str; 3] = [SESSIONS, "2025-06-18", "2025-03-26"];

pub(super) const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const UNKNOWN_VERSION: i64 = -32022;
/// A person has to go somewhere with a browser.
const NEEDS_URL: i64 = -32042;
/// Codes by which a server says that it did not begin: malformed, unknown, unwanted.
const NOT_BEGUN: [i64; 8] = [
    -32700,
    -32600,
    METHOD_NOT_FOUND,
    INVALID_PARAMS,
    -32020,
    -32021,
    UNKNOWN_VERSION,
    NEEDS_URL,
];

/// What a server said to one request.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    Result(Map<String, Value>),
    Fault(Fault),
    /// It asks something itself before it goes on.
    Asked(String),
}

/// A JSON-RPC error.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) code: i64,
    pub(super) message: String,
    /// HTTP said, too, that the request was not taken.
    pub(super) is_refusal: bool,
    /// It does not take the revision now, and names the newest among those that it takes.
    pub(super) wants_newest: bool,
}

impl Heard {
    /// A refusal by HTTP came before anything was asked of a tool, whatever code stands in its body.
    pub(super) fn with_status(mut self, status: u16) -> Self {
        if let Self::Fault(fault) = &mut self {
            fault.is_refusal = (400..500).contains(&status);
        }
        self
    }
}

impl Fault {
    /// Whether the server surely did nothing.
    pub(super) fn is_before_any_effect(&self) -> bool {
        self.is_refusal || NOT_BEGUN.contains(&self.code)
    }

    pub(super) fn is_unknown_version(&self) -> bool {
        self.code == UNKNOWN_VERSION
    }

    /// As an error of ours; `said` is its message without secrets.
    pub(super) fn error(&self, said: String) -> Error {
        let error = match self.code {
            INVALID_PARAMS => Error::usage("the server refuses the tool's arguments")
                .hint("look at what it says, and mend the input"),
            METHOD_NOT_FOUND => Error::not_found("the server does not know the request")
                .hint("check config.url, and that the server has tools"),
            NEEDS_URL => Error::auth("the server wants a person to connect an account in a browser")
                .hint("connect it at the server itself; a gateway has no browser"),
            _ => Error::source_failed("the server answered with an error")
                .hint("look at what it says; its own log may say more"),
        };
        error.with("code", self.code).with("said", said)
    }
}

/// A request with its id; the newest wire says with each who asks.
pub(super) fn request(id: i64, method: &str, params: Value, is_newest: bool) -> Value {
    let mut params = match params {
        Value::Object(params) => params,
        _ => Map::new(),
    };
    if is_newest {
        params.insert(
            "_meta".to_owned(),
            json!({
                "io.modelcontextprotocol/protocolVersion": NEWEST,
                "io.modelcontextprotocol/clientInfo": client_info(),
                "io.modelcontextprotocol/clientCapabilities": {},
            }),
        );
    }
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// What the first request says to a server that has to be initialized.
pub(super) fn greeting() -> Value {
    json!({ "protocolVersion": SESSIONS, "capabilities": {}, "clientInfo": client_info() })
}

pub(super) fn greeted() -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })
}

fn client_info() -> Value {
    json!({ "name": "weir", "version": env!("CARGO_PKG_VERSION") })
}

/// The revision that a server chose when it was greeted.
pub(super) fn chosen(result: &Map<String, Value>) -> Result<String> {
    let version = result.get("protocolVersion").and_then(Value::as_str);
    match version {
        Some(version) if KNOWN.contains(&version) => Ok(version.to_owned()),
        _ => Err(
            Error::source_failed("the server speaks no revision of MCP that weir knows")
                .with("it speaks", version.unwrap_or("none"))
                .with("weir knows", format!("{NEWEST}, {}", KNOWN.join(", ")))
                .hint("bring the server up to date"),
        ),
    }
}

/// Whether what a server says of itself has the newest revision.
pub(super) fn knows_newest(result: &Map<String, Value>) -> bool {
    let versions = result.get("supportedVersions").and_then(Value::as_array);
    versions.is_some_and(|all| all.iter().any(|version| version == NEWEST))
}

/// What one message says to the request with this id; None where it is about something else.
pub(super) fn hear(message: &Value, id: i64) -> Option<Heard> {
    if let Some(method) = message.get("method").and_then(Value::as_str) {
        // Without an id it is a notification, and nobody waits for an answer.
        return message
            .get("id")
            .map(|_| Heard::Asked(method.to_owned()))
            .filter(|_| method != "ping");
    }
    let is_ours = message.get("id").and_then(Value::as_i64) == Some(id);
    if let Some(fault) = message.get("error") {
        // Whoever could not read the request cannot name it either.
        let is_nobodys = message.get("id").is_none_or(|id| id.is_null() || id.is_string());
        return (is_ours || is_nobodys).then(|| {
            Heard::Fault(Fault {
                code: fault.get("code").and_then(Value::as_i64).unwrap_or_default(),
                message: fault["message"].as_str().unwrap_or_default().to_owned(),
                is_refusal: false,
                wants_newest: fault["data"]["supported"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|version| version == NEWEST)),
            })
        });
    }
    match message.get("result") {
        Some(Value::Object(result)) if is_ours => Some(Heard::Result(result.clone())),
        _ => None,
    }
}

/// What a body says: one message, or a stream of events of which each has one.
pub(super) fn hear_body(body: &[u8], id: i64) -> Option<Heard> {
    if let Ok(message) = serde_json::from_slice::<Value>(body) {
        return hear(&message, id);
    }
    events(body).find_map(|data| hear(&serde_json::from_str(&data).ok()?, id))
}

/// Whether a body of events has what was asked for, though it may go on.
pub(super) fn is_enough(body: &[u8], id: i64) -> bool {
    let is_whole = body.ends_with(b"\n\n") || body.ends_with(b"\r\n\r\n");
    is_whole && !body.starts_with(b"{") && hear_body(body, id).is_some()
}

/// The data of each whole event.
fn events(body: &[u8]) -> impl Iterator<Item = String> {
    let text = String::from_utf8_lossy(body).replace("\r\n", "\n");
    let mut all = Vec::new();
    for event in text.split("\n\n") {
        let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
        let data: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        if !data.is_empty() {
            all.push(data.join("\n"));
        }
    }
    all.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_among_notifications() {
        let body = b"event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\r\n\r\nid: 7\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":3,\r\ndata: \"result\":{\"a\":1}}\r\n\r\n";
        let Some(Heard::Result(result)) = hear_body(body, 3) else {
            panic!("{:?}", hear_body(body, 3));
        };
        assert_eq!(result["a"], 1);
        assert!(is_enough(body, 3));
        assert!(!is_enough(body, 4), "somebody else's answer is not ours");
        let cut = &body[..body.len() - 3];
        assert!(!is_enough(cut, 3));
    }

    #[test]
    fn a_request_of_the_server_is_seen_and_a_ping_is_not_one() {
        let asked = json!({ "id": 1, "method": "elicitation/create", "params": {} });
        assert_eq!(
            hear(&asked, 1),
            Some(Heard::Asked("elicitation/create".to_owned()))
        );
        assert_eq!(hear(&json!({ "id": 1, "method": "ping" }), 1), None);
        assert_eq!(hear(&json!({ "method": "notifications/message" }), 1), None);
    }

    #[test]
    fn errors_say_whether_anything_began() {
        let fault = |code: i64| Fault {
            code,
            message: String::new(),
            is_refusal: false,
            wants_newest: false,
        };
        assert!(fault(-32602).is_before_any_effect());
        for open in [-32603, -32000, 0, 1] {
            assert!(!fault(open).is_before_any_effect(), "{open}");
            for (status, is_before) in [(200, false), (400, true), (404, true)] {
                let Heard::Fault(fault) = Heard::Fault(fault(open)).with_status(status) else {
                    panic!("no fault");
                };
                assert_eq!(fault.is_before_any_effect(), is_before, "{status}");
            }
        }
    }

    #[test]
    fn the_newest_wire_says_who_asks() {
        let sent = request(1, "tools/list", json!({}), true);
        assert_eq!(
            sent["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"],
            NEWEST
        );
        assert_eq!(
            request(1, "tools/list", json!({}), false)["params"].get("_meta"),
            None
        );
    }
}
