//! Keeps secrets out of what people read: URLs and excerpts of answers.

use url::Url;
use weir_protocol::Secret;
use weir_protocol::secret::REDACTED;

/// Shorter values are too common to be searched for in text.
const SECRET_MIN_CHARS: usize = 4;

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

/// Blots out known secret values.
#[derive(Default)]
pub struct Redactor {
    secrets: Vec<Secret>,
}

impl Redactor {
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self {
            secrets: secrets
                .into_iter()
                .filter(|secret| secret.expose().len() >= SECRET_MIN_CHARS)
                .collect(),
        }
    }

    /// Whether the text holds one of the secrets.
    pub fn finds(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| text.contains(secret.expose()))
    }

    /// The text without the secrets, also in their URL-encoded spelling.
    pub fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            clean = clean.replace(secret.expose(), REDACTED);
            let encoded: String = url::form_urlencoded::byte_serialize(secret.expose().as_bytes()).collect();
            clean = clean.replace(&encoded, REDACTED);
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
}
