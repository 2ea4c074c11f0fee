//! Paths into JSON: `data.items`, `groups.*.users`, `rows.0`. `\` takes the next character as it
//! is, as in `user\.name`.

use std::fmt;

use weir_protocol::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A member's name, or an element's index.
    Key(String),
    /// Every element or member.
    Any,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path {
    pub steps: Vec<Step>,
}

impl Path {
    /// An empty text is the root.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix("$.").unwrap_or(text);
        let mut steps = Vec::new();
        if text.is_empty() || text == "$" {
            return Ok(Self { steps });
        }
        let mut step = String::new();
        let mut is_literal = false;
        let mut chars = text.chars();
        loop {
            match chars.next() {
                Some('\\') => {
                    is_literal = true;
                    step.extend(chars.next());
                }
                Some('.') => steps.push(finish(
                    text,
                    std::mem::take(&mut step),
                    std::mem::take(&mut is_literal),
                )?),
                Some(other) => step.push(other),
                None => {
                    steps.push(finish(text, step, is_literal)?);
                    return Ok(Self { steps });
                }
            }
        }
    }

    pub fn has_wildcard(&self) -> bool {
        self.steps.contains(&Step::Any)
    }
}

fn finish(text: &str, step: String, is_literal: bool) -> Result<Step> {
    if step.is_empty() {
        return Err(Error::spec(format!("the path '{text}' has an empty step"))
            .hint("separate names by single dots, as in data.items"));
    }
    if step == "*" && !is_literal {
        return Ok(Step::Any);
    }
    Ok(Step::Key(step))
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            match step {
                Step::Any => f.write_str("*")?,
                Step::Key(key) => f.write_str(&key.replace('\\', "\\\\").replace('.', "\\."))?,
            }
        }
        Ok(())
    }
}
