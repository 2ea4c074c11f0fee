//! A connection's settings: migrated, transformed and validated as the manifest's spec says.

use serde_json::{Map, Value, json};
use weir_protocol::{Error, Result, Secret};

use super::node::Node;
use super::records::path;
use super::template::{Condition, Otherwise, Scope, Takes, Text, json_is_true, py_text};
use super::time::Moment;

/// The settings as components see them.
/// The second is what migrations made of them, where they changed something: whoever keeps the settings
/// is to keep that.
pub(crate) fn prepare(root: &Node<'_>, config: Value, now: Moment) -> Result<(Value, Option<Value>)> {
    let mut config = config;
    let mut migrated = None;
    let Some(spec) = root.get("spec") else {
        return Ok((config, None));
    };
    let rules = spec.get("config_normalization_rules");
    if let Some(rules) = &rules {
        let given = config.clone();
        for migration in rules.list("config_migrations") {
            for step in migration.list("transformations") {
                transform(&step, &mut config, now)?;
            }
        }
        migrated = Some(config.clone()).filter(|config| *config != given);
        for step in rules.list("transformations") {
            transform(&step, &mut config, now)?;
        }
        for validation in rules.list("validations") {
            validate(&validation, &config, now)?;
        }
    }
    check_schema(&spec, &config)?;
    Ok((config, migrated))
}

fn transform(node: &Node<'_>, config: &mut Value, now: Moment) -> Result<()> {
    let before = config.clone();
    let scope = || Scope::new(now, &before);
    if let Some(condition) = node.condition("condition")?
        && !matches!(node.kind(), "ConfigAddFields")
        && !condition.holds(&scope())?
    {
        return Ok(());
    }
    match node.kind() {
        "ConfigAddFields" => add_fields(node, config, now),
        "ConfigRemoveFields" => {
            for pointer in node.list("field_pointers") {
                let steps: Vec<String> = pointer.items().iter().map(|step| py_text(step.value)).collect();
                let condition = node.condition("condition")?;
                path::remove(config, &steps, &mut |value| match &condition {
                    None => true,
                    Some(condition) => condition
                        .holds(&scope().with_json("property", value))
                        .unwrap_or(false),
                });
            }
            Ok(())
        }
        "ConfigRemapField" => {
            let steps = node.list("field_path");
            let steps = steps
                .iter()
                .map(|step| step.as_text(node.parameters())?.eval_text(&scope()));
            let steps: Vec<String> = steps.collect::<Result<_>>()?;
            let map = node.need("map")?;
            let Some(Value::String(old)) = path::get(&before, &steps) else {
                return Ok(());
            };
            for (from, to) in map.members() {
                let from = map.template(from, node.parameters(), Otherwise::Itself)?;
                if from.eval_text(&scope())? == *old {
                    let to = to.as_text(node.parameters())?.eval(&scope(), Takes::Anything)?;
                    path::set(config, &steps, &to);
                }
            }
            Ok(())
        }
        _ => Err(node.unknown("a config transformation")),
    }
}

fn add_fields(node: &Node<'_>, config: &mut Value, now: Moment) -> Result<()> {
    for field in node.list("fields") {
        let steps: Vec<String> = field
            .list("path")
            .iter()
            .map(|step| py_text(step.value))
            .collect();
        let before = config.clone();
        let scope = Scope::new(now, &before);
        let text: Text = field.need_text("value")?;
        let value = text.eval(&scope, super::records::takes(&field))?;
        let path_value = Value::from(steps.clone());
        if let Some(condition) = node.condition("condition")?
            && !condition.holds(&scope.with_json("value", &value).with_json("path", &path_value))?
        {
            continue;
        }
        path::create(config, &steps, value);
    }
    Ok(())
}

fn validate(node: &Node<'_>, config: &Value, now: Moment) -> Result<()> {
    let scope = Scope::new(now, config);
    let strategy = node.need("validation_strategy")?;
    if strategy.kind() != "ValidateAdheresToSchema" {
        return Err(strategy.unknown("a validation"));
    }
    match node.kind() {
        "DpathValidator" => {
            let steps = node.list("field_path");
            let steps = steps
                .iter()
                .map(|step| step.as_text(node.parameters())?.eval_text(&scope));
            let steps: Vec<String> = steps.collect::<Result<_>>()?;
            for value in path::values(config, &steps) {
                adheres(&strategy, value, &steps.join("."), &scope)?;
            }
            Ok(())
        }
        "PredicateValidator" => {
            let text = node.need("value")?.as_text(node.parameters())?;
            let value = text.eval(&scope, Takes::Anything)?;
            adheres(&strategy, &value, text.source(), &scope)
        }
        _ => Err(node.unknown("a validation")),
    }
}

fn adheres(strategy: &Node<'_>, value: &Value, name: &str, scope: &Scope<'_>) -> Result<()> {
    let base = strategy.need("base_schema")?;
    let schema = match base.value {
        Value::String(source) => base
            .template(source, strategy.parameters(), Otherwise::Itself)?
            .eval(scope, Takes::Anything)?,
        other => other.clone(),
    };
    // A text that holds JSON is judged by what it holds.
    let parsed = value
        .as_str()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    against(&schema, parsed.as_ref().unwrap_or(value), name)
}

fn against(schema: &Value, value: &Value, name: &str) -> Result<()> {
    let validator = jsonschema::validator_for(schema).map_err(|error| {
        Error::spec("a validation's schema is not valid")
            .caused_by(error.to_string())
            .hint("mend base_schema")
    })?;
    match validator.iter_errors(value).next() {
        None => Ok(()),
        Some(problem) => Err(
            Error::spec(format!("the settings' '{name}' is not as the connector wants it"))
                .with("at", problem.instance_path().as_str())
                .with("problem", problem.masked().to_string())
                .hint("mend the settings; `spec` prints what belongs there"),
        ),
    }
}

/// What must be there is there; types are left to the components.
fn check_schema(spec: &Node<'_>, config: &Value) -> Result<()> {
    let schema = spec.get("connection_specification");
    let required = schema.map(|schema| schema.list("required")).unwrap_or_default();
    let missing: Vec<String> = required
        .iter()
        .map(|name| py_text(name.value))
        .filter(|name| config.get(name).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::spec(format!("the settings lack {}", missing.join(", ")))
        .hint("add them; `spec` prints what belongs there"))
}

/// The values of settings that the specification marks as secret, and what looks like one.
pub(crate) fn secrets(root: &Node<'_>, config: &Value) -> Vec<Secret> {
    let mut found = Vec::new();
    if let Some(schema) = root
        .get("spec")
        .and_then(|spec| spec.get("connection_specification"))
    {
        collect(schema.value, config, &mut found);
    }
    found
}

fn collect(schema: &Value, value: &Value, found: &mut Vec<Secret>) {
    let is_secret = schema.get("airbyte_secret").is_some_and(json_is_true);
    match value {
        Value::String(text) if is_secret && text.len() >= 4 => found.push(Secret::new(text.clone())),
        Value::Object(members) => {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                for (name, below) in properties {
                    if let Some(member) = members.get(name) {
                        collect(below, member, found);
                    }
                }
            }
            for choice in ["oneOf", "anyOf", "allOf"] {
                for branch in schema.get(choice).and_then(Value::as_array).into_iter().flatten() {
                    collect(branch, value, found);
                }
            }
        }
        _ => {}
    }
}

/// What the protocol's `spec` tells.
pub(crate) fn specification(root: &Node<'_>) -> Value {
    let Some(spec) = root.get("spec") else {
        return json!({ "connectionSpecification": { "type": "object", "properties": {} } });
    };
    let mut told = Map::new();
    let schema = spec
        .get("connection_specification")
        .map_or_else(|| json!({}), |schema| schema.value.clone());
    told.insert("connectionSpecification".to_owned(), schema);
    for (from, to) in [
        ("documentation_url", "documentationUrl"),
        ("documentationUrl", "documentationUrl"),
        ("advanced_auth", "advanced_auth"),
    ] {
        if let Some(value) = spec.get(from) {
            told.insert(to.to_owned(), value.value.clone());
        }
    }
    Value::Object(told)
}

/// Whether a condition of the manifest holds for the settings.
pub(crate) fn holds(condition: &Condition, config: &Value, now: Moment) -> Result<bool> {
    condition.holds(&Scope::new(now, config))
}
