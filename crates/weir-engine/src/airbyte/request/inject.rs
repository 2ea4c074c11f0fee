//! Where in a request a value goes.

use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use super::super::env::Env;
use super::super::node::Node;
use super::super::slices::Slice;
use super::super::template::{Text, json_is_true};
use super::Options;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    Param,
    Header,
    Form,
    Json,
}

/// A request option.
#[derive(Debug, Clone)]
pub(crate) struct Injection {
    into: Into,
    /// One name; several only in a JSON body.
    path: Vec<Text>,
}

impl Injection {
    pub(crate) fn new(node: &Node<'_>) -> Result<Self> {
        let into = match node.str("inject_into") {
            Some("request_parameter") => Into::Param,
            Some("header") => Into::Header,
            Some("body_data") => Into::Form,
            Some("body_json") => Into::Json,
            other => {
                let other = other.unwrap_or("nothing");
                return Err(node.error(format!(
                    "inject_into is '{other}'; it may be request_parameter, header, body_data or body_json"
                )));
            }
        };
        let path = match node.get("field_name") {
            Some(name) => vec![name.as_text(node.parameters())?],
            None => node.texts("field_path")?,
        };
        if path.is_empty() {
            return Err(node.error("a request option needs field_name or field_path"));
        }
        if path.len() > 1 && into != Into::Json {
            return Err(node.error("field_path is for body_json only; use field_name"));
        }
        Ok(Self { into, path })
    }

    /// A header of this name.
    pub(crate) fn header(node: &Node<'_>, name: &str) -> Result<Self> {
        let name = node.template(name, node.parameters(), super::super::template::Otherwise::Itself)?;
        Ok(Self {
            into: Into::Header,
            path: vec![name],
        })
    }

    pub(crate) fn put(&self, env: &Env, options: &mut Options, value: Value) -> Result<()> {
        let scope = env.scope();
        let target = match self.into {
            Into::Param => &mut options.params,
            Into::Header => &mut options.headers,
            Into::Form => &mut options.form,
            Into::Json => &mut options.json,
        };
        let names = self.path.iter().map(|name| name.eval_text(&scope));
        let names: Vec<String> = names.collect::<Result<_>>()?;
        place(target, &names, value)
    }
}

fn place(target: &mut Map<String, Value>, names: &[String], value: Value) -> Result<()> {
    match names {
        [] => Ok(()),
        [last] => {
            target.insert(last.clone(), value);
            Ok(())
        }
        [first, rest @ ..] => {
            let below = target.entry(first).or_insert_with(|| Value::Object(Map::new()));
            match below.as_object_mut() {
                Some(below) => place(below, rest, value),
                None => Err(
                    Error::spec(format!("'{first}' of the request's body is no object"))
                        .hint("let the field paths of request options lead to different places"),
                ),
            }
        }
    }
}

/// A value of the slice that goes into its requests.
#[derive(Debug, Clone)]
pub(crate) struct SliceOption {
    pub(crate) injection: Injection,
    /// The name that the slice has it under.
    pub(crate) field: Text,
    /// Dates go into the request even where the slice has none.
    pub(crate) always: bool,
}

impl SliceOption {
    pub(crate) fn put(&self, env: &Env, slice: &Slice, options: &mut Options) -> Result<()> {
        let field = self.field.eval_text(&env.scope())?;
        let value = slice.get(&field).cloned().unwrap_or(Value::Null);
        if self.always || json_is_true(&value) {
            self.injection.put(env, options, value)?;
        }
        Ok(())
    }
}
