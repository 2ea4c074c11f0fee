//! Tools of other MCP servers: what one is, and who is told what a server has.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;

/// Everything that a server says of one of its tools and that a model or a person may act upon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// As the server has it.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of an object.
    pub input: Value,
    /// JSON Schema of what it gives; none where it gives text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// What the server claims of its effect. Kept to see changes; nothing is decided by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Value>,
}

/// A tool as a server showed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeenTool {
    pub definition: ToolDefinition,
    /// SHA-256 of the definition, whatever the order of its keys.
    pub digest: String,
    /// Why it can never be offered, such as letters that nobody sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Told what a server has, each time that it was asked.
#[async_trait]
pub trait ToolWatch: Send + Sync {
    /// All of its tools, in its order.
    async fn seen(&self, tools: &[SeenTool]) -> Result<()>;
}

/// A text in which letters that nobody sees are written out, as in `\u{202e}`.
pub fn told(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_unseen(letter) {
            told.push_str(&format!("\\u{{{:04x}}}", u32::from(letter)));
        } else {
            told.push(letter);
        }
    }
    told
}

/// Whether a reader cannot see this letter, or sees others in another order for it: nobody who looks at a text that
/// has one knows what a model reads there. Breaks of lines and tabs are seen.
pub fn is_unseen(letter: char) -> bool {
    let is_break = matches!(letter, '\n' | '\r' | '\t');
    (letter.is_control() && !is_break)
        || matches!(
            letter,
            '\u{00ad}'
                | '\u{061c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0e}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}
