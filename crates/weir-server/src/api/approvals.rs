//! Deciding about calls that wait.

use axum::Json;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_control::approvals::{self, Approval, ApprovalFilter, Decision, Status, Verdict};
use weir_control::principals::Permission;

use super::Endpoint;
use super::calls::desk;
use super::page::{self, Page};
use crate::input::{self, Asked, Caller, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/approvals",
            Permission::ActionsRead,
            "Approvals, newest first; of others' calls for who approves or audits",
            list,
        )
        .query::<ApprovalsQuery>()
        .answers::<Page<Approval>>(200),
        Endpoint::get(
            "/approvals/{id}",
            Permission::ActionsRead,
            "An approval, with the request as it will be sent",
            show,
        )
        .answers::<Approval>(200),
        Endpoint::post(
            "/approvals/{id}/approve",
            Permission::ApprovalsWrite,
            "Approve a call of somebody else; it is made as soon as enough people did",
            approve,
        )
        .body::<Approving>()
        .answers::<Approval>(200),
        Endpoint::post(
            "/approvals/{id}/reject",
            Permission::ApprovalsWrite,
            "Reject a call; nothing is sent",
            reject,
        )
        .body::<Rejecting>()
        .answers::<Approval>(200),
        Endpoint::post(
            "/approvals/{id}/review",
            Permission::ApprovalsWrite,
            "Say what was found about a call that somebody approved alone",
            review,
        )
        .body::<Review>()
        .answers::<Approval>(200),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ApprovalsQuery {
    /// Only those that stand so.
    status: Option<Status>,
    /// Only those that one person approved alone, and nobody looked at.
    to_review: Option<bool>,
    /// So many at most; 50 if left out.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Approving {
    /// The call's digest as it was shown; another one refuses the approval.
    digest: Option<String>,
    reason: Option<String>,
    /// Approve alone, in an emergency that `reason` names.
    #[serde(default)]
    break_glass: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rejecting {
    reason: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Review {
    #[schemars(length(min = 1))]
    review: String,
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(query): Asked<ApprovalsQuery>,
) -> Result<Json<Page<Approval>>, Problem> {
    let limit = page::limit(query.limit)?;
    let filter = ApprovalFilter {
        status: query.status,
        to_review: query.to_review.unwrap_or(false),
        before: query.after,
        limit: limit + 1,
        ..ApprovalFilter::default()
    };
    let items = approvals::list(&state.store, &access, &filter).await?;
    Ok(Json(Page::cut(items, limit, |approval| approval.id.clone())))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
) -> Result<Json<Approval>, Problem> {
    Ok(Json(approvals::get(&state.store, &access, &id).await?))
}

async fn approve(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    input::Json(approving): input::Json<Approving>,
) -> Result<Json<Approval>, Problem> {
    let decision = Decision {
        verdict: Verdict::Approve,
        reason: approving.reason,
        break_glass: approving.break_glass,
        digest: approving.digest,
    };
    Ok(Json(desk(&state)?.decide(&access, &id, &decision).await?))
}

async fn reject(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    input::Json(rejecting): input::Json<Rejecting>,
) -> Result<Json<Approval>, Problem> {
    let decision = Decision {
        verdict: Verdict::Reject,
        reason: rejecting.reason,
        break_glass: false,
        digest: None,
    };
    Ok(Json(desk(&state)?.decide(&access, &id, &decision).await?))
}

async fn review(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    input::Json(review): input::Json<Review>,
) -> Result<Json<Approval>, Problem> {
    Ok(Json(
        approvals::review(&state.store, &access, &id, &review.review).await?,
    ))
}
