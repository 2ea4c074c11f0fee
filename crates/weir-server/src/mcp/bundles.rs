//! Bundles as tools, and runs of them. The task of a run is the run.

use std::sync::Arc;

use rmcp::model::{CallToolResponse, CallToolResult, JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use weir_control::bundles::{Answered, Offer, Run, Status, Wanted};
use weir_protocol::spec::Effect;
use weir_protocol::{Error, Result};

use super::actions::Manner;
use super::caller::Caller;
use super::{VIA, answers, tasks};

/// Where these tools have their names: no connection of this name has tools.
pub(super) const NAMESPACE: &str = "bundle";
/// The argument that makes a run happen once however often it is sent.
const KEY: &str = "idempotency_key";

pub(super) fn name(bundle: &str) -> String {
    format!("{NAMESPACE}.{bundle}")
}

/// The bundles that may be asked for and whose input leaves the key's name free.
pub(super) async fn offers(caller: &Caller) -> Result<Vec<Offer>> {
    let Some(desk) = &caller.state.bundles else {
        return Ok(Vec::new());
    };
    let mut offers = desk.permitted(&caller.access, VIA).await?;
    let is_taken = |offer: &Offer| {
        let fields = offer.input.get("properties");
        fields.is_some_and(|fields| fields.get(KEY).is_some())
    };
    offers.retain(|offer| !is_taken(offer));
    Ok(offers)
}

pub(super) fn tool(offer: &Offer) -> Tool {
    let what = offer.description.as_deref().unwrap_or(&offer.title).trim();
    let ending = if what.ends_with(['.', '!', '?']) { "" } else { "." };
    let steps: Vec<String> = offer
        .steps
        .iter()
        .map(|step| format!("{}.{}", step.connection, step.action))
        .collect();
    let pivot = match &offer.pivot {
        Some(step) => format!(" Once its step '{step}' is done it cannot be taken back."),
        None => String::new(),
    };
    let described = format!(
        "{what}{ending} Makes {} as one: where one fails, what is done is taken back.{pivot}",
        steps.join(", ")
    );
    let reads = offer.effect == Effect::Read;
    let hints = ToolAnnotations::with_title(&offer.title)
        .read_only(reads)
        .destructive(!reads && offer.effect != Effect::Write)
        .idempotent(reads)
        .open_world(true);
    Tool::new(name(&offer.bundle), described, Arc::new(input_schema(offer)))
        .with_title(offer.title.clone())
        .with_raw_output_schema(Arc::new(output_schema()))
        .with_annotations(hints)
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
    let fields = schema.entry("properties").or_insert_with(|| json!({}));
    if let Some(fields) = fields.as_object_mut() {
        let about = json!({
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "description": "Makes the run happen once: the same key with the same arguments gives the same run, and tells how it \
                stands. Use a new one, such as a UUID, for every new intent.",
        });
        fields.insert(KEY.to_owned(), about);
    }
    schema
}

fn output_schema() -> JsonObject {
    let statuses = Status::ALL.map(Status::as_str);
    object(json!({
        "type": "object",
        "required": ["run", "status", "steps"],
        "properties": {
            "run": { "type": "string", "description": "Id of the run." },
            "status": { "type": "string", "enum": statuses },
            "steps": { "type": "object", "description": "How each step stands." },
            "output": { "type": "object" },
            "replayed": { "type": "boolean", "description": "It was asked for before, under the same key." },
            "next_step": { "type": "string" },
        },
    }))
}

/// Asks for a run. `Err` where it was not even written down.
pub(super) async fn call(
    caller: &Caller,
    offer: &Offer,
    mut arguments: JsonObject,
    manner: &Manner,
) -> Result<CallToolResponse> {
    let key = match arguments.remove(KEY) {
        None | Some(Value::Null) => None,
        Some(Value::String(key)) => Some(key),
        Some(_) => return Err(Error::usage("the idempotency key is no text").hint("use a UUID")),
    };
    let wanted = Wanted {
        bundle: offer.bundle.clone(),
        input: arguments,
    };
    let asked = caller.bundles()?;
    let asked = asked.ask(&caller.access, &wanted, key.as_deref(), VIA);
    let Answered { run, is_replay } = asked.await?;
    let goes_on = matches!(run.status, Status::Running | Status::Compensating);
    if goes_on && manner.takes_tasks {
        return Ok(tasks::begun_run(&run).into());
    }
    Ok(answered(&run, is_replay).into())
}

/// A run as it stands: what it gave, that it goes on, or why it did not happen.
pub(super) fn answered(run: &Run, is_replay: bool) -> CallToolResult {
    let steps: JsonObject = run
        .steps
        .iter()
        .map(|step| (step.name.clone(), step.status.as_str().into()))
        .collect();
    let mut value = json!({ "run": run.id, "status": run.status, "steps": steps });
    match run.status {
        Status::Done => {
            value["output"] = run.output.clone().unwrap_or_else(|| json!({}));
        }
        Status::Running | Status::Compensating => {
            let next = "It goes on, perhaps once a person has approved a step. Call the tool again under the same idempotency_key \
                to see how it stands.";
            value["next_step"] = next.into();
        }
        Status::Parked | Status::Failed | Status::Compensated => {
            let failure = run.failure();
            let hint = failure.and_then(|failure| failure.hint.as_deref());
            value["kind"] = failure.map_or("internal", |failure| failure.kind.as_str()).into();
            value["message"] = failure
                .map_or("the bundle did not end well", |failure| failure.message.as_str())
                .into();
            value["hint"] = hint.unwrap_or("ask a person to look at the run").into();
            return answers::refused(value);
        }
    }
    if is_replay {
        value["replayed"] = true.into();
    }
    answers::done(value)
}
