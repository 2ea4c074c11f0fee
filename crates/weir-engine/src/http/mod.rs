//! The polite client: one per connection, shared by all its streams, slices and actions. It reaches
//! only declared hosts, keeps the vendor's quota, waits when told to, retries within a budget, and
//! stops asking a system that only fails.

mod backoff;
mod breaker;
mod carrier;
mod classify;
mod client;
mod clock;
mod content;
mod delivery;
mod exchange;
mod hosts;
mod limiter;
mod outcome;
mod quota;
mod redact;
mod redirect;
mod resolver;
mod settings;
mod shared;
mod stats;
mod transport;

pub use breaker::BreakerState;
pub use classify::Asker;
pub use client::Client;
pub use clock::{Clock, SystemClock};
pub use delivery::Delivery;
pub use hosts::HostRules;
pub use outcome::{Classify, Sent, Verdict};
pub use redact::{Redactor, show_url};
pub use reqwest::Method;
pub use reqwest::header::HeaderMap;
pub use settings::{ClientSettings, Patience, ReliabilityDefaults, Traceparent};
pub use stats::StatsSnapshot;
pub use transport::Transport;

pub(crate) use carrier::Carrier;
pub(crate) use quota::retry_after;
pub(crate) use shared::{SharedLimiter, Taken};
pub(crate) use transport::before_sending;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use url::Url;

/// A request before it is signed.
#[derive(Clone)]
pub struct Outgoing {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: Body,
    /// Whether sending it twice does no harm. One that is not is sent again only where the first
    /// try surely had no effect (no connection, or refused for its rate).
    pub repeatable: bool,
    /// Somebody waits for the answer: it fails at once where the breaker is open.
    pub is_interactive: bool,
    /// On whose behalf: what a refusal's hint speaks of.
    pub asker: Asker,
    /// Told how far the request got.
    pub delivery: Delivery,
    /// True for the beginning of a body that is all that is wanted of it: an answer that goes on after what was asked
    /// for is not waited for.
    pub is_enough: Option<IsEnough>,
    /// Longest silence within the answer's body, where it is another one than the client's.
    pub idle_timeout: Option<Duration>,
}

/// Looks at what came of a body so far.
pub type IsEnough = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

#[derive(Clone, Default)]
pub enum Body {
    #[default]
    Empty,
    Json(Bytes),
    /// URL-encoded already.
    Form(String),
    Text(String),
    /// Text whose type nothing but a header of the request tells.
    Bare(String),
    /// `multipart/form-data`: its content type, with the boundary, and its bytes.
    Multipart(String, Bytes),
}

impl Outgoing {
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body: Body::Empty,
            repeatable: true,
            is_interactive: false,
            asker: Asker::default(),
            delivery: Delivery::default(),
            is_enough: None,
            idle_timeout: None,
        }
    }

    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// Sets a header, replacing one of the same name whatever its case.
    pub fn set_header(&mut self, name: &str, value: impl Into<String>) {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Sets a query parameter, replacing one of the same name.
    pub fn set_param(&mut self, name: &str, value: &str) {
        let others: Vec<(String, String)> = self
            .url
            .query_pairs()
            .filter(|(known, _)| known != name)
            .map(|(known, value)| (known.into_owned(), value.into_owned()))
            .collect();
        self.url
            .query_pairs_mut()
            .clear()
            .extend_pairs(others)
            .append_pair(name, value);
    }
}

/// What came back, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Decompressed as HTTP's content encoding says.
    pub body: Bytes,
    /// After redirects.
    pub url: Url,
    pub received_at: Timestamp,
}

impl Answer {
    /// A header's text; None where it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The wait before try `attempt + 1` of a request that is sent past the client (token requests).
pub(crate) fn backoff_delay(transport: &Transport, attempt: u32) -> Duration {
    backoff::delay(transport.patience(), attempt, transport.clock().draw())
}

#[cfg(test)]
pub(crate) mod tests;
