//! `$ref` and `#/…` texts, replaced by what they point to.

use serde_json::{Map, Value};

/// References within references.
const DEPTH_MAX: usize = 100;

/// Values of the manifest once all references are replaced: a few lines that each refer several
/// times to the one before would otherwise fill any memory.
const VALUES_MAX: usize = 3_000_000;

/// What is wrong, and where.
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) path: String,
}

pub(super) fn resolve(root: &Value) -> Result<Value, Problem> {
    let mut resolver = Resolver {
        root,
        open: Vec::new(),
        values: 0,
    };
    resolver.node(root, "")
}

struct Resolver<'a> {
    root: &'a Value,
    /// References that are being followed.
    open: Vec<String>,
    /// Made so far.
    values: usize,
}

impl Resolver<'_> {
    fn node(&mut self, node: &Value, path: &str) -> Result<Value, Problem> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(Problem {
                message: format!("its references make it more than {VALUES_MAX} values large"),
                path: path.to_owned(),
            });
        }
        match node {
            Value::Object(members) => self.object(members, path),
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let items = items.map(|(index, item)| self.node(item, &format!("{path}[{index}]")));
                items.collect::<Result<_, _>>().map(Value::Array)
            }
            Value::String(text) if text.starts_with("#/") => self.follow(text, path),
            other => Ok(other.clone()),
        }
    }

    fn object(&mut self, members: &Map<String, Value>, path: &str) -> Result<Value, Problem> {
        let mut own = Map::new();
        for (key, value) in members.iter().filter(|(key, _)| *key != "$ref") {
            let value = if key == "config_overrides" {
                value.clone()
            } else {
                self.node(value, &join(path, key))?
            };
            own.insert(key.clone(), value);
        }
        let Some(reference) = members.get("$ref") else {
            return Ok(Value::Object(own));
        };
        match self.node(reference, path)? {
            Value::Object(mut base) => {
                base.extend(own);
                Ok(Value::Object(base))
            }
            other => Ok(other),
        }
    }

    fn follow(&mut self, reference: &str, path: &str) -> Result<Value, Problem> {
        let problem = |message: String| Problem {
            message,
            path: path.to_owned(),
        };
        if self.open.iter().any(|open| open == reference) {
            let mut circle = self.open.join(" → ");
            circle.push_str(" → ");
            circle.push_str(reference);
            return Err(problem(format!("a circle of references: {circle}")));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(problem(format!(
                "references lead more than {DEPTH_MAX} steps deep"
            )));
        }
        let target = reference.strip_prefix("#/").unwrap_or(reference);
        let found = lookup(self.root, target).cloned();
        let found = found.ok_or_else(|| problem(format!("'{reference}' points to nothing")))?;
        self.open.push(reference.to_owned());
        let resolved = self.node(&found, path)?;
        self.open.pop();
        Ok(resolved)
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A key may itself hold slashes: the longest that exists wins.
fn lookup<'a>(node: &'a Value, reference: &str) -> Option<&'a Value> {
    if reference.is_empty() {
        return Some(node);
    }
    if let Some(found) = node.get(reference) {
        return Some(found);
    }
    let (head, rest) = reference.split_once('/').unwrap_or((reference, ""));
    let next = match node {
        Value::Array(items) => items.get(head.parse::<usize>().ok()?)?,
        other => other.get(head)?,
    };
    lookup(next, rest)
}

/// Where a path of the resolved manifest is written: the path after the last reference it leads through.
pub(super) fn origin(root: &Value, path: &str) -> String {
    let mut node = root;
    let mut at = String::new();
    for step in steps(path) {
        let mut hops = 0;
        loop {
            if child(node, &step).is_some() || hops > DEPTH_MAX {
                break;
            }
            let reference = node.get("$ref").and_then(Value::as_str).or_else(|| node.as_str());
            let Some(target) = reference.and_then(|reference| reference.strip_prefix("#/")) else {
                return at;
            };
            let Some(found) = lookup(root, target) else {
                return at;
            };
            node = found;
            at = target.replace('/', ".");
            hops += 1;
        }
        let Some(found) = child(node, &step) else {
            return at;
        };
        node = found;
        at = match step.parse::<usize>() {
            Ok(index) if node.is_null() || at.is_empty() || !step.is_empty() => format!("{at}[{index}]"),
            _ => join(&at, &step),
        };
    }
    at
}

fn child<'a>(node: &'a Value, step: &str) -> Option<&'a Value> {
    match node {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        Value::Object(members) => members.get(step),
        _ => None,
    }
}

/// `streams[0].retriever` as `streams`, `0`, `retriever`.
fn steps(path: &str) -> Vec<String> {
    path.split(['.', '['])
        .map(|step| step.trim_end_matches(']').to_owned())
        .filter(|step| !step.is_empty())
        .collect()
}
