//! A component of a manifest, and how its fields are read.

use serde_json::Value;
use weir_protocol::{Error, Result};

use super::known;
use super::manifest::Manifest;
use super::template::{Condition, Otherwise, Text};

#[derive(Clone)]
pub(crate) struct Node<'m> {
    pub(crate) manifest: &'m Manifest,
    pub(crate) value: &'m Value,
    /// Where it stands, as in `streams[0].retriever`.
    pub(crate) path: String,
}

static NOTHING: Value = Value::Null;

/// What to use instead of custom code, by the kind of component.
const INSTEAD: &[(&str, &str)] = &[
    (
        "CustomAuthenticator",
        "ApiKeyAuthenticator, OAuthAuthenticator, SessionTokenAuthenticator, JwtAuthenticator or SelectiveAuthenticator",
    ),
    (
        "CustomBackoffStrategy",
        "WaitTimeFromHeader, WaitUntilTimeFromHeader or ExponentialBackoffStrategy",
    ),
    (
        "CustomConfigTransformation",
        "ConfigAddFields, ConfigRemoveFields or ConfigRemapField",
    ),
    (
        "CustomDecoder",
        "JsonDecoder, JsonlDecoder, CsvDecoder, XmlDecoder, GzipDecoder or ZipfileDecoder",
    ),
    (
        "CustomErrorHandler",
        "CompositeErrorHandler with HttpResponseFilter",
    ),
    (
        "CustomIncrementalSync",
        "DatetimeBasedCursor or IncrementingCountCursor",
    ),
    (
        "CustomPaginationStrategy",
        "CursorPagination with cursor_value and stop_condition",
    ),
    (
        "CustomPartitionRouter",
        "SubstreamPartitionRouter, ListPartitionRouter or GroupingPartitionRouter",
    ),
    ("CustomRecordExtractor", "DpathExtractor with transformations"),
    ("CustomRecordFilter", "RecordFilter with a condition"),
    ("CustomRequester", "HttpRequester"),
    ("CustomRetriever", "SimpleRetriever or AsyncRetriever"),
    ("CustomSchemaLoader", "DynamicSchemaLoader or InlineSchemaLoader"),
    ("CustomSchemaNormalization", "schema_normalization: Default"),
    ("CustomStateMigration", "LegacyToPerPartitionStateMigration"),
    (
        "CustomTransformation",
        "AddFields, RemoveFields, KeysReplace, FlattenFields or DpathFlattenFields",
    ),
    ("CustomValidationStrategy", "ValidateAdheresToSchema"),
];

impl<'m> Node<'m> {
    pub(crate) fn root(manifest: &'m Manifest) -> Self {
        Self {
            manifest,
            value: manifest.root(),
            path: String::new(),
        }
    }

    pub(crate) fn kind(&self) -> &'m str {
        self.value.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    fn below(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, field: &str) -> Option<Self> {
        let value = self.value.get(field).filter(|value| !value.is_null())?;
        Some(Self {
            manifest: self.manifest,
            value,
            path: self.below(field),
        })
    }

    pub(crate) fn need(&self, field: &str) -> Result<Self> {
        self.get(field)
            .ok_or_else(|| self.error(format!("{} needs '{field}'", self.name())))
    }

    fn name(&self) -> String {
        match self.kind() {
            "" => "the component".to_owned(),
            kind => kind.to_owned(),
        }
    }

    /// The elements of a list.
    pub(crate) fn items(&self) -> Vec<Self> {
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        let items = items.iter().enumerate();
        items
            .map(|(index, value)| Self {
                manifest: self.manifest,
                value,
                path: format!("{}[{index}]", self.path),
            })
            .collect()
    }

    /// The elements of a field's list; none where the field is absent.
    pub(crate) fn list(&self, field: &str) -> Vec<Self> {
        self.get(field).map(|node| node.items()).unwrap_or_default()
    }

    /// The members of a mapping.
    pub(crate) fn members(&self) -> Vec<(&'m str, Self)> {
        let Some(members) = self.value.as_object() else {
            return Vec::new();
        };
        let members = members.iter();
        members
            .map(|(key, value)| {
                let path = self.below(key);
                let manifest = self.manifest;
                (
                    key.as_str(),
                    Self {
                        manifest,
                        value,
                        path,
                    },
                )
            })
            .collect()
    }

    pub(crate) fn str(&self, field: &str) -> Option<&'m str> {
        self.value.get(field).and_then(Value::as_str)
    }

    pub(crate) fn flag(&self, field: &str) -> bool {
        self.value.get(field).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn int(&self, field: &str) -> Option<i64> {
        self.value.get(field).and_then(Value::as_i64)
    }

    pub(crate) fn parameters(&self) -> &'m Value {
        self.value.get("$parameters").unwrap_or(&NOTHING)
    }

    /// A field that is a text or a value that reads as one.
    pub(crate) fn text(&self, field: &str) -> Result<Option<Text>> {
        self.get(field)
            .map(|node| node.as_text(self.parameters()))
            .transpose()
    }

    pub(crate) fn text_or(&self, field: &str, otherwise: &str) -> Result<Text> {
        match self.text(field)? {
            Some(text) => Ok(text),
            None => self.template(otherwise, self.parameters(), Otherwise::Itself),
        }
    }

    pub(crate) fn need_text(&self, field: &str) -> Result<Text> {
        self.need(field)?.as_text(self.parameters())
    }

    pub(crate) fn texts(&self, field: &str) -> Result<Vec<Text>> {
        let items = self.list(field);
        items.iter().map(|item| item.as_text(self.parameters())).collect()
    }

    /// This value itself as a template.
    pub(crate) fn as_text(&self, parameters: &Value) -> Result<Text> {
        let source = match self.value {
            Value::String(text) => text.clone(),
            Value::Array(_) | Value::Object(_) => {
                return Err(self.error("text is expected here".to_owned()));
            }
            other => super::template::py_text(other),
        };
        self.template(&source, parameters, Otherwise::Itself)
    }

    pub(crate) fn template(&self, source: &str, parameters: &Value, otherwise: Otherwise) -> Result<Text> {
        Text::new(source, parameters, otherwise)
            .map(|text| text.placed(self.manifest, &self.path))
            .map_err(|error| self.manifest.locate(&self.path, error))
    }

    pub(crate) fn condition(&self, field: &str) -> Result<Option<Condition>> {
        let Some(node) = self.get(field) else {
            return Ok(None);
        };
        let source = super::template::py_text(node.value);
        if source.is_empty() {
            return Ok(None);
        }
        Condition::new(&source, self.parameters())
            .map(|condition| Some(condition.placed(self.manifest, &node.path)))
            .map_err(|error| self.manifest.locate(&node.path, error))
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        self.manifest.locate(&self.path, Error::spec(message))
    }

    /// For a component that is not known at its place.
    pub(crate) fn unknown(&self, wanted: &str) -> Error {
        let kind = self.kind();
        if let Some((_, instead)) = INSTEAD.iter().find(|(custom, _)| *custom == kind) {
            let class = self.str("class_name").unwrap_or("unnamed");
            let error = Error::spec(format!(
                "{kind} '{class}' is Python code, which weir does not run"
            ))
            .hint(format!(
                "write it with {instead}, or leave its streams out of the manifest"
            ));
            return self.manifest.locate(&self.path, error);
        }
        if kind.is_empty() {
            return self.error(format!(
                "a component without type stands where {wanted} is expected"
            ));
        }
        let error = Error::spec(format!("'{kind}' is not known as {wanted}"));
        let error = match known::nearest(kind).filter(|_| !known::is_known(kind)) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error,
        };
        self.manifest.locate(&self.path, error)
    }
}
