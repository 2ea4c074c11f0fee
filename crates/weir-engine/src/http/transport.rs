//! One request to one allowed host, one whole answer, within time and size limits. No redirects, no
//! retries, no signing: those stand above.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::sync::OwnedSemaphorePermit;
use weir_protocol::{Error, Result};

use super::content::{self, Broken, Content};
use super::hosts::HostRules;
use super::redact::show_url;
use super::resolver::GuardedResolver;
use super::settings::ClientSettings;
use super::{Answer, Body, Clock, Outgoing, Patience};

/// Of an announced length so much is reserved at once; a lie costs no more than this.
const BODY_RESERVED_MAX: u64 = 8 << 20;

/// An answer that has more than this waits for its turn.
const LARGE_BYTES: usize = 8 << 20;
const TURN_WAIT: Duration = Duration::from_secs(5);

/// A large answer, which ends its turn when nobody holds a part of it any more.
struct Large(
    BytesMut,
    #[expect(dead_code, reason = "given back when dropped")] OwnedSemaphorePermit,
);

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

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

    async fn receive(&self, response: reqwest::Response, out: &Outgoing) -> Result<Answer> {
        let limit = self.settings.patience.response_max_bytes;
        let idle = out.idle_timeout.unwrap_or(self.settings.patience.idle_timeout);
        let announced = response.content_length().unwrap_or(0);
        if announced > limit {
            return Err(too_large(out, limit));
        }
        let status = response.status().as_u16();
        let headers = content::headers(&response);
        let broken = |error| self.broken(error, out, limit, idle);
        let mut content = Content::of(response, limit, idle).await.map_err(broken)?;
        let (mut turn, mut is_large) = (None, false);
        let mut body =
            BytesMut::with_capacity(usize::try_from(announced.min(BODY_RESERVED_MAX)).unwrap_or(0));
        loop {
            let piece = content.piece().await.map_err(broken)?;
            if piece.is_empty() {
                break;
            }
            if (body.len() as u64).saturating_add(piece.len() as u64) > limit {
                return Err(too_large(out, limit));
            }
            if !is_large && body.len() + piece.len() > LARGE_BYTES {
                is_large = true;
                turn = self.turn().await;
            }
            body.extend_from_slice(piece);
            let taken = piece.len();
            content.consume(taken);
            if out.is_enough.as_ref().is_some_and(|is_enough| is_enough(&body)) {
                break;
            }
        }
        Ok(Answer {
            status,
            headers,
            body: match turn {
                Some(turn) => Bytes::from_owner(Large(body, turn)),
                None => body.freeze(),
            },
            url: out.url.clone(),
            received_at: self.settings.clock.now(),
        })
    }

    /// Waits while other streams of the connection hold large answers: each may be a quarter of the memory. Not for
    /// long: the connection must not break over it, and whoever holds one may be waiting for this one's stream. A
    /// wait in vain makes one more turn, so that nobody waits so for every page.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turns = &self.settings.large_answers;
        let turn = Arc::clone(turns).acquire_owned();
        match tokio::time::timeout(TURN_WAIT, turn).await {
            Ok(turn) => turn.ok(),
            Err(_) => {
                turns.add_permits(1);
                None
            }
        }
    }

    /// Turns what ended a body too soon into ours.
    fn broken(&self, error: io::Error, out: &Outgoing, limit: u64, idle: Duration) -> Error {
        match error.downcast::<Broken>() {
            Ok(Broken::Connection(error)) => self.failed(error, out),
            Ok(Broken::Silent) => timed_out(out, "answer stopped midway", idle),
            Ok(Broken::TooLarge) => too_large(out, limit),
            Ok(broken @ (Broken::Followed | Broken::Nested)) => damaged(out, broken),
            Err(error) => damaged(out, error),
        }
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

fn damaged(out: &Outgoing, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::source_failed("the answer's compressed body is damaged")
        .with("url", show_url(&out.url))
        .caused_by(cause)
        .hint(
            "try again; if it stays, a proxy in between or the vendor breaks compressed answers: \
             ask for uncompressed ones with the header Accept-Encoding: identity",
        )
}

fn too_large(out: &Outgoing, limit: u64) -> Error {
    Error::limit("answer is larger than reliability.response_max")
        .with("url", show_url(&out.url))
        .with("limit", format!("{limit} bytes"))
        .hint(
            "ask for smaller pages or narrower slices, or raise reliability.response_max; \
             unless it is set, it is a quarter of --memory",
        )
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
    let names = |wanted: HeaderName| {
        let mut named = out.headers.iter();
        named.any(|(name, _)| name.eq_ignore_ascii_case(wanted.as_str()))
    };
    if let Some(content_type) = content_type.filter(|_| !names(CONTENT_TYPE)) {
        builder = builder.header(CONTENT_TYPE, content_type);
    }
    if !names(ACCEPT_ENCODING) {
        builder = builder.header(ACCEPT_ENCODING, content::ACCEPTED);
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
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
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
