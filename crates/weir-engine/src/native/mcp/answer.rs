//! From what a tool gave to an output. All of it is data: nothing in it is followed.

use serde_json::{Map, Value, json};
use weir_protocol::action::Reply;
use weir_protocol::spec::Effect;
use weir_protocol::{Error, Result};

use super::offered::Offered;
use crate::http::Delivery;

/// What is repeated of a text in an error.
pub(super) const SAID_CHARS_MAX: usize = 300;

/// The output of a call, or why it gave none; `delivery` learns where that leaves open what happened.
pub(super) fn reply(
    offered: &Offered,
    result: &Map<String, Value>,
    delivery: &Delivery,
    said: impl Fn(&str) -> String,
) -> Result<Reply> {
    match result.get("resultType").and_then(Value::as_str) {
        None | Some("complete") => {}
        Some("input_required") => {
            return Err(Error::denied("the tool asks for more input before it goes on")
                .hint("a gateway answers no questions of a server; call the server itself, or give all input at once"));
        }
        Some(other) => {
            delivery.leaves_open();
            return Err(Error::decode("the tool gave no result that weir knows")
                .with("result type", said(other))
                .hint("look at the server to find out what it did"));
        }
    }
    let content = result.get("content").and_then(Value::as_array);
    let text = text_of(content.map(Vec::as_slice).unwrap_or_default());
    if result.get("isError") == Some(&Value::Bool(true)) {
        // A server says so of its own timeout too, after which nobody knows what its vendor did. What can be changed
        // again is believed to have failed: else each refused input would be for a person.
        if matches!(
            offered.spec.effect,
            Effect::Destructive | Effect::Money | Effect::Message
        ) {
            delivery.leaves_open();
        }
        return Err(Error::source_failed("the tool says that it failed")
            .with("said", said(&text))
            .hint("look at what it says; of a tool that changes something, find out whether it did before you ask again"));
    }
    let output = match result.get("structuredContent") {
        Some(Value::Null) | None => plain(text, content),
        Some(value) => value.clone(),
    };
    if let Some(schema) = &offered.output
        && let Some(fault) = schema.iter_errors(&output).next()
    {
        // It did what it does, and says something else than it declared.
        delivery.leaves_open();
        return Err(
            Error::decode("the tool does not give the output that it declares")
                .with(
                    "place",
                    format!("output{}", fault.instance_path().as_str().replace('/', ".")),
                )
                .with("problem", fault.masked_with("the value").to_string())
                .hint("tell whoever keeps the server"),
        );
    }
    Ok(Reply {
        output,
        remote_id: None,
        status: 200,
        warning: None,
    })
}

fn text_of(content: &[Value]) -> String {
    let texts = content
        .iter()
        .filter(|block| block["type"] == "text")
        .filter_map(|block| block["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

/// The text, and what is no text as it came.
fn plain(text: String, content: Option<&Vec<Value>>) -> Value {
    let others: Vec<&Value> = content
        .into_iter()
        .flatten()
        .filter(|block| block["type"] != "text")
        .collect();
    if others.is_empty() {
        return json!({ "text": text });
    }
    json!({ "text": text, "content": others })
}
