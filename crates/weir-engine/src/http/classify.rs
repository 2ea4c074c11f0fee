//! What an answer means where no rule of the connector says otherwise, and how refusals read.

use weir_protocol::Error;

use super::redact::show_url;
use super::{Answer, Redactor, Verdict, quota};

/// On whose behalf a request goes out; its hints speak of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Asker {
    /// A stream, or what it needs.
    #[default]
    Stream,
    Action,
}

impl Asker {
    fn rule_hint(self) -> &'static str {
        match self {
            Self::Stream => "look at the answer; if it is expected, add an 'errors' rule to the stream",
            Self::Action => {
                "look at the answer; if it is expected, add an 'errors' rule to the action that says what it means"
            }
        }
    }
}

/// Characters of an error's body that are shown.
const EXCERPT_CHARS: usize = 300;

pub(super) fn default_verdict(answer: &Answer, redactor: &Redactor, asker: Asker) -> Verdict {
    match answer.status {
        200..=299 => Verdict::Success,
        304 => Verdict::NotModified,
        401 => Verdict::Unauthorized,
        403 if says_slow_down(answer) => Verdict::RateLimited {
            wait: quota_wait(answer),
        },
        429 => Verdict::RateLimited {
            wait: quota_wait(answer),
        },
        408 | 425 | 500..=599 => Verdict::Retry {
            wait: quota::retry_after(answer),
        },
        403 => Verdict::Fail(forbidden(answer, redactor)),
        _ => Verdict::Fail(refused(answer, redactor, asker)),
    }
}

/// Some vendors answer 403 where others answer 429.
fn says_slow_down(answer: &Answer) -> bool {
    answer.header("retry-after").is_some() || quota::customary(answer).remaining == Some(0)
}

/// How long the vendor asks to wait, by Retry-After, else by its customary quota headers.
pub(super) fn quota_wait(answer: &Answer) -> Option<std::time::Duration> {
    quota::retry_after(answer).or_else(|| {
        let quota = quota::customary(answer);
        quota.reset_in.filter(|_| quota.remaining.unwrap_or(0) == 0)
    })
}

/// An error with what the answer says: status, URL, and the beginning of its body.
pub(super) fn describe(error: Error, answer: &Answer, redactor: &Redactor) -> Error {
    let error = error
        .with("status", answer.status)
        .with("url", redactor.clean(&show_url(&answer.url)));
    let excerpt = redactor.excerpt(&answer.body, EXCERPT_CHARS);
    if excerpt.is_empty() {
        error
    } else {
        error.with("answer", excerpt)
    }
}

pub(super) fn unauthorized(answer: &Answer, redactor: &Redactor, credential_hint: &str) -> Error {
    describe(Error::auth("the credential was refused"), answer, redactor).hint(credential_hint)
}

fn forbidden(answer: &Answer, redactor: &Redactor) -> Error {
    describe(Error::auth("the credential may not do this"), answer, redactor).hint(
        "grant the credential access to this resource at the vendor (scopes, roles, plan), then try again",
    )
}

fn refused(answer: &Answer, redactor: &Redactor, asker: Asker) -> Error {
    let (message, hint) = match answer.status {
        404 => (
            "not found at the source",
            "check config values in the path, base_url, and that the credential may see it",
        ),
        410 => (
            "gone at the source",
            "the vendor removed this; look for its successor in the API's documentation",
        ),
        300..=399 => (
            "redirected without a place to go",
            "check base_url and path of the connector",
        ),
        413 | 414 => (
            "the request is too large for the source",
            "ask for smaller pages or narrower slices",
        ),
        400 | 422 => (
            "the source refuses the request",
            "check params and body against the API's documentation",
        ),
        409 if asker == Asker::Action => (
            "the vendor refuses the call: it conflicts with what is there",
            "look at the answer and at what the vendor has now; where it means that the effect is there already, say so in an 'errors' rule of the action",
        ),
        _ => ("the source refuses the request", asker.rule_hint()),
    };
    describe(Error::source_failed(message), answer, redactor).hint(hint)
}

/// The error when tries are used up.
pub(super) fn exhausted(answer: &Answer, redactor: &Redactor, rate: bool) -> Error {
    let error = if rate {
        Error::new(weir_protocol::ErrorKind::RateLimited, "the source keeps limiting the rate")
            .hint("lower reliability.rate_limit or concurrency, raise reliability.retry.attempts, or run again later")
    } else {
        Error::unavailable("the source keeps failing")
            .hint("try again later; if it stays, look at the vendor's status page, or raise reliability.retry.attempts")
    };
    describe(error, answer, redactor)
}
