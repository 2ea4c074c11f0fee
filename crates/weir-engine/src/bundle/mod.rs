//! Bundles, compiled: the templates of their steps, checked for what they name before anybody runs them.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};
use weir_protocol::bundle::{Bundle, BundleSpec, Part, Recipe, StepSpec};
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

use crate::action::Input;
use crate::clock::Clock;
use crate::interpolate::{Scope, Template, Templates, Tree};

/// What the templates of a step may name.
const OF_STEPS: &[&str] = &["input", "steps", "correlation_id"];
const OF_COMPENSATIONS: &[&str] = &["input", "output", "remote_id", "correlation_id"];
const OF_OUTPUT: &[&str] = &["input", "steps", "correlation_id"];

struct Step {
    condition: Option<Template>,
    arguments: Tree,
    compensation: Tree,
}

/// A bundle whose templates are compiled.
pub struct BundleRecipe {
    bundle: Bundle,
    input: Input,
    steps: Vec<Step>,
    output: Tree,
}

/// Refuses templates that cannot be read, or that name what is not there yet.
pub fn check(spec: &BundleSpec, clock: &Clock) -> Result<()> {
    compile(spec, &Templates::new(clock))
        .map(drop)
        .map_err(|error| error.with("bundle", &spec.bundle))
}

impl BundleRecipe {
    pub fn new(bundle: Bundle, clock: &Clock) -> Result<Self> {
        let compiled = compile(&bundle.spec, &Templates::new(clock));
        let (input, steps, output) = compiled.map_err(|error| error.with("bundle", &bundle.spec.bundle))?;
        Ok(Self {
            bundle,
            input,
            steps,
            output,
        })
    }

    fn step(&self, number: usize) -> Result<&Step> {
        self.steps.get(number).ok_or_else(|| {
            Error::internal(format!("the bundle has no step of number {number}")).hint("report it")
        })
    }
}

fn compile(spec: &BundleSpec, templates: &Templates) -> Result<(Input, Vec<Step>, Tree)> {
    let mut steps = Vec::new();
    for (number, step) in spec.steps.iter().enumerate() {
        let names: Vec<&str> = spec.steps.iter().map(|step| step.name.as_str()).collect();
        let compiled = compile_step(step, templates, &names, number);
        steps.push(compiled.map_err(|error| error.with("step", &step.name))?);
    }
    let all: Vec<&str> = spec.steps.iter().map(|step| step.name.as_str()).collect();
    let fields = Value::Object(spec.output.clone().into_iter().collect());
    let output = templates.compile_tree("output", &fields)?;
    let allowed = Allowed {
        roots: OF_OUTPUT,
        steps: &all,
        later: &[],
    };
    allowed.check("output", output.names())?;
    Ok((Input::new(&spec.input)?, steps, output))
}

fn compile_step(step: &StepSpec, templates: &Templates, names: &[&str], number: usize) -> Result<Step> {
    let (earlier, later) = names.split_at(number);
    let of_step = Allowed {
        roots: OF_STEPS,
        steps: earlier,
        later,
    };
    let of_compensation = Allowed {
        roots: OF_COMPENSATIONS,
        steps: &[],
        later: &[],
    };
    let field = |part: &str| format!("step {}: {part}", step.name);
    let condition = step.when.as_deref();
    let condition = condition
        .map(|text| templates.compile(field("when"), text))
        .transpose()?;
    if let Some(condition) = &condition {
        of_step.check("when", condition.names().collect())?;
    }
    let tree = |part: &str, with: &std::collections::BTreeMap<String, Value>| {
        let value = Value::Object(with.clone().into_iter().collect());
        templates.compile_tree(&field(part), &value)
    };
    let arguments = tree("with", &step.with)?;
    of_step.check("with", arguments.names())?;
    let with = step.compensation.as_ref().map(|one| one.with.clone());
    let compensation = tree("compensation", &with.unwrap_or_default())?;
    of_compensation.check("compensation", compensation.names())?;
    Ok(Step {
        condition,
        arguments,
        compensation,
    })
}

/// What templates may name in one place.
struct Allowed<'a> {
    roots: &'a [&'a str],
    /// Steps that are over by then.
    steps: &'a [&'a str],
    /// Steps that are not.
    later: &'a [&'a str],
}

impl Allowed<'_> {
    fn check(&self, part: &str, names: Vec<&str>) -> Result<()> {
        for name in names {
            let mut parts = name.split('.');
            let root = parts.next().unwrap_or_default();
            if !self.roots.contains(&root) {
                let error = Error::template(format!("`{part}` names '{root}', which is not there"))
                    .with("template", name);
                return Err(match closest(root, self.roots) {
                    Some(near) => error.hint(format!("did you mean '{near}'?")),
                    None => error.hint(format!("it may name {}", self.roots.join(", "))),
                });
            }
            if root == "steps" {
                self.check_step(part, name, parts.next())?;
            }
        }
        Ok(())
    }

    fn check_step(&self, part: &str, name: &str, step: Option<&str>) -> Result<()> {
        let Some(step) = step else {
            return Err(Error::template(format!("`{part}` names all steps and none"))
                .hint("write steps.<name>.output.<field>"));
        };
        if self.steps.contains(&step) {
            return Ok(());
        }
        if self.later.contains(&step) {
            let error = Error::template(format!("`{part}` names the step '{step}', which comes later"));
            return Err(error
                .with("template", name)
                .hint("name earlier steps only, or put this step behind it"));
        }
        let error = Error::template(format!(
            "`{part}` names the step '{step}', which the bundle does not have"
        ))
        .with("template", name);
        Err(match closest(step, self.steps) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint("name a step that comes before"),
        })
    }
}

impl Recipe for BundleRecipe {
    fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    fn check(&self, input: &Map<String, Value>) -> Result<Map<String, Value>> {
        let checked = self.input.check(input);
        checked.map_err(|error| error.with("bundle", &self.bundle.spec.bundle))
    }

    fn render(&self, part: Part, names: &Value) -> Result<Value> {
        let mut scope = Scope::new();
        for (name, value) in names.as_object().into_iter().flatten() {
            scope.set(name.clone(), value);
        }
        match part {
            Part::Condition(number) => match &self.step(number)?.condition {
                None => Ok(Value::Bool(true)),
                Some(condition) => condition.render_bool(&scope).map(Value::Bool),
            },
            Part::Arguments(number) => self.step(number)?.arguments.render(&scope),
            Part::Compensation(number) => self.step(number)?.compensation.render(&scope),
            Part::Output => self.output.render(&scope),
        }
    }
}
