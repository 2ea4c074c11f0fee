//! The streams of a manifest: those it lists, those under a condition, and those made from a template.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_protocol::{Error, Result};

use super::config;
use super::env::Env;
use super::manifest::{propagate, yaml_scalar};
use super::node::Node;
use super::records::{path, takes};
use super::retriever::Retriever;
use super::slices::{Router, Slice};
use super::template::{Condition, Scope, Takes, Text, json_is_true, py_text};

/// A stream's component and where it stands.
pub(crate) struct Declared {
    pub(crate) value: Value,
    pub(crate) path: String,
    /// The group of dynamic streams that it belongs to.
    pub(crate) group: Option<String>,
}

impl Declared {
    pub(crate) fn name(&self) -> String {
        self.value.get("name").map(py_text).unwrap_or_default()
    }

    pub(crate) fn node<'m>(&'m self, root: &Node<'m>) -> Node<'m> {
        Node {
            manifest: root.manifest,
            value: &self.value,
            path: self.path.clone(),
        }
    }
}

/// Streams that stand in the manifest itself.
pub(crate) fn listed(root: &Node<'_>, settings: &Value, now: super::time::Moment) -> Result<Vec<Declared>> {
    let mut found = Vec::new();
    for node in root.list("streams") {
        if node.kind() != "ConditionalStreams" {
            found.push(declared(&node));
            continue;
        }
        let condition = node.condition("condition")?;
        let holds = condition
            .map(|condition| config::holds(&condition, settings, now))
            .transpose()?;
        if holds.unwrap_or(false) {
            found.extend(node.list("streams").iter().map(declared));
        }
    }
    Ok(found)
}

fn declared(node: &Node<'_>) -> Declared {
    Declared {
        value: node.value.clone(),
        path: node.path.clone(),
        group: None,
    }
}

/// Names of the streams that others have as their parent.
pub(crate) fn parents(root: &Node<'_>) -> Vec<String> {
    let mut names = Vec::new();
    collect_parents(root.value, &mut names);
    names
}

pub(super) fn collect_parents(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for parent in members
                .get("parent_stream_configs")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                names.extend(
                    parent
                        .get("stream")
                        .and_then(|stream| stream.get("name"))
                        .map(py_text),
                );
            }
            members.values().for_each(|value| collect_parents(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_parents(item, names)),
        _ => {}
    }
}

const HTTP_RESOLVER: &str = "HttpComponentsResolver";
const CONFIG_RESOLVER: &str = "ConfigComponentsResolver";

struct Mapping {
    path: Vec<Text>,
    value: Text,
    takes: Takes,
    condition: Option<Condition>,
    creates: bool,
}

/// Streams made from templates.
pub(crate) async fn made(env: &Arc<Env>, root: &Node<'_>) -> Result<Vec<Declared>> {
    let mut found: Vec<Declared> = Vec::new();
    for (index, node) in root.list("dynamic_streams").into_iter().enumerate() {
        let group = node
            .get("name")
            .map_or_else(|| format!("dynamic_stream_{index}"), |name| py_text(name.value));
        let template = node.need("stream_template")?;
        let resolver = node.need("components_resolver")?;
        let mappings = resolver.list("components_mapping");
        let mappings = mappings
            .iter()
            .map(|node| Mapping::new(node, resolver.kind()))
            .collect::<Result<Vec<_>>>()?;
        let above_wins = node
            .value
            .get("use_parent_parameters")
            .and_then(Value::as_bool)
            .unwrap_or(true);
        for (values, slice) in components(env, &resolver).await? {
            let reads_yaml = resolver.kind() != HTTP_RESOLVER;
            let mut value = template.value.clone();
            for mapping in &mappings {
                let scope = env
                    .scope()
                    .with_slice(slice.as_ref().map(|slice| &slice.view))
                    .with_json("components_values", &values)
                    .with_json("stream_template_config", template.value);
                mapping.apply(&mut value, &scope, reads_yaml)?;
            }
            let mut value = propagate("", &value, &Map::new(), Some(above_wins));
            if let Value::Object(members) = &mut value {
                members
                    .entry("type")
                    .or_insert_with(|| Value::from("DeclarativeStream"));
            }
            let declared = Declared {
                value,
                path: template.path.clone(),
                group: Some(group.clone()),
            };
            let name = declared.name();
            if found.iter().any(|known| known.name() == name) {
                return Err(node.error(format!("two dynamic streams have the name '{name}'")));
            }
            found.push(declared);
        }
    }
    Ok(found)
}

impl Mapping {
    fn new(node: &Node<'_>, resolver: &str) -> Result<Self> {
        if let Some(condition) = node.get("condition").filter(|_| resolver != CONFIG_RESOLVER) {
            return Err(condition
                .error(format!("a mapping's condition is only for a {CONFIG_RESOLVER}"))
                .hint("write the condition into the mapping's value"));
        }
        let creates = node.flag("create_or_update");
        if creates && resolver == HTTP_RESOLVER {
            tracing::warn!(
                at = node.path,
                "create_or_update has no effect in an {HTTP_RESOLVER}, as in the reference; write the field into stream_template"
            );
        }
        Ok(Self {
            path: node.texts("field_path")?,
            value: node.need_text("value")?,
            takes: takes(node),
            condition: node.condition("condition")?,
            creates: creates && resolver != HTTP_RESOLVER,
        })
    }

    fn apply(&self, component: &mut Value, scope: &Scope<'_>, reads_yaml: bool) -> Result<()> {
        if let Some(condition) = &self.condition
            && !condition.holds(scope)?
        {
            return Ok(());
        }
        let value = self.value.eval(scope, self.takes)?;
        let value = match value {
            Value::String(text) if reads_yaml && self.takes != Takes::Text => read_yaml(text),
            value => value,
        };
        let steps = self.path.iter().map(|step| step.eval_text(scope));
        let steps: Vec<String> = steps.collect::<Result<_>>()?;
        let count = path::set(component, &steps, &value);
        if count == 0 && self.creates && json_is_true(&value) {
            path::create(component, &steps, value);
        }
        Ok(())
    }
}

/// A text that is YAML for something else than text.
fn read_yaml(text: String) -> Value {
    let is_collection = text.trim_start().starts_with(['[', '{']) && !text.contains("{{");
    if is_collection && let Ok(value) = serde_json::from_str(&text) {
        return value;
    }
    yaml_scalar(&text)
}

/// What each stream of the template is made from.
async fn components(env: &Arc<Env>, node: &Node<'_>) -> Result<Vec<(Value, Option<Slice>)>> {
    match node.kind() {
        HTTP_RESOLVER => fetched(env, node).await,
        CONFIG_RESOLVER => configured(env, node),
        "ParametrizedComponentsResolver" => {
            let parameters = node.need("stream_parameters")?;
            let all = parameters.list("list_of_parameters_for_stream");
            Ok(all.iter().map(|one| (one.value.clone(), None)).collect())
        }
        _ => Err(node.unknown("a components resolver")),
    }
}

async fn fetched(env: &Arc<Env>, node: &Node<'_>) -> Result<Vec<(Value, Option<Slice>)>> {
    let component = node.need("retriever")?;
    let mut retriever = Retriever::new(env, &component, &[], false, true)?;
    let mut found = Vec::new();
    let Some(router) = component.get("partition_router") else {
        let records = retriever.all(env).await?;
        return Ok(records.into_iter().map(|record| (record, None)).collect());
    };
    let router = Router::new(env, &router, &Value::Null)?;
    retriever.options = router.options();
    let mut routing = router.begin()?;
    while let Some(slice) = routing.next().await? {
        let slice = Arc::new(slice);
        for record in retriever.of_slice(env, slice.clone()).await? {
            let view = &slice.view;
            let copy = Slice::new(view.partition.clone(), view.cursor.clone(), view.extra.clone());
            found.push((record, Some(copy)));
        }
    }
    Ok(found)
}

fn configured(env: &Arc<Env>, node: &Node<'_>) -> Result<Vec<(Value, Option<Slice>)>> {
    let configs = node.need("stream_config")?;
    let configs = if configs.value.is_array() {
        configs.items()
    } else {
        vec![configs]
    };
    let scope = env.scope();
    let mut combined: Vec<Map<String, Value>> = vec![Map::new()];
    for (place, config) in configs.iter().enumerate() {
        let steps = config.texts("configs_pointer")?;
        let steps = steps.iter().map(|step| step.eval_text(&scope));
        let steps: Vec<String> = steps.collect::<Result<_>>()?;
        let mut values = match path::get(&env.config, &steps) {
            Some(Value::Array(values)) => values.clone(),
            Some(one) => vec![one.clone()],
            None => Vec::new(),
        };
        values.extend(
            config
                .list("default_values")
                .iter()
                .map(|value| value.value.clone()),
        );
        let mut next = Vec::new();
        for before in &combined {
            for (index, value) in values.iter().enumerate() {
                let mut both = before.clone();
                match value {
                    Value::Object(members) => both.extend(members.clone()),
                    other => {
                        both.entry(format!("source_config_{place}"))
                            .or_insert_with(|| json!([index, other]));
                    }
                }
                next.push(both);
            }
        }
        combined = next;
    }
    Ok(combined
        .into_iter()
        .map(|values| (Value::Object(values), None))
        .collect())
}

/// The stream of that name, or what there is instead.
pub(crate) fn named(streams: Vec<Declared>, name: &str) -> Result<Declared> {
    let names: Vec<String> = streams.iter().map(Declared::name).collect();
    streams
        .into_iter()
        .find(|stream| stream.name() == name)
        .ok_or_else(|| {
            let error = Error::not_found(format!("the manifest has no stream '{name}'"));
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            match weir_protocol::yaml::closest(name, &known) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint(format!("its streams are {}", names.join(", "))),
            }
        })
}
