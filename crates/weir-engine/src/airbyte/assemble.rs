//! Records out of several answers, or parts of one, as one text.

use serde_json::Value;
use weir_protocol::{Error, Result};

use super::records::{Selected, Texts, parsed};
use super::request::Properties;
use crate::extract::Exact;

fn deep_merge(to: &mut Value, from: Value) {
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

/// The records of one page that came part by part, for as many lists of properties. Those that have no key stand alone.
pub(super) fn by_key(properties: &Properties, answers: &[Vec<Selected>]) -> Result<Selected> {
    let texts: Vec<&[u8]> = answers.iter().flatten().flat_map(Selected::texts).collect();
    // One for all, since parts of different texts become one record.
    let exact = Exact::of(&texts);
    let mut alone = Vec::new();
    let mut merged: Vec<(String, Value)> = Vec::new();
    for text in texts {
        let record = parsed(text, &exact)?;
        let key = properties
            .is_chunked()
            .then(|| properties.merge_key_of(&record))
            .flatten();
        match key {
            None => alone.push(record),
            Some(key) => match merged.iter_mut().find(|(known, _)| *known == key) {
                Some((_, there)) => deep_merge(there, record),
                None => merged.push((key, record)),
            },
        }
    }
    let mut written = Texts::default();
    for record in alone.iter().chain(merged.iter().map(|(_, record)| record)) {
        written.push(record, &exact)?;
    }
    let (body, records) = written.finish();
    Ok(Selected {
        extracted: records.len() as u64,
        body,
        records,
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
