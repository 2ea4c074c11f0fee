//! Transformations of records.

use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde_json::{Map, Value};
use weir_protocol::Result;

use super::super::env::Env;
use super::super::node::Node;
use super::super::template::{Condition, Scope, Takes, Text, py_text};
use super::path;

pub(crate) enum Transform {
    Add {
        fields: Vec<Added>,
        condition: Option<Condition>,
    },
    Remove {
        pointers: Vec<Vec<String>>,
        condition: Option<Condition>,
    },
    KeysToLower,
    KeysToSnake,
    KeysReplace {
        old: Text,
        new: Text,
    },
    Flatten {
        lists: bool,
    },
    FlattenAt(Box<FlattenAt>),
}

pub(crate) struct Added {
    path: Vec<String>,
    shown_path: Value,
    value: Text,
    takes: Takes,
}

pub(crate) struct FlattenAt {
    path: Vec<Text>,
    removes: bool,
    replaces: bool,
    prefix: String,
    suffix: String,
}

impl Transform {
    pub(crate) fn all(env: &Arc<Env>, nodes: &[Node<'_>]) -> Result<Vec<Self>> {
        nodes.iter().map(|node| Self::new(env, node)).collect()
    }

    pub(crate) fn new(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        Ok(match node.kind() {
            "AddFields" => Self::Add {
                fields: node
                    .list("fields")
                    .iter()
                    .map(Added::new)
                    .collect::<Result<_>>()?,
                condition: node.condition("condition")?,
            },
            "RemoveFields" => Self::Remove {
                pointers: node.list("field_pointers").iter().map(strings).collect(),
                condition: node.condition("condition")?,
            },
            "KeysToLower" => Self::KeysToLower,
            "KeysToSnakeCase" => Self::KeysToSnake,
            "KeysReplace" => Self::KeysReplace {
                old: node.need_text("old")?,
                new: node.need_text("new")?,
            },
            "FlattenFields" => Self::Flatten {
                lists: node
                    .value
                    .get("flatten_lists")
                    .and_then(Value::as_bool)
                    .unwrap_or(true),
            },
            "DpathFlattenFields" => Self::FlattenAt(Box::new(FlattenAt::new(env, node)?)),
            _ => return Err(node.unknown("a transformation")),
        })
    }

    /// `scope` names config and the slice; the record comes with each call.
    pub(crate) fn apply(&self, record: &mut Value, scope: &Scope<'_>) -> Result<()> {
        match self {
            Self::Add { fields, condition } => {
                for field in fields {
                    field.add(record, condition.as_ref(), scope)?;
                }
            }
            Self::Remove { pointers, condition } => {
                let mut failed = None;
                for pointer in pointers {
                    path::remove(record, pointer, &mut |value| match condition {
                        None => true,
                        Some(condition) => {
                            let scope = scope.clone().with_json("property", value);
                            condition.holds(&scope).unwrap_or_else(|error| {
                                failed = Some(error);
                                false
                            })
                        }
                    });
                }
                if let Some(error) = failed {
                    return Err(error);
                }
            }
            Self::KeysToLower => {
                if let Value::Object(members) = record {
                    let lowered = std::mem::take(members)
                        .into_iter()
                        .map(|(key, value)| (key.to_lowercase(), value));
                    *members = lowered.collect();
                }
            }
            Self::KeysToSnake => rename(record, &snake_case),
            Self::KeysReplace { old, new } => {
                let (old, new) = {
                    let scope = scope.clone().with_json("record", record);
                    (old.eval_text(&scope)?, new.eval_text(&scope)?)
                };
                rename(record, &|key| key.replace(&old, &new));
            }
            Self::Flatten { lists } => *record = flatten(std::mem::take(record), *lists),
            Self::FlattenAt(flatten) => flatten.apply(record, scope)?,
        }
        Ok(())
    }
}

fn strings(node: &Node<'_>) -> Vec<String> {
    node.items().iter().map(|item| py_text(item.value)).collect()
}

impl Added {
    fn new(node: &Node<'_>) -> Result<Self> {
        let path = strings(&node.need("path")?);
        if path.is_empty() {
            return Err(node.error("the path of an added field is empty"));
        }
        Ok(Self {
            shown_path: Value::from(path.clone()),
            path,
            value: node.need_text("value")?,
            takes: takes(node),
        })
    }

    fn add(&self, record: &mut Value, condition: Option<&Condition>, scope: &Scope<'_>) -> Result<()> {
        let value = {
            let scope = scope.clone().with_json("record", record);
            let value = self.value.eval(&scope, self.takes)?;
            if let Some(condition) = condition
                && !condition.holds(
                    &scope
                        .with_json("value", &value)
                        .with_json("path", &self.shown_path),
                )?
            {
                return Ok(());
            }
            value
        };
        path::create(record, &self.path, value);
        Ok(())
    }
}

/// What a `value_type` lets pass.
pub(crate) fn takes(node: &Node<'_>) -> Takes {
    match node.str("value_type") {
        Some("string") => Takes::Text,
        Some("integer") => Takes::Integer,
        Some("number") => Takes::Number,
        Some("boolean") => Takes::Boolean,
        _ => Takes::Anything,
    }
}

fn rename(value: &mut Value, new: &dyn Fn(&str) -> String) {
    if let Value::Object(members) = value {
        let renamed = std::mem::take(members).into_iter().map(|(key, mut value)| {
            rename(&mut value, new);
            (new(&key), value)
        });
        *members = renamed.collect();
    }
}

static WORDS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"[A-Z]+[a-z]*|[a-z]+|\d+|([^a-zA-Z\d]+)").ok());

fn snake_case(key: &str) -> String {
    let Some(words) = &*WORDS else {
        return key.to_owned();
    };
    let mut tokens: Vec<String> = words
        .captures_iter(key)
        .map(|found| {
            if found.get(1).is_some() {
                String::new()
            } else {
                found[0].to_lowercase()
            }
        })
        .collect();
    let last = tokens.len().saturating_sub(1);
    if tokens.len() >= 3 {
        let mut index = 0;
        tokens.retain(|token| {
            index += 1;
            index == 1 || index - 1 == last || !token.is_empty()
        });
    }
    if tokens
        .first()
        .is_some_and(|token| token.starts_with(|c: char| c.is_ascii_digit()))
    {
        tokens.insert(0, String::new());
    }
    tokens.join("_")
}

/// Leaves by their own names; by the way that leads to them where a name is taken.
fn flatten(record: Value, lists: bool) -> Value {
    let mut flat = Map::new();
    let mut with_way = false;
    let mut stack = vec![(record, "_".to_owned())];
    while let Some((value, name)) = stack.pop() {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    let name = if with_way || flat.contains_key(&key) {
                        format!("{name}.{key}")
                    } else {
                        key
                    };
                    stack.push((value, name));
                }
            }
            Value::Array(items) if lists => {
                for (index, item) in items.into_iter().enumerate() {
                    with_way = true;
                    stack.push((item, format!("{name}.{index}")));
                }
            }
            leaf => {
                flat.insert(name, leaf);
            }
        }
    }
    Value::Object(flat)
}

impl FlattenAt {
    fn new(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        let keys = node.get("key_transformation");
        let affix = |field: &str| -> Result<String> {
            let text = keys.as_ref().map(|keys| keys.text(field)).transpose()?.flatten();
            text.map_or_else(|| Ok(String::new()), |text| text.eval_text(&env.scope()))
        };
        Ok(Self {
            path: node.texts("field_path")?,
            removes: node.flag("delete_origin_value"),
            replaces: node.flag("replace_record"),
            prefix: affix("prefix")?,
            suffix: affix("suffix")?,
        })
    }

    fn apply(&self, record: &mut Value, scope: &Scope<'_>) -> Result<()> {
        let steps = self.path.iter().map(|step| step.eval_text(scope));
        let steps: Vec<String> = steps.collect::<Result<_>>()?;
        let found = if steps.iter().any(|step| step == "*") {
            path::values(record, &steps).first().copied()
        } else {
            path::get(record, &steps)
        };
        let Some(Value::Object(found)) = found.cloned() else {
            return Ok(());
        };
        let named = found
            .into_iter()
            .map(|(key, value)| (format!("{}{key}{}", self.prefix, self.suffix), value));
        let named: Map<String, Value> = named.collect();
        if self.replaces && !named.is_empty() {
            *record = Value::Object(named);
            return Ok(());
        }
        let Value::Object(members) = &*record else {
            return Ok(());
        };
        if named.keys().any(|key| members.contains_key(key)) {
            return Ok(());
        }
        if self.removes {
            path::remove(record, &steps, &mut |_| true);
        }
        if let Value::Object(members) = record {
            members.extend(named);
        }
        Ok(())
    }
}
