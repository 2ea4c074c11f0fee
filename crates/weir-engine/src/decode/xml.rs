//! XML → one JSON document `{"root": …}`: attributes `@name`, text `#text` (or the plain text where
//! there is nothing else), repeated elements as arrays. Declared entities are never expanded.

use bytes::Bytes;
use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};
use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use super::{Decoded, looks_like_html, not_in_format};

/// JSON parsers stop at 128 levels; an element may need two.
const DEPTH_MAX: usize = 60;

/// An element whose end has not come yet.
struct Open {
    name: String,
    members: Map<String, Value>,
    text: String,
}

pub(super) fn decode(text: &Bytes, content_type: Option<&str>) -> Result<Decoded> {
    let Ok(source) = std::str::from_utf8(text) else {
        return Err(not_in_format("XML", text, content_type));
    };
    if source.trim().is_empty() {
        return Ok(Decoded::nothing());
    }
    if looks_like_html(text) || !source.trim_start().starts_with('<') {
        return Err(not_in_format("XML", text, content_type));
    }
    let mut reader = Reader::from_str(source);
    let mut open: Vec<Open> = vec![Open {
        name: String::new(),
        members: Map::new(),
        text: String::new(),
    }];
    loop {
        let position = reader.buffer_position();
        let event = reader.read_event().map_err(|error| broken(position, error))?;
        match event {
            Event::Start(start) => begin(&mut open, &start, position)?,
            Event::Empty(start) => {
                begin(&mut open, &start, position)?;
                end(&mut open, position)?;
            }
            Event::End(_) => end(&mut open, position)?,
            Event::Text(text) => append(
                &mut open,
                &text.decode().map_err(|error| broken(position, error))?,
            ),
            Event::CData(text) => append(
                &mut open,
                &text.decode().map_err(|error| broken(position, error))?,
            ),
            Event::GeneralRef(name) => append(&mut open, &resolve(&name, position)?),
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    match open.pop() {
        Some(document) if open.is_empty() => {
            let json = serde_json::to_vec(&document.members)
                .map_err(|error| Error::internal("XML cannot be written as JSON").caused_by(error))?;
            Ok(Decoded::Document(json.into()))
        }
        _ => Err(Error::decode("XML ends before its elements do").hint("the answer was cut off; try again")),
    }
}

fn begin(open: &mut Vec<Open>, start: &BytesStart<'_>, position: u64) -> Result<()> {
    if open.len() > DEPTH_MAX {
        return Err(
            Error::limit(format!("XML is nested deeper than {DEPTH_MAX} elements"))
                .with("at byte", position)
                .hint("ask for a flatter answer"),
        );
    }
    let mut members = Map::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| broken(position, error))?;
        let value = attribute
            .unescape_value()
            .map_err(|error| broken(position, error))?;
        let name = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
        members.insert(format!("@{name}"), Value::String(value.into_owned()));
    }
    let name = String::from_utf8_lossy(start.name().as_ref()).into_owned();
    open.push(Open {
        name,
        members,
        text: String::new(),
    });
    Ok(())
}

fn end(open: &mut Vec<Open>, position: u64) -> Result<()> {
    let (Some(done), Some(parent)) = (open.pop(), open.last_mut()) else {
        return Err(Error::decode("XML ends an element that it did not begin")
            .with("at byte", position)
            .hint("check path"));
    };
    let text = done.text.trim();
    let mut members = done.members;
    let value = match (members.is_empty(), text.is_empty()) {
        (true, true) => Value::Null,
        (true, false) => Value::String(text.to_owned()),
        (false, true) => Value::Object(members),
        (false, false) => {
            members.insert("#text".to_owned(), Value::String(text.to_owned()));
            Value::Object(members)
        }
    };
    match parent.members.get_mut(&done.name) {
        None => {
            parent.members.insert(done.name, value);
        }
        Some(Value::Array(values)) => values.push(value),
        Some(first) => {
            let values = vec![first.take(), value];
            *first = Value::Array(values);
        }
    }
    Ok(())
}

fn append(open: &mut [Open], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn resolve(name: &BytesRef<'_>, position: u64) -> Result<String> {
    if let Some(character) = name.resolve_char_ref().map_err(|error| broken(position, error))? {
        return Ok(character.to_string());
    }
    let name = name.decode().map_err(|error| broken(position, error))?;
    quick_xml::escape::resolve_xml_entity(&name)
        .map(str::to_owned)
        .ok_or_else(|| {
            Error::decode(format!("XML entity '&{name};' is unknown"))
                .with("at byte", position)
                .hint("entities that a document declares itself are not expanded")
        })
}

fn broken(position: u64, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::decode("XML cannot be read")
        .with("at byte", position)
        .caused_by(error)
        .hint("check decode.format, and that the answer is whole")
}
