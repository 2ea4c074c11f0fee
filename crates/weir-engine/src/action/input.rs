//! The input of a call against its action's schema.

use jsonschema::Validator;
use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use crate::config;

/// Bytes of an input as JSON.
const BYTES_MAX: usize = 8 << 20;
/// How messages name it.
const PLACE: &str = "input";

/// A schema of a spec, ready to check with.
pub(super) fn compile(schema: &Value, field: &str) -> Result<Validator> {
    jsonschema::validator_for(schema).map_err(|error| {
        Error::spec(format!("the action's {field} schema is invalid"))
            .with("problem", error.to_string())
            .hint(format!("mend `{field}` of the action in connector.yaml"))
    })
}

pub(crate) struct Input {
    schema: Value,
    /// Compiled once: a call pays for checking alone.
    validator: Validator,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Input").field(&self.schema).finish()
    }
}

impl Input {
    pub(crate) fn new(schema: &Value) -> Result<Self> {
        Ok(Self {
            schema: schema.clone(),
            validator: compile(schema, "input")?,
        })
    }

    /// The input with the schema's defaults filled in.
    pub(crate) fn check(&self, input: &Map<String, Value>) -> Result<Map<String, Value>> {
        let bytes = serde_json::to_vec(input).map_or(usize::MAX, |text| text.len());
        if bytes > BYTES_MAX {
            return Err(Error::usage("the input is too large")
                .with("bytes", bytes)
                .with("limit", BYTES_MAX)
                .hint("send less at once, or give a link instead of the content"));
        }
        let filled = config::filled(&self.schema, input);
        config::check(&self.schema, &self.validator, &filled, PLACE).map_err(|error| {
            let hint = error.next_step().unwrap_or_default().to_owned();
            Error::usage(error.message()).hint(hint)
        })?;
        match filled {
            Value::Object(filled) => Ok(filled),
            _ => Ok(input.clone()),
        }
    }
}
