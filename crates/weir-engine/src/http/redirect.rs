//! Where a redirect leads, as browsers follow it.

use reqwest::Method;
use url::Url;
use weir_protocol::{Error, Result};

use super::redact::show_url;
use super::{Answer, Body, Outgoing, Redactor};

pub(super) const REDIRECTS_MAX: usize = 10;

/// The next hop of an (unsigned) request, or None where the answer is no redirect.
pub(super) fn next(sent: &Outgoing, answer: &Answer, redactor: &Redactor) -> Result<Option<Outgoing>> {
    if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = answer.header("location") else {
        return Ok(None);
    };
    let url = sent.url.join(location).map_err(|error| {
        Error::source_failed("redirect leads to no URL")
            .with("url", show_url(&sent.url))
            .caused_by(error)
            .hint("check base_url and path of the connector")
    })?;
    let mut next = Outgoing { url, ..sent.clone() };
    let becomes_get = match answer.status {
        301 | 302 => sent.method == Method::POST,
        303 => sent.method != Method::HEAD,
        _ => false,
    };
    if becomes_get {
        next.method = Method::GET;
        next.body = Body::Empty;
        next.headers
            .retain(|(name, _)| !name.to_ascii_lowercase().starts_with("content-"));
    }
    if !same_origin(&sent.url, &next.url) {
        next.headers.retain(|(name, value)| {
            let name = name.to_ascii_lowercase();
            !matches!(name.as_str(), "authorization" | "cookie" | "proxy-authorization")
                && !redactor.finds(value)
        });
    }
    Ok(Some(next))
}

/// Same scheme, host and port: only there a credential may follow.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    // Not by `origin()`: but for HTTP's schemes no origin is the same as another.
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// What was asked for is done, and the answer to it could not be fetched: nothing to be sent again.
pub(super) fn lost(url: &Url, cause: Error) -> Error {
    Error::source_failed("the answer was to be fetched elsewhere, and could not be")
        .with("url", show_url(url))
        .caused_by(cause)
        .hint("find out at the vendor whether it was done before doing it again")
}

pub(super) fn too_many(url: &Url) -> Error {
    Error::source_failed(format!("more than {REDIRECTS_MAX} redirects"))
        .with("url", show_url(url))
        .hint("the API redirects in a circle; check base_url and path, and whether the credential is right")
}
