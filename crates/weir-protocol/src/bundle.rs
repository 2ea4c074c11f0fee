//! Several calls as one: `bundles/<name>.yaml` of a project. A step that has its effect is taken back by its
//! compensation where a later one fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::name;
use crate::spec::{ActionSpec, Effect, Template};
use crate::yaml::{self, closest};

const STEPS_MAX: usize = 50;

/// A bundle as it stands in a file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleSpec {
    /// Default: the file's name.
    #[serde(default)]
    pub bundle: String,
    /// What it does, in a few words, as people and agents see it.
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of the input; an object.
    #[serde(default = "any_object")]
    pub input: Value,
    /// In the order in which they are made.
    pub steps: Vec<StepSpec>,
    /// What it gives, over `input` and `steps`.
    #[serde(default)]
    pub output: BTreeMap<String, Value>,
}

/// One action of a bundle.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// By which later steps name it.
    pub name: String,
    pub connection: String,
    pub action: String,
    /// The step is skipped where this is false. Over the same as `with`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Template>,
    /// The action's input, over `input`, `correlation_id` and `steps.<earlier>`, each with `output`, `input`,
    /// `remote_id` and `status` (`done` or `skipped`).
    #[serde(default)]
    pub with: BTreeMap<String, Value>,
    /// What takes the step back. Absent: as its action declares. What is more than a read has one, or says that there
    /// is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<CompensationSpec>,
}

/// What takes a step back: an action, or nothing and why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompensationSpec {
    /// Default: the step's own connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The action's input, over `input`, `output` and `remote_id` of the step that is taken back, and `correlation_id`.
    #[serde(default)]
    pub with: BTreeMap<String, Value>,
    /// Why nothing takes the step back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<String>,
}

fn any_object() -> Value {
    json!({ "type": "object" })
}

/// A bundle with what its actions say: nothing in it is left to be found out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bundle {
    pub spec: BundleSpec,
    /// Of the steps, in their order.
    pub effects: Vec<Effect>,
}

/// A part of a bundle that is a template. Numbers are those of steps, from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Gives a truth value.
    Condition(usize),
    /// Gives an object.
    Arguments(usize),
    /// Gives an object.
    Compensation(usize),
    /// Gives an object.
    Output,
}

/// A bundle whose templates are compiled.
pub trait Recipe: Send + Sync {
    fn bundle(&self) -> &Bundle;

    /// The input with its schema's defaults filled in; an error names the field and what is allowed.
    fn check(&self, input: &Map<String, Value>) -> Result<Map<String, Value>>;

    /// What a part gives. `names` is an object with what its templates may name.
    fn render(&self, part: Part, names: &Value) -> Result<Value>;
}

impl BundleSpec {
    /// Reads a bundle's file, and refuses what is wrong whatever its actions say.
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        let mut found: Self = yaml::parse(file, text)?;
        let stem = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        if found.bundle.is_empty() {
            stem.clone_into(&mut found.bundle);
        }
        let named = |error: Error| error.with("file", file.display());
        if found.bundle != stem {
            let error = Error::spec(format!(
                "the file is called '{stem}' but its bundle '{}'",
                found.bundle
            ))
            .hint("leave the field 'bundle' out, or rename the file");
            return Err(named(error));
        }
        found.check().map_err(named)?;
        Ok(found)
    }

    fn check(&self) -> Result<()> {
        name::check("bundle", &self.bundle)?;
        if self.input["type"] != "object" {
            return Err(Error::spec("the input's schema is not one of an object")
                .hint("write input: { type: object, required: […], properties: { … } }"));
        }
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            return Err(Error::spec(format!("the bundle has {} steps", self.steps.len()))
                .hint(format!("give it 1 to {STEPS_MAX}")));
        }
        let mut names = BTreeSet::new();
        for step in &self.steps {
            name::check("step", &step.name)?;
            if !names.insert(&step.name) {
                return Err(Error::spec(format!("two steps are called '{}'", step.name))
                    .hint("give each step a name of its own"));
            }
            if let Some(compensation) = &step.compensation {
                compensation.check().map_err(|error| of_step(error, step))?;
            }
        }
        Ok(())
    }

    /// The same with what its actions say, which `find` gives by connection and action.
    pub fn resolved(mut self, find: &dyn Fn(&str, &str) -> Result<ActionSpec>) -> Result<Bundle> {
        let mut effects = Vec::new();
        let bundle = self.bundle.clone();
        for step in &mut self.steps {
            let effect = step.resolve(find);
            let named = |error: Error| of_step(error, step).with("bundle", &bundle);
            effects.push(effect.map_err(named)?);
        }
        Ok(Bundle { spec: self, effects })
    }
}

fn of_step(error: Error, step: &StepSpec) -> Error {
    error.with("step", &step.name)
}

impl StepSpec {
    /// Fills the compensation in that the action declares, and gives back the action's effect.
    fn resolve(&mut self, find: &dyn Fn(&str, &str) -> Result<ActionSpec>) -> Result<Effect> {
        let action = find(&self.connection, &self.action)?;
        refuse_wrong_fields(&action, &self.with)?;
        if action.effect.is_harmless() {
            if self.compensation.is_some() {
                return Err(Error::spec("a step that only reads has a compensation")
                    .hint("take `compensation` away: there is nothing to take back"));
            }
            return Ok(action.effect);
        }
        if self.compensation.is_none() {
            self.compensation = action.compensate.as_ref().map(|declared| CompensationSpec {
                action: Some(declared.action.clone()),
                with: declared.with.clone(),
                ..CompensationSpec::default()
            });
        }
        let Some(compensation) = &self.compensation else {
            return Err(Error::spec(format!(
                "nothing says how '{}' (effect {}) is taken back",
                self.action,
                action.effect.as_str()
            ))
            .hint("write compensation: { action: …, with: { … } }, or compensation: { none: \"why\" }"));
        };
        if let Some((connection, action)) = compensation.of(&self.connection) {
            let undoing = find(connection, action)?;
            if undoing.effect.is_harmless() {
                return Err(Error::spec(format!("the compensation '{action}' only reads"))
                    .hint("name the action that takes the effect back"));
            }
            refuse_wrong_fields(&undoing, &compensation.with)
                .map_err(|error| error.with("compensation", action))?;
        }
        Ok(action.effect)
    }

    /// Whether nothing takes it back once it is done.
    pub fn is_final(&self) -> bool {
        self.compensation.as_ref().is_some_and(|one| one.none.is_some())
    }
}

/// Fields that the action's input does not know, and those that it asks for and that are not given.
fn refuse_wrong_fields(action: &ActionSpec, with: &BTreeMap<String, Value>) -> Result<()> {
    let required = action.input["required"].as_array().into_iter().flatten();
    if let Some(missing) = required
        .filter_map(Value::as_str)
        .find(|field| !with.contains_key(*field))
    {
        return Err(Error::spec(format!(
            "'{missing}' is missing, which the action '{}' asks for",
            action.name
        ))
        .hint(format!("add {missing} under `with`")));
    }
    let Some(known) = action.input["properties"].as_object() else {
        return Ok(());
    };
    if action.input["additionalProperties"] != Value::Bool(false) {
        return Ok(());
    }
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    match with.keys().find(|field| !known.contains_key(*field)) {
        None => Ok(()),
        Some(wrong) => {
            let error = Error::spec(format!("the action '{}' takes no '{wrong}'", action.name));
            Err(match closest(wrong, &names) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint(format!("it takes {}", names.join(", "))),
            })
        }
    }
}

impl CompensationSpec {
    fn check(&self) -> Result<()> {
        let is_action = self.action.is_some();
        let is_none = self.none.as_ref().is_some_and(|why| !why.trim().is_empty());
        let has_rest = self.connection.is_some() || !self.with.is_empty();
        if is_action == self.none.is_some() || (self.none.is_some() && (!is_none || has_rest)) {
            return Err(
                Error::spec("a compensation is an action, or nothing with a reason")
                    .hint("write { action: …, with: { … } }, or { none: \"why nothing takes it back\" }"),
            );
        }
        Ok(())
    }

    /// Connection and action that take back a step at `connection`. None where nothing does.
    pub fn of<'a>(&'a self, connection: &'a str) -> Option<(&'a str, &'a str)> {
        let action = self.action.as_deref()?;
        Some((self.connection.as_deref().unwrap_or(connection), action))
    }
}

/// The least to the most grave.
fn gravity(effect: Effect) -> u8 {
    match effect {
        Effect::Read => 0,
        Effect::Write => 1,
        Effect::Message => 2,
        Effect::Destructive => 3,
        Effect::Money => 4,
    }
}

impl Bundle {
    /// The gravest of its steps'.
    pub fn effect(&self) -> Effect {
        let all = self.effects.iter().copied();
        all.max_by_key(|effect| gravity(*effect)).unwrap_or(Effect::Read)
    }

    /// The first step that nothing takes back: once it is done, the bundle goes forward only.
    pub fn pivot(&self) -> Option<&StepSpec> {
        self.spec.steps.iter().find(|step| step.is_final())
    }
}

#[cfg(test)]
mod tests;
