//! Who a message comes from, and what they may do.

use axum::http::request::Parts;
use rmcp::ErrorData;
use rmcp::model::Extensions;
use serde_json::Map;
use weir_control::policies::Target;
use weir_control::principals::{self, Access, Permission, may};
use weir_control::{bundles, calls};
use weir_protocol::{Error, ErrorKind, Result, Secret};

use super::VIA;
use crate::ServerState;
use crate::observe::RequestId;

/// Who has a whole connection to the server.
#[derive(Debug, Clone)]
pub enum Who {
    /// Whoever started the program.
    Fixed(Access),
    /// The holder of a token, which may be revoked or expire while the connection lasts.
    Holder(Secret),
}

/// One caller with the server's parts: what is changed through them is noted as theirs.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) state: ServerState,
    pub(super) access: Access,
}

impl Caller {
    /// `fixed` where one caller has the whole connection to the server; else whom the door let in.
    pub(super) async fn of(
        state: &ServerState,
        fixed: Option<&Who>,
        extensions: &Extensions,
    ) -> Result<Self, ErrorData> {
        let parts = extensions.get::<Parts>();
        let (access, acting) = match (fixed, parts) {
            (Some(Who::Fixed(access)), _) => (access.clone(), access.acting(None)),
            (Some(Who::Holder(token)), _) => {
                let known = principals::authenticate(&state.store, token.expose()).await;
                let access = known.map_err(|error| kept_out(&error))?;
                let acting = access.acting(None);
                (access, acting)
            }
            (None, Some(parts)) => {
                let access = parts.extensions.get::<Access>().cloned().ok_or_else(unguarded)?;
                let request = parts.extensions.get::<RequestId>().map(|id| id.0.as_str());
                let acting = access.acting(request);
                (access, acting)
            }
            (None, None) => return Err(unguarded()),
        };
        let state = ServerState {
            store: state.store.acting_as(acting),
            ..state.clone()
        };
        Ok(Self { state, access })
    }

    /// Refuses what neither roles nor scopes give.
    pub(super) fn may(&self, permission: Permission) -> Result<()> {
        may(&self.access, permission)
    }

    /// The same, and what policies take away.
    pub(super) async fn check(&self, permission: Permission, target: &Target) -> Result<()> {
        self.may(permission)?;
        let policies = &self.state.policies;
        policies
            .check(&self.state.store, &self.access, permission, target, VIA)
            .await
    }

    /// Whether policies leave it: for lists.
    pub(super) async fn allows(&self, permission: Permission, target: &Target) -> Result<bool> {
        let policies = &self.state.policies;
        if policies.policies().is_empty() {
            return Ok(true);
        }
        policies
            .allows(&self.state.store, &self.access, permission, target, VIA)
            .await
    }

    /// Notes that a tool was called that there is not, or not for this caller.
    pub(super) async fn note_refusal(&self, connection: &str, action: &str) -> Result<()> {
        let wanted = calls::Wanted {
            connection: connection.to_owned(),
            action: action.to_owned(),
            input: Map::new(),
        };
        calls::note_refusal(&self.state.store, &self.access, &wanted, ErrorKind::Usage, VIA).await
    }

    /// Notes that they wanted what neither roles nor scopes give, where they do not.
    pub(super) async fn note_unallowed(&self, permission: Permission, subject: &str) -> Result<()> {
        if self.may(permission).is_ok() {
            return Ok(());
        }
        let store = &self.state.store;
        principals::note_refusal(store, store.acting().clone(), &self.access, permission, subject).await
    }

    /// Where this caller's bundles are made.
    pub(super) fn bundles(&self) -> Result<bundles::Desk> {
        let desk = self.state.bundles.as_ref().ok_or_else(|| {
            Error::not_found("this server makes no calls").hint("use `weir bundle run` where the project is")
        })?;
        Ok(desk.acting_as(self.state.store.acting().clone()))
    }

    /// Where this caller's calls are made.
    pub(super) fn desk(&self) -> Result<calls::Desk> {
        let desk = self.state.calls.as_ref().ok_or_else(|| {
            Error::not_found("this server makes no calls").hint("use `weir call` where the project is")
        })?;
        Ok(desk.acting_as(self.state.store.acting().clone()))
    }
}

/// Nobody comes in on a token that was good once, nor while nobody can say whether it is.
fn kept_out(error: &Error) -> ErrorData {
    let next = error.next_step().unwrap_or_default();
    let said = format!("{}; {next}", error.message());
    match error.kind() {
        ErrorKind::Auth | ErrorKind::Denied => ErrorData::invalid_request(said, None),
        _ => {
            tracing::error!(%error, "the token cannot be looked up");
            ErrorData::internal_error(said, None)
        }
    }
}

fn unguarded() -> ErrorData {
    ErrorData::internal_error("a message came past the door; report it", None)
}
