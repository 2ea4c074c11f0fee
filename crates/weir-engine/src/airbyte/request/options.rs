//! Parameters, headers and bodies from several components, put together as the reference does: the
//! same key from two of them is an error, equal values in a JSON body excepted.

use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use super::super::node::Node;
use super::super::template::{Otherwise, Scope, Takes, Text};

/// What one component adds to a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) params: Map<String, Value>,
    pub(crate) headers: Map<String, Value>,
    pub(crate) form: Map<String, Value>,
    /// A body of plain text.
    pub(crate) text: Option<String>,
    pub(crate) json: Map<String, Value>,
}

impl Options {
    pub(crate) fn merge(&mut self, other: Self) -> Result<()> {
        add(&mut self.params, other.params, false, "")?;
        add(&mut self.headers, other.headers, false, "")?;
        add(&mut self.form, other.form, false, "")?;
        add(&mut self.json, other.json, true, "")?;
        if let Some(text) = other.text
            && self.text.replace(text).is_some()
        {
            return Err(
                Error::spec("two components give the request's body as text").hint("keep one of them")
            );
        }
        if self.text.is_some() && !self.form.is_empty() {
            return Err(
                Error::spec("the request's body is given both as text and by fields")
                    .hint("keep one of them"),
            );
        }
        Ok(())
    }
}

fn add(to: &mut Map<String, Value>, from: Map<String, Value>, may_equal: bool, path: &str) -> Result<()> {
    for (key, value) in from {
        let at = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match (to.get_mut(&key), value) {
            (None, value) => {
                to.insert(key, value);
            }
            (Some(Value::Object(there)), Value::Object(value)) if may_equal => add(there, value, true, &at)?,
            (Some(there), value) if may_equal && *there == value => {}
            _ => {
                return Err(Error::spec(format!("two components set '{at}' of the request"))
                    .hint("keep one of them: paginator, slices, authenticator and requester must not share a key"));
            }
        }
    }
    Ok(())
}

/// Texts by name, each a template; or one template that gives the mapping.
#[derive(Debug, Clone)]
pub(crate) enum Mapping {
    Whole(Text),
    Members(Vec<(Text, Member)>),
}

#[derive(Debug, Clone)]
pub(crate) enum Member {
    Text(Text),
    Fixed(Value),
}

impl Mapping {
    pub(crate) fn new(node: &Node<'_>, parameters: &Value) -> Result<Self> {
        if let Some(source) = node.value.as_str() {
            return Ok(Self::Whole(node.template(
                source,
                parameters,
                Otherwise::Text(""),
            )?));
        }
        let members = node.members().into_iter();
        let members = members.map(|(key, value)| {
            let key = value.template(key, parameters, Otherwise::Null)?;
            let member = match value.value {
                Value::String(source) => Member::Text(value.template(source, parameters, Otherwise::Null)?),
                other => Member::Fixed(other.clone()),
            };
            Ok((key, member))
        });
        Ok(Self::Members(members.collect::<Result<_>>()?))
    }

    /// Null members are left out. What is no mapping comes as it is.
    pub(crate) fn eval(&self, scope: &Scope<'_>, takes: Takes) -> Result<Value> {
        let members = match self {
            // One template for all may give anything: the types hold for members only.
            Self::Whole(text) => return text.eval(scope, Takes::Anything).map(without_nulls),
            Self::Members(members) => members,
        };
        let mut made = Map::new();
        for (key, value) in members {
            let value = match value {
                Member::Text(text) => text.eval(scope, takes)?,
                Member::Fixed(value) => value.clone(),
            };
            if value.is_null() {
                continue;
            }
            let key = match key.eval(scope, Takes::Text)? {
                Value::String(key) => key,
                _ => "None".to_owned(),
            };
            made.insert(key, value);
        }
        Ok(Value::Object(made))
    }
}

fn without_nulls(value: Value) -> Value {
    let Value::Object(mut members) = value else {
        return value;
    };
    members.retain(|_, value| !value.is_null());
    Value::Object(members)
}
