//! Lines that are no message. What anything that a program uses may print is noise; what may hide
//! a message is a loss.

use serde::de::IgnoredAny;
use weir_protocol::{Error, Result};

/// Some programs and shells put it before their output.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The line without what may stand before a message.
pub(in crate::native) fn bare(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

/// A line that could not be read as a message.
pub(in crate::native) struct Stray<'a> {
    pub(in crate::native) line: &'a [u8],
    /// The output ended in the middle of it.
    pub(in crate::native) is_cut: bool,
    /// Where the parser stopped.
    pub(in crate::native) column: usize,
    /// Kinds of messages that must not be lost, as they stand in a message.
    pub(in crate::native) kinds: &'a [&'a str],
    /// Whether objects that are no messages may stand among them, such as logs.
    pub(in crate::native) allows_objects: bool,
    /// What the program is called in errors.
    pub(in crate::native) program: &'a str,
}

impl Stray<'_> {
    /// An error unless it is noise. `show` makes the line fit to be shown.
    pub(in crate::native) fn judge(&self, show: impl Fn(&[u8]) -> String) -> Result<()> {
        let program = self.program;
        let begins = self.line.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        let is_json = serde_json::from_slice::<IgnoredAny>(self.line).is_ok();
        let has_type = self.holds("\"type\"");
        let (message, hint) = if self.is_cut && !is_json && (begins || has_type) {
            let hint = format!("the {program} was ended while it wrote; run again. What was committed stays");
            ("the output ends in the middle of a message", hint)
        } else if begins && !is_json {
            let hint = format!(
                "the {program} writes what is no JSON (NaN, two lines in one, one message on several lines); nothing after the last checkpoint was taken"
            );
            ("a line of output is a broken message", hint)
        } else if begins && (!self.allows_objects || self.names_message(has_type)) {
            let hint = format!("look at the {program}'s version; it may speak another protocol");
            ("a message lacks a member or has one of another type", hint)
        } else if !self.names_message(has_type) {
            return Ok(());
        } else {
            let hint = format!(
                "let the {program} print nothing but messages to standard output (a progress bar belongs to standard error); nothing after the last checkpoint was taken"
            );
            ("a message stands behind other text in its line", hint)
        };
        Err(Error::decode(message)
            .with("line", show(self.line))
            .with("column", self.column)
            .hint(hint))
    }

    fn names_message(&self, has_type: bool) -> bool {
        has_type && self.kinds.iter().any(|kind| self.holds(kind))
    }

    fn holds(&self, word: &str) -> bool {
        memchr::memmem::find(self.line, word.as_bytes()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(line: &str, is_cut: bool) -> &'static str {
        let stray = Stray {
            line: line.as_bytes(),
            is_cut,
            column: 1,
            kinds: &["\"RECORD\"", "\"STATE\""],
            allows_objects: true,
            program: "program",
        };
        match stray.judge(|line| String::from_utf8_lossy(line).into_owned()) {
            Ok(()) => "noise",
            Err(error) if error.message().contains("middle") => "cut",
            Err(error) if error.message().contains("broken") => "broken",
            Err(error) if error.message().contains("lacks") => "odd",
            Err(error) if error.message().contains("behind") => "behind",
            Err(_) => "unknown",
        }
    }

    #[test]
    fn only_what_hides_no_message_is_noise() {
        for (line, wanted) in [
            ("", "noise"),
            ("Downloading…", "noise"),
            ("50%|#####     | ", "noise"),
            (
                r#"{"level": "info", "message": "a \"RECORD\" of \"type\" x"}"#,
                "noise",
            ),
            (r#"a "RECORD" of the day"#, "noise"),
            ("[1, 2", "noise"),
            (r#"50%|##  | {"type": "RECORD", "record": {}}"#, "behind"),
            (r#"[{"type": "STATE"}]"#, "behind"),
            (r#"{"type": "RECORD", "record": 5}"#, "odd"),
            ("{", "broken"),
            (r#" { "type": "RECORD","#, "broken"),
            (r#"{"type": "RECORD", "record": {"a": NaN}}"#, "broken"),
            (r#"{"type": "LOG"} {"type": "LOG"}"#, "broken"),
        ] {
            assert_eq!(judged(line, false), wanted, "{line}");
        }
        assert_eq!(judged(r#"{"type": "REC"#, true), "cut");
        assert_eq!(judged(r#"50%| {"type": "REC"#, true), "cut");
        assert_eq!(judged("no end", true), "noise");
        assert_eq!(judged(r#"{"a": 1}"#, true), "noise");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_line() {
        assert_eq!(bare("\u{feff}{}".as_bytes()), b"{}");
        assert_eq!(bare(b"{}"), b"{}");
    }
}
