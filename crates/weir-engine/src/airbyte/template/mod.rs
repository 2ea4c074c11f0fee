//! Templates as manifests write them: Jinja with Python's values and operators, whose text is then
//! read as a Python literal. The engine's own templates (`interpolate`) do neither; this is the
//! dialect of manifests, and the only place that knows it.

mod ast;
#[cfg(test)]
mod checks;
mod eval;
mod filters;
mod functions;
mod layout;
mod literal;
mod methods;
mod ops;
mod strings;
mod tests;
mod text;
mod value;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use super::manifest::Manifest;
use super::time::Moment;
use crate::interpolate::is_template;
use ast::{Names, Stmt};

pub(crate) use filters::json_is_true;
pub(crate) use text::{compact, dumps, float_text, py_text, quote};
use value::Py;
pub(crate) use value::{SliceView, int_json};

/// Bytes of a template that a message shows.
const EXCERPT_CHARS: usize = 120;

/// Why a template gave nothing.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Something was asked of what does not exist.
    Undefined(String),
    /// An operation does not fit its values: the reference then takes the template's own text.
    Kind(String),
    Other(String),
}

impl Fault {
    fn undefined(name: &str) -> Self {
        Self::Undefined(format!("'{name}' is undefined"))
    }

    fn kind(message: impl Into<String>) -> Self {
        Self::Kind(message.into())
    }

    fn other(message: impl Into<String>) -> Self {
        Self::Other(message.into())
    }

    fn message(self) -> String {
        match self {
            Self::Undefined(message) | Self::Kind(message) | Self::Other(message) => message,
        }
    }
}

/// A value that a template may name.
#[derive(Clone, Copy)]
enum Named<'a> {
    Null,
    Json(&'a Value),
    Headers(&'a Value),
    Exchange(&'a Value),
    Slice(&'a SliceView),
    /// A function that only some places have.
    Function(&'static str),
}

impl<'a> Named<'a> {
    fn value(self) -> Py<'a> {
        match self {
            Self::Null => Py::None,
            Self::Json(value) => Py::of(value),
            Self::Headers(value) => Py::Headers(value),
            Self::Exchange(value) => Py::Exchange(value),
            Self::Slice(slice) => Py::Slice(slice),
            Self::Function(name) => Py::function(name),
        }
    }
}

/// What a template may name.
#[derive(Clone)]
pub(crate) struct Scope<'a> {
    pub(crate) now: Moment,
    names: Vec<(&'a str, Named<'a>)>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(now: Moment, config: &'a Value) -> Self {
        Self {
            now,
            names: vec![("config", Named::Json(config))],
        }
    }

    fn with(mut self, name: &'a str, value: Named<'a>) -> Self {
        self.names.retain(|(known, _)| *known != name);
        self.names.push((name, value));
        self
    }

    #[must_use]
    pub(crate) fn with_json(self, name: &'a str, value: &'a Value) -> Self {
        self.with(name, Named::Json(value))
    }

    /// Null where there is nothing.
    #[must_use]
    pub(crate) fn with_maybe(self, name: &'a str, value: Option<&'a Value>) -> Self {
        self.with(name, value.map_or(Named::Null, Named::Json))
    }

    /// An answer's headers, found whatever the case of their names.
    #[must_use]
    pub(crate) fn with_headers(self, headers: &'a Value) -> Self {
        self.with("headers", Named::Headers(headers))
    }

    /// An answer that came before, with its headers.
    #[must_use]
    pub(crate) fn with_exchange(self, name: &'a str, value: &'a Value) -> Self {
        self.with(name, Named::Exchange(value))
    }

    #[must_use]
    pub(crate) fn with_function(self, name: &'static str) -> Self {
        self.with(name, Named::Function(name))
    }

    /// A slice, by all the names it has; null where there is none.
    #[must_use]
    pub(crate) fn with_slice(self, slice: Option<&'a SliceView>) -> Self {
        self.with("stream_slice", slice.map_or(Named::Null, Named::Slice))
    }

    fn get(&self, name: &str) -> Option<Named<'a>> {
        let name = match name {
            "stream_interval" | "stream_partition" => "stream_slice",
            other => other,
        };
        self.names
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }
}

/// Which kinds of literal a place takes; anything else stays text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Anything,
    Text,
    TextOrList,
    Integer,
    Number,
    Boolean,
}

impl Takes {
    fn fits(self, found: &literal::Literal) -> bool {
        match self {
            Self::Anything => true,
            Self::Text => found.value.is_string(),
            Self::TextOrList => found.value.is_string() || (found.value.is_array() && !found.is_tuple),
            Self::Integer => found.value.is_i64() || found.value.is_u64() || found.value.is_boolean(),
            Self::Number => found.value.is_f64(),
            Self::Boolean => found.value.is_boolean(),
        }
    }
}

/// What is taken where the template gives nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// Its own rendering once more: an undefined name then is an error.
    Itself,
    Null,
    Text(&'static str),
}

#[derive(Debug)]
enum Form {
    /// No braces: always this text.
    Fixed(String),
    Template {
        body: Vec<Stmt>,
        /// Names that must be in the scope.
        needed: BTreeSet<Arc<str>>,
        used: BTreeSet<Arc<str>>,
    },
}

/// Parses and renders a text that nobody vouches for.
#[cfg(fuzzing)]
pub fn render(text: &str) {
    let config = serde_json::json!({"key": "value", "count": 3, "list": [1, 2, 3], "when": "2026-01-31"});
    let now = Moment {
        micros: 0,
        offset: Some(0),
    };
    let scope = Scope::new(now, &config).with_json("record", &config);
    if let Ok(text) = Text::new(text, &Value::Null, Otherwise::Null) {
        // Values and errors are both right; what is looked for is neither.
        drop(text.eval(&scope, Takes::Anything));
        drop(text.eval_text(&scope));
    }
}

/// A text of a manifest, parsed once.
#[derive(Debug, Clone)]
pub(crate) struct Text(Arc<Parsed>);

#[derive(Debug)]
struct Parsed {
    source: String,
    form: Form,
    parameters: Value,
    otherwise: Otherwise,
    /// The manifest and where in it the text stands.
    place: Option<(Manifest, String)>,
}

impl Text {
    /// So that errors can tell where it stands.
    pub(crate) fn placed(self, manifest: &Manifest, path: &str) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(parsed) => Self(Arc::new(Parsed {
                place: Some((manifest.clone(), path.to_owned())),
                ..parsed
            })),
            Err(shared) => Self(shared),
        }
    }

    pub(crate) fn new(source: &str, parameters: &Value, otherwise: Otherwise) -> Result<Self> {
        let form = if is_template(source) {
            let body = ast::parse(source).map_err(|problem| {
                Error::template(format!("the template cannot be parsed: {problem}"))
                    .with("template", excerpt(source))
                    .hint("mend the template; manifests use Jinja's syntax")
            })?;
            let names = Names::of(&body);
            let needed = names.used.difference(&names.defined);
            let needed = needed.filter(|name| !functions::is_global(name) && ***name != *"parameters");
            Form::Template {
                needed: needed.cloned().collect(),
                used: names.used,
                body,
            }
        } else {
            Form::Fixed(source.strip_suffix('\n').unwrap_or(source).to_owned())
        };
        Ok(Self(Arc::new(Parsed {
            source: source.to_owned(),
            form,
            parameters: parameters.clone(),
            otherwise,
            place: None,
        })))
    }

    pub(crate) fn source(&self) -> &str {
        &self.0.source
    }

    pub(crate) fn uses(&self, name: &str) -> bool {
        match &self.0.form {
            Form::Fixed(_) => false,
            Form::Template { used, .. } => used.contains(name),
        }
    }

    /// The value that the rendered text means.
    pub(crate) fn eval(&self, scope: &Scope<'_>, takes: Takes) -> Result<Value> {
        let parsed = &*self.0;
        match self.render(scope) {
            Ok(text) if !text.is_empty() => return Ok(meaning(text, takes)),
            Ok(_) | Err(Fault::Undefined(_)) => {}
            Err(fault) => return Err(self.failed(fault)),
        }
        match &parsed.otherwise {
            Otherwise::Null => Ok(Value::Null),
            Otherwise::Text(text) => Ok(meaning((*text).to_owned(), takes)),
            Otherwise::Itself => match self.render(scope) {
                Ok(text) => Ok(meaning(text, takes)),
                Err(fault) => Err(self.failed(fault)),
            },
        }
    }

    /// `str()` of the value.
    pub(crate) fn eval_text(&self, scope: &Scope<'_>) -> Result<String> {
        self.eval(scope, Takes::Anything).map(|value| match value {
            Value::String(text) => text,
            other => py_text(&other),
        })
    }

    fn render(&self, scope: &Scope<'_>) -> Result<String, Fault> {
        match &self.0.form {
            Form::Fixed(text) => Ok(text.clone()),
            Form::Template { body, needed, .. } => {
                if let Some(missing) = needed.iter().find(|name| scope.get(name).is_none()) {
                    return Err(Fault::other(format!(
                        "the template uses '{missing}', which does not exist here"
                    )));
                }
                let scope = scope.clone().with_json("parameters", &self.0.parameters);
                match eval::render(body, &scope) {
                    Err(Fault::Kind(_)) => Ok(self.0.source.clone()),
                    other => other,
                }
            }
        }
    }

    fn failed(&self, fault: Fault) -> Error {
        let error = Error::template(format!("a template of the manifest failed: {}", fault.message()))
            .with("template", excerpt(&self.0.source))
            .hint("check that config holds what the template names, and the template itself");
        match &self.0.place {
            Some((manifest, path)) => manifest.locate(path, error),
            None => error,
        }
    }
}

/// A condition: false is also what reads as nothing (`0`, `[]`, `{}`, `""`).
#[derive(Debug, Clone)]
pub(crate) struct Condition(Text);

impl Condition {
    pub(crate) fn source(&self) -> &str {
        self.0.source()
    }

    pub(crate) fn new(source: &str, parameters: &Value) -> Result<Self> {
        Text::new(source, parameters, Otherwise::Text("False")).map(Self)
    }

    /// So that errors can tell where it stands.
    pub(crate) fn placed(self, manifest: &Manifest, path: &str) -> Self {
        Self(self.0.placed(manifest, path))
    }

    pub(crate) fn holds(&self, scope: &Scope<'_>) -> Result<bool> {
        let value = self.0.eval(scope, Takes::Anything)?;
        Ok(match &value {
            Value::String(text) => !matches!(
                text.as_str(),
                "False" | "false" | "{}" | "[]" | "()" | "" | "0" | "0.0"
            ),
            // 0 equals False, as True equals nothing in the reference's list.
            Value::Number(number) => number.as_f64() != Some(0.0),
            other => json_is_true(other),
        })
    }

    pub(crate) fn uses(&self, name: &str) -> bool {
        self.0.uses(name)
    }
}

/// A JSON value in which any text, keys included, may be a template.
#[derive(Debug, Clone)]
pub(crate) enum Nested {
    Text(Text),
    Members(Vec<(Text, Self)>),
    Items(Vec<Self>),
    Fixed(Value),
}

impl Nested {
    /// `text` makes a template of a text.
    pub(crate) fn new(value: &Value, text: &dyn Fn(&str) -> Result<Text>) -> Result<Self> {
        Ok(match value {
            Value::String(source) => Self::Text(text(source)?),
            Value::Array(items) => {
                let items = items.iter().map(|item| Self::new(item, text));
                Self::Items(items.collect::<Result<_>>()?)
            }
            Value::Object(members) => {
                let members = members.iter();
                let members = members.map(|(key, value)| Ok((text(key)?, Self::new(value, text)?)));
                Self::Members(members.collect::<Result<_>>()?)
            }
            other => Self::Fixed(other.clone()),
        })
    }

    /// Members that turn out null are left out.
    pub(crate) fn eval(&self, scope: &Scope<'_>) -> Result<Value> {
        Ok(match self {
            Self::Text(text) => text.eval(scope, Takes::Anything)?,
            Self::Fixed(value) => value.clone(),
            Self::Items(items) => {
                Value::Array(items.iter().map(|item| item.eval(scope)).collect::<Result<_>>()?)
            }
            Self::Members(members) => {
                let mut made = Map::new();
                for (key, value) in members {
                    let value = value.eval(scope)?;
                    if !value.is_null() {
                        made.insert(key.eval_text(scope)?, value);
                    }
                }
                Value::Object(made)
            }
        })
    }
}

fn meaning(text: String, takes: Takes) -> Value {
    match literal::literal(&text) {
        Some(found) if takes.fits(&found) => found.value,
        _ => Value::String(text),
    }
}

fn excerpt(source: &str) -> String {
    let short: String = source.chars().take(EXCERPT_CHARS).collect();
    if short.len() < source.len() {
        format!("{short}…")
    } else {
        short
    }
}
