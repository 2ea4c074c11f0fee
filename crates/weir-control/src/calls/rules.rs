//! Decisions about calls that need no I/O.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use weir_protocol::spec::{ActionSpec, Effect, Idempotency};
use weir_protocol::{Error, ErrorKind, Result};

use super::{Call, Status};

const KEY_LENGTH_MAX: usize = 255;
/// A call that is under way is asked for again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How the keys of bundles' steps begin: nobody else uses those.
pub(crate) const STEP_KEYS: &str = "bundle/";

/// How a call whose outcome is not known is brought to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The vendor sees to it that a second request has no second effect.
    Again,
    /// The vendor tells whether the effect is there.
    LookUp,
    /// A person finds out.
    Person,
}

pub(super) fn remedy(spec: &ActionSpec) -> Remedy {
    match spec.idempotency {
        _ if spec.effect == Effect::Read => Remedy::Again,
        Idempotency::Natural | Idempotency::Header(_) | Idempotency::Body(_) => Remedy::Again,
        Idempotency::Lookup(_) => Remedy::LookUp,
        Idempotency::None => Remedy::Person,
    }
}

/// Whether the caller may use the key again: nothing happened, and the same may work later.
pub(super) fn gives_key_back(error: &Error) -> bool {
    error.kind().is_transient() || error.kind() == ErrorKind::Auth
}

pub(crate) fn check_key(key: &str) -> Result<()> {
    if key.starts_with(STEP_KEYS) {
        return Err(
            Error::usage("the idempotency key is one of weir's own").hint(format!(
                "use one that does not begin with {STEP_KEYS}, such as a UUID"
            )),
        );
    }
    if (1..=KEY_LENGTH_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::usage("the idempotency key is not usable").hint(format!(
        "use 1 to {KEY_LENGTH_MAX} letters, digits and signs without spaces, such as a UUID"
    )))
}

/// What makes two calls under one key the same.
pub(super) fn asked_digest(connection: &str, action: &str, input: &Map<String, Value>) -> String {
    digest(&json!({ "connection": connection, "action": action, "input": input }))
}

/// Why a call cannot be gone on with by these actions: the connector or the connection is not what it was asked under.
pub(super) fn changed(call: &Call, (connector, version): (&str, &str), fingerprint: &str) -> Option<Error> {
    let is_same = call.connector == connector
        && call.version == version
        && call
            .fingerprint
            .as_deref()
            .is_none_or(|known| known == fingerprint);
    (!is_same).then(|| {
        Error::new(
            ErrorKind::Conflict,
            "the connector or the connection's settings changed after it was asked for",
        )
        .with("asked under", format!("{}@{}", call.connector, call.version))
        .with("now", format!("{connector}@{version}"))
    })
}

/// All that an approval is bound to: any change of it voids the approval.
pub(super) struct Bound<'a> {
    pub(super) tenant: &'a str,
    pub(super) connection: &'a str,
    pub(super) connector: (&'a str, &'a str),
    pub(super) fingerprint: &'a str,
    pub(super) spec: &'a ActionSpec,
    pub(super) input: &'a Map<String, Value>,
    /// Of the policies and of the rules of approvals.
    pub(super) versions: (&'a str, &'a str),
}

impl Bound<'_> {
    pub(super) fn digest(&self) -> Result<String> {
        let spec = serde_json::to_value(self.spec).map_err(|error| {
            Error::internal("an action cannot be written as JSON")
                .caused_by(error)
                .hint("report it")
        })?;
        Ok(digest(&json!({
            "tenant": self.tenant,
            "connection": self.connection,
            "connector": self.connector.0,
            "version": self.connector.1,
            "fingerprint": self.fingerprint,
            "action": spec,
            "input": self.input,
            "policies": self.versions.0,
            "rules": self.versions.1,
        })))
    }
}

pub(crate) fn digest(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    format!("{:x}", Sha256::digest(text))
}

/// JSON with its keys in order, so that one meaning has one text.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|one, other| one.0.cmp(other.0));
            out.push('{');
            for (place, (key, value)) in members.into_iter().enumerate() {
                let comma = if place == 0 { "" } else { "," };
                // A String takes everything.
                write!(out, "{comma}{}:", Value::from(key.as_str())).unwrap_or_default();
                write(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        plain => write!(out, "{plain}").unwrap_or_default(),
    }
}

/// What a key that was used before gives: its call, unless it is another one or still under way.
pub(super) fn replay(found: Call, asked_digest: &str) -> Result<Call> {
    let key = found.idempotency_key.clone().unwrap_or_default();
    if found.asked_digest != asked_digest {
        return Err(Error::spec("the idempotency key was used for another call")
            .with("key", key)
            .with("call", &found.id)
            .hint("use a new key for every new call"));
    }
    if found.status == Status::Running {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the call with this idempotency key is under way",
        )
        .after(LOOK_AGAIN)
        .with("key", key)
        .with("call", &found.id)
        .hint("ask again in a moment, or read the call"));
    }
    Ok(found)
}

pub(super) fn no_such_call(id: &str) -> Error {
    Error::not_found(format!("there is no call '{id}'")).hint("`weir call list` shows those there are")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_meaning_has_one_digest() {
        let read = |text: &str| digest(&serde_json::from_str(text).unwrap());
        assert_eq!(
            read(r#"{"a": 1, "b": [{"d": 1, "c": 2}]}"#),
            read(r#"{"b":[{"c":2,"d":1}],"a":1}"#)
        );
        assert_ne!(read(r#"{"a": 1}"#), read(r#"{"a": "1"}"#));
        assert_ne!(read(r#"{"a": [1, 2]}"#), read(r#"{"a": [2, 1]}"#));
        assert_ne!(read(r#"{"a": {"b": 1}}"#), read(r#"{"a": "{\"b\":1}"}"#));
    }

    #[test]
    fn keys_are_plain() {
        for right in ["a", "7b1c-…".trim_end_matches('…'), &"k".repeat(255)] {
            check_key(right).unwrap();
        }
        for wrong in ["", "bundle/r/s", "a b", "ü", "a\n", &"k".repeat(256)] {
            check_key(wrong).unwrap_err();
        }
    }
}
