//! `${NAME}` in project and connection files.

use std::collections::BTreeMap;
use std::path::Path;

use weir_protocol::{Error, Result, secret::REDACTED};

/// Where values of variables come from.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Text with its variables replaced. It holds secrets: it can be parsed, not shown.
pub(crate) struct Substituted<'a> {
    file: &'a Path,
    text: String,
    /// Value to the variable it came from.
    values: BTreeMap<String, String>,
}

/// How the scalar around a variable is written, which decides how its value is escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

/// Replaces every `${NAME}` outside comments; `$${` stands for `${` itself. All unset variables are
/// named at once.
pub(crate) fn substitute<'a>(
    file: &'a Path,
    text: &str,
    environment: Environment<'_>,
) -> Result<Substituted<'a>> {
    let mut values = BTreeMap::new();
    let mut unset: Vec<String> = Vec::new();
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let mut rest = line;
        let mut quote = Quote::None;
        while let Some(at) = next_mark(rest, &mut quote) {
            let (before, mark) = rest.split_at(at);
            out.push_str(before);
            if let Some(escaped) = mark.strip_prefix("$${") {
                out.push_str("${");
                rest = escaped;
                continue;
            }
            let name_on = mark.trim_start_matches("${");
            let Some((name, after)) = name_on.split_once('}').filter(|(name, _)| is_name(name)) else {
                return Err(malformed(file, number + 1));
            };
            match environment(name) {
                Some(value) => {
                    out.push_str(&escape(&value, quote));
                    values.insert(value, name.to_owned());
                }
                None if unset.iter().any(|other| other == name) => {}
                None => unset.push(name.to_owned()),
            }
            rest = after;
        }
        out.push_str(rest);
    }
    if unset.is_empty() {
        return Ok(Substituted {
            file,
            text: out,
            values,
        });
    }
    let (noun, verb) = if unset.len() == 1 {
        ("variable", "is")
    } else {
        ("variables", "are")
    };
    Err(
        Error::spec(format!("environment {noun} {} {verb} not set", unset.join(", ")))
            .with("file", file.display())
            .hint(format!(
                "export {}=… before you run weir, or write the value into the file",
                unset[0]
            )),
    )
}

/// Offset of the next `${` or `$${` that is not in a comment; follows the quotes on the way there.
fn next_mark(line: &str, quote: &mut Quote) -> Option<usize> {
    let mut previous = ' ';
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (c, *quote) {
            ('\\', Quote::Double) => {
                chars.next();
            }
            ('"', Quote::Double) | ('\'', Quote::Single) => *quote = Quote::None,
            ('"', Quote::None) if !previous.is_alphanumeric() => *quote = Quote::Double,
            ('\'', Quote::None) if !previous.is_alphanumeric() => *quote = Quote::Single,
            ('#', Quote::None) if previous.is_whitespace() => return None,
            ('$', _)
                if line
                    .get(at..)
                    .is_some_and(|rest| rest.starts_with("${") || rest.starts_with("$${")) =>
            {
                return Some(at);
            }
            _ => {}
        }
        previous = c;
    }
    None
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A value can add text to a scalar, never structure to the file.
fn escape(value: &str, quote: Quote) -> String {
    let json = || serde_json::Value::from(value).to_string();
    match quote {
        Quote::Single => value.replace('\'', "''"),
        Quote::Double => json()
            .trim_start_matches('"')
            .strip_suffix('"')
            .map(ToOwned::to_owned)
            .unwrap_or_default(),
        Quote::None if is_plain(value) => value.to_owned(),
        Quote::None => json(),
    }
}

fn is_plain(value: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "_-./+=@~:%".contains(c);
    !value.is_empty()
        && value.chars().all(inside)
        && !value.starts_with(['-', '@', '%', '=', '~', ':'])
        && !value.ends_with(':')
}

fn malformed(file: &Path, line: usize) -> Error {
    Error::spec(format!(
        "{}:{line}: '${{' is not followed by a variable's name and '}}'",
        file.display()
    ))
    .hint("write ${NAME}, or $${ for the two characters themselves")
}

impl Substituted<'_> {
    /// The values that took the variables' places. They may be secrets.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Parses the text. An error names variables instead of their values.
    pub(crate) fn parse<T>(&self, parse: impl FnOnce(&Path, &str) -> Result<T>) -> Result<T> {
        parse(self.file, &self.text).map_err(|error| self.redact(&error))
    }

    fn redact(&self, error: &Error) -> Error {
        let clean = |text: &str| {
            self.values.iter().fold(text.to_owned(), |text, (value, name)| {
                text.replace(value.as_str(), &format!("${{{name}}}"))
            })
        };
        let message = clean(error.message());
        let in_credential = line_number(&message).is_some_and(|line| is_credential_line(&self.text, line));
        let mut redacted = Error::new(error.kind(), message);
        for (key, value) in error.context() {
            // A secret that stands in the file itself is not shown either.
            let shown = if *key == "line" && in_credential {
                REDACTED.to_owned()
            } else {
                clean(value)
            };
            redacted = redacted.with(key, shown);
        }
        match error.next_step() {
            Some(hint) => redacted.hint(clean(hint)),
            None => redacted,
        }
    }
}

/// The line that a message which begins with `file:line:column:` names.
fn line_number(message: &str) -> Option<usize> {
    message.split(':').nth(1)?.parse().ok()
}

/// Whether a line belongs to a top-level field that may hold a secret: `credential`, the options of the
/// lake, the channels of alerts.
fn is_credential_line(text: &str, line: usize) -> bool {
    text.lines()
        .take(line)
        .filter(|line| line.starts_with(|c: char| c.is_alphabetic()))
        .last()
        .is_some_and(|top| {
            ["credential", "lake", "alerts"]
                .iter()
                .any(|field| top.starts_with(field))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String> {
        let environment = |name: &str| match name {
            "TOKEN" => Some("s3cr3t".to_owned()),
            "ODD" => Some("a: \"b\" # 'c'\n".to_owned()),
            _ => None,
        };
        substitute(Path::new("demo.yaml"), text, &environment).map(|found| found.text)
    }

    #[test]
    fn replaces_in_each_kind_of_scalar() {
        assert_eq!(run("a: ${TOKEN}\n").unwrap(), "a: s3cr3t\n");
        assert_eq!(run("a: x${TOKEN}y ${TOKEN}").unwrap(), "a: xs3cr3ty s3cr3t");
        assert_eq!(run("a: $${TOKEN}").unwrap(), "a: ${TOKEN}");
        assert_eq!(
            run("# ${NOTHING}\na: 1 # ${NOTHING}\n").unwrap(),
            "# ${NOTHING}\na: 1 # ${NOTHING}\n"
        );
    }

    #[test]
    fn a_value_adds_no_structure() {
        for text in ["a: ${ODD}", "a: \"${ODD}\"", "a: '${ODD}'", "{ a: ${ODD} }"] {
            let found = run(text).unwrap();
            let value: serde_json::Value = serde_saphyr::from_str(&found).unwrap();
            let read = value["a"].as_str().unwrap();
            assert!(read.starts_with("a: \"b\" # 'c'"), "{text} -> {found} -> {read}");
        }
    }

    #[test]
    fn names_every_unset_variable() {
        let error = run("a: ${ONE}\nb: ${TWO}\nc: ${ONE}").unwrap_err();
        assert_eq!(error.message(), "environment variables ONE, TWO are not set");
        assert!(run("a: ${}").is_err());
        assert!(run("a: ${unclosed").is_err());
    }

    #[test]
    fn an_error_shows_no_secret() {
        let environment = |_: &str| Some("s3cr3t".to_owned());
        let text = "connector: github\ncredential: { method: bearer, token: ${TOKEN}, ]\nconfg: {}\n";
        let found = substitute(Path::new("demo.yaml"), text, &environment).unwrap();
        let error = found
            .parse(weir_protocol::connection::ConnectionSpec::parse)
            .unwrap_err();
        assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
        let literal = text.replace("${TOKEN}", "l1ter4l");
        let found = substitute(Path::new("demo.yaml"), &literal, &environment).unwrap();
        let error = found
            .parse(weir_protocol::connection::ConnectionSpec::parse)
            .unwrap_err();
        assert!(!format!("{error:?}").contains("l1ter4l"), "{error:?}");
    }
}
