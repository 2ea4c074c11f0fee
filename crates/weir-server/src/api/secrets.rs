use std::ops::RangeInclusive;

use axum::Json;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_control::principals::{Access, Permission};
use weir_control::secrets::{self, StoredSecret};
use weir_protocol::{Error, Result, Secret};

use super::Endpoint;
use super::page::{Page, Paging};
use super::webhooks::keeper;
use crate::ServerState;
use crate::input::{Asked, Caller, Expected, ForCaller, Named, SecretJson};
use crate::problem::Problem;

const DAY_MS: i64 = 24 * 3_600_000;
/// How long a value may be good for.
const DAYS: RangeInclusive<u16> = 1..=36_500;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Permission::{SecretsRead, SecretsWrite};
    vec![
        Endpoint::get(
            "/secrets",
            SecretsRead,
            "Names, versions and ages of stored secrets; never values",
            list,
        )
        .query::<Paging>()
        .answers::<Page<StoredSecret>>(200),
        Endpoint::get(
            "/secrets/{name}",
            SecretsRead,
            "One stored secret, without its value",
            show,
        )
        .answers::<StoredSecret>(200),
        Endpoint::put(
            "/secrets/{name}",
            SecretsWrite,
            "Store a value, which nobody can read back here; what was there before is gone",
            put,
        )
        .body::<NewValue>()
        .answers::<StoredSecret>(200)
        .conditional()
        .keep_from_logs(),
        Endpoint::delete(
            "/secrets/{name}",
            SecretsWrite,
            "Remove a stored secret for good",
            delete,
        )
        .query::<Removal>()
        .answers::<StoredSecret>(200)
        .conditional(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewValue {
    /// A key, a token, a certificate: 64 KiB at most.
    #[schemars(with = "String", length(min = 1, max = 65_536))]
    value: Secret,
    /// How long it is good for: what ends is told a day before.
    #[schemars(range(min = 1, max = 36_500))]
    expires_in_days: Option<u16>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Removal {
    /// Also where a file of the project still names it: what uses it fails from then on.
    #[serde(default)]
    accept_loss: bool,
}

async fn list(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<StoredSecret>>, Problem> {
    let items = secrets::list(&state.store, &access.tenant).await?;
    Ok(Json(Page::by_key(items, &paging, |item| item.name.clone())?))
}

async fn show(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
) -> Result<Json<StoredSecret>, Problem> {
    Ok(Json(secrets::get(&state.store, &access.tenant, &name).await?))
}

async fn put(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
    expected: Expected,
    SecretJson(new): SecretJson<NewValue>,
) -> Result<Json<StoredSecret>, Problem> {
    if new.expires_in_days.is_some_and(|days| !DAYS.contains(&days)) {
        let message = format!(
            "expires_in_days is not between {} and {}",
            DAYS.start(),
            DAYS.end()
        );
        return Err(Error::usage(message)
            .hint("leave it out for a value that does not end")
            .into());
    }
    let keeper = keeper(&state, &access).await?;
    let check = |known: &Option<StoredSecret>| match known {
        Some(known) => expected.check(known),
        None => expected.check_absent(),
    };
    let stored = keeper.set_if(&name, &new.value, &check).await;
    stored.map_err(|error| expected.problem(error))?;
    if let Some(days) = new.expires_in_days {
        let at_ms = state.store.now_ms().await? + i64::from(days) * DAY_MS;
        keeper.expires(&name, at_ms).await?;
    }
    Ok(Json(secrets::get(&state.store, &access.tenant, &name).await?))
}

async fn delete(
    ForCaller(state): ForCaller,
    Caller(access): Caller,
    Named(name): Named<String>,
    expected: Expected,
    Asked(removal): Asked<Removal>,
) -> Result<Json<StoredSecret>, Problem> {
    if !removal.accept_loss {
        refuse_used(&state, &access, &name).await?;
    }
    let check = |known: &StoredSecret| expected.check(known);
    let gone = secrets::delete_if(&state.store, &access.tenant, &name, &check).await;
    Ok(Json(gone.map_err(|error| expected.problem(error))?))
}

/// Refuses to take away what a file names, as far as this server has files.
async fn refuse_used(state: &ServerState, access: &Access, name: &str) -> Result<()> {
    let Some(vault) = &state.vault else { return Ok(()) };
    let users = vault.named_by(&state.store, &access.tenant, name).await?;
    if users.is_empty() {
        return Ok(());
    }
    Err(secrets::still_used(name, &users)
        .hint("name another secret there first, or say with `accept_loss=true` that they may fail"))
}
