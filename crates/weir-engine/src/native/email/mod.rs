//! Mail: messages that go out over SMTP, folders that are read over IMAP.
//!
//! Both are asked through the engine's client, as a vendor's API is: rate, breaker, tries, signing and what an answer
//! means are the same. Only what takes a request to the other side is another (`carrier`). Actions stand in the
//! connector's spec; the streams are here, since no spec can say how a folder is read on: by the number of its newest
//! message, as long as the server does not number anew (`marks`).

mod carrier;
mod imap;
mod letter;
mod link;
mod marks;
mod read;
mod record;
mod settings;
mod signature;
mod smtp;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::Instrument as _;
use url::Url;
use weir_protocol::connection::{ConnectionSpec, StreamChoice};
use weir_protocol::spec::StreamPolicy;
use weir_protocol::{Error, ReadEvent, ReadRequest, Result, Source, StreamDescriptor, SyncMode};

use crate::EngineSettings;
use crate::catalog::Connector;
use crate::connect::client_of;
use crate::http::{Carrier, ClientSettings};
use crate::interpolate::Templates;
use carrier::MailCarrier;
use read::{Desk, Job};
use settings::Settings;

/// Events that wait between reading and the lake; each may be a page.
const EVENTS_AHEAD: usize = 2;

/// What a stream is.
struct Kind {
    name: &'static str,
    description: &'static str,
    primary_key: &'static [&'static str],
    mode: SyncMode,
}

const STREAMS: &[Kind] = &[
    Kind {
        name: "messages",
        description: "Messages of the folders that are read",
        // A UID names a message only together with its folder's UIDVALIDITY.
        primary_key: &["folder", "uidvalidity", "uid"],
        mode: SyncMode::IncrementalMerge,
    },
    Kind {
        name: "folders",
        description: "Folders of the mailbox",
        primary_key: &["path"],
        mode: SyncMode::FullRefreshMerge,
    },
];

/// Reads a mailbox.
pub(super) struct EmailSource {
    desk: Desk,
    has_mailbox: bool,
    choices: BTreeMap<String, StreamChoice>,
    schemas: BTreeMap<&'static str, Value>,
}

/// What takes a connection's requests to its mail servers.
pub(super) fn carrier(connection: &ConnectionSpec, settings: &ClientSettings) -> Result<Arc<dyn Carrier>> {
    Ok(Arc::new(MailCarrier::new(connection, settings)?))
}

impl EmailSource {
    pub(super) fn new(
        connector: &Connector,
        connection: &ConnectionSpec,
        engine: &EngineSettings,
    ) -> Result<Self> {
        let settings = Settings::of(connection)?;
        let templates = Templates::new(&engine.clock);
        let (client, _) = client_of(&connector.spec, connection, engine, &templates)?;
        let server = settings
            .imap
            .as_ref()
            .map(|imap| &imap.server)
            .or(settings.smtp.as_ref());
        let host = server.map_or("", |server| server.host.as_str());
        let base = Url::parse(&format!("mail://{host}")).map_err(|error| {
            Error::spec(format!("'{host}' is no host"))
                .caused_by(error)
                .hint("write config.imap.host as in imap.example.com")
        })?;
        let schemas = STREAMS
            .iter()
            .filter_map(|kind| Some((kind.name, connector.schema(kind.name)?.clone())))
            .collect();
        Ok(Self {
            desk: Desk {
                client: Arc::new(client),
                base,
            },
            has_mailbox: settings.imap.is_some(),
            choices: connection.streams.clone(),
            schemas,
        })
    }

    fn descriptor(&self, kind: &Kind) -> Result<StreamDescriptor> {
        let choice = self.choices.get(kind.name).cloned().unwrap_or_default();
        choice
            .keeps_cursor(None)
            .map_err(|error| error.with("stream", kind.name))?;
        let own = || kind.primary_key.iter().map(|field| (*field).to_owned()).collect();
        Ok(StreamDescriptor {
            is_received: false,
            name: kind.name.to_owned(),
            entity: kind.name.to_owned(),
            description: Some(kind.description.to_owned()),
            schema: choice.schema.or_else(|| self.schemas.get(kind.name).cloned()),
            primary_key: choice.primary_key.unwrap_or_else(own),
            cursor_field: None,
            mode: Some(choice.mode.unwrap_or(kind.mode)),
            policy: StreamPolicy {
                contract: choice.contract.unwrap_or_default(),
                pii: choice.pii.unwrap_or_default(),
                partition_by: choice.partition_by.unwrap_or_default(),
                explode: choice.explode.unwrap_or_default(),
                ..StreamPolicy::default()
            },
        })
    }
}

#[async_trait]
impl Source for EmailSource {
    async fn check(&self) -> Result<()> {
        self.desk.ask("/check", &[]).await.map(drop)
    }

    async fn discover(&self) -> Result<Vec<StreamDescriptor>> {
        let is_chosen = |kind: &&Kind| self.choices.is_empty() || self.choices.contains_key(kind.name);
        let kinds = STREAMS.iter().filter(|_| self.has_mailbox).filter(is_chosen);
        kinds.map(|kind| self.descriptor(kind)).collect()
    }

    fn read(&self, request: ReadRequest) -> BoxStream<'static, Result<ReadEvent>> {
        let (out, incoming) = mpsc::channel(EVENTS_AHEAD);
        let job = Job::new(self.desk.clone(), request, out);
        Handle::current().spawn(job.run().in_current_span());
        // Dropping the receiver makes the next send fail, which ends the reading.
        futures::stream::unfold(incoming, |mut incoming| async move {
            incoming.recv().await.map(|event| (event, incoming))
        })
        .boxed()
    }
}
