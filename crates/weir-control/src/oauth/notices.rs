//! What people are told of grants without asking.

use sqlx::AnyConnection;

use crate::audit::{self, Acting, Record};
use crate::events::{self, Event, Family};
use crate::store::Outcome;

/// Something about a grant that a person should know, in the transaction in which it becomes true.
pub(super) struct Notice<'a> {
    pub(super) tenant: &'a str,
    pub(super) connection: &'a str,
    pub(super) what: What<'a>,
}

pub(super) enum What<'a> {
    ReconnectNeeded { why: &'a str },
    Ending { at_ms: i64 },
    ScopesShrank { missing: &'a [String] },
}

/// What is noted and told. Made outside of the transaction, so that trying it again does both once.
pub(super) struct Told {
    record: Record,
    event: Option<Event>,
}

impl Notice<'_> {
    pub(super) fn told(&self) -> Told {
        let (action, family) = match &self.what {
            What::ReconnectNeeded { .. } => ("oauth.reconnect_needed", Some(Family::CredentialExpired)),
            What::Ending { .. } => ("oauth.ending", Some(Family::CredentialExpiring)),
            What::ScopesShrank { .. } => ("oauth.scopes_shrank", None),
        };
        let record = Record::new(self.tenant, action, format!("connection:{}", self.connection));
        let event = family.map(|family| {
            Event::of_connection(self.tenant, family, self.connection).with("credential", "oauth")
        });
        let (record, event) = match &self.what {
            What::ReconnectNeeded { why } => (record, event.map(|event| event.with("reason", *why))),
            What::Ending { at_ms } => (
                record.with("at_ms", *at_ms),
                event.map(|event| event.with("expires_at_ms", *at_ms)),
            ),
            What::ScopesShrank { missing } => (record.with("missing", missing.join(" ")), event),
        };
        Told { record, event }
    }

    pub(super) async fn tell_in(&self, db: &mut AnyConnection, acting: &Acting, told: &Told) -> Outcome<()> {
        if let Some(event) = &told.event {
            events::append_in(db, event).await?;
        }
        audit::append_in(db, acting, &told.record).await?;
        let connection = self.connection;
        match &self.what {
            What::ReconnectNeeded { why } => {
                tracing::error!(
                    connection,
                    why,
                    "connection has to be connected again: `weir auth login`"
                );
            }
            What::Ending { at_ms } => {
                tracing::warn!(
                    connection,
                    at_ms,
                    "connection has to be connected again soon: `weir auth login`"
                );
            }
            What::ScopesShrank { missing } => {
                let missing = missing.join(" ");
                tracing::warn!(connection, missing, "the provider took scopes away");
            }
        }
        Ok(())
    }
}
