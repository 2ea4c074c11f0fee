//! How long to wait before another try, as a manifest's strategies say.

use regex::Regex;
use weir_protocol::{Error, Result};

use super::super::env::Env;
use super::super::node::Node;
use super::super::template::{Otherwise, Text};
use super::errors::{self, Seen};
use crate::http::Answer;

pub(super) enum Backoff {
    Constant {
        seconds: Text,
        jitter: f64,
    },
    Exponential {
        factor: Text,
        jitter: f64,
    },
    Header {
        name: Text,
        regex: Option<Text>,
        most: Option<Text>,
    },
    Until {
        name: Text,
        regex: Option<Text>,
        least: Option<Text>,
        most: Option<Text>,
    },
    Response {
        seconds: Text,
    },
}

impl Backoff {
    pub(super) fn new(node: &Node<'_>) -> Result<Self> {
        Ok(match node.kind() {
            "ConstantBackoffStrategy" => Self::Constant {
                seconds: node.need_text("backoff_time_in_seconds")?,
                jitter: jitter(node)?,
            },
            "ExponentialBackoffStrategy" => Self::Exponential {
                factor: node.text_or("factor", "5")?,
                jitter: jitter(node)?,
            },
            "WaitTimeFromHeader" => Self::Header {
                name: node.need_text("header")?,
                regex: node.text("regex")?,
                most: node.text("max_waiting_time_in_seconds")?,
            },
            "WaitUntilTimeFromHeader" => Self::Until {
                name: node.need_text("header")?,
                regex: node.text("regex")?,
                least: node.text("min_wait")?,
                most: node.text("max_waiting_time_in_seconds")?,
            },
            "WaitTimeFromResponse" => Self::Response {
                seconds: node.template(
                    node.str("wait_time_in_seconds").unwrap_or_default(),
                    node.parameters(),
                    Otherwise::Null,
                )?,
            },
            _ => return Err(node.unknown("a back-off strategy")),
        })
    }
}

/// Half of how much longer a wait may be drawn.
fn jitter(node: &Node<'_>) -> Result<f64> {
    let Some(jitter) = node.get("jitter_range_in_seconds") else {
        return Ok(0.0);
    };
    let seconds = jitter.value.as_f64().filter(|seconds| *seconds >= 0.0);
    seconds.ok_or_else(|| jitter.error("jitter_range_in_seconds must be a number, and not negative"))
}

/// Jitter only ever makes a wait longer, so that a source is never asked earlier than it wants.
fn spread(env: &Env, wait: f64, jitter: f64) -> f64 {
    wait + 2.0 * jitter * env.timer().draw()
}

impl Backoff {
    pub(super) fn wait(&self, env: &Env, answer: &Answer, attempt: u32) -> Result<Option<f64>> {
        let scope = env.scope();
        let number = |text: &Text| -> Result<Option<f64>> { Ok(text.eval_text(&scope)?.trim().parse().ok()) };
        let header = |name: &Text, regex: &Option<Text>| -> Result<Option<f64>> {
            let name = name.eval_text(&scope)?;
            let Some(value) = answer.header(&name) else {
                return Ok(None);
            };
            let Some(pattern) = regex else {
                return Ok(value.trim().parse().ok());
            };
            let pattern = pattern.eval_text(&scope)?;
            let pattern = Regex::new(&format!("^(?:{pattern})")).map_err(|error| {
                Error::spec("the regex of a back-off strategy cannot be read")
                    .caused_by(error)
                    .hint("mend the regex")
            })?;
            let part = pattern.find(value).map_or(value, |found| found.as_str());
            Ok(part.trim().parse().ok())
        };
        let capped = |wait: Option<f64>, most: &Option<Text>| -> Result<Option<f64>> {
            let most = most.as_ref().map(number).transpose()?.flatten();
            match (wait, most) {
                (Some(wait), Some(most)) if wait >= most => Err(Error::new(
                    weir_protocol::ErrorKind::RateLimited,
                    format!("the source asks to wait {wait} seconds; the manifest allows {most}"),
                )
                .hint("run again later; what was read is kept")),
                _ => Ok(wait),
            }
        };
        match self {
            Self::Constant { seconds, jitter } => Ok(number(seconds)?.map(|wait| spread(env, wait, *jitter))),
            Self::Exponential { factor, jitter } => {
                let power = 2_f64.powi(i32::try_from(attempt.min(30)).unwrap_or(30));
                Ok(number(factor)?.map(|factor| spread(env, factor * power, *jitter)))
            }
            Self::Header { name, regex, most } => capped(header(name, regex)?, most),
            Self::Until {
                name,
                regex,
                least,
                most,
            } => {
                let until = header(name, regex)?.filter(|until| *until != 0.0);
                let least = least.as_ref().map(number).transpose()?.flatten();
                let wait = until.map(|until| until - env.now().seconds());
                let wait = match (wait, least) {
                    (Some(wait), Some(least)) => Some(wait.max(least)),
                    (Some(wait), None) => Some(wait).filter(|wait| *wait >= 0.0),
                    (None, least) => least,
                };
                capped(wait, most)
            }
            Self::Response { seconds } => {
                let mut seen = Seen::new(answer);
                let (body, headers) = seen.fill(answer);
                let value = seconds.eval_text(&errors::scope(env, answer, body, headers));
                Ok(value.ok().and_then(|text| text.trim().parse().ok()))
            }
        }
    }
}
