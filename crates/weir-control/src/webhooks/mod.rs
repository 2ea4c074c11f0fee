//! Who is sent events, and the secrets that sign them (Standard Webhooks).

mod sign;
pub(crate) mod sql;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};
use uuid::Uuid;
use weir_protocol::address::{Reach, reach};
use weir_protocol::yaml::closest;
use weir_protocol::{Error, ErrorKind, Result, Secret, name};
use zeroize::Zeroizing;

use crate::Store;
use crate::audit::{self, Record};
use crate::events::Family;
use crate::secrets::{self, Secrets};
use crate::store::Scope;

pub use sign::{Signed, signed};

const PREFIX: &str = "whsec_";
const SECRET_BYTES: usize = 32;
const NAME_CHARS_MAX: usize = 63;
const URL_CHARS_MAX: usize = 2048;
const TYPES_MAX: usize = 50;
/// A tenant may have so many.
const WEBHOOKS_MAX: usize = 100;
/// After a rotation the secret before it signs too for so long.
const OLD_SECRET_MS: i64 = 24 * 60 * 60 * 1000;

/// A receiver of events, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Webhook {
    pub name: String,
    pub url: String,
    /// Families, `run.*` for all that begin so, `*` for all.
    pub types: Vec<String>,
    /// Whether its address may be a private one.
    pub allow_private: bool,
    pub created_at_ms: i64,
    /// Since when nothing is sent.
    pub paused_at_ms: Option<i64>,
    pub paused_because: Option<String>,
    /// Until when the secret before this one signs too.
    pub old_secret_until_ms: Option<i64>,
}

/// A receiver as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Lower-case letters, digits and `_`.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z][a-z0-9_]*$"))]
    pub name: String,
    /// HTTPS; plain HTTP to private addresses only.
    pub url: String,
    /// Families, `run.*` for all that begin so; all if left out.
    #[serde(default = "all")]
    #[schemars(length(min = 1, max = 50))]
    pub types: Vec<String>,
    /// Allows an address of a private network or of this machine.
    #[serde(default)]
    pub allow_private: bool,
}

pub fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

/// The secret of a webhook, as one of the tenant's secrets.
pub(crate) fn secret_name(webhook: &str) -> String {
    format!("webhook.{webhook}")
}

/// The one before it.
pub(crate) fn old_secret_name(webhook: &str) -> String {
    format!("webhook.{webhook}.old")
}

impl Webhook {
    /// Whether it wants events of this family.
    pub fn wants(&self, family: &str) -> bool {
        self.types.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(beginning) => family.starts_with(beginning),
            None => wanted == family,
        })
    }
}

/// Changes of a tenant's webhooks are made one after another, each with its secrets in one transaction.
const TURN: &str = "webhooks";

/// Adds a receiver. The secret is given back this once.
pub async fn add(store: &Store, keeper: &Secrets, new: &NewWebhook) -> Result<(Webhook, Secret)> {
    check(new)?;
    let tenant = keeper.tenant();
    let secret = generate()?;
    let (id, record, acting) = (
        &Uuid::now_v7().to_string(),
        &noted(tenant, "webhook.add", &new.name),
        store.acting(),
    );
    let kept = &secret;
    let webhook = store
        .write_alone(Scope::Tenant(tenant), TURN, "add the webhook", |db, _| {
            Box::pin(async move {
                let known = sql::list(db, tenant).await?;
                if let Some(own) = known.iter().find(|webhook| webhook.name == new.name) {
                    // By a commit whose answer was lost.
                    if audit::is_noted_in(db, record).await? {
                        return Ok(own.clone());
                    }
                    return Err(exists(&new.name).into());
                }
                if known.len() >= WEBHOOKS_MAX {
                    return Err(too_many().into());
                }
                sql::insert(db, tenant, new).await?;
                keeper.put_in(db, &secret_name(&new.name), id, kept).await?;
                audit::append_in(db, acting, record).await?;
                let all = sql::list(db, tenant).await?;
                let found = all.into_iter().find(|webhook| webhook.name == new.name);
                Ok(found.ok_or_else(|| no_such_webhook(&new.name, &[]))?)
            })
        })
        .await?;
    Ok((webhook, secret))
}

fn too_many() -> Error {
    Error::limit(format!("there are {WEBHOOKS_MAX} webhooks already"))
        .hint("remove one that is no longer needed: `weir webhook remove NAME`")
}

fn exists(name: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("there is a webhook '{name}' already"),
    )
    .hint("choose another name, or remove that one first: `weir webhook remove NAME`")
}

pub async fn list(store: &Store, tenant: &str) -> Result<Vec<Webhook>> {
    store
        .read(Scope::Tenant(tenant), "list webhooks", |db, _| {
            Box::pin(async move { Ok(sql::list(db, tenant).await?) })
        })
        .await
}

pub async fn get(store: &Store, tenant: &str, name: &str) -> Result<Webhook> {
    let all = list(store, tenant).await?;
    let names: Vec<&str> = all.iter().map(|webhook| webhook.name.as_str()).collect();
    match all.iter().find(|webhook| webhook.name == name) {
        Some(found) => Ok(found.clone()),
        None => Err(no_such_webhook(name, &names)),
    }
}

fn no_such_webhook(name: &str, names: &[&str]) -> Error {
    let error = Error::not_found(format!("there is no webhook '{name}'"));
    match closest(name, names) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint("`weir webhook list` names those there are"),
    }
}

/// Removes a receiver, what was on its way to it, and its secrets.
pub async fn remove(store: &Store, tenant: &str, name: &str) -> Result<()> {
    get(store, tenant, name).await?;
    let record = &noted(tenant, "webhook.remove", name);
    let acting = store.acting();
    store
        .write_alone(Scope::Tenant(tenant), TURN, "remove the webhook", |db, _| {
            Box::pin(async move {
                if sql::remove(db, tenant, name).await? {
                    for secret in [secret_name(name), old_secret_name(name)] {
                        secrets::remove_in(db, tenant, &secret).await?;
                    }
                    audit::append_in(db, acting, record).await?;
                }
                Ok(())
            })
        })
        .await
}

/// Stops sending, or goes on; what happened meanwhile is not sent.
pub async fn pause(store: &Store, tenant: &str, name: &str, because: Option<&str>) -> Result<Webhook> {
    get(store, tenant, name).await?;
    let action = if because.is_some() {
        "webhook.pause"
    } else {
        "webhook.resume"
    };
    let record = &noted(tenant, action, name);
    let acting = store.acting();
    store
        .write(Scope::Tenant(tenant), "pause the webhook", |db, _| {
            Box::pin(async move {
                sql::pause(db, tenant, name, because).await?;
                audit::append_in(db, acting, record).await
            })
        })
        .await?;
    get(store, tenant, name).await
}

/// Gives it another secret; the one before it signs too for a day. The new one is given back this once. Of two
/// rotations the second's secret and the first's sign, whatever the order in which they are asked for.
pub async fn rotate(store: &Store, keeper: &Secrets, name: &str) -> Result<Secret> {
    let tenant = keeper.tenant();
    get(store, tenant, name).await?;
    let secret = generate()?;
    let ids = &(Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
    let record = &noted(tenant, "webhook.rotate", name);
    let (acting, new) = (store.acting(), &secret);
    let doing = "rotate the webhook's secret";
    store
        .write_alone(Scope::Tenant(tenant), TURN, doing, |db, _| {
            Box::pin(async move {
                // By a commit whose answer was lost.
                if audit::is_noted_in(db, record).await? {
                    return Ok(());
                }
                if !sql::keep_old_secret(db, tenant, name, OLD_SECRET_MS).await? {
                    return Err(no_such_webhook(name, &[]).into());
                }
                if let Some(old) = keeper.get_in(db, &secret_name(name)).await? {
                    keeper.put_in(db, &old_secret_name(name), &ids.0, &old).await?;
                }
                keeper.put_in(db, &secret_name(name), &ids.1, new).await?;
                audit::append_in(db, acting, record).await
            })
        })
        .await?;
    Ok(secret)
}

fn noted(tenant: &str, action: &'static str, name: &str) -> Record {
    Record::new(tenant, action, format!("webhook:{name}"))
}

fn generate() -> Result<Secret> {
    let mut bytes = Zeroizing::new([0_u8; SECRET_BYTES]);
    audit::random(&mut *bytes)?;
    let text = Zeroizing::new(STANDARD.encode(*bytes));
    Ok(Secret::new(format!("{PREFIX}{}", text.as_str())))
}

fn check(new: &NewWebhook) -> Result<()> {
    name::check("webhook", &new.name)?;
    if new.name.len() > NAME_CHARS_MAX {
        return Err(
            Error::usage(format!("the name is longer than {NAME_CHARS_MAX} characters"))
                .with("webhook", &new.name)
                .hint("shorten it"),
        );
    }
    let refuse = |why: &str, next: &str| {
        Err(Error::usage(format!("the webhook's URL {why}"))
            .with("webhook", &new.name)
            .hint(next.to_owned()))
    };
    if new.url.len() > URL_CHARS_MAX {
        return refuse("is longer than 2048 characters", "shorten it");
    }
    let Ok(url) = Url::parse(&new.url) else {
        return refuse("cannot be read", "write it as in https://example.com/hooks/weir");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse(
            "holds a password, which would be shown",
            "leave it out: events are signed, so that the receiver can tell who sends",
        );
    }
    match url.scheme() {
        "https" => {}
        "http" if new.allow_private => {}
        "http" => {
            return refuse(
                "is not encrypted",
                "use https; plain HTTP only with --allow-private",
            );
        }
        _ => return refuse("is not HTTP", "write it as in https://example.com/hooks/weir"),
    }
    check_host(&url, new.allow_private).map_err(|error| error.with("webhook", &new.name))?;
    if new.types.is_empty() || new.types.len() > TYPES_MAX {
        return Err(Error::usage(format!("{} types are named", new.types.len()))
            .hint(format!("name 1 to {TYPES_MAX}, or '*' for all")));
    }
    new.types.iter().try_for_each(|wanted| check_type(wanted))
}

/// Refuses an address that nothing would be sent to. What a name stands for is looked at when something is sent.
fn check_host(url: &Url, allow_private: bool) -> Result<()> {
    let found = match url.host() {
        Some(Host::Ipv4(address)) => reach(address.into()),
        Some(Host::Ipv6(address)) => reach(address.into()),
        Some(Host::Domain(name)) if is_here(name) => Reach::Private,
        Some(Host::Domain(_)) | None => Reach::Public,
    };
    match found {
        Reach::Never(what) => Err(Error::usage(format!("the webhook's URL has a {what} address"))
            .hint("nothing is ever sent to such addresses; check the URL, and where it came from")),
        Reach::Private if !allow_private => Err(Error::usage("the webhook's URL has a private address")
            .hint(
                "give one that everybody reaches; whoever runs the server may add it with --allow-private",
            )),
        Reach::Private | Reach::Public => Ok(()),
    }
}

fn is_here(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn check_type(wanted: &str) -> Result<()> {
    let families = Family::ALL.map(Family::as_str);
    let is_known = match wanted.strip_suffix('*') {
        Some("") => true,
        Some(beginning) => {
            beginning.ends_with('.') && families.iter().any(|family| family.starts_with(beginning))
        }
        None => families.contains(&wanted),
    };
    if is_known {
        return Ok(());
    }
    let error = Error::usage(format!("there are no events '{wanted}'"));
    Err(match closest(wanted, &families) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint("name a family as `weir event schema list` shows it, 'run.*', or '*'"),
    })
}
