//! What somebody should look at: raised and ended by events, once for each fingerprint, told to the
//! channels that the project names, silenced where somebody asks for it.

mod raise;
#[cfg(test)]
mod rule_tests;
mod rules;
mod settings;
mod sql;
#[cfg(test)]
mod tests;
mod texts;
mod watch;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::AnyConnection;
use uuid::Uuid;
use weir_protocol::{Error, Result};

use crate::Store;
use crate::audit::{self, Record};
use crate::events::{self, Event, Family};
use crate::store::Scope;

pub use raise::Batch;
pub use rules::Rule;
pub use settings::{Language, Route, RuleSetting, Settings, Severity};
pub use texts::{Note, note, page};
pub(crate) use watch::watch;

const LIST_MAX: u32 = 500;
const REASON_CHARS_MAX: usize = 500;
/// A silence ends within so long.
const SILENCE_MS_MAX: i64 = 90 * 24 * 60 * 60 * 1000;

/// An alert as it is kept. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    pub id: String,
    pub fingerprint: String,
    pub rule: Rule,
    pub severity: Severity,
    /// Family of the newest event behind it.
    pub cause: String,
    /// Data of that event.
    pub facts: Map<String, Value>,
    pub subject: String,
    pub connection: Option<String>,
    pub raised_at_ms: i64,
    pub seen_at_ms: i64,
    /// Events behind it so far.
    pub seen: i64,
    /// When and how often the channels were told.
    pub told_at_ms: Option<i64>,
    pub told: i64,
    pub resolved_at_ms: Option<i64>,
    pub resolved_because: Option<String>,
}

/// Keeps alerts from the channels for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Silence {
    pub id: String,
    /// Of this rule; of every one where it is missing.
    pub rule: Option<Rule>,
    /// Of this connection; of every one where it is missing.
    pub connection: Option<String>,
    pub reason: String,
    pub created_by: String,
    pub created_at_ms: i64,
    pub ends_at_ms: i64,
}

/// A silence as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSilence {
    pub rule: Option<Rule>,
    pub connection: Option<String>,
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
    #[schemars(range(min = 1))]
    pub ends_at_ms: i64,
}

impl Silence {
    fn covers(&self, alert: &Alert) -> bool {
        self.rule.is_none_or(|rule| rule == alert.rule)
            && self
                .connection
                .as_ref()
                .is_none_or(|connection| Some(connection) == alert.connection.as_ref())
    }
}

/// Which alerts to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Those that are over too.
    pub all: bool,
    pub connection: Option<String>,
    /// Only alerts older than this one.
    pub before: Option<String>,
    pub limit: u32,
}

/// The newest first.
pub async fn list(store: &Store, tenant: &str, filter: &AlertFilter) -> Result<Vec<Alert>> {
    store
        .read(Scope::Tenant(tenant), "list alerts", |db, _| {
            Box::pin(async move { Ok(sql::list(db, tenant, filter, filter.limit.min(LIST_MAX)).await?) })
        })
        .await
}

/// One alert. The start of an id is enough where it is the only one.
pub async fn get(store: &Store, tenant: &str, id: &str) -> Result<Alert> {
    let mut found = store
        .read(Scope::Tenant(tenant), "read the alert", |db, _| {
            Box::pin(async move { Ok(sql::by_prefix(db, tenant, id).await?) })
        })
        .await?;
    match (found.pop(), found.is_empty()) {
        (Some(alert), true) => Ok(alert),
        (Some(_), false) => {
            Err(Error::usage(format!("several alerts begin with '{id}'")).hint("write more of the id"))
        }
        (None, _) => Err(Error::not_found(format!("there is no alert '{id}'"))
            .hint("`weir alert list --all` shows those that are kept")),
    }
}

/// Ends an alert by hand.
pub async fn resolve(store: &Store, tenant: &str, id: &str, reason: &str) -> Result<Alert> {
    check_reason(reason)?;
    let alert = &get(store, tenant, id).await?;
    let record = &Record::new(tenant, "alert.resolve", format!("alert:{}", alert.id));
    let acting = store.acting();
    let told = &Event::new(tenant, Family::AlertResolved, &alert.subject);
    store
        .write_alone(Scope::Tenant(tenant), "alerts", "end the alert", |db, _| {
            Box::pin(async move {
                // Ended meanwhile, or the answer was lost.
                if !sql::resolve(db, &alert.id, reason).await? {
                    return Ok(());
                }
                let silences = sql::silences(db, tenant).await?;
                let event = raise::resolved(told.clone(), alert, reason, &silences);
                events::append_in(db, &event).await?;
                audit::append_in(db, acting, record).await
            })
        })
        .await?;
    get(store, tenant, &alert.id).await
}

/// Keeps alerts from the channels until then.
pub async fn silence(store: &Store, tenant: &str, new: &NewSilence) -> Result<Silence> {
    check_reason(&new.reason)?;
    let now = store.now_ms().await?;
    if new.ends_at_ms <= now || new.ends_at_ms > now.saturating_add(SILENCE_MS_MAX) {
        return Err(Error::usage("a silence ends in the future, within 90 days")
            .hint("give a time from now on, as in `--for 4h`"));
    }
    let silence = &Silence {
        id: Uuid::now_v7().to_string(),
        rule: new.rule,
        connection: new.connection.clone(),
        reason: new.reason.clone(),
        created_by: store.acting().principal.clone(),
        created_at_ms: now,
        ends_at_ms: new.ends_at_ms,
    };
    let record = &Record::new(tenant, "alert.silence", format!("silence:{}", silence.id))
        .with("ends_at_ms", silence.ends_at_ms);
    let acting = store.acting();
    store
        .write(Scope::Tenant(tenant), "store the silence", |db, _| {
            Box::pin(async move {
                sql::insert_silence(db, tenant, silence).await?;
                audit::append_in(db, acting, record).await
            })
        })
        .await?;
    Ok(silence.clone())
}

pub(crate) async fn prune(db: &mut AnyConnection, before_ms: i64) -> sqlx::Result<()> {
    sql::prune(db, before_ms).await
}

/// Those that have not ended.
pub async fn silences(store: &Store, tenant: &str) -> Result<Vec<Silence>> {
    store
        .read(Scope::Tenant(tenant), "list silences", |db, _| {
            Box::pin(async move { Ok(sql::silences(db, tenant).await?) })
        })
        .await
}

/// One that has not ended. The start of an id is enough where it is the only one.
pub async fn silence_of(store: &Store, tenant: &str, id: &str) -> Result<Silence> {
    let open = silences(store, tenant).await?;
    let mut found = open
        .into_iter()
        .filter(|silence| !id.is_empty() && silence.id.starts_with(id));
    match (found.next(), found.next()) {
        (Some(silence), None) => Ok(silence),
        _ => Err(Error::not_found(format!("there is no silence '{id}'"))
            .hint("`weir alert silences` shows those that have not ended")),
    }
}

/// Ends a silence now. The start of an id is enough where it is the only one.
pub async fn unsilence(store: &Store, tenant: &str, id: &str) -> Result<Silence> {
    let silence = silence_of(store, tenant, id).await?;
    let (record, id) = (
        &Record::new(tenant, "alert.unsilence", format!("silence:{}", silence.id)),
        &silence.id,
    );
    let acting = store.acting();
    store
        .write(Scope::Tenant(tenant), "end the silence", |db, _| {
            Box::pin(async move {
                sql::end_silence(db, tenant, id).await?;
                audit::append_in(db, acting, record).await
            })
        })
        .await?;
    Ok(silence)
}

fn check_reason(reason: &str) -> Result<()> {
    if reason.trim().is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        return Err(
            Error::usage(format!("a reason has 1 to {REASON_CHARS_MAX} characters"))
                .hint("say why, for whoever looks later"),
        );
    }
    Ok(())
}
