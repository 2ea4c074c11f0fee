//! JSON with templates at any depth.

use serde_json::{Map, Value};
use weir_protocol::Result;

use super::{OMIT, Scope, Template, Templates, is_template};

/// A compiled JSON value. Parts without templates are copied as they are.
#[derive(Debug, Clone)]
pub enum Tree {
    Fixed(Value),
    Text(Template),
    List(Vec<Self>),
    Object(Vec<(Template, Self)>),
}

impl Tree {
    pub(super) fn compile(templates: &Templates, field: &str, value: &Value) -> Result<Self> {
        Ok(match value {
            Value::String(text) if is_template(text) => Self::Text(templates.compile(field, text)?),
            Value::Array(items) => {
                let items: Result<Vec<_>> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| Self::compile(templates, &format!("{field}[{index}]"), item))
                    .collect();
                let items = items?;
                if items.iter().all(|item| matches!(item, Self::Fixed(_))) {
                    Self::Fixed(value.clone())
                } else {
                    Self::List(items)
                }
            }
            Value::Object(members) => {
                let members: Result<Vec<_>> = members
                    .iter()
                    .map(|(key, member)| {
                        let field = format!("{field}.{key}");
                        let member = Self::compile(templates, &field, member)?;
                        Ok((templates.compile(field, key)?, member))
                    })
                    .collect();
                let members = members?;
                let fixed = |(key, member): &(Template, Self)| {
                    key.as_fixed().is_some() && matches!(member, Self::Fixed(_))
                };
                if members.iter().all(fixed) {
                    Self::Fixed(value.clone())
                } else {
                    Self::Object(members)
                }
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => Self::Fixed(value.clone()),
        })
    }

    pub fn render(&self, scope: &Scope) -> Result<Value> {
        Ok(match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(template) => template.render(scope)?,
            Self::List(items) => {
                let items = items.iter().map(|item| item.render(scope));
                let kept = items.filter(|item| !item.as_ref().is_ok_and(is_omitted));
                Value::Array(kept.collect::<Result<_>>()?)
            }
            Self::Object(members) => {
                let mut out = Map::with_capacity(members.len());
                for (key, member) in members {
                    let member = member.render(scope)?;
                    if !is_omitted(&member) {
                        out.insert(key.render_text(scope)?, member);
                    }
                }
                Value::Object(out)
            }
        })
    }

    /// The dotted paths that its templates name.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::Text(template) => template.names().collect(),
            Self::List(items) => items.iter().flat_map(Self::names).collect(),
            Self::Object(members) => {
                let both = members.iter().map(|(key, member)| (key.names(), member.names()));
                both.flat_map(|(key, member)| key.chain(member)).collect()
            }
        }
    }

    /// Whether any template in it names `variable`.
    pub fn uses(&self, variable: &str) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Text(template) => template.uses(variable),
            Self::List(items) => items.iter().any(|item| item.uses(variable)),
            Self::Object(members) => members
                .iter()
                .any(|(key, member)| key.uses(variable) || member.uses(variable)),
        }
    }
}

/// Whether a template said of its place that it is left out.
pub(crate) fn is_omitted(value: &Value) -> bool {
    value.as_str() == Some(OMIT)
}
