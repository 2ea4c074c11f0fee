//! Headers that say what a request's body says, for whoever routes by them (SEP-2243).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

const ANNOTATION: &str = "x-mcp-header";
const BASE64: (&str, &str) = ("=?base64?", "?=");

/// An argument of a tool that goes into a header, too.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Param {
    /// Names from the input to the argument.
    path: Vec<String>,
    header: String,
}

/// The arguments that a tool wants in headers; an error says why its schema may not ask for that.
pub(super) fn params(input: &Value) -> Result<Vec<Param>, String> {
    let mut found = Vec::new();
    collect(input, &mut Vec::new(), &mut found)?;
    if count(input) != found.len() {
        return Err(format!("{ANNOTATION} is where no header can be made of it"));
    }
    for (index, one) in found.iter().enumerate() {
        let is_twice = |other: &Param| other.header.eq_ignore_ascii_case(&one.header);
        if found[..index].iter().any(is_twice) {
            return Err(format!("{ANNOTATION} '{}' is there twice", one.header));
        }
    }
    Ok(found)
}

fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Param>) -> Result<(), String> {
    let Some(fields) = schema.get("properties").and_then(Value::as_object) else {
        return Ok(());
    };
    for (name, field) in fields {
        path.push(name.clone());
        if let Some(header) = field.get(ANNOTATION) {
            let header = header.as_str().unwrap_or_default();
            let is_token = !header.is_empty() && header.bytes().all(is_token_byte);
            let kind = field.get("type").and_then(Value::as_str);
            if !is_token || !matches!(kind, Some("string" | "integer" | "boolean")) {
                return Err(format!("{ANNOTATION} of '{name}' is no header of a plain value"));
            }
            found.push(Param {
                path: path.clone(),
                header: header.to_owned(),
            });
        }
        collect(field, path, found)?;
        path.pop();
    }
    Ok(())
}

/// How often the annotation occurs anywhere, but as the name of an argument.
fn count(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                (ANNOTATION, _) => 1,
                ("properties", Value::Object(fields)) => fields.values().map(count).sum(),
                ("const" | "default" | "enum" | "examples", _) => 0,
                _ => count(value),
            })
            .sum(),
        Value::Array(items) => items.iter().map(count).sum(),
        _ => 0,
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Name and value of the headers of one call.
pub(super) fn of_call(tool: &str, params: &[Param], input: &Map<String, Value>) -> Vec<(String, String)> {
    let mut headers = vec![("Mcp-Name".to_owned(), encoded(tool))];
    for param in params {
        let mut place = None;
        let mut here = Some(input);
        for name in &param.path {
            place = here.and_then(|here| here.get(name));
            here = place.and_then(Value::as_object);
        }
        let text = match place {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(flag)) => flag.to_string(),
            Some(Value::Number(number)) => number.to_string(),
            _ => continue,
        };
        headers.push((format!("Mcp-Param-{}", param.header), encoded(&text)));
    }
    headers
}

/// A value as a header can carry it.
fn encoded(value: &str) -> String {
    let is_at_edge = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = value.as_bytes();
    let is_odd = bytes.iter().any(|byte| !(0x20..=0x7e).contains(byte));
    let looks_encoded = value.starts_with(BASE64.0) && value.ends_with(BASE64.1);
    if is_odd || is_at_edge(bytes.first()) || is_at_edge(bytes.last()) || looks_encoded {
        return format!("{}{}{}", BASE64.0, STANDARD.encode(value), BASE64.1);
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_go_into_headers_where_the_schema_says_so() {
        let schema = json!({ "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "deep": { "type": "object", "properties": { "n": { "type": "integer", "x-mcp-header": "N" } } },
        }});
        let found = params(&schema).unwrap();
        let input = json!({ "region": "größe", "deep": { "n": 7 } });
        let headers = of_call("call", &found, input.as_object().unwrap());
        let text = |name: &str| {
            let found = headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(text("Mcp-Name"), Some("call"));
        assert_eq!(text("Mcp-Param-Region"), Some("=?base64?Z3LDtsOfZQ==?="));
        assert_eq!(text("Mcp-Param-N"), Some("7"));
        let none = of_call("call", &found, &Map::new());
        assert_eq!(none.len(), 1, "{none:?}");
    }

    #[test]
    fn a_schema_that_cannot_be_followed_is_refused() {
        for wrong in [
            json!({ "properties": { "a": { "type": "object", "x-mcp-header": "A" } } }),
            json!({ "properties": { "a": { "type": "string", "x-mcp-header": "A B" } } }),
            json!({ "properties": { "a": { "type": "string", "x-mcp-header": "" } } }),
            json!({ "properties": { "a": { "type": "array", "items": { "type": "string", "x-mcp-header": "A" } } } }),
            json!({ "properties": {
                "a": { "type": "string", "x-mcp-header": "A" }, "b": { "type": "string", "x-mcp-header": "a" } } }),
        ] {
            params(&wrong).unwrap_err();
        }
        let named_so = json!({ "properties": { "x-mcp-header": { "type": "string" } } });
        assert!(params(&named_so).unwrap().is_empty());
    }
}
