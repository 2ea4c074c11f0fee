//! Many messages that come in at one time are stored in one transaction: a burst costs few commits.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::AnyConnection;
use tokio::sync::{mpsc, oneshot};
use weir_protocol::hook::Message;
use weir_protocol::{Error, Result};

use super::sql;
use crate::Store;
use crate::events::{self, Event, Family};
use crate::store::{Outcome, Scope};

/// Requests that wait for being stored; more are told to come again.
const WAITING_MAX: usize = 4_096;
/// Requests that are stored together.
const TOGETHER_MAX: usize = 256;
/// Longer bodies are not told in events.
const TOLD_BYTES_MAX: usize = 64 << 10;
/// What a message is called in the place of its own kind, where it could not be stored as it came.
const HELD: &str = "weir.held";

/// One request's messages on their way into the store.
struct Parcel {
    tenant: String,
    connection: String,
    messages: Vec<Message>,
    at: Timestamp,
    answer: oneshot::Sender<Result<()>>,
}

#[derive(Clone)]
pub(super) struct Post {
    parcels: mpsc::Sender<Parcel>,
}

impl Post {
    pub(super) fn open(store: Store) -> Self {
        let (parcels, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(carry(store, waiting));
        Self { parcels }
    }

    pub(super) async fn store(
        &self,
        tenant: &str,
        connection: &str,
        messages: Vec<Message>,
        at: Timestamp,
    ) -> Result<()> {
        let (answer, stored) = oneshot::channel();
        let parcel = Parcel {
            tenant: tenant.to_owned(),
            connection: connection.to_owned(),
            messages,
            at,
            answer,
        };
        self.parcels.try_send(parcel).map_err(|_| busy())?;
        stored.await.unwrap_or_else(|_| Err(busy()))
    }
}

fn busy() -> Error {
    Error::unavailable("more messages come in than can be stored").hint("send it again in a moment")
}

async fn carry(store: Store, mut waiting: mpsc::Receiver<Parcel>) {
    let mut together = Vec::new();
    while waiting.recv_many(&mut together, TOGETHER_MAX).await > 0 {
        let mut by_tenant: BTreeMap<String, Vec<Parcel>> = BTreeMap::new();
        for parcel in together.drain(..) {
            by_tenant.entry(parcel.tenant.clone()).or_default().push(parcel);
        }
        for (tenant, parcels) in by_tenant {
            match put_down(&store, &tenant, &parcels).await {
                // Others wait for nobody whose message cannot be stored.
                Err(error) if !error.kind().is_transient() => {
                    tracing::error!(%error, "messages cannot be stored together");
                    one_by_one(&store, &tenant, parcels).await;
                }
                stored => answer(stored, parcels),
            }
        }
    }
}

/// A parcel that cannot be stored as it is, is stored as what it cannot be: nothing of it is lost, and its sender
/// need not send it for ever. While the store itself is away, the sender has to.
async fn one_by_one(store: &Store, tenant: &str, parcels: Vec<Parcel>) {
    for parcel in parcels {
        let parcel = vec![parcel];
        let stored = match put_down(store, tenant, &parcel).await {
            Err(error) if !error.kind().is_transient() => {
                tracing::error!(%error, tenant, connection = parcel[0].connection, "a message is held");
                let held = parcel
                    .iter()
                    .map(|parcel| parcel.held(&error))
                    .collect::<Vec<_>>();
                put_down(store, tenant, &held).await
            }
            stored => stored,
        };
        answer(stored, parcel);
    }
}

impl Parcel {
    /// The same with its messages in a form that every store takes: their bytes in base64, and why.
    fn held(&self, why: &Error) -> Self {
        let held = self.messages.iter().map(|message| {
            let base64 = STANDARD.encode(&message.body);
            let body = json!({ "held": why.message(), "base64": base64 });
            Message {
                id: format!("held/{}", digest(&message.id, &message.body)),
                kind: Some(HELD.to_owned()),
                body: body.to_string(),
                tells_body: false,
            }
        });
        Self {
            tenant: self.tenant.clone(),
            connection: self.connection.clone(),
            messages: held.collect(),
            at: self.at,
            answer: oneshot::channel().0,
        }
    }
}

fn digest(id: &str, body: &str) -> String {
    let digest = Sha256::new()
        .chain_update(id)
        .chain_update([0])
        .chain_update(body);
    let digest = digest.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn answer(stored: Result<()>, parcels: Vec<Parcel>) {
    if let Err(error) = &stored {
        tracing::error!(%error, "messages cannot be stored");
    }
    for parcel in parcels {
        let told = match &stored {
            Ok(()) => Ok(()),
            // Whatever is wrong with the store: the sender is to try again.
            Err(_) => Err(Error::unavailable("the message cannot be stored now")
                .hint("send it again; the server's log says more")),
        };
        if parcel.answer.send(told).is_err() {
            // It is stored, and sent again it is the same.
            tracing::debug!(
                connection = parcel.connection,
                "a sender went away before it was answered"
            );
        }
    }
}

async fn put_down(store: &Store, tenant: &str, parcels: &[Parcel]) -> Result<()> {
    let mut by_connection: BTreeMap<&str, Vec<(&Message, i64)>> = BTreeMap::new();
    for parcel in parcels {
        let messages = parcel
            .messages
            .iter()
            .map(|message| (message, parcel.at.as_millisecond()));
        by_connection
            .entry(&parcel.connection)
            .or_default()
            .extend(messages);
    }
    let by_connection = &by_connection;
    store
        .write(Scope::Tenant(tenant), "store what was received", |db, _| {
            Box::pin(async move {
                // In the order of their names, as every server does: none waits for another in a circle.
                for (connection, messages) in by_connection {
                    add(db, (tenant, connection), messages).await?;
                }
                Ok(())
            })
        })
        .await
}

async fn add(db: &mut AnyConnection, of: (&str, &str), messages: &[(&Message, i64)]) -> Outcome<()> {
    let count = i64::try_from(messages.len()).unwrap_or(i64::MAX);
    let last = sql::reserve(db, of, count).await?;
    for (index, (message, at_ms)) in (0..count).zip(messages) {
        let place = last - count + 1 + index;
        if sql::insert(db, of, place, message, *at_ms).await? {
            events::append_in(db, &told(of, message)).await?;
        }
    }
    Ok(())
}

fn told((tenant, connection): (&str, &str), message: &Message) -> Event {
    let event =
        Event::of_connection(tenant, Family::HookReceived, connection).with("message", message.id.as_str());
    let event = match &message.kind {
        Some(kind) => event.with("type", kind.as_str()),
        None => event,
    };
    if !message.tells_body || message.body.len() > TOLD_BYTES_MAX {
        return event;
    }
    match serde_json::from_str::<Value>(&message.body) {
        Ok(body) => event.with("body", body),
        // What is no JSON is not taken in the first place.
        Err(_) => event,
    }
}
