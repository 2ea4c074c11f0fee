//! From an answer to an output.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use weir_protocol::action::Reply;
use weir_protocol::spec::Answers;
use weir_protocol::{Error, Result};

use super::plan::ActionPlan;
use crate::extract::{Path, value_at};
use crate::http::Answer;

/// Of a file that an action gives: it is kept with the call.
const FILE_BYTES_MAX: usize = 4 << 20;

/// Which parts of an answer the output is.
#[derive(Debug, Clone)]
pub(super) struct Output {
    fields: Vec<(String, Path)>,
    remote_id: Option<String>,
}

impl Output {
    pub(super) fn new(fields: &BTreeMap<String, String>, remote_id: Option<&str>) -> Result<Self> {
        let fields = fields
            .iter()
            .map(|(name, path)| Ok((name.clone(), Path::parse(path)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            fields,
            remote_id: remote_id.map(str::to_owned),
        })
    }

    pub(super) fn is_whole(&self) -> bool {
        self.fields.is_empty()
    }

    /// The output that the answer's document gives. A field that is not there is null.
    pub(super) fn pick(&self, document: Value) -> (Value, Option<String>) {
        let output = if self.is_whole() {
            document
        } else {
            let pick = |(name, path): &(String, Path)| (name.clone(), value_at(&document, &path.steps));
            Value::Object(self.fields.iter().map(pick).collect::<Map<_, _>>())
        };
        let id = self.remote_id.as_deref().and_then(|field| match &output[field] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        (output, id)
    }
}

pub(super) fn reply(plan: &ActionPlan, answer: &Answer) -> Result<Reply> {
    let document = match plan.spec.answers {
        Answers::Json => document_of(answer, plan.output.is_whole())?,
        Answers::File => file_of(answer)?,
    };
    let (output, remote_id) = plan.output.pick(document);
    let warning = match plan.check_output(&output) {
        Ok(()) => None,
        Err(fault) => Some(tolerated(plan, remote_id.as_deref(), fault)?),
    };
    Ok(Reply {
        output,
        remote_id,
        status: answer.status,
        warning,
    })
}

/// An effect is there though its answer looks otherwise than declared; what was only read is of no use then. Where the
/// answer lacks the id of what was made, nothing in it says that anything was.
fn tolerated(plan: &ActionPlan, remote_id: Option<&str>, fault: Error) -> Result<String> {
    let lacks_id = plan.spec.remote_id.is_some() && remote_id.is_none();
    if plan.spec.effect.is_harmless() || lacks_id {
        return Err(fault);
    }
    tracing::warn!(action = plan.spec.name, %fault, "an effect is there, but its output is not as declared");
    Ok(fault.to_string())
}

/// The answer as a value. Text that is no JSON is taken as it is where nothing is picked from it.
fn document_of(answer: &Answer, takes_text: bool) -> Result<Value> {
    if answer.body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    match serde_json::from_slice(&answer.body) {
        Ok(document) => Ok(document),
        Err(_) if takes_text => match std::str::from_utf8(&answer.body) {
            Ok(text) => Ok(Value::String(text.to_owned())),
            Err(error) => Err(unreadable(answer).caused_by(error)),
        },
        Err(error) => Err(unreadable(answer).caused_by(error)),
    }
}

/// The answer's bytes as they are.
fn file_of(answer: &Answer) -> Result<Value> {
    if answer.body.len() > FILE_BYTES_MAX {
        return Err(Error::limit("the file is larger than an action may give")
            .with("bytes", answer.body.len())
            .with("limit", FILE_BYTES_MAX)
            .hint("fetch it from the vendor by its address"));
    }
    Ok(json!({
        "base64": STANDARD.encode(&answer.body),
        "content_type": answer.header("content-type"),
        "bytes": answer.body.len(),
    }))
}

fn unreadable(answer: &Answer) -> Error {
    Error::decode("the answer is not the JSON that the action declares")
        .with("status", answer.status)
        .with("content type", answer.header("content-type").unwrap_or("none"))
        .hint("check the action's path, and that the vendor answers in JSON (header Accept)")
}
