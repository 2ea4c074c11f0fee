//! Plain pages for browsers that come back from elsewhere. Everything in them is escaped, and they load
//! nothing.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use weir_protocol::Error;

use crate::problem::status_of;

/// No script, no style from elsewhere, no frame around it, no address given on.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Text that stays text in a page.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A page of a heading and paragraphs; `extra` is markup of our own.
pub(crate) fn page(status: StatusCode, heading: &str, paragraphs: &[&str], extra: &str) -> Response {
    let heading = escaped(heading);
    let text: String = paragraphs
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| format!("<p>{}</p>\n", escaped(text)))
        .collect();
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{heading}</title></head>\n\
         <body>\n<h1>{heading}</h1>\n{text}{extra}</body>\n</html>\n"
    );
    let mut response = (status, body).into_response();
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A language that pages are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    En,
    Ar,
}

impl Language {
    /// What the address asks for (`?lang=ar`), else what the browser prefers.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let query = uri.query().unwrap_or_default().split('&');
        let asked = query.filter_map(|pair| pair.strip_prefix("lang=")).next();
        let preferred = headers
            .get(header::ACCEPT_LANGUAGE)
            .and_then(|tags| tags.to_str().ok());
        let tag = asked
            .or(preferred)
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let is_arabic = tag.strip_prefix("ar");
        match is_arabic {
            Some(rest) if !rest.starts_with(|letter: char| letter.is_ascii_alphabetic()) => Self::Ar,
            _ => Self::En,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ar => "ar",
        }
    }

    fn direction(self) -> &'static str {
        match self {
            Self::En => "ltr",
            Self::Ar => "rtl",
        }
    }
}

/// A page in weir's own style; `body` is markup of our own. Forms of it are sent back here.
pub(crate) fn document(status: StatusCode, language: Language, heading: &str, body: &str) -> Response {
    let heading = escaped(heading);
    let text = format!(
        "<!doctype html>\n<html lang=\"{}\" dir=\"{}\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{heading}</title>\
         <link rel=\"stylesheet\" href=\"/style.css\"></head>\n\
         <body>\n<main>\n<h1>{heading}</h1>\n{body}</main>\n</body>\n</html>\n",
        language.as_str(),
        language.direction()
    );
    let mut page = (status, text).into_response();
    for (name, value) in HEADERS {
        page.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let policy =
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    let policy = HeaderValue::from_static(policy);
    page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    let referrer = HeaderValue::from_static("same-origin");
    page.headers_mut().insert(header::REFERRER_POLICY, referrer);
    page
}

/// `/style.css`
pub(crate) async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "max-age=3600"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, include_str!("style.css")).into_response()
}

/// The same with a form that is sent back here. Without a referrer, browsers do not say where its request comes from.
pub(crate) fn form(status: StatusCode, heading: &str, paragraphs: &[&str], form: &str) -> Response {
    let mut page = page(status, heading, paragraphs, form);
    let referrer = HeaderValue::from_static("same-origin");
    page.headers_mut().insert(header::REFERRER_POLICY, referrer);
    page
}

pub(crate) fn failure(error: &Error) -> Response {
    let status = status_of(error.kind());
    if status.is_server_error() {
        tracing::error!(%error, kind = %error.kind(), "request failed");
    }
    let next = error.next_step().unwrap_or_default();
    page(status, "This did not work", &[error.message(), next], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_addresss_or_the_browsers() {
        let of = |uri: &str, tags: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::try_from(tags).unwrap());
            Language::of(&uri.parse().unwrap(), &headers)
        };
        assert_eq!(of("/a", "ar-EG,ar;q=0.9,en;q=0.8"), Language::Ar);
        assert_eq!(of("/a", "en-GB,ar;q=0.5"), Language::En);
        assert_eq!(of("/a?lang=ar", "en"), Language::Ar);
        assert_eq!(of("/a?x=1&lang=en", "ar"), Language::En);
        assert_eq!(of("/a", "arn"), Language::En);
    }

    #[tokio::test]
    async fn what_others_say_stays_text() {
        let error = Error::denied("<script>alert('1')</script>").hint("\"&\"");
        let response = failure(&error);
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert!(
            response.headers()[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
                .contains("'none'")
        );
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            body.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"),
            "{body}"
        );
        assert!(
            body.contains("&quot;&amp;&quot;") && !body.contains("<script"),
            "{body}"
        );
    }
}
