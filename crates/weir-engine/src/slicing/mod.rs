//! How a stream is cut into parts that are read on their own.

mod window;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_protocol::spec::SliceSpec;
use weir_protocol::state::WHOLE;
use weir_protocol::{Error, Result};

use crate::cursor::Bounds;
use crate::extract::Path;
use crate::interpolate::{Scope, Template, Templates, Tree};

pub use window::Windows;

/// Between a slice's key and the start of its window.
const WINDOW_MARK: char = '@';

/// A stream's `slices`, compiled: the product of all dimensions.
#[derive(Debug, Clone, Default)]
pub struct Slicing {
    pub lists: Vec<ListPlan>,
    pub parents: Vec<ParentPlan>,
    pub windows: Option<Windows>,
}

#[derive(Debug, Clone)]
pub struct ListPlan {
    field: String,
    name: String,
    values: Tree,
    param: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ParentPlan {
    pub stream: String,
    pub fields: Vec<(String, Path)>,
    pub incremental: bool,
    pub when: Option<Template>,
}

/// One part of a stream.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// Key in the state.
    pub key: Arc<str>,
    /// The key without the window: where the cursor is kept between reads.
    pub base: Arc<str>,
    pub fields: Map<String, Value>,
    /// Query parameters that carry fields.
    pub params: Vec<(String, Value)>,
    /// Of its window; none where it has none.
    pub window: Option<Bounds>,
}

impl Slicing {
    pub fn new(templates: &Templates, field: &str, specs: &[SliceSpec]) -> Result<Self> {
        let mut slicing = Self::default();
        for spec in specs {
            match spec {
                SliceSpec::List { name, values, param } => slicing.lists.push(ListPlan {
                    field: format!("{field}: slices.{name}"),
                    name: name.clone(),
                    values: templates.compile_tree(&format!("{field}: slices.{name}.values"), values)?,
                    param: param.clone(),
                }),
                SliceSpec::DateWindow { step, granularity } => {
                    slicing.windows = Some(Windows::new(step, *granularity)?);
                }
                SliceSpec::Parent {
                    stream,
                    fields,
                    incremental,
                    when,
                } => {
                    let paths = fields
                        .iter()
                        .map(|(name, path)| Ok((name.clone(), Path::parse(path)?)));
                    let when = when
                        .as_deref()
                        .map(|when| templates.compile(format!("{field}: slices.when"), when));
                    slicing.parents.push(ParentPlan {
                        stream: stream.clone(),
                        fields: paths.collect::<Result<_>>()?,
                        incremental: *incremental,
                        when: when.transpose()?,
                    });
                }
            }
        }
        Ok(slicing)
    }

    /// Whether the stream is read in one piece.
    pub fn is_whole(&self) -> bool {
        self.lists.is_empty() && self.parents.is_empty() && self.windows.is_none()
    }

    /// The product of all lists, without keys yet.
    pub fn list_product(&self, scope: &Scope) -> Result<Vec<Slice>> {
        let mut product = vec![Slice::default()];
        for list in &self.lists {
            let values = list.values(scope)?;
            let mut longer = Vec::with_capacity(product.len() * values.len());
            for slice in &product {
                for value in &values {
                    let mut slice = slice.clone();
                    slice.fields.insert(list.name.clone(), value.clone());
                    if let Some(param) = &list.param {
                        slice.params.push((param.clone(), value.clone()));
                    }
                    longer.push(slice);
                }
            }
            product = longer;
        }
        Ok(product)
    }
}

impl ListPlan {
    fn values(&self, scope: &Scope) -> Result<Vec<Value>> {
        match self.values.render(scope)? {
            Value::Array(values) => Ok(values),
            Value::Null => Ok(Vec::new()),
            Value::String(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(Value::from)
                .collect()),
            other => Err(
                Error::spec(format!("{}: the values are {other}, not a list", self.field))
                    .hint("write a list, or a template that gives one"),
            ),
        }
    }
}

impl Slice {
    /// Adds fields and gives the slice the keys that follow from them.
    pub fn with_fields(mut self, fields: Map<String, Value>) -> Self {
        self.fields.extend(fields);
        self.base = key_of(&self.fields).into();
        self.key = self.base.clone();
        self
    }

    /// The part of the slice that lies in one window. The key names only the window's start, so that
    /// a read that is resumed later finds the same windows.
    pub fn in_window(&self, bounds: Bounds, start: &str) -> Self {
        Self {
            key: format!("{}{WINDOW_MARK}{start}", self.base).into(),
            window: Some(bounds),
            ..self.clone()
        }
    }
}

/// Canonical JSON of a slice's fields.
fn key_of(fields: &Map<String, Value>) -> String {
    if fields.is_empty() {
        return WHOLE.to_owned();
    }
    sorted(&Value::Object(fields.clone())).to_string()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            Value::Object(
                names
                    .into_iter()
                    .map(|name| (name.clone(), sorted(&members[name])))
                    .collect(),
            )
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The fields that a slice key names, its window left aside.
pub fn fields_of(key: &str) -> Map<String, Value> {
    let mut values = serde_json::Deserializer::from_str(key).into_iter::<Map<String, Value>>();
    values
        .next()
        .and_then(std::result::Result::ok)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Clock;

    fn slicing(specs: Value) -> Slicing {
        let specs: Vec<SliceSpec> = serde_json::from_value(specs).unwrap();
        Slicing::new(&Templates::new(&Clock::system()), "stream x", &specs).unwrap()
    }

    #[test]
    fn lists_multiply() {
        let slicing = slicing(json!([
            { "by": "list", "name": "repo", "values": "{{ config.repos }}" },
            { "by": "list", "name": "state", "values": ["open", "closed"], "param": "state" },
        ]));
        let scope = Scope::new().with("config", json!({ "repos": ["a", "b"] }));
        let product = slicing.list_product(&scope).unwrap();
        let keys: Vec<String> = product
            .into_iter()
            .map(|slice| slice.with_fields(Map::new()).key.to_string())
            .collect();
        assert_eq!(keys[0], r#"{"repo":"a","state":"open"}"#);
        assert_eq!(keys.len(), 4);
    }

    #[test]
    fn keys_are_canonical_and_read_back() {
        let fields = json!({ "z": 1, "a": { "y": 1, "b": "}@" } });
        let slice = Slice::default().with_fields(fields.as_object().cloned().unwrap());
        assert_eq!(&*slice.key, r#"{"a":{"b":"}@","y":1},"z":1}"#);
        let window = slice.in_window(Bounds::default(), "2024-01-01T00:00:00Z");
        assert_eq!(&window.base, &slice.key);
        assert_eq!(Value::Object(fields_of(&window.key)), fields);
        assert!(fields_of("@2024").is_empty() && fields_of("").is_empty());
    }
}
