//! Answers that are asked for more than once, kept while one read lasts.

use super::super::env::Env;
use super::Outcome;
use crate::http::{Body, Outgoing};
use weir_protocol::Result;

/// Sends, unless the same request was answered before. Requests of one kind wait for each other.
pub(super) async fn send<F>(env: &Env, out: Outgoing, exchange: impl FnOnce(Outgoing) -> F) -> Result<Outcome>
where
    F: Future<Output = Result<Outcome>>,
{
    let Some(place) = env.cached(key(&out)) else {
        return exchange(out).await;
    };
    let mut other = None;
    let kept = place.get_or_try_init(|| async {
        match exchange(out).await {
            Ok(Outcome::Answer(answer)) if answer.status == 200 => {
                env.count_cached(answer.body.len());
                Ok(*answer)
            }
            ended => {
                other = Some(ended);
                Err(())
            }
        }
    });
    match kept.await {
        Ok(answer) => Ok(Outcome::Answer(Box::new(answer.clone()))),
        Err(()) => other.unwrap_or(Ok(Outcome::Nothing)),
    }
}

fn key(out: &Outgoing) -> String {
    let mut key = format!("{} {}", out.method, out.url);
    let mut headers: Vec<String> = out
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    headers.sort();
    for header in headers {
        key.push('\n');
        key.push_str(&header);
    }
    key.push('\n');
    match &out.body {
        Body::Empty => {}
        Body::Json(bytes) => key.push_str(&String::from_utf8_lossy(bytes)),
        Body::Multipart(content_type, bytes) => {
            key.push_str(content_type);
            key.push('\n');
            key.push_str(&String::from_utf8_lossy(bytes));
        }
        Body::Form(text) | Body::Text(text) | Body::Bare(text) => key.push_str(text),
    }
    key
}
