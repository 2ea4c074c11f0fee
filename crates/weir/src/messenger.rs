//! Carries events and alerts out of the house: signed requests, and the channels of `weir.yaml`.

mod disk;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use weir_control::alerts::{self, Note};
use weir_control::deliveries::{self, Answer, Carrier, Post};
use weir_control::events::{CONTENT_TYPE, Envelope, StoredEvent};
use weir_control::secrets::{Reference, Secrets, Vault};
use weir_control::webhooks::signed;
use weir_control::{DEFAULT_TENANT, Store, projects};
use weir_engine::notify::{Mail, Posted, Poster, Smtp, SmtpTls, send};
use weir_protocol::{Error, ErrorKind, Result, Secret};

use crate::errors;
use crate::project::{ChannelFile, EmailFile, MailTls};
use crate::wiring::Wiring;

/// A command does not wait longer for others to take what it tells.
const COMMAND_WAITS: Duration = Duration::from_secs(20);

pub(crate) use disk::watch as watch_disk;

pub(crate) struct Messenger {
    wiring: Arc<Wiring>,
    store: Store,
    poster: Poster,
}

impl Messenger {
    pub(crate) fn new(wiring: Arc<Wiring>, store: Store) -> Result<Self> {
        Ok(Self {
            wiring,
            store,
            poster: Poster::new()?,
        })
    }

    /// A value of the file, with what it refers to.
    async fn resolved(&self, value: &Secret) -> Result<Secret> {
        match Reference::parse(value.expose()) {
            Some(reference) => self.wiring.read_secret(&reference).await,
            None => Ok(value.clone()),
        }
    }

    async fn mail(&self, email: &EmailFile, note: &Note, event: &StoredEvent) -> Result<()> {
        let password = match &email.password {
            Some(password) => Some(self.resolved(password).await?),
            None => None,
        };
        let root_pem = match &email.root_certificate {
            Some(path) => {
                let path = self.wiring.project.path(path);
                Some(std::fs::read(&path).map_err(|error| errors::file("read", &path, error))?)
            }
            None => None,
        };
        let smtp = Smtp {
            host: email.host.clone(),
            port: email.port,
            tls: match email.tls {
                MailTls::Starttls => SmtpTls::StartTls,
                MailTls::Tls => SmtpTls::Tls,
                MailTls::None => SmtpTls::None,
            },
            username: email.username.clone(),
            password,
            root_pem,
        };
        let thread = event.data.get("alert").and_then(|alert| alert.as_str());
        let mail = Mail {
            from: email.from.clone(),
            to: email.to.clone(),
            subject: note.title.clone(),
            text: format!("{}\n", note.body),
            thread: thread.map(ToOwned::to_owned),
        };
        send(&smtp, &mail).await
    }

    /// With a link to the page on which it is decided, where browsers find the server. The link is worth nothing to who
    /// is not logged in.
    fn linked(&self, note: &Note, event: &StoredEvent) -> Note {
        match (self.wiring.public_url(), alerts::page(event)) {
            (Some(base), Some(path)) => note
                .clone()
                .with_page(&format!("{}{path}", base.trim_end_matches('/'))),
            _ => note.clone(),
        }
    }

    async fn send_to(&self, channel: &ChannelFile, note: &Note, event: &StoredEvent) -> Result<()> {
        if let Some(email) = &channel.email {
            return self.mail(email, note, event).await;
        }
        if let Some(slack) = &channel.slack {
            let url = self.resolved(&slack.url).await?;
            let text = format!("*{}*\n{}", plain(&note.title), plain(&note.body));
            let body = json!({ "text": text }).to_string();
            let headers = [("content-type", "application/json")];
            let posted = self
                .poster
                .post(url.expose(), &headers, body.into_bytes(), slack.allow_private)
                .await?;
            return taken(posted);
        }
        let Some(webhook) = &channel.webhook else {
            return Err(Error::internal("a channel of no kind").hint("report it"));
        };
        let (url, secret) = (
            self.resolved(&webhook.url).await?,
            self.resolved(&webhook.secret).await?,
        );
        let mut envelope = Envelope::from(event.clone());
        envelope.data.insert("text".to_owned(), json!(note));
        let body = json!(envelope).to_string();
        let at_s = self.store.now_ms().await? / 1000;
        let signed = signed(&event.id, at_s, &body, &[secret])?;
        let mut headers = borrowed(&signed.headers);
        headers.push(("content-type", CONTENT_TYPE));
        let posted = self
            .poster
            .post(
                url.expose(),
                &headers,
                body.as_bytes().to_vec(),
                webhook.allow_private,
            )
            .await?;
        taken(posted)
    }
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

fn taken(posted: Posted) -> Result<()> {
    if (200..300).contains(&posted.status) {
        return Ok(());
    }
    Err(
        Error::unavailable(format!("the receiver answered {}", posted.status))
            .hint("check the channel's URL and secret, and the receiver's log"),
    )
}

/// Slack reads these three letters as its own.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[async_trait]
impl Carrier for Messenger {
    async fn post(&self, request: &Post) -> Result<Answer> {
        let headers = borrowed(&request.headers);
        let body = request.body.clone().into_bytes();
        let posted = self
            .poster
            .post(&request.url, &headers, body, request.allow_private)
            .await?;
        Ok(Answer {
            status: posted.status,
            retry_after: posted.retry_after,
        })
    }

    async fn tell(&self, channel: &str, note: &Note, event: &StoredEvent) -> Result<()> {
        if event.tenant != DEFAULT_TENANT {
            return Err(Error::denied("the channels are another tenant's")
                .with("channel", channel)
                .with("tenant", &event.tenant)
                .hint("add a webhook for this tenant"));
        }
        let channels = &self.wiring.project.file.alerts.channels;
        match channels.get(channel) {
            Some(found) => self
                .send_to(found, &self.linked(note, event), event)
                .await
                .map_err(|error| error.with("channel", channel)),
            None => {
                let names: Vec<&str> = channels.keys().map(String::as_str).collect();
                Err(Error::not_found(format!("weir.yaml has no channel '{channel}'"))
                    .with("channels", names.join(", "))
                    .hint("add it below alerts.channels"))
            }
        }
    }

    async fn secret(&self, tenant: &str, name: &str) -> Result<Option<Secret>> {
        match self.wiring.open(&self.store, tenant).await?.read(name).await {
            Ok(secret) => Ok(Some(secret)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Vault for Wiring {
    async fn open(&self, store: &Store, tenant: &str) -> Result<Secrets> {
        Secrets::open(store, tenant, Arc::new(self.master_keys().await?)).await
    }

    async fn named_by(&self, store: &Store, tenant: &str, secret: &str) -> Result<Vec<String>> {
        let applied = projects::current(store, tenant).await?;
        // The folder is of the tenant that is served from it.
        let here = if tenant == DEFAULT_TENANT {
            self.project.files()?
        } else {
            projects::Files::new()
        };
        let names_it = |text: &str| {
            // A sample that nobody uses is in a comment.
            let mut used = text.lines().filter(|line| !line.trim_start().starts_with('#'));
            used.any(|line| projects::references(line).contains(secret))
        };
        let files = here.iter().map(|(path, text)| (path.clone(), text));
        let stored = applied.files.iter();
        let stored = stored.map(|(path, text)| (format!("{path} as applied"), text));
        Ok(files
            .chain(stored)
            .filter_map(|(path, text)| names_it(text).then_some(path))
            .collect())
    }
}

/// Tells what a command did to whom it concerns, and raises alerts. What finds no taker now is sent by
/// the next command or by `weir serve`; the command itself does not fail for it.
pub(crate) async fn tell(wiring: &Arc<Wiring>, store: &Store) {
    let done = tokio::time::timeout(COMMAND_WAITS, tell_now(wiring, store)).await;
    match done {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "events were not sent"),
        Err(_) => tracing::warn!("events were not all sent in time; the next command goes on"),
    }
}

async fn tell_now(wiring: &Arc<Wiring>, store: &Store) -> Result<()> {
    disk::look(&wiring.project, store).await?;
    let settings = wiring.project.file.deliveries();
    let messenger = Messenger::new(wiring.clone(), store.clone())?;
    deliveries::once(store, &messenger, &settings, None).await?;
    Ok(())
}

/// Sends one event's deliveries now and says how each went.
pub(crate) async fn send_now(
    wiring: &Arc<Wiring>,
    store: &Store,
    event: &str,
) -> Result<Vec<deliveries::Delivery>> {
    let settings = wiring.project.file.deliveries();
    let messenger = Messenger::new(wiring.clone(), store.clone())?;
    deliveries::once(store, &messenger, &settings, Some(event)).await?;
    let filter = deliveries::DeliveryFilter {
        event: Some(event.to_owned()),
        limit: 100,
        ..deliveries::DeliveryFilter::default()
    };
    deliveries::list(store, DEFAULT_TENANT, &filter).await
}
