//! Messages that outside systems send by themselves: known by their signatures, read as a stream.

mod inbox;
mod signature;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::hook::{Arrived, Message, Receiver, Taken};
use weir_protocol::spec::{HookField, HookSpec, SignatureSpec};
use weir_protocol::{Error, Result};

use crate::catalog::Connector;
use crate::config;
use crate::connect::{EngineSettings, base_scope};
use crate::extract::{Path, value_at};
use crate::interpolate::{Templates, hex, text_of};

pub(crate) use inbox::{WithInbox, descriptor};

/// Longer ids stand for themselves by their digest.
const ID_CHARS_MAX: usize = 255;
const KIND_CHARS_MAX: usize = 255;
const TOKEN_CHARS_MAX: usize = 255;
/// Stands where the token of a sender will be that has not sent it yet. Nothing is taken that it signs.
const UNVERIFIED: &str = "unverified";

/// The messages of one connection.
pub struct HookReceiver {
    signature: SignatureSpec,
    /// Several while one is exchanged for another.
    secrets: Vec<String>,
    verify_token: Option<String>,
    id: Option<Field>,
    kind: Option<Field>,
    is_list: bool,
    tells_body: bool,
}

enum Field {
    Header(String),
    /// The first that has a value.
    Paths(Vec<Path>),
}

impl Field {
    fn new(spec: &HookField) -> Result<Self> {
        Ok(match spec {
            HookField::Header(name) => Self::Header(name.to_ascii_lowercase()),
            HookField::Path(path) => Self::Paths(vec![Path::parse(path)?]),
            HookField::Paths(paths) => {
                let paths: Result<_> = paths.iter().map(|path| Path::parse(path)).collect();
                Self::Paths(paths?)
            }
        })
    }

    fn of(&self, arrived: &Arrived, message: &Value) -> Option<String> {
        match self {
            Self::Header(name) => arrived.header(name).map(str::to_owned),
            Self::Paths(paths) => {
                let mut found = paths.iter().map(|path| text_of(value_at(message, &path.steps)));
                found.find(|text| !text.is_empty())
            }
        }
    }
}

/// Compiles what a connector says of messages and throws it away: a mistake is told before one comes.
pub(crate) fn check_spec(templates: &Templates, spec: &HookSpec) -> Result<()> {
    templates.compile("hook: signature: secret", spec.signature.secret())?;
    for field in spec.id.iter().chain(&spec.kind) {
        Field::new(field)?;
    }
    Ok(())
}

impl HookReceiver {
    /// None where the connector receives nothing.
    pub fn connect(
        connector: &Connector,
        connection: &ConnectionSpec,
        settings: &EngineSettings,
    ) -> Result<Option<Self>> {
        let Some(spec) = &connector.spec.hook else {
            return Ok(None);
        };
        let made = Self::make(connector, spec, connection, settings);
        made.map(Some)
            .map_err(|error| error.with("connection", &connection.connection))
    }

    fn make(
        connector: &Connector,
        spec: &HookSpec,
        connection: &ConnectionSpec,
        settings: &EngineSettings,
    ) -> Result<Self> {
        let mut connection = connection.clone();
        connection.config = config::validate(connector.spec.config.as_ref(), &connection.config)?;
        let templates = Templates::new(&settings.clock);
        let scope = base_scope(&connection);
        let render = |field: &str, text: &str| templates.compile(field, text)?.render_text(&scope);
        let secret = render("hook: signature: secret", spec.signature.secret())?;
        let lines = secret.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets: Vec<String> = lines.map(str::to_owned).collect();
        if secrets.is_empty() {
            return Err(Error::auth("the secret that signs messages is not set")
                .with("template", spec.signature.secret())
                .hint(format!(
                    "set what it names in connections/{}.yaml",
                    connection.connection
                )));
        }
        let verify_token = match &spec.signature {
            SignatureSpec::Meta { verify_token, .. } => {
                Some(render("hook: signature: verify_token", verify_token)?)
            }
            _ => None,
        };
        Ok(Self {
            signature: spec.signature.clone(),
            secrets,
            verify_token,
            id: spec.id.as_ref().map(Field::new).transpose()?,
            kind: spec.kind.as_ref().map(Field::new).transpose()?,
            is_list: spec.is_list,
            tells_body: connection.hook.tells_body.unwrap_or(spec.tells_body),
        })
    }

    /// Whether the connection waits for the token that messages will be signed by.
    fn is_unverified(&self) -> bool {
        matches!(self.signature, SignatureSpec::Notion { .. })
            && self.secrets.iter().all(|secret| secret == UNVERIFIED)
    }

    /// Meta asks by a GET with a token that both sides know.
    fn asked(&self, arrived: &Arrived) -> Result<Taken> {
        let url = url::Url::parse(&arrived.url).map_err(|_| nothing_to_get())?;
        let of = |wanted: &str| {
            let found = url.query_pairs().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.into_owned())
        };
        let (Some(token), Some(given), Some(challenge)) =
            (&self.verify_token, of("hub.verify_token"), of("hub.challenge"))
        else {
            return Err(nothing_to_get());
        };
        // Digests, so that the comparison takes as long whatever was guessed.
        if token.is_empty() || Sha256::digest(token) != Sha256::digest(&given) {
            return Err(Error::auth("the verify token is another one")
                .hint("give the sender the token of the connection's credential"));
        }
        Ok(Taken::Answer(challenge))
    }

    fn messages(&self, arrived: &Arrived) -> Result<Taken> {
        let takes_forms = matches!(
            self.signature,
            SignatureSpec::Slack { .. } | SignatureSpec::Twilio { .. }
        );
        let text = body_text(arrived, takes_forms)?;
        let value: Value = serde_json::from_str(&text).map_err(|error| {
            Error::usage("the body is not JSON")
                .caused_by(error)
                .hint("send JSON in UTF-8, or a form")
        })?;
        if matches!(self.signature, SignatureSpec::Slack { .. })
            && value.get("type").and_then(Value::as_str) == Some("url_verification")
            && let Some(challenge) = value.get("challenge").and_then(Value::as_str)
        {
            return Ok(Taken::Answer(challenge.to_owned()));
        }
        match (self.is_list, value) {
            (true, Value::Array(items)) => {
                // As they were sent: another spelling of a number would be another number to somebody.
                let raw: Vec<&RawValue> = serde_json::from_str(&text).map_err(|error| {
                    Error::usage("the body's list cannot be taken apart")
                        .caused_by(error)
                        .hint("send JSON in UTF-8")
                })?;
                let both = items.iter().zip(raw);
                let all = both.map(|(item, raw)| self.message(arrived, item, raw.get().to_owned()));
                Ok(Taken::Messages(all.collect::<Result<_>>()?))
            }
            (_, value) => Ok(Taken::Messages(vec![self.message(
                arrived,
                &value,
                text.into_owned(),
            )?])),
        }
    }

    fn message(&self, arrived: &Arrived, value: &Value, body: String) -> Result<Message> {
        let of = |field: &Option<Field>| field.as_ref().and_then(|field| field.of(arrived, value));
        let id = match of(&self.id).filter(|id| !id.is_empty()) {
            Some(id) if id.len() <= ID_CHARS_MAX && !id.chars().any(char::is_control) => id,
            Some(id) => hex(&Sha256::digest(&id)),
            None if self.id.is_some() => {
                return Err(
                    Error::usage("the message has no id where the connector says it has one")
                        .hint("check `hook.id` in connector.yaml against what the system sends"),
                );
            }
            None => hex(&Sha256::digest(&body)),
        };
        let kind = of(&self.kind).filter(|kind| !kind.is_empty());
        let kind = kind.map(|kind| {
            let shown = kind.chars().filter(|sign| !sign.is_control());
            shown.take(KIND_CHARS_MAX).collect()
        });
        Ok(Message {
            id,
            kind,
            body,
            tells_body: self.tells_body,
        })
    }
}

impl Receiver for HookReceiver {
    fn take(&self, arrived: &Arrived) -> Result<Taken> {
        if arrived.method == "GET" {
            return self.asked(arrived);
        }
        if self.is_unverified() {
            return first_token(arrived);
        }
        signature::check(&self.signature, &self.secrets, arrived)?;
        self.messages(arrived)
    }
}

/// Notion signs by a token that it sends first, signed by nobody, and that a person gives back to it: it is shown
/// where only the server's people look, and only while the connection waits for it. It opens nothing by itself: until it
/// is entered at Notion and set as the secret, nothing is taken from there.
fn first_token(arrived: &Arrived) -> Result<Taken> {
    // What is no JSON brings no token either, and is refused for that.
    let sent: Option<Value> = serde_json::from_slice(&arrived.body).ok();
    let token = sent.as_ref().and_then(|body| body["verification_token"].as_str());
    let Some(token) = token.filter(|token| token.len() <= TOKEN_CHARS_MAX) else {
        return Err(
            Error::auth("the sender has not been verified yet, so nothing proves who sent this").hint(
                "put the verification token, which the server's log shows, in the place of `unverified`",
            ),
        );
    };
    tracing::warn!(
        token,
        "Notion sent its verification token, shown here alone: enter it at Notion, and set it as the connection's secret"
    );
    Ok(Taken::Answer("received".to_owned()))
}

/// JSON text as it came; a form as an object.
fn body_text(arrived: &Arrived, takes_forms: bool) -> Result<Cow<'_, str>> {
    let kind = arrived.header("content-type").unwrap_or_default();
    // The header is signed by nobody: only who sends forms is read so.
    if takes_forms && kind.starts_with("application/x-www-form-urlencoded") {
        let fields = url::form_urlencoded::parse(&arrived.body);
        let object: serde_json::Map<String, Value> = fields
            .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))
            .collect();
        return Ok(Cow::Owned(Value::Object(object).to_string()));
    }
    std::str::from_utf8(&arrived.body)
        .map(Cow::Borrowed)
        .map_err(|error| {
            Error::usage("the body is not UTF-8")
                .caused_by(error)
                .hint("send JSON in UTF-8, or a form")
        })
}

fn nothing_to_get() -> Error {
    Error::usage("messages are sent here by POST; there is nothing to get")
        .hint("give this address to the system that is to send its messages")
}
