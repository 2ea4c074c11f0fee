//! One request to one allowed host, one whole answer, within time and size limits. No redirects, no
//! retries, no signing: those stand above.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use weir_protocol::{Error, Result};

use super::hosts::HostRules;
use super::redact::show_url;
use super::resolver::GuardedResolver;
use super::settings::ClientSettings;
use super::{Answer, Body, Clock, Outgoing, Patience};

/// Of an announced length so much is reserved at once; a lie costs no more than this.
const BODY_RESERVED_MAX: u64 = 8 << 20;

/// Shared by a client and its authenticator, whose token requests obey the same rules.
pub struct Transport {
    /// Made at the first request that needs it: reading the system's root certificates takes as long as
    /// a small sync.
    secure: OnceLock<reqwest::Client>,
    /// For plain HTTP: resolves to private addresses only. Exists only where they are allowed.
    plain: Option<reqwest::Client>,
    roots: Vec<reqwest::Certificate>,
    settings: ClientSettings,
}

impl Transport {
    pub fn new(settings: &ClientSettings) -> Result<Arc<Self>> {
        let plain = settings.hosts.allow_private().then(|| plain(settings));
        Ok(Arc::new(Self {
            secure: OnceLock::new(),
            plain: plain.transpose()?,
            roots: roots(settings)?,
            settings: settings.clone(),
        }))
    }

    fn secure(&self) -> Result<&reqwest::Client> {
        if let Some(client) = self.secure.get() {
            return Ok(client);
        }
        let client = secure(&self.settings, &self.roots)?;
        Ok(self.secure.get_or_init(|| client))
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.settings.clock
    }

    pub(crate) fn patience(&self) -> &Patience {
        &self.settings.patience
    }

    pub(crate) async fn send(&self, out: &Outgoing) -> Result<Answer> {
        self.send_within(out, &self.settings.hosts).await
    }

    /// The same with one more allowed host: that of a token URL, which the spec declares by naming it.
    pub(crate) async fn send_declared(&self, out: &Outgoing) -> Result<Answer> {
        let host = out.url.host_str().unwrap_or_default();
        self.send_within(out, &self.settings.hosts.with_host(host)?).await
    }

    /// Refuses what is not to be asked, before anything could have left.
    pub(super) fn refuse(&self, out: &Outgoing) -> Result<()> {
        self.settings.hosts.check(&out.url)
    }

    async fn send_within(&self, out: &Outgoing, hosts: &HostRules) -> Result<Answer> {
        hosts.check(&out.url)?;
        let client = match (out.url.scheme(), &self.plain) {
            ("http", Some(plain)) => plain,
            _ => self.secure()?,
        };
        let request = prepare(client, out)?;
        let answered = client.execute(request);
        let response = match self.settings.patience.answer_timeout {
            Some(limit) => tokio::time::timeout(limit, answered)
                .await
                .map_err(|_| timed_out(out, "the answer did not begin in time", limit))?,
            None => answered.await,
        };
        let response = response.map_err(|error| self.failed(error, out))?;
        self.receive(response, out).await
    }

    async fn receive(&self, mut response: reqwest::Response, out: &Outgoing) -> Result<Answer> {
        let limit = self.settings.patience.response_max_bytes;
        let idle = out.idle_timeout.unwrap_or(self.settings.patience.idle_timeout);
        let announced = response.content_length().unwrap_or(0);
        if announced > limit {
            return Err(too_large(out, limit));
        }
        let mut body =
            BytesMut::with_capacity(usize::try_from(announced.min(BODY_RESERVED_MAX)).unwrap_or(0));
        loop {
            let chunk = tokio::time::timeout(idle, response.chunk()).await;
            let chunk = chunk.map_err(|_| timed_out(out, "answer stopped midway", idle))?;
            let Some(chunk) = chunk.map_err(|error| self.failed(error, out))? else {
                break;
            };
            if (body.len() as u64).saturating_add(chunk.len() as u64) > limit {
                return Err(too_large(out, limit));
            }
            body.extend_from_slice(&chunk);
            if out.is_enough.as_ref().is_some_and(|is_enough| is_enough(&body)) {
                break;
            }
        }
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: body.freeze(),
            url: out.url.clone(),
            received_at: self.settings.clock.now(),
        })
    }

    /// Turns a failure of the library into ours: refused by a rule, too slow, or cut off.
    fn failed(&self, error: reqwest::Error, out: &Outgoing) -> Error {
        if let Some(refused) = refusal(&error) {
            // By the look-up of its name, before there was a connection.
            out.delivery.is_known();
            return refused;
        }
        if error.is_timeout() && !error.is_connect() {
            return timed_out(out, "no complete answer in time", self.settings.patience.timeout);
        }
        if error.is_builder() {
            out.delivery.is_known();
            return Error::spec("request cannot be made")
                .with("url", show_url(&out.url))
                .caused_by(error.without_url());
        }
        if is_damaged(&error) {
            return Error::source_failed("the answer's compressed body is damaged")
                .with("url", show_url(&out.url))
                .caused_by(error.without_url())
                .hint(
                    "try again; if it stays, a proxy in between or the vendor breaks compressed answers: \
                     ask for uncompressed ones with the header Accept-Encoding: identity",
                );
        }
        let (message, hint) = if error.is_connect() {
            (
                "cannot connect",
                "check that host and port are right, that the system is up, and that this machine reaches it",
            )
        } else {
            (
                "connection broke before the answer was complete",
                "try again; if it stays, ask the vendor or look at proxies in between",
            )
        };
        let error_out = Error::unavailable(message)
            .with("url", show_url(&out.url))
            .hint(hint);
        // Marked so that a request that must not be sent twice may be when it never left.
        let error_out = if error.is_connect() {
            before_sending(error_out)
        } else {
            error_out
        };
        error_out.caused_by(error.without_url())
    }
}

const NEVER_SENT: &str = "before sending";

/// Marks a failure that surely happened before the request left.
pub(crate) fn before_sending(error: Error) -> Error {
    error.with(NEVER_SENT, "yes")
}

/// Whether a transport failure surely happened before the request left.
pub(super) fn never_sent(error: &Error) -> bool {
    error.context().iter().any(|(key, _)| *key == NEVER_SENT)
}

/// Whether the body came, and does not decompress. The library wraps errors of the connection and of
/// the decoder alike; a decoder's cause is an I/O error, a connection's is one of HTTP.
fn is_damaged(error: &reqwest::Error) -> bool {
    let whole: &(dyn std::error::Error + 'static) = error;
    let cause = std::iter::successors(Some(whole), |cause| cause.source())
        .find(|cause| !cause.is::<reqwest::Error>());
    error.is_decode() && cause.is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// Our own error, where the resolver refused an address deep inside of the library.
fn refusal(error: &reqwest::Error) -> Option<Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref::<Error>() {
            let copy = Error::new(ours.kind(), ours.message());
            let copy = ours
                .context()
                .iter()
                .fold(copy, |copy, (key, value)| copy.with(key, value));
            return Some(copy.hint(ours.next_step().unwrap_or_default()));
        }
        cause = error.source();
    }
    None
}

fn timed_out(out: &Outgoing, message: &str, limit: Duration) -> Error {
    Error::timeout(message)
        .with("url", show_url(&out.url))
        .with("limit", format!("{} ms", limit.as_millis()))
        .hint("raise reliability.timeout, or ask for smaller pages")
}

fn too_large(out: &Outgoing, limit: u64) -> Error {
    Error::limit("answer is larger than reliability.response_max")
        .with("url", show_url(&out.url))
        .with("limit", format!("{limit} bytes"))
        .hint("ask for smaller pages or narrower slices, or raise reliability.response_max")
}

fn prepare(client: &reqwest::Client, out: &Outgoing) -> Result<reqwest::Request> {
    let mut builder = client.request(out.method.clone(), out.url.clone());
    let (content_type, body) = match &out.body {
        Body::Empty => (None, None),
        Body::Json(bytes) => (Some("application/json"), Some(bytes.clone())),
        Body::Form(text) => (
            Some("application/x-www-form-urlencoded"),
            Some(Bytes::from(text.clone())),
        ),
        Body::Text(text) => (Some("text/plain; charset=utf-8"), Some(Bytes::from(text.clone()))),
        Body::Bare(text) => (None, Some(Bytes::from(text.clone()))),
        Body::Multipart(content_type, bytes) => (Some(content_type.as_str()), Some(bytes.clone())),
    };
    let typed = out
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str()));
    if let Some(content_type) = content_type.filter(|_| !typed) {
        builder = builder.header(CONTENT_TYPE, content_type);
    }
    for (name, value) in &out.headers {
        let bad = |what: &str| {
            Error::spec(format!("header '{name}' has {what}"))
                .hint("header names are letters, digits and '-'; values must be one line of plain text")
        };
        let known = HeaderName::try_from(name.as_str()).map_err(|_| bad("an invalid name"))?;
        // The value may be a credential, so it is not shown.
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| bad("an invalid value"))?;
        value.set_sensitive(true);
        builder = builder.header(known, value);
    }
    if let Some(body) = body {
        builder = builder.body(body);
    }
    builder
        .build()
        .map_err(|error| Error::spec("request cannot be made").caused_by(error.without_url()))
}

fn roots(settings: &ClientSettings) -> Result<Vec<reqwest::Certificate>> {
    let Some(pem) = &settings.extra_roots_pem else {
        return Ok(Vec::new());
    };
    reqwest::Certificate::from_pem_bundle(pem).map_err(|error| {
        Error::spec("extra root certificates cannot be read")
            .caused_by(error)
            .hint("give a file with certificates in PEM form")
    })
}

fn base(settings: &ClientSettings, plain: bool) -> reqwest::ClientBuilder {
    let resolver = GuardedResolver {
        rules: settings.hosts.clone(),
        plain,
    };
    reqwest::Client::builder()
        .user_agent(&settings.user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .timeout(settings.patience.timeout)
        .connect_timeout(settings.patience.connect_timeout)
        .dns_resolver(Arc::new(resolver))
}

fn plain(settings: &ClientSettings) -> Result<reqwest::Client> {
    let client = base(settings, true).tls_certs_only(Vec::new()).build();
    client.map_err(cannot_build)
}

fn secure(settings: &ClientSettings, roots: &[reqwest::Certificate]) -> Result<reqwest::Client> {
    match base(settings, false).tls_certs_merge(roots.to_vec()).build() {
        Ok(client) => Ok(client),
        // A machine without root certificates still reaches private systems and those whose
        // certificates it was given; anything else fails its TLS handshake.
        Err(error) => {
            tracing::warn!(%error, "no system root certificates; install ca-certificates to reach public systems");
            let client = base(settings, false).tls_certs_only(roots.to_vec()).build();
            client.map_err(cannot_build)
        }
    }
}

fn cannot_build(error: reqwest::Error) -> Error {
    Error::internal("HTTP client cannot be built")
        .caused_by(error)
        .hint("check the machine's TLS set-up")
}
