//! Changes to records. A stream with any pays for a tree of values per record and for writing it
//! anew; all others never come here.

mod cast;
mod keys;
mod landed;
pub(crate) mod place;
#[cfg(test)]
mod tests;

pub(crate) use landed::landed;

use serde_json::Value;
use weir_protocol::spec::{CastType, Flatten, KeyCase, Transform};
use weir_protocol::{Error, Result};

use crate::extract::{Exact, Path, is_inexact};
use crate::interpolate::{Scope, Templates, Tree};

/// A stream's `transform`, compiled.
#[derive(Debug, Clone, Default)]
pub struct Transforms {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Add(Vec<(Path, Tree)>),
    Remove(Vec<Path>),
    Rename(Vec<(Path, Path)>),
    Flatten { paths: Vec<Path>, separator: String },
    Cast(Vec<(Path, CastType)>),
    Keys(KeyCase),
}

impl Transforms {
    pub fn new(templates: &Templates, field: &str, specs: &[Transform]) -> Result<Self> {
        let compile = |spec: &Transform| compile(templates, field, spec);
        Ok(Self {
            steps: specs.iter().map(compile).collect::<Result<_>>()?,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// `scope` is what templates may name besides `record`; `exact` is what the record was parsed by and is written by.
    pub fn apply(&self, record: &mut Value, scope: &Scope, exact: &mut Exact) -> Result<()> {
        for step in &self.steps {
            step.apply(record, scope, exact)?;
        }
        Ok(())
    }
}

fn compile(templates: &Templates, field: &str, spec: &Transform) -> Result<Step> {
    Ok(match spec {
        Transform::Add(fields) => {
            let mut added = Vec::with_capacity(fields.len());
            for (path, value) in fields {
                let value = templates.compile_tree(&format!("{field}: transform.add.{path}"), value)?;
                added.push((exact(path)?, value));
            }
            Step::Add(added)
        }
        Transform::Remove(paths) => Step::Remove(parse_all(paths)?),
        Transform::Rename(names) => {
            let names = names.iter().map(|(from, to)| Ok((exact(from)?, exact(to)?)));
            Step::Rename(names.collect::<Result<_>>()?)
        }
        Transform::Flatten(Flatten { paths, separator }) => Step::Flatten {
            paths: paths.iter().map(|path| exact(path)).collect::<Result<_>>()?,
            separator: separator.clone(),
        },
        Transform::Cast(types) => {
            let types = types.iter().map(|(path, to)| Ok((Path::parse(path)?, *to)));
            Step::Cast(types.collect::<Result<_>>()?)
        }
        Transform::Keys(case) => Step::Keys(*case),
    })
}

fn parse_all(paths: &[String]) -> Result<Vec<Path>> {
    paths.iter().map(|path| Path::parse(path)).collect()
}

fn exact(text: &str) -> Result<Path> {
    let path = Path::parse(text)?;
    if path.has_wildcard() {
        return Err(Error::spec(format!("'{text}' must name one field, without *"))
            .hint("only remove and cast take a * in a path"));
    }
    Ok(path)
}

impl Step {
    fn apply(&self, record: &mut Value, scope: &Scope, exact: &mut Exact) -> Result<()> {
        match self {
            Self::Add(fields) => {
                for (path, value) in fields {
                    // Each sees what those before it have added.
                    let scope = if value.uses("record") {
                        scope.clone().with("record", &*record)
                    } else {
                        scope.clone()
                    };
                    let value = value.render(&scope)?;
                    place::set(record, &path.steps, value);
                }
            }
            Self::Remove(paths) => {
                for path in paths {
                    place::remove(record, &path.steps);
                }
            }
            Self::Rename(names) => {
                for (from, to) in names {
                    if let Some(value) = place::take(record, &from.steps) {
                        place::set(record, &to.steps, value);
                    }
                }
            }
            Self::Flatten { paths, separator } => keys::flatten(record, paths, separator),
            Self::Cast(types) => {
                for (path, to) in types {
                    if matches!(to, CastType::Number | CastType::Json) {
                        take_on(record, path, exact);
                    }
                    place::change(record, &path.steps, &mut |value| cast::cast(value, *to, exact));
                }
            }
            Self::Keys(case) => keys::rename_all(record, *case),
        }
        Ok(())
    }
}

/// The numbers in texts that a cast is about to parse: all of them, lest one is a double that stands for another.
fn take_on(record: &mut Value, path: &Path, exact: &mut Exact) {
    let mut texts = Vec::new();
    place::change(record, &path.steps, &mut |value| {
        if let Value::String(text) = value {
            texts.push(text.clone());
        }
    });
    if !exact.is_empty() || texts.iter().any(|text| is_inexact(text.as_bytes())) {
        exact.widen(record, &texts);
    }
}
