//! YAML 1.1 as manifests' own tools read it, into JSON values, with the lines they stand on.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};
use weir_protocol::{Error, Result};

/// Nesting beyond which a document is refused.
const DEPTH_MAX: usize = 120;
/// Values that aliases may multiply a document to.
const VALUES_MAX: usize = 2_000_000;

/// A document; the lines only where they were asked for.
pub(super) struct Loaded {
    pub(super) value: Value,
    /// Line by path, as in `streams[0].retriever`.
    lines: HashMap<String, usize>,
}

pub(super) fn load(name: &str, text: &str) -> Result<Loaded> {
    read(name, text, false)
}

/// The line of the component at a path. Follows `$ref` where the path leads through one.
pub(super) fn line_of(name: &str, text: &str, path: &str) -> Option<usize> {
    let loaded = read(name, text, true).ok()?;
    let mut path = super::reference::origin(&loaded.value, path);
    loop {
        if let Some(line) = loaded.lines.get(&path) {
            return Some(*line);
        }
        let cut = path.rfind(['.', '['])?;
        path.truncate(cut);
    }
}

fn read(name: &str, text: &str, with_lines: bool) -> Result<Loaded> {
    let mut builder = Builder {
        anchors: HashMap::new(),
        lines: with_lines.then(HashMap::new),
        values: 0,
    };
    let mut events = Parser::new_from_str(text);
    let mut value = None;
    while let Some(event) = events.next() {
        let (event, span) = event.map_err(|error| {
            let at = error.marker();
            Error::spec(format!("{name}:{}:{}: {}", at.line(), at.col() + 1, error.info()))
                .hint("mend the YAML there")
        })?;
        match event {
            ref event if !is_content(event) && !matches!(event, Event::StreamEnd) => {}
            Event::StreamEnd => break,
            _ if value.is_some() => {
                return Err(Error::spec(format!("{name} holds more than one document"))
                    .hint("keep one manifest a file"));
            }
            event => {
                let line = span.start.line();
                let node = builder.node(event, &mut events, "", line, 0);
                value = Some(node.map_err(|problem| {
                    Error::spec(format!("{name}: {problem}")).hint("mend the YAML there")
                })?);
            }
        }
    }
    Ok(Loaded {
        value: value.unwrap_or(Value::Null),
        lines: builder.lines.unwrap_or_default(),
    })
}

struct Builder {
    anchors: HashMap<usize, Value>,
    lines: Option<HashMap<String, usize>>,
    values: usize,
}

impl Builder {
    fn node<'t>(
        &mut self,
        event: Event<'t>,
        events: &mut Parser<'t, granit_parser::StrInput<'t>>,
        path: &str,
        line: usize,
        depth: usize,
    ) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err(format!("line {line}: nested more than {DEPTH_MAX} levels deep"));
        }
        self.count(1)?;
        if let Some(lines) = &mut self.lines {
            lines.insert(path.to_owned(), line);
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.as_ref().is_some_and(|tag| tag.suffix() == "str");
                let value = if style == ScalarStyle::Plain && !is_text {
                    scalar(&text)
                } else {
                    Value::String(text.into_owned())
                };
                self.keep(anchor, &value);
                Ok(value)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, line) = next(events)?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    let path = format!("{path}[{}]", items.len());
                    items.push(self.node(event, events, &path, line, depth + 1)?);
                }
                let value = Value::Array(items);
                self.keep(anchor, &value);
                Ok(value)
            }
            Event::MappingStart(_, anchor, _) => {
                let value = self.mapping(events, path, depth)?;
                self.keep(anchor, &value);
                Ok(value)
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned();
                let value = value.ok_or_else(|| format!("line {line}: an alias within its own anchor"))?;
                self.count(size(&value))?;
                Ok(value)
            }
            _ => Err(format!("line {line}: unexpected YAML")),
        }
    }

    fn mapping<'t>(
        &mut self,
        events: &mut Parser<'t, granit_parser::StrInput<'t>>,
        path: &str,
        depth: usize,
    ) -> Result<Value, String> {
        let mut members = Map::new();
        let mut merged = Vec::new();
        loop {
            let (event, line) = next(events)?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = match event {
                Event::Scalar(text, ..) => text.into_owned(),
                Event::Alias(anchor) => match self.anchors.get(&anchor) {
                    Some(Value::String(text)) => text.clone(),
                    _ => return Err(format!("line {line}: a key must be text")),
                },
                _ => return Err(format!("line {line}: a key must be text")),
            };
            let (event, value_line) = next(events)?;
            let below = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let value = self.node(event, events, &below, value_line, depth + 1)?;
            if let Some(lines) = &mut self.lines {
                lines.insert(below, line);
            }
            if key == "<<" {
                match value {
                    Value::Array(several) => merged.extend(several),
                    one => merged.push(one),
                }
            } else {
                members.insert(key, value);
            }
        }
        for base in merged {
            let Value::Object(base) = base else { continue };
            for (key, value) in base {
                members.entry(key).or_insert(value);
            }
        }
        Ok(Value::Object(members))
    }

    fn keep(&mut self, anchor: usize, value: &Value) {
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
    }

    fn count(&mut self, more: usize) -> Result<(), String> {
        self.values += more;
        if self.values > VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values"));
        }
        Ok(())
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// What a document is made of; comments and marks are not.
fn is_content(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::Scalar(..)
            | Event::Alias(_)
            | Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::MappingStart(..)
            | Event::MappingEnd
    )
}

fn next<'a>(events: &mut Parser<'a, granit_parser::StrInput<'a>>) -> Result<(Event<'a>, usize), String> {
    loop {
        match events.next() {
            Some(Ok((event, span))) if is_content(&event) => return Ok((event, span.start.line())),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(format!("line {}: {}", error.marker().line(), error.info())),
            None => return Err("the document ends too early".to_owned()),
        }
    }
}

/// What a plain scalar means in YAML 1.1.
pub(crate) fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Value::String(text.to_owned());
    }
    whole(unsigned, text.starts_with('-'))
        .or_else(|| fraction(text, unsigned))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn whole(unsigned: &str, negative: bool) -> Option<Value> {
    let digits = unsigned.replace('_', "");
    let radix = |prefix: &str, radix: u32| {
        let digits = digits.strip_prefix(prefix)?;
        i64::from_str_radix(digits, radix).ok()
    };
    let number = if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
    {
        i64::from_str_radix(&digits, 8).ok()
    } else if digits.bytes().all(|b| b.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        radix("0x", 16).or_else(|| radix("0b", 2))
    }?;
    Some(Value::from(if negative { -number } else { number }))
}

/// A point is needed, and an exponent needs its sign.
fn fraction(text: &str, unsigned: &str) -> Option<Value> {
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (unsigned.get(..at)?, unsigned.get(at + 1..)?),
        None => (unsigned, "+0"),
    };
    let is_mantissa = mantissa.contains('.')
        && mantissa.matches('.').count() == 1
        && mantissa.bytes().any(|b| b.is_ascii_digit())
        && mantissa
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_'));
    let is_exponent = exponent
        .strip_prefix(['-', '+'])
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
    if !is_mantissa || !is_exponent {
        return None;
    }
    let number: f64 = text.replace('_', "").parse().ok()?;
    Number::from_f64(number).map(Value::Number)
}
