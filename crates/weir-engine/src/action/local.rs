//! Actions that weir performs by its own code: an action names one in `native:`; this is the list.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use weir_protocol::action::{Call, Reply, Shown};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::ActionSpec;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, Result};

use super::plan::ActionPlan;
use crate::EngineSettings;
use crate::native::documents::Extract;

/// What an action does in place of a request.
#[async_trait]
pub(crate) trait Local: Send + Sync {
    /// What a call would do, as people see it. Does nothing.
    fn show(&self, call: &Call) -> Result<Shown>;

    /// Does it, and gives the output.
    async fn perform(&self, call: &Call) -> Result<Value>;
}

type Constructor = fn(&ConnectionSpec, &EngineSettings) -> Result<Arc<dyn Local>>;

const LOCAL: &[(&str, Constructor)] = &[("read_document", |connection, engine| {
    Ok(Arc::new(Extract::new(connection, engine)?))
})];

/// The status of an output that no server sent.
const DONE: u16 = 200;

/// Refuses a name that is not in the list.
pub(super) fn check(action: &ActionSpec) -> Result<()> {
    constructor(action).map(drop)
}

/// What the action names in `native:`, made for a connection.
pub(super) fn resolve(
    action: &ActionSpec,
    connection: &ConnectionSpec,
    engine: &EngineSettings,
) -> Result<Option<Arc<dyn Local>>> {
    constructor(action)?
        .map(|constructor| constructor(connection, engine))
        .transpose()
}

fn constructor(action: &ActionSpec) -> Result<Option<Constructor>> {
    let Some(name) = &action.native else {
        return Ok(None);
    };
    if let Some((_, constructor)) = LOCAL.iter().find(|(known, _)| known == name) {
        return Ok(Some(*constructor));
    }
    let names: Vec<&str> = LOCAL.iter().map(|(name, _)| *name).collect();
    let error = Error::spec(format!("there is no native action '{name}'")).with("action", &action.name);
    Err(match closest(name, &names) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint(format!("write native: {}", names.join(" or "))),
    })
}

/// Does it, and refuses an output that is not as callers were told.
pub(super) async fn perform(local: &dyn Local, plan: &ActionPlan, call: &Call) -> Result<Reply> {
    let output = local.perform(call).await?;
    plan.check_output(&output)?;
    Ok(Reply {
        output,
        remote_id: None,
        status: DONE,
        warning: None,
    })
}
