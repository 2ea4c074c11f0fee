use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_control::principals::{self, EXPIRY_DEFAULT, Kind, NewToken, Permission, Role, Token};

use super::page::{Page, Paging};
use super::{BASE, Endpoint};
use crate::guard::KeptInstead;
use crate::input::{self, Asked, Caller, Expected, ForCaller, Named};
use crate::problem::Problem;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/tokens",
            Permission::TokensRead,
            "All tokens, newest first",
            list,
        )
        .query::<Paging>()
        .answers::<Page<Token>>(200),
        Endpoint::post(
            "/tokens",
            Permission::TokensWrite,
            "Make a token; its text is shown this once",
            create,
        )
        .body::<Wanted>()
        .answers::<New>(201),
        Endpoint::get("/tokens/{id}", Permission::TokensRead, "One token", show).answers::<Token>(200),
        Endpoint::post(
            "/tokens/{id}/revoke",
            Permission::TokensWrite,
            "End a token at once",
            revoke,
        )
        .answers::<Token>(200)
        .conditional(),
    ]
}

/// A token that is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = one_right_at_least)]
struct Wanted {
    /// Who will act with it; made where it is missing.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[a-z0-9][a-z0-9._@+-]*$"))]
    principal: String,
    /// What the principal is: `token` if left out.
    kind: Option<WantedKind>,
    #[serde(default)]
    roles: BTreeSet<Role>,
    #[serde(default)]
    scopes: BTreeSet<Permission>,
    /// What rules of approvals and policies may name. An admin gives any, others those that they are in.
    #[serde(default)]
    #[schemars(
        length(max = 200),
        inner(length(min = 1, max = 200), regex(pattern = "^[^\\x00-\\x1f\\x7f]+$"))
    )]
    groups: BTreeSet<String>,
    /// 90 days if left out.
    #[schemars(range(min = 1, max = 366))]
    expires_in_days: Option<u16>,
}

/// At least one role or scope: the type of two sets that may be left out cannot say that itself.
fn one_right_at_least(schema: &mut Schema) {
    let some = |field: &str| json!({ "required": [field], "properties": { field: { "minItems": 1 } } });
    schema.insert("anyOf".to_owned(), json!([some("roles"), some("scopes")]));
}

/// weir itself needs no token.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum WantedKind {
    User,
    Agent,
    Token,
}

/// A new token.
#[derive(Serialize, JsonSchema)]
struct New {
    #[serde(flatten)]
    token: Token,
    /// What to send after `Authorization: Bearer`. Null where an idempotency key was used again: it is
    /// shown once, and kept nowhere.
    bearer: Option<String>,
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Token>>, Problem> {
    let items = principals::list(&state.store, &access.tenant).await?;
    Ok(Json(Page::by_key(items, &paging, newest_first)?))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
) -> Result<Json<Token>, Problem> {
    Ok(Json(principals::get(&state.store, &access.tenant, &id).await?))
}

async fn create(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    input::Json(wanted): input::Json<Wanted>,
) -> Result<Response, Problem> {
    let new = NewToken {
        principal: wanted.principal,
        kind: match wanted.kind {
            Some(WantedKind::User) => Kind::User,
            Some(WantedKind::Agent) => Kind::Agent,
            Some(WantedKind::Token) | None => Kind::Token,
        },
        roles: wanted.roles,
        scopes: wanted.scopes,
        groups: wanted.groups,
        expires_in: wanted.expires_in_days.map_or(EXPIRY_DEFAULT, |days| {
            Duration::from_secs(u64::from(days) * 86_400)
        }),
    };
    let issued = principals::create(&state.store, &access, &new).await?;
    let place: (HeaderName, String) = (header::LOCATION, format!("{BASE}/tokens/{}", issued.token.id));
    let mut shown = New {
        token: issued.token,
        bearer: Some(issued.text.expose().to_owned()),
    };
    let mut response = (StatusCode::CREATED, [place], Json(json!(shown))).into_response();
    shown.bearer = None;
    response
        .extensions_mut()
        .insert(KeptInstead(json!(shown).to_string()));
    Ok(response)
}

async fn revoke(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(id): Named<String>,
    expected: Expected,
) -> Result<Json<Token>, Problem> {
    let check = |token: &Token| expected.check(token);
    let revoked = principals::revoke_if(&state.store, &access.tenant, &id, &check).await;
    Ok(Json(revoked.map_err(|error| expected.problem(error))?))
}

/// The younger, the smaller: no token was made before 1970.
fn newest_first(token: &Token) -> String {
    format!("{:020} {}", i64::MAX - token.created_at_ms, token.id)
}
