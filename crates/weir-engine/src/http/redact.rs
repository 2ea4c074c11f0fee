//! Keeps secrets out of what people read: URLs and excerpts of answers.

use url::Url;
use weir_protocol::Secret;
use weir_protocol::secret::REDACTED;

/// Shorter values are too common to be searched for in text.
const SECRET_MIN_CHARS: usize = 4;
/// Shorter lines of a secret of several lines are not searched for by themselves.
const LINE_MIN_CHARS: usize = 8;

/// Parts of parameter names whose values are never shown.
const SENSITIVE_NAMES: &[&str] = &[
    "token",
    "key",
    "secret",
    "password",
    "passwd",
    "pwd",
    "sig",
    "auth",
    "session",
    "credential",
    "code",
];

/// A URL as it may stand in messages: no user info, no fragment, sensitive parameters blotted out.
pub fn show_url(url: &Url) -> String {
    let mut shown = String::new();
    shown.push_str(url.scheme());
    shown.push_str("://");
    shown.push_str(url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        shown.push_str(&format!(":{port}"));
    }
    shown.push_str(url.path());
    for (index, (name, value)) in url.query_pairs().enumerate() {
        let lower = name.to_ascii_lowercase();
        // `page_token` and its like hold no secret and matter most when something goes wrong.
        let harmless = ["page", "cursor", "sync", "next"]
            .iter()
            .any(|word| lower.contains(word));
        let sensitive = !harmless && SENSITIVE_NAMES.iter().any(|word| lower.contains(word));
        let value = if sensitive { REDACTED } else { value.as_ref() };
        shown.push(if index == 0 { '?' } else { '&' });
        shown.push_str(&format!("{name}={value}"));
    }
    shown
}

/// Blots out known secret values, however they are spelled.
#[derive(Default)]
pub struct Redactor {
    /// What is searched for, longest first: one that begins with another leaves no rest of itself.
    spellings: Vec<Secret>,
}

impl Redactor {
    pub fn new(secrets: Vec<Secret>) -> Self {
        let mut spellings: Vec<Secret> = secrets.iter().flat_map(spellings).collect();
        spellings.sort_by(|one, other| {
            let (one, other) = (one.expose(), other.expose());
            other.len().cmp(&one.len()).then_with(|| one.cmp(other))
        });
        spellings.dedup();
        Self { spellings }
    }

    /// Whether the text holds one of the secrets.
    pub fn finds(&self, text: &str) -> bool {
        self.spellings.iter().any(|secret| text.contains(secret.expose()))
    }

    /// The text without the secrets, also where they are encoded for a URL or for JSON.
    pub fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.spellings {
            if clean.contains(secret.expose()) {
                clean = clean.replace(secret.expose(), REDACTED);
            }
        }
        clean
    }

    /// The beginning of a body on one line, at most `max` characters.
    pub fn excerpt(&self, body: &[u8], max: usize) -> String {
        // Cleaned before it is cut, so that no half of a secret stays at the edge; looking at a
        // bounded part keeps an error about a huge body cheap.
        let part = body.get(..body.len().min(64 << 10)).unwrap_or_default();
        let text = self.clean(&String::from_utf8_lossy(part));
        let words: Vec<&str> = text.split_whitespace().collect();
        let line = words.join(" ");
        let mut cut: String = line.chars().take(max).collect();
        if cut.len() < line.len() {
            cut.push('…');
        }
        cut
    }
}

/// How a secret may stand in text.
fn spellings(secret: &Secret) -> Vec<Secret> {
    let whole = secret.expose();
    let trimmed = whole.trim();
    // What is said line by line, as a log is, holds no more than a line of it.
    let lines = whole
        .lines()
        .map(str::trim)
        .filter(|line| line.chars().count() >= LINE_MIN_CHARS && *line != trimmed);
    let parts = [whole, trimmed].into_iter().chain(lines);
    parts
        .filter(|part| part.len() >= SECRET_MIN_CHARS)
        .flat_map(|part| {
            let json = json_inner(part);
            let ascii = [
                json_ascii(&json, |unit| format!("\\u{unit:04x}")),
                json_ascii(&json, |unit| format!("\\u{unit:04X}")),
            ];
            let plain = [
                part.to_owned(),
                url::form_urlencoded::byte_serialize(part.as_bytes()).collect(),
            ];
            let json = [json].into_iter().chain(ascii);
            let json = json.flat_map(|text| [text.replace('/', "\\/"), text]);
            plain.into_iter().chain(json).map(Secret::new).collect::<Vec<_>>()
        })
        .collect()
}

/// The text as it stands between the quotes of a JSON string.
fn json_inner(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(&quoted).to_owned()
}

/// What other characters than ASCII become where a program writes no others.
fn json_ascii(json: &str, escape: impl Fn(u16) -> String) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            let mut units = [0; 2];
            text.extend(
                character
                    .encode_utf16(&mut units)
                    .iter()
                    .map(|unit| escape(*unit)),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_secrets_and_keep_paging() {
        let url =
            Url::parse("https://u:p@api.example.com/v1/x?api_key=abc&page_token=77&since=2024#f").unwrap();
        assert_eq!(
            show_url(&url),
            "https://api.example.com/v1/x?api_key=[redacted]&page_token=77&since=2024"
        );
    }

    #[test]
    fn excerpts_are_short_and_clean() {
        let redactor = Redactor::new(vec![Secret::new("hunter2 x"), Secret::new("a")]);
        let text = redactor.excerpt(b"bad  token\n hunter2 x and hunter2+x of a caller", 40);
        assert_eq!(text, "bad token [redacted] and [redacted] of a…");
    }

    #[test]
    fn a_secret_is_found_as_json_spells_it() {
        let secret = "pä/s\"w\\😀";
        let redactor = Redactor::new(vec![Secret::new(secret)]);
        for spelling in [
            r#"pä/s\"w\\😀"#,
            r#"pä\/s\"w\\😀"#,
            r#"p\u00e4/s\"w\\\ud83d\ude00"#,
            r#"p\u00E4\/s\"w\\\uD83D\uDE00"#,
        ] {
            let json: String = serde_json::from_str(&format!("\"{spelling}\"")).unwrap();
            assert_eq!(json, secret);
            let text = format!(r#"{{"a":"x {spelling} y"}}"#);
            assert_eq!(redactor.clean(&text), r#"{"a":"x [redacted] y"}"#);
            assert!(redactor.finds(&text));
        }
    }

    #[test]
    fn a_secret_that_begins_with_another_leaves_no_rest() {
        for secrets in [["abcd", "abcdefgh"], ["abcdefgh", "abcd"]] {
            let redactor = Redactor::new(secrets.map(Secret::new).to_vec());
            assert_eq!(redactor.clean("abcdefgh, abcd"), "[redacted], [redacted]");
        }
    }

    #[test]
    fn a_secret_of_several_lines_is_hidden_line_by_line() {
        let redactor = Redactor::new(vec![Secret::new("-----BEGIN KEY-----\r\nMIIEvQIBADAN\nq==\n")]);
        assert_eq!(
            redactor.clean("say MIIEvQIBADAN; q==; -----BEGIN KEY-----"),
            "say [redacted]; q==; [redacted]"
        );
        assert_eq!(
            redactor.clean(r#""-----BEGIN KEY-----\r\nMIIEvQIBADAN\nq==""#),
            r#""[redacted]""#
        );
        let ended = Redactor::new(vec![Secret::new("t0ken\n")]);
        assert_eq!(ended.clean("Bearer t0ken."), "Bearer [redacted].");
    }
}
