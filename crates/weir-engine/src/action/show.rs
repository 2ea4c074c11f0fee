//! A request as people and dry runs see it: everything but the credential.

use serde_json::Value;
use weir_protocol::action::Shown;

use crate::http::{Body, Outgoing, Redactor};

/// Characters of a body that is not JSON.
pub(crate) const TEXT_CHARS_MAX: usize = 4_000;

pub(super) fn shown(outgoing: &Outgoing, redactor: &Redactor) -> Shown {
    let text = |text: &str| {
        let cut: String = text.chars().take(TEXT_CHARS_MAX).collect();
        Some(Value::String(redactor.clean(&cut)))
    };
    let body = match &outgoing.body {
        Body::Empty => None,
        Body::Json(bytes) => {
            let clean = redactor.clean(&String::from_utf8_lossy(bytes));
            Some(serde_json::from_str(&clean).unwrap_or(Value::String(clean)))
        }
        Body::Form(form) | Body::Text(form) | Body::Bare(form) => text(form),
        Body::Multipart(content_type, bytes) => {
            let kind = content_type.split(';').next().unwrap_or_default();
            Some(Value::String(format!("{kind}, {} bytes", bytes.len())))
        }
    };
    Shown {
        method: outgoing.method.to_string(),
        url: redactor.clean(outgoing.url.as_str()),
        headers: outgoing
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), redactor.clean(value)))
            .collect(),
        body,
    }
}
