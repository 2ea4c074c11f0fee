//! Templates: text with `{{ … }}` and `{% … %}` in it, compiled once and rendered many times.
//!
//! They run in a sandbox: bounded steps, depth and output, no files, no environment. What a
//! template names must exist: an undefined value is an error that names it, unless the template
//! says `default(…)`.

mod functions;
mod scope;
mod template;
#[cfg(test)]
mod tests;
mod tree;

use minijinja::{Environment, UndefinedBehavior};
use weir_protocol::Result;

pub(crate) use functions::hex;
pub use scope::Scope;
pub(crate) use scope::{NO_SEGMENT, OUTSIDE};
pub use template::{Template, text_of};
pub use tree::Tree;
pub(crate) use tree::is_omitted;

use crate::clock::Clock;

/// Steps of the template machine that one rendering may take.
const STEPS_MAX: u64 = 200_000;
/// Nesting of calls, blocks and expressions.
const DEPTH_MAX: usize = 64;
/// What `omit` stands for: the member, item, parameter or field of which a template gives it is left out.
pub(crate) const OMIT: &str = "\0omit";
/// Bytes that one rendering may give.
const OUTPUT_BYTES_MAX: usize = 8 << 20;

/// Compiles templates.
#[derive(Debug, Clone)]
pub struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    pub fn new(clock: &Clock) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_fuel(Some(STEPS_MAX));
        environment.set_recursion_limit(DEPTH_MAX);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_global("omit", OMIT);
        functions::add(&mut environment, clock);
        Self { environment }
    }

    /// `field` says where the template stands, as in `stream issues: path`.
    pub fn compile(&self, field: impl Into<String>, text: &str) -> Result<Template> {
        Template::compile(&self.environment, field.into(), text)
    }

    /// A JSON value in which any text may be a template.
    pub fn compile_tree(&self, field: &str, value: &serde_json::Value) -> Result<Tree> {
        Tree::compile(self, field, value)
    }
}

/// Whether a template would do anything with this text.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}
