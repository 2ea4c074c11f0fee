//! weir's results and errors as answers of tools.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Map, Value, json};
use weir_control::calls::{Call, Status};
use weir_protocol::{Error, ErrorKind};

/// What went well: for programs as it is, for models as text.
pub(super) fn done(value: Value) -> CallToolResult {
    CallToolResult::structured(value)
}

/// What did not: the kind, what happened, and the next step.
pub(super) fn failed(error: &Error) -> CallToolResult {
    if matches!(error.kind(), ErrorKind::Internal | ErrorKind::State) {
        tracing::error!(%error, kind = %error.kind(), "a tool failed");
    }
    let context: Map<String, Value> = match error.kind() {
        // Names of files and folders are this machine's business.
        ErrorKind::Internal | ErrorKind::State | ErrorKind::Destination => Map::new(),
        _ => error
            .context()
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect(),
    };
    let mut value = json!({
        "kind": error.kind().as_str(),
        "message": error.message(),
        "hint": error.next_step(),
    });
    if !context.is_empty() {
        value["context"] = context.into();
    }
    refused(value)
}

pub(super) fn refused(value: Value) -> CallToolResult {
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    let said = format!(
        "{}: {}. Next step: {}",
        text("kind"),
        text("message"),
        text("hint")
    );
    let mut result = CallToolResult::error(vec![ContentBlock::text(said)]);
    result.structured_content = Some(value);
    result
}

/// A call as it stands: what it gave, that it goes on, or why it did not happen.
pub(super) fn of_call(call: &Call, is_replay: bool) -> CallToolResult {
    match call.status {
        Status::Failed | Status::Uncertain | Status::Refused => {
            let error = call.error.as_ref();
            let hint = error.and_then(|error| error.hint.as_deref());
            refused(json!({
                "kind": error.map_or("internal", |error| error.kind.as_str()),
                "message": error.map_or("the call did not end well", |error| error.message.as_str()),
                "hint": hint.unwrap_or("read the call with the tool call_status"),
                "call": call.id,
                "status": call.status,
            }))
        }
        _ => done(shown(call, is_replay)),
    }
}

/// As [`super::actions::output_schema`] says.
pub(super) fn shown(call: &Call, is_replay: bool) -> Value {
    let mut value = json!({ "call": call.id, "status": call.status });
    let mut put = |name: &str, found: Option<Value>| {
        if let (Some(object), Some(found)) = (value.as_object_mut(), found) {
            object.insert(name.to_owned(), found);
        }
    };
    // Clients hold an output to the schema that they were shown; one that breaks it is read at the call.
    let differs = call.status == Status::Done && call.error.is_some();
    put("output", call.output.clone().filter(|_| !differs));
    put("remote_id", call.remote_id.clone().map(Value::from));
    put("replayed", is_replay.then_some(true.into()));
    let next = match call.status {
        Status::Waiting => Some(
            "A person has to approve it. Nothing was sent yet. Ask call_status for it later; do not call the tool again.",
        ),
        Status::Ready | Status::Running => Some("It is under way. Ask call_status for it in a moment."),
        Status::Done if differs => Some(
            "It is done. Its output is not as declared and is left out; people read it with `weir call show`. Do not call again.",
        ),
        _ => None,
    };
    put("next_step", next.map(Value::from));
    value
}
