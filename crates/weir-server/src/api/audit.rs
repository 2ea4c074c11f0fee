use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use weir_control::audit::{self, Broken, Entry, EntryFilter, Export, SealKey, Verified};
use weir_control::connections;
use weir_control::policies::Target;
use weir_control::principals::{Access, Permission};
use weir_protocol::{Error, Result};

use super::Endpoint;
use super::page::{Page, limit};
use crate::input::{Asked, Caller, ForCaller};
use crate::problem::Problem;
use crate::{ServerState, policy};

/// Chains that are followed at one time: each is read from its beginning. More wait for their turn.
const VERIFICATIONS_AT_ONCE: usize = 2;
static VERIFYING: Semaphore = Semaphore::const_new(VERIFICATIONS_AT_ONCE);
/// One JSON text a line.
const LINES: &str = "application/jsonl";

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Permission::AuditRead;
    vec![
        Endpoint::get(
            "/audit",
            AuditRead,
            "What was done and by whom, newest first",
            list,
        )
        .query::<Wanted>()
        .answers::<Page<Entry>>(200),
        Endpoint::get(
            "/audit/verification",
            AuditRead,
            "Follow the chain of records from its beginning: was one changed, removed, moved or added",
            verify,
        )
        .query::<Against>()
        .answers::<Verification>(200),
        Endpoint::get(
            "/audit/export",
            AuditRead,
            "Sign the newest record, and give all up to it as a file that anybody can verify",
            export,
        )
        .streams(LINES),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// From this day or moment on: `2026-01-31` or `2026-01-31T12:00:00Z`.
    since: Option<String>,
    /// Who acted: `cli`, `system`, `token:` and an id.
    principal: Option<String>,
    /// What was done: `secret.read`.
    action: Option<String>,
    /// What it was done to: `connection:github`.
    subject: Option<String>,
    /// So many at most; 50 if left out.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Against {
    /// A head that was noted elsewhere, `NUMBER:HASH`: a chain that was written anew does not have it.
    head: Option<String>,
}

/// What following the chain came to.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Verification {
    /// Every record is what it was.
    Holds(Verified),
    /// The first record that is not.
    Broken(Broken),
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<Page<Entry>>, Problem> {
    let limit = limit(wanted.limit)?;
    let filter = EntryFilter {
        since_ms: wanted.since.as_deref().map(audit::moment).transpose()?,
        before: wanted.after.as_deref().map(place).transpose()?,
        principal: wanted.principal,
        action: wanted.action,
        subject: wanted.subject,
        limit: limit + 1,
    };
    let found = audit::list(&state.store, &access.tenant, &filter).await?;
    Ok(Json(Page::cut(found, limit, |entry: &Entry| {
        entry.number.to_string()
    })))
}

/// Which record the `next` of a page names.
fn place(next: &str) -> Result<i64> {
    next.parse().map_err(|_| {
        Error::usage(format!("'{next}' is not the `next` of a page"))
            .hint("leave `after` out to begin at the newest record")
    })
}

fn key(state: &ServerState) -> Result<Arc<SealKey>> {
    state.audit_key.clone().ok_or_else(|| {
        Error::unavailable("this server has no key of the audit trail").hint("ask a server that has it")
    })
}

async fn verify(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(against): Asked<Against>,
) -> Result<Json<Verification>, Problem> {
    let noted = against.head.as_deref().map(audit::noted_head).transpose()?;
    let noted = noted.as_ref().map(|(number, hash)| (*number, hash.as_str()));
    let keys: &[String] = match &*state.audit_keys {
        [] => &[key(&state)?.public()],
        known => known,
    };
    let _turn = VERIFYING.acquire().await.map_err(|error| {
        Error::internal("nothing is verified any more")
            .caused_by(error)
            .hint("report it")
    })?;
    let found = audit::verify(&state.store, &access.tenant, keys, noted).await?;
    Ok(Json(match found {
        Ok(verified) => Verification::Holds(verified),
        Err(broken) => Verification::Broken(broken),
    }))
}

/// An export with gaps would not verify: whoever may not see a part of the trail gets none of it.
async fn sees_all(state: &ServerState, access: &Access) -> Result<()> {
    if state.policies.policies().is_empty() {
        return Ok(());
    }
    let listed = connections::list(&state.store, &access.tenant).await?;
    let mut targets: HashSet<Target> = listed
        .into_iter()
        .map(|one| Target::Connection(one.name))
        .collect();
    // Things that are gone have their records still.
    for subject in audit::subjects(&state.store, &access.tenant).await? {
        targets.extend(policy::noted(&json!({ "subject": subject })));
    }
    for target in targets {
        let asked = state
            .policies
            .allows(&state.store, access, Permission::AuditRead, &target, policy::VIA);
        if !asked.await? {
            let message = format!(
                "'{}' may not see a part of the audit trail: a policy forbids it",
                access.principal
            );
            return Err(Error::denied(message).hint("ask who keeps the policies of this tenant"));
        }
    }
    Ok(())
}

/// As it is read from the store: however long the trail, a page of it is held.
async fn export(ForCaller(state): ForCaller, Caller(access): Caller) -> Result<Response, Problem> {
    sees_all(&state, &access).await?;
    let export = Export::begin(&state.store, &access.tenant, &*key(&state)?).await?;
    let tenant = access.tenant;
    let pieces = stream::try_unfold((export, tenant), async |(mut export, tenant)| {
        match export.next().await {
            Ok(piece) => Ok(piece.map(|piece| (Bytes::from(piece), (export, tenant)))),
            Err(error) => {
                // The client sees that it ends too early, and its file does not verify.
                tracing::error!(tenant, %error, "an export of the audit trail broke off");
                Err(error)
            }
        }
    });
    let headers = [
        (header::CONTENT_TYPE, LINES),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"audit.jsonl\"",
        ),
        (header::CACHE_CONTROL, "private, no-store"),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
