use axum::Json;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use weir_control::lifecycle::{self, Version};
use weir_control::principals::Permission;
use weir_protocol::Error;

use super::Endpoint;
use super::page::{Page, Paging};
use crate::input::{Asked, Caller, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/connectors/{key}/versions",
            Permission::ConnectorsRead,
            "Where the versions of a connector stand",
            list,
        )
        .query::<Paging>()
        .answers::<Page<Version>>(200),
        Endpoint::get(
            "/connectors/{key}/versions/{version}",
            Permission::ConnectorsRead,
            "One version of a connector, with what its staged sync found",
            show,
        )
        .answers::<Staging>(200),
        Endpoint::post(
            "/connectors/{key}/promote",
            Permission::ConnectorsWrite,
            "Move the newest version one step on",
            promote,
        )
        .answers::<Version>(200),
        Endpoint::post(
            "/connectors/{key}/rollback",
            Permission::ConnectorsWrite,
            "Put the version before back into production",
            rollback,
        )
        .answers::<Version>(200),
    ]
}

/// A version, and what speaks against its production.
#[derive(Serialize, JsonSchema)]
struct Staging {
    #[serde(flatten)]
    version: Version,
    objections: Vec<String>,
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(key): Named<String>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Version>>, Problem> {
    let items = lifecycle::versions(&state.store, &access.tenant, &key).await?;
    if items.is_empty() {
        return Err(unknown(&key).into());
    }
    Ok(Json(Page::by_key(items, &paging, |item| {
        format!("{:020} {}", item.created_at_ms, item.version)
    })?))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named((key, number)): Named<(String, String)>,
) -> Result<Json<Staging>, Problem> {
    let all = lifecycle::versions(&state.store, &access.tenant, &key).await?;
    let found = all.into_iter().find(|version| version.version == number);
    let version = found.ok_or_else(|| unknown(&key))?;
    let objections = version.staged.as_ref().map(lifecycle::Staged::objections);
    Ok(Json(Staging {
        objections: objections.unwrap_or_default(),
        version,
    }))
}

fn unknown(key: &str) -> Error {
    Error::not_found(format!(
        "connector '{key}' has no such version under the lifecycle"
    ))
    .hint("`weir connector promote KEY` in the project's folder makes one known")
}

async fn promote(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(key): Named<String>,
) -> Result<(StatusCode, Json<Version>), Problem> {
    let promoted = lifecycle::promote_known(&state.store, &access.tenant, &key).await?;
    Ok((StatusCode::OK, Json(promoted.version)))
}

async fn rollback(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(key): Named<String>,
) -> Result<Json<Version>, Problem> {
    Ok(Json(
        lifecycle::rollback(&state.store, &access.tenant, &key).await?,
    ))
}
