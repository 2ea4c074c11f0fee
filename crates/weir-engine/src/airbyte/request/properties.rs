//! Lists of properties that an API wants to be asked for, in parts where a request holds only so many.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::OnceCell;
use weir_protocol::Result;

use super::super::env::Env;
use super::super::node::Node;
use super::super::records::{Transform, path};
use super::super::retriever::Retriever;
use super::super::template::{Text, py_text};

enum List {
    Fixed(Vec<String>),
    Endpoint {
        retriever: Box<Retriever>,
        path: Vec<Text>,
        found: OnceCell<Vec<String>>,
    },
}

struct Chunks {
    by_characters: bool,
    limit: Option<usize>,
}

pub(crate) struct Properties {
    list: List,
    always: Vec<String>,
    chunks: Option<Chunks>,
    /// Fields by whose values the parts of a record are put together.
    merge_key: Vec<String>,
    /// What becomes of the names that the reader's catalog lists, where it decides.
    selector: Option<Vec<Transform>>,
    /// What the reader's catalog lists; None where there is none.
    chosen: Option<BTreeSet<String>>,
}

impl Properties {
    pub(crate) fn new(env: &Arc<Env>, requester: &Node<'_>) -> Result<Option<Self>> {
        let inline = requester.get("request_parameters").and_then(|params| {
            let found = params
                .members()
                .into_iter()
                .find(|(_, value)| value.kind() == "QueryProperties");
            found.map(|(_, node)| node)
        });
        if let Some(node) = inline.or_else(|| requester.get("query_properties")) {
            return Self::of(env, &node).map(Some);
        }
        let Some(endpoint) = requester.get("fetch_properties_from_endpoint") else {
            return Ok(None);
        };
        Ok(Some(Self {
            list: list(env, &endpoint)?,
            always: Vec::new(),
            chunks: None,
            merge_key: Vec::new(),
            selector: None,
            chosen: None,
        }))
    }

    fn of(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        let selector = node.get("property_selector");
        let selector = selector.map(|selector| match selector.kind() {
            "JsonSchemaPropertySelector" => Transform::all(env, &selector.list("transformations")),
            _ => Err(selector.unknown("a part of QueryProperties")),
        });
        let strings = |node: &Node<'_>, field: &str| -> Vec<String> {
            node.list(field).iter().map(|item| py_text(item.value)).collect()
        };
        let chunking = node.get("property_chunking");
        let chunks = chunking.as_ref().map(|chunking| Chunks {
            by_characters: chunking.str("property_limit_type") == Some("characters"),
            limit: chunking
                .int("property_limit")
                .and_then(|limit| usize::try_from(limit).ok()),
        });
        let merge = chunking
            .as_ref()
            .and_then(|chunking| chunking.get("record_merge_strategy"));
        let merge_key = match merge.as_ref().and_then(|merge| merge.get("key")) {
            Some(key) if key.value.is_array() => key.items().iter().map(|item| py_text(item.value)).collect(),
            Some(key) => vec![py_text(key.value)],
            None if chunks.is_some() => vec!["id".to_owned()],
            None => Vec::new(),
        };
        Ok(Self {
            list: match node.get("property_list") {
                Some(property_list) => list(env, &property_list)?,
                None => List::Fixed(Vec::new()),
            },
            always: strings(node, "always_include_properties"),
            chunks,
            merge_key,
            selector: selector.transpose()?,
            chosen: None,
        })
    }

    /// Only the properties that a reader's catalog lists are asked for, where the manifest says so.
    pub(crate) fn choose(&mut self, env: &Env, schema: &Value) -> Result<()> {
        let Some(transforms) = &self.selector else {
            return Ok(());
        };
        let mut names = schema.get("properties").cloned().unwrap_or_default();
        let scope = env.scope();
        transforms
            .iter()
            .try_for_each(|transform| transform.apply(&mut names, &scope))?;
        let names = names.as_object().map(|names| names.keys().cloned().collect());
        self.chosen = Some(names.unwrap_or_default());
        Ok(())
    }

    fn is_chosen(&self, name: &String) -> bool {
        self.chosen.as_ref().is_none_or(|chosen| chosen.contains(name))
    }

    pub(crate) fn is_chunked(&self) -> bool {
        self.chunks.is_some()
    }

    /// What a record's parts have in common; None where it lacks a key and stands alone.
    pub(crate) fn merge_key_of(&self, record: &Value) -> Option<String> {
        let parts = self.merge_key.iter().map(|field| {
            record
                .get(field)
                .filter(|value| super::super::template::json_is_true(value))
                .map(py_text)
        });
        parts.collect::<Option<Vec<_>>>().map(|parts| parts.join(","))
    }

    /// The properties of each request.
    pub(crate) async fn parts(&self, env: &Arc<Env>) -> Result<Vec<Vec<String>>> {
        let fields = match &self.list {
            List::Fixed(fields) => fields.clone(),
            List::Endpoint {
                retriever,
                path: steps,
                found,
            } => {
                let load = || async {
                    let scope = env.scope();
                    let steps = steps
                        .iter()
                        .map(|step| step.eval_text(&scope))
                        .collect::<Result<Vec<_>>>()?;
                    let records = Box::pin(retriever.all(env)).await?;
                    let named = records
                        .iter()
                        .map(|record| path::get(record, &steps).map_or_else(|| "[]".to_owned(), py_text));
                    Ok::<_, weir_protocol::Error>(named.collect())
                };
                found.get_or_try_init(load).await?.clone()
            }
        };
        let Some(chunks) = &self.chunks else {
            let wanted = fields.iter().filter(|name| self.is_chosen(name));
            let all = self.always.iter().chain(wanted).cloned().collect();
            return Ok(vec![all]);
        };
        // Without a limit nothing is chosen from: so does the reference.
        let wanted = |name: &&String| chunks.limit.is_none() || self.is_chosen(name);
        let fields: Vec<String> = fields.iter().filter(wanted).cloned().collect();
        Ok(chunks.split(&fields, &self.always))
    }
}

impl Chunks {
    fn split(&self, fields: &[String], always: &[String]) -> Vec<Vec<String>> {
        let Some(limit) = self.limit.filter(|limit| *limit > 0) else {
            return vec![fields.iter().chain(always).cloned().collect()];
        };
        let mut parts = Vec::new();
        let mut part = always.to_vec();
        let mut size = 0;
        for field in fields {
            // Three characters more for the encoded separator.
            let more = if self.by_characters {
                field.chars().count() + 3
            } else {
                1
            };
            if size + more > limit {
                parts.push(std::mem::replace(&mut part, always.to_vec()));
                size = 0;
            }
            part.push(field.clone());
            size += more;
        }
        parts.push(part);
        parts
    }
}

fn list(env: &Arc<Env>, node: &Node<'_>) -> Result<List> {
    if node.value.is_array() {
        return Ok(List::Fixed(
            node.items().iter().map(|item| py_text(item.value)).collect(),
        ));
    }
    if node.kind() != "PropertiesFromEndpoint" {
        return Err(node.unknown("a list of properties"));
    }
    Ok(List::Endpoint {
        retriever: Box::new(Retriever::simple(env, &node.need("retriever")?)?),
        path: node.texts("property_field_path")?,
        found: OnceCell::new(),
    })
}
