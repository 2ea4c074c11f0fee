//! From accepted tools to actions. What a tool does to the world is what the connection's owner says.

use std::collections::BTreeMap;
use std::time::Duration;

use jsonschema::Validator;
use serde_json::json;
use weir_protocol::spec::{ActionSpec, Effect};
use weir_protocol::tools::SeenTool;
use weir_protocol::units::Span;
use weir_protocol::{Error, Result, name};

use super::headers::{self, Param};
use super::settings::Settings;
use crate::action::Input;

/// An accepted tool, ready to be called.
pub(super) struct Offered {
    /// As the server has it.
    pub(super) tool: String,
    pub(super) digest: String,
    pub(super) spec: ActionSpec,
    pub(super) input: Input,
    pub(super) output: Option<Validator>,
    pub(super) params: Vec<Param>,
}

/// The actions that these tools are, in order of their names: those with an effect, and with a name that is theirs
/// alone.
pub(super) fn specs(settings: &Settings, accepted: &[SeenTool]) -> Result<Vec<ActionSpec>> {
    let mut named: BTreeMap<String, Vec<&SeenTool>> = BTreeMap::new();
    for tool in accepted {
        let action = name::sanitize(&tool.definition.name);
        named.entry(action).or_default().push(tool);
    }
    let mut found = Vec::new();
    for (action, tools) in named {
        let [tool] = tools[..] else {
            tracing::warn!(action, "two tools would be one action, so none is");
            continue;
        };
        let declared = settings.effects.get(&tool.definition.name);
        if let (Some(effect), None) = (declared, &tool.problem)
            && name::check("action", &action).is_ok()
        {
            found.push(spec(settings, &action, *effect, tool)?);
        }
    }
    Ok(found)
}

fn spec(settings: &Settings, action: &str, effect: Effect, tool: &SeenTool) -> Result<ActionSpec> {
    let definition = &tool.definition;
    let is_repeatable = settings.repeatable.contains(&definition.name);
    let spec = json!({
        "name": action,
        "title": definition.title.as_deref().unwrap_or(&definition.name),
        "description": definition.description,
        "effect": effect,
        "input": definition.input,
        "output_schema": definition.output,
        "idempotency": if is_repeatable { "natural" } else { "none" },
        // Not sent as it stands: it binds an approval to exactly this tool.
        "request": { "method": "POST", "json": { "tool": definition.name, "accepted": tool.digest } },
    });
    serde_json::from_value(spec).map_err(|error| {
        Error::internal("a tool makes no action")
            .with("tool", &definition.name)
            .caused_by(error)
            .hint("report it")
    })
}

/// The same, compiled; each call ends within the deadline.
pub(super) fn all(
    settings: &Settings,
    accepted: &[SeenTool],
    deadline: Duration,
) -> Result<BTreeMap<String, Offered>> {
    let specs = specs(settings, accepted)?.into_iter();
    let compile = |mut spec: ActionSpec| {
        spec.deadline = Some(Span::from_secs(deadline.as_secs().max(1)));
        let of_spec = |tool: &&SeenTool| name::sanitize(&tool.definition.name) == spec.name;
        let found = accepted.iter().find(of_spec);
        let tool = found.ok_or_else(|| Error::internal("an action has no tool").hint("report it"))?;
        let definition = &tool.definition;
        let output = definition
            .output
            .as_ref()
            .map(|schema| jsonschema::validator_for(schema).map_err(|error| unusable(&spec, &error)))
            .transpose()?;
        let params = headers::params(&definition.input).map_err(|why| unusable(&spec, &why))?;
        let offered = Offered {
            tool: definition.name.clone(),
            digest: tool.digest.clone(),
            input: Input::new(&spec.input)?,
            output,
            params,
            spec,
        };
        Ok((offered.spec.name.clone(), offered))
    };
    specs.map(compile).collect()
}

fn unusable(spec: &ActionSpec, why: &dyn std::fmt::Display) -> Error {
    Error::spec("an accepted tool cannot be called")
        .with("action", &spec.name)
        .with("problem", why)
        .hint("look at the server again with `weir tool refresh`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str) -> SeenTool {
        let definition = json!({ "name": name, "input": { "type": "object" } });
        SeenTool {
            definition: serde_json::from_value(definition).unwrap(),
            digest: format!("digest of {name}"),
            problem: None,
        }
    }

    fn names(config: serde_json::Value, tools: &[SeenTool]) -> Vec<(String, Effect)> {
        let settings = Settings::of(config.as_object().unwrap()).unwrap();
        let specs = specs(&settings, tools).unwrap();
        specs.into_iter().map(|spec| (spec.name, spec.effect)).collect()
    }

    #[test]
    fn only_what_the_owner_declares_is_an_action() {
        let mut claimed = tool("wipe");
        claimed.definition.annotations = Some(json!({ "readOnlyHint": true }));
        let mut hidden = tool("hidden");
        hidden.problem = Some("it has a character that nobody sees".to_owned());
        let tools = [tool("get-page"), tool("other"), claimed, hidden];
        let config = json!({ "url": "https://a.example.com", "effects": {
            "get-page": "read", "wipe": "destructive", "hidden": "read" } });
        assert_eq!(
            names(config, &tools),
            [
                ("get_page".to_owned(), Effect::Read),
                ("wipe".to_owned(), Effect::Destructive)
            ]
        );
    }

    #[test]
    fn two_tools_are_never_one_action() {
        let config =
            json!({ "url": "https://a.example.com", "effects": { "getPage": "read", "get_page": "write" } });
        let both = names(config.clone(), &[tool("getPage"), tool("get_page")]);
        assert!(both.is_empty(), "{both:?}");
        assert_eq!(names(config, &[tool("getPage")]).len(), 1);
    }
}
