//! A manifest: read, its references resolved, its parameters handed down.

mod parameters;
mod reference;
#[cfg(test)]
mod tests;
mod yaml;

use std::sync::Arc;

use serde_json::Value;
use weir_protocol::{Error, Result};

pub(crate) use parameters::propagate;
pub(crate) use yaml::scalar as yaml_scalar;

/// A manifest larger than this is refused.
const BYTES_MAX: usize = 32 << 20;

/// A low-code manifest, ready to be built from. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Manifest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    text: String,
    resolved: Value,
}

impl Manifest {
    /// Whether a text looks like such a manifest rather than like a connector of weir's own.
    pub fn is_one(text: &str) -> bool {
        let marks = ["DeclarativeSource", "DeclarativeStream", "dynamic_streams"];
        let named = text.lines().any(|line| line.starts_with("spec: 1"));
        !named && marks.iter().any(|mark| text.contains(mark))
    }

    /// `name` is the file's, for messages.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        if text.len() > BYTES_MAX {
            return Err(Error::limit(format!("{name} is larger than {BYTES_MAX} bytes"))
                .hint("a manifest holds components, not data; give the right file"));
        }
        let mut root = yaml::load(name, text)?.value;
        let Some(members) = root.as_object_mut() else {
            return Err(
                Error::spec(format!("{name} is not a manifest: its root is no mapping"))
                    .hint("a manifest begins with version, type: DeclarativeSource and streams"),
            );
        };
        members
            .entry("type")
            .or_insert_with(|| Value::from("DeclarativeSource"));
        if !members.contains_key("streams") && !members.contains_key("dynamic_streams") {
            return Err(
                Error::spec(format!("{name} has neither streams nor dynamic_streams"))
                    .hint("a manifest lists its streams under 'streams'"),
            );
        }
        let resolved = reference::resolve(&root)
            .map_err(|problem| located(name, text, &problem.path, Error::spec(problem.message)))?;
        let resolved = propagate("", &resolved, &serde_json::Map::new(), None);
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            text: text.to_owned(),
            resolved,
        })))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn root(&self) -> &Value {
        &self.0.resolved
    }

    /// Adds where in the file the component at `path` is written.
    pub(crate) fn locate(&self, path: &str, error: Error) -> Error {
        located(&self.0.name, &self.0.text, path, error)
    }
}

fn located(name: &str, text: &str, path: &str, error: Error) -> Error {
    let error = match yaml::line_of(name, text, path) {
        Some(line) => error.with("at", format!("{name}:{line}")),
        None => error.with("file", name),
    };
    let error = if path.is_empty() {
        error
    } else {
        error.with("component", path)
    };
    error.hint("mend the manifest there")
}

impl Manifest {
    /// Whether the manifest or the settings write out a loopback or private host.
    pub fn names_private_host(&self, config: &Value) -> bool {
        let names_one = |text: &str| {
            let after = text.split("://").skip(1);
            let hosts =
                after.filter_map(|rest| rest.split(['/', ':', '"', '\'', '?', '{', ' ', '\n']).next());
            hosts.into_iter().any(is_private)
        };
        names_one(&self.0.text) || names_one(&config.to_string())
    }
}

fn is_private(host: &str) -> bool {
    match host.parse::<std::net::Ipv4Addr>() {
        Ok(address) => address.is_loopback() || address.is_private(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}
