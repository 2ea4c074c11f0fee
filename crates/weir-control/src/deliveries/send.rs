//! One try of one delivery: to a webhook, signed, or to a channel of the project.

use std::time::Duration;

use weir_protocol::{Error, Result, Secret};

use super::sql::Claimed;
use super::{Answer, Carrier, Post, Settings};
use crate::alerts::note;
use crate::events::{CONTENT_TYPE, Envelope, StoredEvent};
use crate::webhooks::{self, old_secret_name, secret_name, signed};
use crate::{DEFAULT_TENANT, Store};

const ERROR_CHARS_MAX: usize = 500;
const GONE: u16 = 410;

/// How a try went.
pub(super) enum Went {
    Delivered(Option<u16>),
    Failed {
        error: String,
        answer: Option<u16>,
        retry_after: Option<Duration>,
    },
    /// No other try would help.
    Dead {
        error: String,
        answer: Option<u16>,
    },
    Later,
}

/// Tries once.
pub(super) async fn send(
    store: &Store,
    carrier: &dyn Carrier,
    settings: &Settings,
    claimed: &Claimed,
    event: &StoredEvent,
) -> Result<Went> {
    match claimed.target.split_once(':') {
        Some(("webhook", name)) => to_webhook(store, carrier, claimed, name, event).await,
        // Whoever asks for it, by a replay or a test: the channels are those of the project's own tenant.
        Some(("channel", _)) if claimed.tenant != DEFAULT_TENANT => Ok(Went::Dead {
            error: "the channels are another tenant's".to_owned(),
            answer: None,
        }),
        Some(("channel", name)) => {
            let note = note(event, settings.alerts.language);
            Ok(match carrier.tell(name, &note, event).await {
                Ok(()) => Went::Delivered(None),
                Err(error) => failed(&error),
            })
        }
        _ => Ok(Went::Dead {
            error: "nobody knows this kind of target".to_owned(),
            answer: None,
        }),
    }
}

async fn to_webhook(
    store: &Store,
    carrier: &dyn Carrier,
    claimed: &Claimed,
    name: &str,
    event: &StoredEvent,
) -> Result<Went> {
    let tenant = &claimed.tenant;
    let all = webhooks::list(store, tenant).await?;
    let Some(webhook) = all.into_iter().find(|webhook| webhook.name == name) else {
        return Ok(Went::Dead {
            error: "the webhook was removed".to_owned(),
            answer: None,
        });
    };
    if webhook.paused_at_ms.is_some() {
        return Ok(Went::Later);
    }
    let now_ms = store.now_ms().await?;
    let secrets = match secrets_of(carrier, tenant, name, webhook.old_secret_until_ms, now_ms).await {
        Ok(secrets) => secrets,
        Err(error) => return Ok(failed(&error)),
    };
    let body = serde_json::to_string(&Envelope::from(event.clone())).map_err(|error| {
        Error::internal("an event cannot be written")
            .caused_by(error)
            .hint("report it")
    })?;
    let signed = match signed(&event.id, now_ms / 1000, &body, &secrets) {
        Ok(signed) => signed,
        Err(error) => return Ok(failed(&error)),
    };
    let mut headers = signed.headers;
    headers.push(("content-type", CONTENT_TYPE.to_owned()));
    let post = Post {
        url: webhook.url,
        headers,
        body,
        allow_private: webhook.allow_private,
    };
    match carrier.post(&post).await {
        Ok(Answer { status, .. }) if (200..300).contains(&status) => Ok(Went::Delivered(Some(status))),
        Ok(Answer { status: GONE, .. }) => {
            let reason = "the receiver answered 410 Gone";
            webhooks::pause(store, tenant, name, Some(reason)).await?;
            Ok(Went::Dead {
                error: reason.to_owned(),
                answer: Some(GONE),
            })
        }
        Ok(answer) => Ok(Went::Failed {
            error: format!("the receiver answered {}", answer.status),
            answer: Some(answer.status),
            retry_after: answer.retry_after,
        }),
        Err(error) => Ok(failed(&error)),
    }
}

async fn secrets_of(
    carrier: &dyn Carrier,
    tenant: &str,
    name: &str,
    old_until_ms: Option<i64>,
    now_ms: i64,
) -> Result<Vec<Secret>> {
    let mut found = Vec::new();
    found.extend(carrier.secret(tenant, &secret_name(name)).await?);
    if old_until_ms.is_some_and(|until| now_ms < until) {
        found.extend(carrier.secret(tenant, &old_secret_name(name)).await?);
    }
    if found.is_empty() {
        return Err(Error::auth("the webhook has no secret")
            .with("webhook", name)
            .hint("`weir webhook rotate NAME` makes one"));
    }
    Ok(found)
}

fn failed(error: &Error) -> Went {
    let mut text = error.to_string();
    if let Some(hint) = error.next_step() {
        text = format!("{text} ({hint})");
    }
    Went::Failed {
        error: text.chars().take(ERROR_CHARS_MAX).collect(),
        answer: None,
        retry_after: None,
    }
}
