//! Types from a declared JSON Schema.

use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use super::kind::{Kind, Member};
use super::naming::column_name;
use super::tape::DEPTH_MAX;

/// Size of a `format: decimal` that does not say its own.
const DECIMAL_DEFAULT: Kind = Kind::Decimal {
    precision: 38,
    scale: 9,
};

/// The members a record's schema declares. Empty where it names no properties: then the type is
/// inferred from data.
pub(crate) fn members(schema: &Value) -> Result<Vec<Member>> {
    let reader = Reader { root: schema };
    match reader.kind(schema, 0)? {
        Some(Kind::Struct(mut members)) => {
            rename(&mut members);
            Ok(members)
        }
        _ => Ok(Vec::new()),
    }
}

/// Column names again, now with those in mind that only the top level keeps for itself.
fn rename(members: &mut Vec<Member>) {
    let mut renamed = Vec::with_capacity(members.len());
    for member in members.drain(..) {
        let column = column_name(&member.key, &renamed, true);
        renamed.push(Member { column, ..member });
    }
    *members = renamed;
}

struct Reader<'a> {
    root: &'a Value,
}

impl Reader<'_> {
    /// The type a schema asks for; none for one that only allows null.
    fn kind(&self, schema: &Value, depth: usize) -> Result<Option<Kind>> {
        let Value::Object(schema) = schema else {
            return Ok(Some(Kind::Json));
        };
        // A schema that refers to itself ends here, as text.
        if depth > DEPTH_MAX / 4 {
            return Ok(Some(Kind::Json));
        }
        if let Some(Value::String(target)) = schema.get("$ref") {
            return self.kind(self.resolve(target)?, depth + 1);
        }
        for word in ["anyOf", "oneOf", "allOf"] {
            if let Some(Value::Array(variants)) = schema.get(word) {
                return self.variants(variants, depth);
            }
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => return self.untyped(schema, depth),
        };
        let mut found = None;
        for word in types.into_iter().filter(|word| *word != "null") {
            let kind = self.typed(word, schema, depth)?;
            found = Some(unify(found, kind));
        }
        Ok(found)
    }

    fn resolve(&self, target: &str) -> Result<&Value> {
        target
            .strip_prefix('#')
            .and_then(|pointer| self.root.pointer(pointer))
            .ok_or_else(|| {
                Error::spec(format!("$ref '{target}' in the stream's schema leads nowhere"))
                    .hint("refer to a place in the same file, as in #/$defs/user")
            })
    }

    fn variants(&self, variants: &[Value], depth: usize) -> Result<Option<Kind>> {
        let mut found = None;
        for variant in variants {
            if let Some(kind) = self.kind(variant, depth + 1)? {
                found = Some(unify(found, kind));
            }
        }
        Ok(found)
    }

    /// Without `type`: by what else is said, or by the values that are allowed.
    fn untyped(&self, schema: &Map<String, Value>, depth: usize) -> Result<Option<Kind>> {
        if schema.contains_key("properties") {
            return self.typed("object", schema, depth).map(Some);
        }
        if schema.contains_key("items") {
            return self.typed("array", schema, depth).map(Some);
        }
        let values = match (schema.get("enum"), schema.get("const")) {
            (Some(Value::Array(values)), _) => values.as_slice(),
            (_, Some(value)) => std::slice::from_ref(value),
            _ => return Ok(Some(Kind::Json)),
        };
        let mut found = None;
        for value in values {
            let kind = match value {
                Value::Null => continue,
                Value::Bool(_) => Kind::Bool,
                Value::Number(number) if number.is_i64() => Kind::Int,
                Value::Number(_) => Kind::Float,
                Value::String(_) => Kind::Text,
                Value::Array(_) | Value::Object(_) => Kind::Json,
            };
            found = Some(unify(found, kind));
        }
        Ok(found)
    }

    fn typed(&self, word: &str, schema: &Map<String, Value>, depth: usize) -> Result<Kind> {
        let format = schema.get("format").and_then(Value::as_str);
        if let Some(size) = schema.get("x-weir-decimal") {
            return decimal(size);
        }
        Ok(match (word, format) {
            ("string" | "number" | "integer", Some("decimal")) => DECIMAL_DEFAULT,
            ("string", Some("date-time")) => Kind::Timestamp,
            ("string", Some("date")) => Kind::Date,
            ("string", _) => Kind::Text,
            ("integer", _) => Kind::Int,
            ("number", _) => Kind::Float,
            ("boolean", _) => Kind::Bool,
            ("array", _) => match schema.get("items") {
                Some(items @ Value::Object(_)) => match self.kind(items, depth + 1)? {
                    Some(item) => Kind::List(Box::new(item)),
                    None => Kind::Json,
                },
                _ => Kind::Json,
            },
            ("object", _) => self.object(schema, depth)?,
            _ => Kind::Json,
        })
    }

    fn object(&self, schema: &Map<String, Value>, depth: usize) -> Result<Kind> {
        let Some(Value::Object(properties)) = schema.get("properties") else {
            return Ok(Kind::Json);
        };
        let mut members = Vec::with_capacity(properties.len());
        for (key, property) in properties {
            let kind = self
                .kind(property, depth + 1)
                .map_err(|error| error.with("property", key))?;
            // A property that may only be null gets its column when it first has a value.
            if let Some(kind) = kind {
                let column = column_name(key, &members, false);
                members.push(Member {
                    key: key.clone(),
                    column,
                    kind,
                });
            }
        }
        Ok(if members.is_empty() {
            Kind::Json
        } else {
            Kind::Struct(members)
        })
    }
}

fn decimal(size: &Value) -> Result<Kind> {
    let parts = size.as_str().and_then(|size| {
        let (precision, scale) = size.split_once(',')?;
        let precision: u8 = precision.trim().parse().ok()?;
        let scale: i8 = scale.trim().parse().ok()?;
        let fits = (1..=38).contains(&precision) && scale >= 0 && u8::try_from(scale).ok()? <= precision;
        fits.then_some(Kind::Decimal { precision, scale })
    });
    parts.ok_or_else(|| {
        Error::spec(format!("x-weir-decimal {size} is not a decimal's size"))
            .hint("write digits in all and after the point, at most 38, as in \"18,4\"")
    })
}

/// The type that holds both.
fn unify(a: Option<Kind>, b: Kind) -> Kind {
    let Some(a) = a else { return b };
    match (a, b) {
        (a, b) if a == b => a,
        (Kind::Struct(mut members), Kind::Struct(others)) => {
            for other in others {
                match members.iter_mut().find(|member| member.key == other.key) {
                    Some(member) => {
                        let before = std::mem::replace(&mut member.kind, Kind::Json);
                        member.kind = unify(Some(before), other.kind);
                    }
                    None => {
                        let column = column_name(&other.key, &members, false);
                        members.push(Member { column, ..other });
                    }
                }
            }
            Kind::Struct(members)
        }
        (Kind::List(a), Kind::List(b)) => Kind::List(Box::new(unify(Some(*a), *b))),
        (a, b) if !is_scalar(&a) || !is_scalar(&b) => Kind::Json,
        (Kind::Int, Kind::Float) | (Kind::Float, Kind::Int) => Kind::Float,
        (Kind::Date, Kind::Timestamp) | (Kind::Timestamp, Kind::Date) => Kind::Timestamp,
        (Kind::Text, Kind::Date | Kind::Timestamp) | (Kind::Date | Kind::Timestamp, Kind::Text) => Kind::Text,
        _ => Kind::Scalar,
    }
}

fn is_scalar(kind: &Kind) -> bool {
    !matches!(kind, Kind::Struct(_) | Kind::List(_) | Kind::Json)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn label(schema: Value) -> String {
        Kind::Struct(members(&schema).unwrap()).label()
    }

    #[test]
    fn every_form_has_a_type() {
        let schema = json!({
            "type": "object",
            "$defs": { "user": { "type": "object", "properties": { "login": { "type": "string" } } } },
            "properties": {
                "id": { "type": "integer" },
                "n": { "type": ["null", "number"] },
                "at": { "type": "string", "format": "date-time" },
                "day": { "type": ["string", "null"], "format": "date" },
                "clock": { "type": "string", "format": "time" },
                "user": { "$ref": "#/$defs/user" },
                "owner": { "anyOf": [{ "$ref": "#/$defs/user" }, { "type": "null" }] },
                "tags": { "type": "array", "items": { "type": "string" } },
                "bag": { "type": "object" },
                "list": { "type": "array" },
                "mixed": { "type": ["string", "integer"] },
                "num": { "oneOf": [{ "type": "integer" }, { "type": "number" }] },
                "any": {},
                "state": { "enum": ["open", "closed", null] },
                "one": { "const": 1 },
                "price": { "type": "string", "x-weir-decimal": "18,4" },
                "amount": { "type": "number", "format": "decimal" },
                "nothing": { "type": "null" },
                "Id": { "type": "integer" },
                "_run": { "type": "string" }
            }
        });
        insta::assert_snapshot!(label(schema).replace(',', "\n"), @"
        struct<id:long
        n:double
        at:timestamp
        day:date
        clock:string
        user:struct<login:string>
        owner:struct<login:string>
        tags:array<string>
        bag:string
        list:string
        mixed:string
        num:double
        any:string
        state:string
        one:long
        price:decimal(18
        4)
        amount:decimal(38
        9)
        Id_2:long
        _run_2:string>
        ");
    }

    #[test]
    fn a_schema_without_properties_declares_nothing() {
        assert_eq!(members(&json!({ "type": "object" })).unwrap(), []);
        assert_eq!(members(&json!(true)).unwrap(), []);
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({ "properties": { "parent": { "$ref": "#" }, "id": { "type": "integer" } } });
        assert!(label(schema).starts_with("struct<parent:struct<parent:"));
    }

    #[test]
    fn mistakes_are_named() {
        let error = members(&json!({ "properties": { "a": { "$ref": "other.json" } } })).unwrap_err();
        assert_eq!(
            error.to_string(),
            "$ref 'other.json' in the stream's schema leads nowhere (property: a)"
        );
        let error = members(&json!({ "properties": { "a": { "type": "number", "x-weir-decimal": "4,5" } } }));
        assert!(error.unwrap_err().next_step().is_some());
    }
}
