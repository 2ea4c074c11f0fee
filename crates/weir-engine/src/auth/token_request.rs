//! Requests to token endpoints: retried a little, their refusals explained.

use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use weir_protocol::{Error, Result, Secret};

use super::json_path;
use super::token::Fresh;
use crate::http::{Answer, Body, Method, Outgoing, Redactor, Transport, show_url};

const EXCERPT_CHARS: usize = 300;

/// Sends a request that fetches a token; transient failures are tried again.
pub(super) async fn send(transport: &Arc<Transport>, out: &Outgoing, declared: bool) -> Result<Answer> {
    let attempts = transport.patience().attempts;
    for attempt in 1.. {
        let sent = if declared {
            transport.send_declared(out).await
        } else {
            transport.send(out).await
        };
        let again = match &sent {
            Ok(answer) => answer.status == 429 || answer.status >= 500,
            Err(error) => error.kind().is_transient(),
        };
        if !again || attempt >= attempts {
            return sent;
        }
        let wait = sent.as_ref().ok().and_then(crate::http::retry_after);
        let wait = wait.unwrap_or_else(|| crate::http::backoff_delay(transport, attempt));
        if wait > transport.patience().longest_wait() {
            return sent;
        }
        transport.clock().sleep(wait).await;
    }
    Err(Error::internal("token request made no attempt")
        .hint("report this with the connection's reliability settings"))
}

/// A form for a token endpoint, its fields in order.
pub(super) fn form(url: &str, fields: &[(String, String)]) -> Result<Outgoing> {
    let url = Url::parse(url).map_err(|error| {
        Error::spec("token_url is not a URL")
            .with("token_url", url)
            .caused_by(error)
            .hint("write it with https://")
    })?;
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let mut out = Outgoing::new(Method::POST, url);
    out.set_header("Accept", "application/json");
    out.body = Body::Form(body);
    Ok(out)
}

/// What a token endpoint answered, or why it refused.
pub(super) fn read(answer: &Answer, secrets: Vec<Secret>, hint: &str) -> Result<Value> {
    let redactor = Redactor::new(secrets);
    let value: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let named = value.as_ref().and_then(|value| json_path::text(value, "error"));
    // Some vendors answer 200 with an error inside.
    if (200..300).contains(&answer.status) && named.is_none() {
        return value.ok_or_else(|| {
            refused(
                Error::decode("the token endpoint's answer is not JSON"),
                answer,
                &redactor,
            )
            .hint("check token_url")
        });
    }
    let next = match named.as_deref() {
        Some("invalid_grant") => {
            "the refresh token or assertion is expired, revoked or made for another client: authorise again and set it anew. "
        }
        Some("invalid_client" | "unauthorized_client") => {
            "client id and secret do not match, or the grant is not enabled for this client. "
        }
        Some("invalid_scope") => "the scopes in the connector are not granted to this client. ",
        _ => "",
    };
    let error = match answer.status {
        429 => Error::new(
            weir_protocol::ErrorKind::RateLimited,
            "the token endpoint limits the rate",
        ),
        500.. => Error::unavailable("the token endpoint fails"),
        _ => Error::auth(format!(
            "the token endpoint refused: {}",
            named.as_deref().unwrap_or("no reason given")
        )),
    };
    Err(refused(error, answer, &redactor).hint(format!("{next}{hint}")))
}

fn refused(error: Error, answer: &Answer, redactor: &Redactor) -> Error {
    error
        .with("status", answer.status)
        .with("url", show_url(&answer.url))
        .with("answer", redactor.excerpt(&answer.body, EXCERPT_CHARS))
}

/// Takes token and life time out of an answer.
pub(super) fn fresh(value: &Value, token_path: &str, expires_path: &str, url: &str) -> Result<Fresh> {
    let token = json_path::text(value, token_path).ok_or_else(|| {
        Error::auth("the token endpoint's answer has no token")
            .with("token_path", token_path)
            .with("url", url)
            .hint("set token_path of the connector's auth to where the token stands")
    })?;
    let seconds = json_path::text(value, expires_path).and_then(|text| text.parse::<f64>().ok());
    let lifetime = seconds
        .filter(|seconds| *seconds > 0.0)
        .and_then(|s| Duration::try_from_secs_f64(s).ok());
    Ok(Fresh {
        token: Secret::new(token),
        lifetime,
    })
}
