//! One compiled template.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use minijinja::{Environment, Value as Rendered};
use serde_json::Value;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

use super::{OUTPUT_BYTES_MAX, Scope, is_template};

/// Name under which the environment holds the text.
const MAIN: &str = "template";
/// Variable that carries an expression's value out of its template.
const RESULT: &str = "weir_result";

/// Text that is rendered over a [`Scope`]. Text without braces bypasses the template machine.
#[derive(Clone)]
pub struct Template(Arc<Inner>);

struct Inner {
    field: String,
    text: String,
    form: Form,
    /// Dotted paths that the text names and does not define itself.
    names: HashSet<String>,
}

enum Form {
    Fixed,
    /// One `{{ … }}` and nothing else: gives the value itself, not its text.
    Expression(Environment<'static>),
    Text(Environment<'static>),
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.0.text).finish()
    }
}

impl Template {
    pub(super) fn compile(base: &Environment<'static>, field: String, text: &str) -> Result<Self> {
        let mut inner = Inner {
            field,
            text: text.to_owned(),
            form: Form::Fixed,
            names: HashSet::new(),
        };
        if !is_template(text) {
            return Ok(Self(Arc::new(inner)));
        }
        let mut environment = base.clone();
        let (source, is_expression) = match expression(base, text) {
            Some(expression) => (format!("{{% set {RESULT} = ({expression}) %}}"), true),
            None => (text.to_owned(), false),
        };
        environment
            .add_template_owned(MAIN, source)
            .map_err(|error| inner.broken(&error))?;
        let compiled = environment
            .get_template(MAIN)
            .map_err(|error| inner.broken(&error))?;
        let globals: HashSet<&str> = environment.globals().map(|(name, _)| name).collect();
        inner.names = compiled
            .undeclared_variables(true)
            .into_iter()
            .filter(|name| !globals.contains(name.as_str()))
            .collect();
        inner.form = if is_expression {
            Form::Expression(environment)
        } else {
            Form::Text(environment)
        };
        Ok(Self(Arc::new(inner)))
    }

    /// The text itself, where it is no template.
    pub fn as_fixed(&self) -> Option<&str> {
        matches!(self.0.form, Form::Fixed).then_some(self.0.text.as_str())
    }

    pub fn is_empty(&self) -> bool {
        self.0.text.is_empty()
    }

    /// Whether the template names `variable`, or something in it.
    pub fn uses(&self, variable: &str) -> bool {
        self.0
            .names
            .iter()
            .any(|name| name.split('.').next() == Some(variable))
    }

    /// The dotted paths that the template names and does not define itself.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names.iter().map(String::as_str)
    }

    /// Text, or the value itself where the template is exactly one `{{ … }}`.
    pub fn render(&self, scope: &Scope) -> Result<Value> {
        match &self.0.form {
            Form::Fixed => Ok(Value::String(self.0.text.clone())),
            Form::Expression(environment) => {
                let value = self.0.evaluate(environment, scope)?;
                self.json(&value)
            }
            Form::Text(environment) => self.0.print(environment, scope).map(Value::String),
        }
    }

    /// None where what the template names does not exist.
    pub fn render_optional(&self, scope: &Scope) -> Result<Option<Value>> {
        let Form::Expression(environment) = &self.0.form else {
            return self.render(scope).map(Some);
        };
        let value = self.0.try_evaluate(environment, scope)?;
        (!value.is_undefined()).then(|| self.json(&value)).transpose()
    }

    /// Always text: null is empty, a list or object is its JSON.
    pub fn render_text(&self, scope: &Scope) -> Result<String> {
        if let Some(fixed) = self.as_fixed() {
            return Ok(fixed.to_owned());
        }
        Ok(text_of(self.render(scope)?))
    }

    /// True unless it gives nothing, zero, `false`, or the text `false`, `0`, `none` or `null`.
    pub fn render_bool(&self, scope: &Scope) -> Result<bool> {
        let value = match &self.0.form {
            // A condition may well be undefined: that is false.
            Form::Expression(environment) => {
                let value = self.0.try_evaluate(environment, scope)?;
                return Ok(!value.is_undefined() && is_true(&self.json(&value)?));
            }
            Form::Fixed | Form::Text(_) => self.render(scope)?,
        };
        Ok(is_true(&value))
    }

    fn json(&self, value: &Rendered) -> Result<Value> {
        serde_json::to_value(value).map_err(|error| {
            Error::template(format!("{}: the value is no JSON", self.0.field))
                .with("template", &self.0.text)
                .caused_by(error)
                .hint("make it a text, number, truth value, list or object")
        })
    }
}

/// How a value reads in a URL, header or form.
pub fn text_of(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(
            text.trim().to_ascii_lowercase().as_str(),
            "" | "0" | "false" | "none" | "null" | "[]" | "{}"
        ),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// The inside of a text that is exactly one `{{ … }}`.
fn expression<'a>(environment: &Environment<'_>, text: &'a str) -> Option<&'a str> {
    let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inside = inside.strip_prefix('-').unwrap_or(inside);
    let inside = inside.strip_suffix('-').unwrap_or(inside).trim();
    environment.compile_expression_owned(inside.to_owned()).ok()?;
    Some(inside)
}

impl Inner {
    fn evaluate(&self, environment: &Environment<'static>, scope: &Scope) -> Result<Rendered> {
        let value = self.try_evaluate(environment, scope)?;
        if value.is_undefined() {
            return Err(self.undefined(scope, None));
        }
        Ok(value)
    }

    fn try_evaluate(&self, environment: &Environment<'static>, scope: &Scope) -> Result<Rendered> {
        let template = environment
            .get_template(MAIN)
            .map_err(|error| self.broken(&error))?;
        let captured = template
            .render_captured(scope.to_value())
            .map_err(|error| self.failed(&error, scope))?;
        Ok(captured.state().lookup(RESULT).unwrap_or_default())
    }

    fn print(&self, environment: &Environment<'static>, scope: &Scope) -> Result<String> {
        let template = environment
            .get_template(MAIN)
            .map_err(|error| self.broken(&error))?;
        let mut output = Limited::default();
        let printed = template
            .render_captured_to(scope.to_value(), &mut output)
            .map(|_| ());
        if output.is_full {
            return Err(
                Error::template(format!("{}: the template gives too much text", self.field))
                    .with("template", &self.text)
                    .with("bytes at most", OUTPUT_BYTES_MAX)
                    .hint("shorten what it loops over"),
            );
        }
        printed.map_err(|error| self.failed(&error, scope))?;
        String::from_utf8(output.bytes).map_err(|error| {
            Error::internal(format!("{}: a template gave text that is not UTF-8", self.field))
                .caused_by(error)
                .hint("report this as a bug of weir")
        })
    }

    fn broken(&self, error: &minijinja::Error) -> Error {
        Error::template(format!("{}: the template cannot be compiled", self.field))
            .with("template", &self.text)
            .with("problem", describe(error))
            .hint("write {{ config.name }} for a value and {% if … %}…{% endif %} for a choice")
    }

    fn failed(&self, error: &minijinja::Error, scope: &Scope) -> Error {
        match error.kind() {
            minijinja::ErrorKind::UndefinedError => self.undefined(scope, Some(error)),
            minijinja::ErrorKind::OutOfFuel => {
                Error::template(format!("{}: the template takes too many steps", self.field))
                    .with("template", &self.text)
                    .with("steps at most", super::STEPS_MAX)
                    .hint("shorten its loops")
            }
            _ => Error::template(format!("{}: the template cannot be rendered", self.field))
                .with("template", &self.text)
                .with("problem", self.describe(error))
                .hint("check the filters and functions it calls and what they are given"),
        }
    }

    /// The details may quote a value, which must not happen to a secret one.
    fn describe(&self, error: &minijinja::Error) -> String {
        let may_quote = !self
            .names
            .iter()
            .any(|name| name.split('.').next() == Some("credential"));
        if may_quote {
            describe(error)
        } else {
            error.kind().to_string()
        }
    }

    /// Names the variable that is missing and the one that was probably meant.
    fn undefined(&self, scope: &Scope, error: Option<&minijinja::Error>) -> Error {
        let mut names: Vec<&String> = self.names.iter().collect();
        names.sort();
        let missing = names
            .into_iter()
            .find_map(|name| scope.missing(name).map(|missing| (name, missing)));
        let Some((name, (step, present))) = missing else {
            let problem = error.map_or_else(|| "it gives nothing".to_owned(), |error| self.describe(error));
            return Error::template(format!("{}: the template has no value", self.field))
                .with("template", &self.text)
                .with("problem", problem)
                .hint("give a value for the missing case, as in {{ config.name | default('…') }}");
        };
        let present: Vec<&str> = present.iter().map(String::as_str).collect();
        let found =
            Error::template(format!("{}: '{name}' is undefined", self.field)).with("template", &self.text);
        match closest(&step, &present) {
            Some(near) => found.hint(format!("did you mean '{near}' instead of '{step}'?")),
            None if present.is_empty() => found.hint(format!(
                "set it, or write {{{{ {name} | default('…') }}}} where it may be missing"
            )),
            None => found.hint(format!(
                "there are: {}; or write {{{{ {name} | default('…') }}}} where it may be missing",
                present.join(", ")
            )),
        }
    }
}

fn describe(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// A writer that refuses more than [`OUTPUT_BYTES_MAX`].
#[derive(Default)]
struct Limited {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Limited {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > OUTPUT_BYTES_MAX {
            self.is_full = true;
            return Err(io::Error::other("too much output"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
