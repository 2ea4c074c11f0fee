//! Actions of connections as tools, and calls of them.

use std::sync::Arc;

use rmcp::model::{CallToolResponse, JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use weir_control::calls::{Answered, Offer, Status, Wanted};
use weir_protocol::spec::{Approval, Effect};
use weir_protocol::{Error, ErrorKind, Result};

use super::caller::Caller;
use super::{VIA, answers, bundles, tasks};

/// The argument that makes a call happen once however often it is sent. Ids of messages cannot: a client that
/// lost an answer asks again under a new one.
const KEY: &str = "idempotency_key";
/// What an error says of the call that it is about.
pub(super) const CALL: &str = "call";
/// Its name where the action has a field of that name itself.
const KEY_ELSE: &str = "weir_idempotency_key";
const NAME_LENGTH_MAX: usize = 128;

/// What is said of a call besides the tool's own arguments.
pub(super) struct Manner {
    pub(super) takes_tasks: bool,
}

/// `<connection>.<action>`; None where that is no name of a tool, or one that a bundle could have.
pub(super) fn name(connection: &str, action: &str) -> Option<String> {
    if connection == bundles::NAMESPACE {
        return None;
    }
    let name = format!("{connection}.{action}");
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (name.len() <= NAME_LENGTH_MAX && name.bytes().all(is_plain)).then_some(name)
}

/// The argument for keys of this action; None for what only reads.
fn key_of(offer: &Offer) -> Option<&'static str> {
    if offer.effect == Effect::Read {
        return None;
    }
    let is_own = offer
        .input
        .get("properties")
        .is_some_and(|fields| fields.get(KEY).is_some());
    Some(if is_own { KEY_ELSE } else { KEY })
}

pub(super) fn tool(offer: &Offer) -> Option<Tool> {
    let name = name(&offer.connection, &offer.action)?;
    let tool = Tool::new(name, described(offer), Arc::new(input_schema(offer)));
    Some(
        tool.with_title(format!("{} ({})", offer.title, offer.connection))
            .with_raw_output_schema(Arc::new(output_schema(offer.output.as_ref())))
            .with_annotations(annotations(offer)),
    )
}

fn described(offer: &Offer) -> String {
    let what = offer.description.as_deref().unwrap_or(&offer.title).trim();
    let ending = if what.ends_with(['.', '!', '?']) { "" } else { "." };
    let waits = match offer.approval {
        Approval::Required => " A person may have to approve the call before it is made.",
        Approval::Auto | Approval::Forbidden => "",
    };
    let effect = match offer.effect {
        Effect::Read => "",
        Effect::Write => " It changes data there.",
        Effect::Destructive => " It deletes or overwrites data there.",
        Effect::Money => " It moves money.",
        Effect::Message => " It sends a message to people.",
    };
    format!(
        "{what}{ending}{effect}{waits} Connection '{}' ({}).",
        offer.connection, offer.connector
    )
}

/// What the effect class says, in MCP's words. All are hints to a client; what may be done is decided here.
fn annotations(offer: &Offer) -> ToolAnnotations {
    let reads = offer.effect == Effect::Read;
    let destroys = matches!(
        offer.effect,
        Effect::Destructive | Effect::Money | Effect::Message
    );
    ToolAnnotations::with_title(&offer.title)
        .read_only(reads)
        // A message or a payment cannot be taken back.
        .destructive(!reads && destroys)
        // Without a key, each call is a new one.
        .idempotent(reads)
        .open_world(true)
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}

fn input_schema(offer: &Offer) -> JsonObject {
    let mut schema = object(offer.input.clone());
    schema.insert("type".to_owned(), "object".into());
    let Some(key) = key_of(offer) else { return schema };
    let fields = schema.entry("properties").or_insert_with(|| json!({}));
    if let Some(fields) = fields.as_object_mut() {
        let about = json!({
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "description": "Makes the call happen once: the same key with the same arguments gives the same call. \
                Use a new one, such as a UUID, for every new intent, and the same one when you repeat a call whose answer was lost.",
        });
        fields.insert(key.to_owned(), about);
    }
    schema
}

/// What a call gives: its id, how it stands, and what the action gave.
fn output_schema(output: Option<&Value>) -> JsonObject {
    let output = output.cloned().unwrap_or_else(|| json!({}));
    let statuses = Status::ALL.map(Status::as_str);
    object(json!({
        "type": "object",
        "required": ["call", "status"],
        "properties": {
            "call": { "type": "string", "description": "Id of the call." },
            "status": { "type": "string", "enum": statuses },
            "output": output,
            "remote_id": { "type": "string", "description": "The vendor's id of what was made or changed." },
            "replayed": { "type": "boolean", "description": "It was asked for before, under the same key." },
            "next_step": { "type": "string" },
        },
    }))
}

/// Takes the key out of a call's arguments.
fn wanted(offer: &Offer, mut arguments: JsonObject) -> Result<(Wanted, Option<String>)> {
    let key = match key_of(offer).and_then(|name| arguments.remove(name)) {
        None | Some(Value::Null) => None,
        Some(Value::String(key)) => Some(key),
        Some(_) => return Err(Error::usage("the idempotency key is no text").hint("use a UUID")),
    };
    let wanted = Wanted {
        connection: offer.connection.clone(),
        action: offer.action.clone(),
        input: arguments,
    };
    Ok((wanted, key))
}

/// Asks for a call. `Err` where it was not even written down, or where a person has to connect the account.
pub(super) async fn call(
    caller: &Caller,
    offer: &Offer,
    arguments: JsonObject,
    manner: &Manner,
) -> Result<CallToolResponse> {
    let (wanted, key) = wanted(offer, arguments)?;
    let desk = caller.desk()?;
    let asked = desk.ask(&caller.access, &wanted, key.as_deref(), VIA);
    let Answered { call, is_replay } = asked.await?;
    let is_unsigned = call.status == Status::Failed
        && call
            .error
            .as_ref()
            .is_some_and(|error| error.kind == ErrorKind::Auth.as_str());
    if is_unsigned && let Some(error) = call.error.clone() {
        return Err(Error::from(error).with(CALL, &call.id));
    }
    let goes_on = matches!(call.status, Status::Waiting | Status::Ready | Status::Running);
    if goes_on && manner.takes_tasks {
        return Ok(tasks::begun(&call).into());
    }
    Ok(answers::of_call(&call, is_replay).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(effect: &str, input: Value) -> Offer {
        let spec = json!({
            "name": "send", "title": "Send", "effect": effect, "input": input, "request": { "path": "/" },
        });
        let spec = serde_json::from_value(spec).unwrap();
        Offer::new("shop", ("till", "1.0.0"), Approval::Auto, &spec)
    }

    #[test]
    fn names_are_those_that_clients_take() {
        assert_eq!(name("shop", "send").as_deref(), Some("shop.send"));
        assert_eq!(name("shop", "s end"), None);
        assert_eq!(name("größe", "send"), None);
        assert_eq!(name(&"s".repeat(123), "send").map(|name| name.len()), Some(128));
        assert_eq!(name(&"s".repeat(124), "send"), None);
    }

    #[test]
    fn a_key_has_a_name_that_is_free_and_reads_need_none() {
        let plain = offer(
            "message",
            json!({ "type": "object", "additionalProperties": false }),
        );
        let own = offer(
            "write",
            json!({ "type": "object", "properties": { "idempotency_key": { "type": "integer" } } }),
        );
        let schema = input_schema(&plain);
        assert_eq!(schema["properties"]["idempotency_key"]["type"], "string");
        assert_eq!(schema["additionalProperties"], false);
        let arguments = || object(json!({ "idempotency_key": "k", "weir_idempotency_key": "w" }));
        let (asked, key) = wanted(&plain, arguments()).unwrap();
        assert_eq!(key.as_deref(), Some("k"));
        assert!(asked.input.contains_key("weir_idempotency_key"));
        let (asked, key) = wanted(&own, arguments()).unwrap();
        assert_eq!(key.as_deref(), Some("w"));
        assert_eq!(asked.input["idempotency_key"], "k");
        let read = offer("read", json!({ "type": "object" }));
        assert_eq!(input_schema(&read).get("properties"), None);
        assert_eq!(wanted(&read, arguments()).unwrap().1, None);
        let number = object(json!({ "idempotency_key": 7 }));
        assert_eq!(wanted(&plain, number).unwrap_err().kind(), ErrorKind::Usage);
    }

    #[test]
    fn hints_follow_the_effect() {
        let hints = |effect: &str| {
            let hints = annotations(&offer(effect, json!({ "type": "object" })));
            (
                hints.read_only_hint.unwrap(),
                hints.destructive_hint.unwrap(),
                hints.idempotent_hint.unwrap(),
            )
        };
        assert_eq!(hints("read"), (true, false, true));
        assert_eq!(hints("write"), (false, false, false));
        for effect in ["destructive", "money", "message"] {
            assert_eq!(hints(effect), (false, true, false));
        }
    }
}
