//! Which model reads which table: order, circles, drawings.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use weir_protocol::{Error, Result};

use super::{Model, Models, layer_of};

/// Tables and models with what they read.
#[derive(Debug, Clone, Serialize)]
pub struct Graph {
    pub nodes: Vec<Node>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Node {
    pub name: String,
    /// `bronze`, `silver`, or how the model is materialised.
    pub kind: String,
    pub reads: BTreeSet<String>,
}

pub(super) fn of(models: &Models) -> Graph {
    let sources: BTreeSet<&String> = models
        .iter()
        .flat_map(|model| &model.reads)
        .filter(|name| !models.holds(name))
        .collect();
    let sources = sources.into_iter().map(|name| Node {
        name: name.clone(),
        kind: layer_of(name).as_str().to_owned(),
        reads: BTreeSet::new(),
    });
    let models = models.iter().map(|model| Node {
        name: model.name.clone(),
        kind: model.spec.materialize.as_str().to_owned(),
        reads: model.reads.clone(),
    });
    Graph {
        nodes: sources.chain(models).collect(),
    }
}

impl Graph {
    /// Graphviz.
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph models {\n  rankdir=LR;\n");
        for node in &self.nodes {
            out += &format!("  \"{}\" [label=\"{}\\n{}\"];\n", node.name, node.name, node.kind);
            for read in &node.reads {
                out += &format!("  \"{read}\" -> \"{}\";\n", node.name);
            }
        }
        out + "}\n"
    }

    /// One line a node: what it is and what it reads.
    pub fn to_text(&self) -> String {
        let width = self.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);
        let mut out = String::new();
        for node in &self.nodes {
            let reads: Vec<&str> = node.reads.iter().map(String::as_str).collect();
            let arrow = if reads.is_empty() { "" } else { " <- " };
            let line = format!(
                "{:width$}  {:11}{arrow}{}",
                node.name,
                node.kind,
                reads.join(", ")
            );
            out += line.trim_end();
            out.push('\n');
        }
        out
    }
}

/// Names, each after those it reads; a circle is named.
pub(super) fn order(models: &BTreeMap<String, Model>) -> Result<Vec<String>> {
    let mut walk = Walk {
        models,
        done: Vec::new(),
        path: Vec::new(),
    };
    models.keys().try_for_each(|name| walk.visit(name))?;
    Ok(walk.done)
}

struct Walk<'a> {
    models: &'a BTreeMap<String, Model>,
    done: Vec<String>,
    path: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, name: &'a str) -> Result<()> {
        let Some(model) = self.models.get(name) else {
            return Ok(());
        };
        if self.done.iter().any(|done| done == name) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|on_path| *on_path == name) {
            let circle = self.path.get(start..).unwrap_or_default().join(" -> ");
            return Err(Error::spec(format!("models read each other: {circle} -> {name}"))
                .with("file", model.file.display())
                .hint("break the circle: move what both need into a model of its own"));
        }
        self.path.push(name);
        model.reads.iter().try_for_each(|read| self.visit(read))?;
        self.path.pop();
        self.done.push(name.to_owned());
        Ok(())
    }
}
