//! Where a stream's JSON Schema comes from.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_protocol::{Error, Result};

use super::env::Env;
use super::node::Node;
use super::records::{Transform, path};
use super::retriever::Retriever;
use super::template::{Condition, Text, py_text};

pub(crate) enum Schema {
    Inline(Value),
    File(PathBuf),
    Dynamic(Box<Dynamic>),
    /// Their properties together; earlier ones win.
    Several(Vec<Self>),
}

/// Made from what an endpoint answers about fields.
pub(crate) struct Dynamic {
    retriever: Retriever,
    schema_pointer: Vec<Text>,
    key_pointer: Vec<Text>,
    type_pointer: Option<Vec<Text>>,
    types: Vec<TypesMap>,
    transforms: Vec<Transform>,
    filter: Option<Condition>,
}

struct TypesMap {
    from: Value,
    to: Value,
    condition: Option<Condition>,
}

impl Schema {
    /// The schema of the stream at `node`.
    pub(crate) fn new(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        let Some(loader) = node.get("schema_loader") else {
            let name = node
                .get("name")
                .map(|name| py_text(name.value))
                .unwrap_or_default();
            return Ok(Self::File(PathBuf::from(format!("schemas/{name}.json"))));
        };
        if loader.value.is_array() {
            let loaders = loader.items();
            return Ok(Self::Several(
                loaders
                    .iter()
                    .map(|loader| Self::of(env, loader))
                    .collect::<Result<_>>()?,
            ));
        }
        Self::of(env, &loader)
    }

    fn of(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        Ok(match node.kind() {
            "InlineSchemaLoader" => Self::Inline(
                node.get("schema")
                    .map_or_else(|| json!({}), |schema| schema.value.clone()),
            ),
            "JsonFileSchemaLoader" => match node.text("file_path")? {
                Some(text) => Self::File(PathBuf::from(text.eval_text(&env.scope())?)),
                None => {
                    let name = node.parameters().get("name").map(py_text).unwrap_or_default();
                    Self::File(PathBuf::from(format!("schemas/{name}.json")))
                }
            },
            "DynamicSchemaLoader" => Self::Dynamic(Box::new(Dynamic::new(env, node)?)),
            "" if node.value.get("properties").is_some() => Self::Inline(node.value.clone()),
            _ => return Err(node.unknown("a schema loader")),
        })
    }

    pub(crate) async fn load(&self, env: &Arc<Env>) -> Result<Value> {
        match self {
            Self::Inline(schema) => Ok(schema.clone()),

            Self::File(path) => env.schema_file(path),
            Self::Dynamic(dynamic) => dynamic.load(env).await,
            Self::Several(loaders) => {
                let mut properties = Map::new();
                for loader in loaders {
                    let schema = Box::pin(loader.load(env)).await?;
                    for (name, property) in schema
                        .get("properties")
                        .and_then(Value::as_object)
                        .into_iter()
                        .flatten()
                    {
                        properties.entry(name.clone()).or_insert_with(|| property.clone());
                    }
                }
                Ok(json!({
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "type": ["null", "object"],
                    "properties": properties,
                }))
            }
        }
    }
}

impl Dynamic {
    fn new(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        let identifier = node.need("schema_type_identifier")?;
        let types = identifier.list("types_mapping").into_iter().map(|map| {
            Ok(TypesMap {
                from: map.need("current_type")?.value.clone(),
                to: map.need("target_type")?.value.clone(),
                condition: map.condition("condition")?,
            })
        });
        let filter = node.get("schema_filter");
        Ok(Self {
            retriever: Retriever::simple(env, &node.need("retriever")?)?,
            schema_pointer: identifier.texts("schema_pointer")?,
            key_pointer: identifier.texts("key_pointer")?,
            type_pointer: identifier
                .get("type_pointer")
                .map(|_| identifier.texts("type_pointer"))
                .transpose()?,
            types: types.collect::<Result<_>>()?,
            transforms: Transform::all(env, &node.list("schema_transformations"))?,
            filter: filter
                .map(|filter| filter.condition("condition"))
                .transpose()?
                .flatten(),
        })
    }

    async fn load(&self, env: &Arc<Env>) -> Result<Value> {
        let records = self.retriever.all(env).await?;
        let steps = |texts: &[Text]| -> Result<Vec<String>> {
            let scope = env.scope();
            texts.iter().map(|text| text.eval_text(&scope)).collect()
        };
        let pointer = steps(&self.schema_pointer)?;
        let described = records.first().and_then(|record| path::get(record, &pointer));
        let key_pointer = steps(&self.key_pointer)?;
        let type_pointer = self.type_pointer.as_deref().map(steps).transpose()?;
        let mut properties = Map::new();
        for field in described.and_then(Value::as_array).into_iter().flatten() {
            let key = path::get(field, &key_pointer)
                .and_then(Value::as_str)
                .ok_or_else(|| {
                    Error::decode("a field's description has no name where key_pointer leads")
                        .hint("check key_pointer of the SchemaTypeIdentifier")
                })?;
            let kind = type_pointer.as_ref().and_then(|steps| path::get(field, steps));
            let kind = kind.cloned().unwrap_or_else(|| Value::from("string"));
            properties.insert(key.to_owned(), self.property(env, &kind, field)?);
        }
        let mut properties = Value::Object(self.filtered(env, properties)?);
        let scope = env.scope();
        for transform in &self.transforms {
            transform.apply(&mut properties, &scope)?;
        }
        Ok(json!({
            "$schema": "https://json-schema.org/draft-07/schema#",
            "type": "object",
            "additionalProperties": true,
            "properties": properties,
        }))
    }

    fn filtered(&self, env: &Env, properties: Map<String, Value>) -> Result<Map<String, Value>> {
        let Some(filter) = &self.filter else {
            return Ok(properties);
        };
        let mut kept = Map::new();
        for (name, property) in properties {
            let record = json!({ &name: property });
            if filter.holds(&env.scope().with_json("record", &record))? {
                kept.insert(name, property);
            }
        }
        Ok(kept)
    }

    fn property(&self, env: &Env, kind: &Value, field: &Value) -> Result<Value> {
        let mut kind = kind;
        for map in &self.types {
            let holds = match &map.condition {
                Some(condition) => condition.holds(&env.scope().with_json("raw_schema", field))?,
                None => true,
            };
            if map.from == *kind && holds {
                kind = &map.to;
                break;
            }
        }
        typed(kind)
    }
}

fn typed(kind: &Value) -> Result<Value> {
    match kind {
        Value::String(name) => simple(name),
        Value::Array(both) if both.len() == 2 => {
            let both = both.iter().map(typed);
            Ok(json!({ "oneOf": both.collect::<Result<Vec<_>>>()? }))
        }
        Value::Object(complex) => {
            let mut outer = typed(complex.get("field_type").unwrap_or(&Value::Null))?;
            if let (Some(items), Value::Object(outer)) =
                (complex.get("items").filter(|items| !items.is_null()), &mut outer)
            {
                outer.insert("items".to_owned(), typed(items)?);
            }
            Ok(outer)
        }
        other => Err(unknown_type(other)),
    }
}

fn simple(name: &str) -> Result<Value> {
    let text = |format: &str| json!({ "type": ["null", "string"], "format": format });
    let marked = |format: &str| json!({ "type": ["null", "string"], "format": format, "airbyte_type": name });
    Ok(match name {
        "string" | "boolean" | "integer" | "number" | "array" | "object" => json!({ "type": ["null", name] }),
        "date" => text("date"),
        "timestamp_with_timezone" => text("date-time"),
        "timestamp_without_timezone" => marked("date-time"),
        "time_without_timezone" | "time_with_timezone" => marked("time"),
        other => return Err(unknown_type(&Value::from(other))),
    })
}

fn unknown_type(kind: &Value) -> Error {
    Error::decode(format!(
        "the source describes a field of type {kind}, which types_mapping does not map"
    ))
    .hint("add it to types_mapping of the SchemaTypeIdentifier")
}
