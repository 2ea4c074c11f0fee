//! Records out of several answers, or parts of one, as one text.

use serde_json::Value;
use weir_protocol::{Error, Result};

use super::records::Selected;

pub(super) fn deep_merge(to: &mut Value, from: Value) {
    match (to, from) {
        (Value::Object(to), Value::Object(from)) => {
            for (key, value) in from {
                match to.get_mut(&key) {
                    Some(there) if there.is_object() && value.is_object() => deep_merge(there, value),
                    _ => {
                        to.insert(key, value);
                    }
                }
            }
        }
        (to, from) => *to = from,
    }
}

/// Values as one text.
pub(super) fn written(records: &[Value]) -> Result<Selected> {
    let mut body = Vec::new();
    let mut spans = Vec::with_capacity(records.len());
    for record in records {
        let start = span_end(body.len())?;
        serde_json::to_writer(&mut body, record).map_err(|error| {
            Error::internal("a record cannot be written as JSON")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })?;
        spans.push(start..span_end(body.len())?);
    }
    Ok(Selected {
        body: body.into(),
        records: spans,
        extracted: records.len() as u64,
        document: None,
    })
}

/// The parts of an archive as one text.
pub(super) fn joined(mut parts: Vec<Selected>) -> Result<Selected> {
    if parts.len() == 1
        && let Some(only) = parts.pop()
    {
        return Ok(only);
    }
    let mut body = Vec::new();
    let mut spans = Vec::new();
    let mut extracted = 0;
    for part in parts {
        extracted += part.extracted;
        for span in part.records {
            let start = span_end(body.len())?;
            body.extend_from_slice(&part.body[span.start as usize..span.end as usize]);
            spans.push(start..span_end(body.len())?);
        }
    }
    Ok(Selected {
        body: body.into(),
        records: spans,
        extracted,
        document: None,
    })
}

fn span_end(at: usize) -> Result<u32> {
    u32::try_from(at).map_err(|_| Error::limit("a page is larger than 4 GiB").hint("ask for smaller pages"))
}
