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

/// How often a request is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tries {
    One,
    /// As often as the connection's patience says.
    Several,
}

/// Sends a request that fetches a token; transient failures are tried again.
pub(super) async fn send(
    transport: &Arc<Transport>,
    out: &Outgoing,
    declared: bool,
    tries: Tries,
) -> Result<Answer> {
    let attempts = match tries {
        Tries::One => 1,
        Tries::Several => transport.patience().attempts,
    };
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
    outcome(answer, secrets, hint).map_err(|refusal| refusal.error)
}

/// Why a token endpoint gave none.
pub(super) struct Refusal {
    /// The word of RFC 6749, 5.2, where there is one.
    pub(super) code: Option<String>,
    /// Whether the server decided: it did not fail, and did not ask for patience.
    pub(super) is_about_grant: bool,
    pub(super) error: Error,
}

pub(super) fn outcome(answer: &Answer, secrets: Vec<Secret>, hint: &str) -> Result<Value, Refusal> {
    let value: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let is_named = value
        .as_ref()
        .is_some_and(|value| json_path::text(value, "error").is_some());
    // Some vendors answer 200 with an error inside.
    if !(200..300).contains(&answer.status) || is_named {
        return Err(refusal(answer, secrets, hint));
    }
    value.ok_or_else(|| Refusal {
        code: None,
        is_about_grant: false,
        error: refused(
            Error::decode("the token endpoint's answer is not JSON"),
            answer,
            &Redactor::new(secrets),
        )
        .hint("check token_url"),
    })
}

pub(super) fn refusal(answer: &Answer, secrets: Vec<Secret>, hint: &str) -> Refusal {
    let redactor = Redactor::new(secrets);
    let value: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let code = value.as_ref().and_then(|value| json_path::text(value, "error"));
    let next = match code.as_deref() {
        Some("invalid_grant") => {
            "the refresh token or assertion is expired, revoked or made for another client: authorise again and set it anew. "
        }
        Some("invalid_client" | "unauthorized_client") => {
            "client id and secret do not match, or the grant is not enabled for this client. "
        }
        Some("invalid_scope") => "the scopes in the connector are not granted to this client. ",
        _ => "",
    };
    let is_about_grant = answer.status != 429 && answer.status < 500;
    let error = match answer.status {
        429 => Error::new(
            weir_protocol::ErrorKind::RateLimited,
            "the token endpoint limits the rate",
        ),
        500.. => Error::unavailable("the token endpoint fails"),
        _ => Error::auth(format!(
            "the token endpoint refused: {}",
            redactor.clean(code.as_deref().unwrap_or("no reason given"))
        )),
    };
    Refusal {
        error: refused(error, answer, &redactor).hint(format!("{next}{hint}")),
        is_about_grant,
        code,
    }
}

/// A life time as vendors write it: a number or a text.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn refused(error: Error, answer: &Answer, redactor: &Redactor) -> Error {
    let error = error
        .with("status", answer.status)
        .with("url", show_url(&answer.url));
    // What came with success may be tokens, which nobody knows yet to blot out.
    if (200..300).contains(&answer.status) {
        return error;
    }
    error.with("answer", redactor.excerpt(&answer.body, EXCERPT_CHARS))
}

/// Takes token and life time out of an answer.
pub(super) fn fresh(value: &Value, token_path: &str, expires_path: &str, url: &str) -> Result<Fresh> {
    let token = json_path::text(value, token_path).ok_or_else(|| {
        Error::auth("the token endpoint's answer has no token")
            .with("token_path", token_path)
            .with("url", url)
            .hint("set token_path of the connector's auth to where the token stands")
    })?;
    Ok(Fresh {
        token: Secret::new(token),
        lifetime: json_path::text(value, expires_path)
            .and_then(|text| seconds(&text))
            .filter(|lifetime| !lifetime.is_zero()),
    })
}
