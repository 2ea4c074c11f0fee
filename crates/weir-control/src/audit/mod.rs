//! What was done, by whom and with what outcome: one chain of hashes per tenant, written in the same
//! transaction as the change. If the record cannot be written, the change is not made either.
//!
//! `docs/guides/audit.md` says which bytes are hashed and signed.

mod canonical;
mod chain;
mod export;
mod key;
mod page;
mod records;
mod sql;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, future, stream};
use sqlx::AnyConnection;
use tokio_util::task::AbortOnDropHandle;
use weir_protocol::{Error, Result};

use crate::Store;
use crate::events::{self, Event, Family};
use crate::store::{Outcome, Place, Scope};

pub use chain::{Broken, Seal, SealKind, Verified, noted_head};
pub use export::{Export, Exported, export, verify_export};
pub use key::SealKey;
pub(crate) use key::random;
pub use records::{Acting, Ending, Entry, EntryFilter, Record, moment};

use chain::Chain;

/// Nothing younger is ever removed.
pub const KEPT_DAYS_MIN: u32 = 90;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Records that are read in one go.
const PAGE: i64 = 1000;
/// One page is unpacked here while the database packs the next ones.
const READ_AHEAD: usize = 3;
const SALT_BYTES: usize = 16;

/// Adds one record to its tenant's chain, inside the transaction of what it tells of. Call it last:
/// others of the tenant wait from here to the end of the transaction.
pub(crate) async fn append_in(db: &mut AnyConnection, acting: &Acting, record: &Record) -> Outcome<()> {
    append_all_in(db, acting, std::slice::from_ref(record)).await
}

/// As [`append_in`], for records of any tenants. Always in the same order of tenants, so that two who
/// do this at once do not wait for each other.
pub(crate) async fn append_each_in(
    db: &mut AnyConnection,
    acting: &Acting,
    records: Vec<Record>,
) -> Outcome<()> {
    let mut by_tenant: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for record in records {
        by_tenant.entry(record.tenant.clone()).or_default().push(record);
    }
    for records in by_tenant.into_values() {
        append_all_in(db, acting, &records).await?;
    }
    Ok(())
}

/// As [`append_in`], for several records of one tenant.
pub(crate) async fn append_all_in(
    db: &mut AnyConnection,
    acting: &Acting,
    records: &[Record],
) -> Outcome<()> {
    append_by_in(db, records.iter().map(|record| (acting, record))).await
}

/// As [`append_in`], for records of one tenant that name whom each is the doing of.
pub(crate) async fn append_noted_in(db: &mut AnyConnection, noted: &[(Arc<Acting>, Record)]) -> Outcome<()> {
    append_by_in(db, noted.iter().map(|(acting, record)| (acting.as_ref(), record))).await
}

async fn append_by_in<'r>(
    db: &mut AnyConnection,
    noted: impl ExactSizeIterator<Item = (&'r Acting, &'r Record)> + Clone + Send,
) -> Outcome<()> {
    let Some((_, first)) = noted.clone().next() else {
        return Ok(());
    };
    let by = i64::try_from(noted.len()).unwrap_or(i64::MAX);
    let Some(head) = sql::advance(db, &first.tenant, &first.id, by).await? else {
        // Noted by a commit whose answer was lost.
        return Ok(());
    };
    let mut previous = head.hash;
    let mut entries = Vec::with_capacity(noted.len());
    for (number, (acting, record)) in (head.number - by + 1..).zip(noted) {
        let entry = entry(acting, record, (number, head.at_ms), previous)?;
        previous = entry.hash.clone();
        entries.push(entry);
    }
    Ok(sql::insert(db, &entries).await?)
}

fn entry(acting: &Acting, record: &Record, (number, at_ms): (i64, i64), previous: String) -> Result<Entry> {
    let mut personal = acting.personal.clone();
    personal.extend(record.personal.clone());
    let personal = if personal.is_empty() {
        None
    } else {
        let mut salt = [0_u8; SALT_BYTES];
        random(&mut salt)?;
        let salt: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
        Some((canonical::canonical_object(&personal)?, salt))
    };
    let mut entry = Entry {
        number,
        tenant: record.tenant.clone(),
        id: record.id.clone(),
        at_ms,
        principal: acting.principal.clone(),
        action: record.action.to_owned(),
        subject: record.subject.clone(),
        outcome: record.ending.as_str().to_owned(),
        correlation_id: record
            .correlation_id
            .clone()
            .or_else(|| acting.correlation_id.clone()),
        details: canonical::canonical_object(&record.details)?,
        personal_hash: personal
            .as_ref()
            .map(|(text, salt)| chain::personal_hash(text, salt)),
        previous,
        hash: String::new(),
        personal: None,
        salt: None,
    };
    entry.hash = canonical::hash(entry.canonical().as_bytes());
    (entry.personal, entry.salt) = personal.unzip();
    Ok(entry)
}

/// Whether a record was noted before: by a commit of the same change whose answer was lost.
pub(crate) async fn is_noted_in(db: &mut AnyConnection, record: &Record) -> Outcome<bool> {
    Ok(sql::is_noted(db, &record.tenant, &record.id).await?)
}

/// Notes something that changes nothing in the store itself.
pub async fn append(store: &Store, record: &Record) -> Result<()> {
    append_all(store, std::slice::from_ref(record)).await
}

/// As [`append`], for several records of one tenant in one transaction.
pub async fn append_all(store: &Store, records: &[Record]) -> Result<()> {
    let Some(first) = records.first() else {
        return Ok(());
    };
    let acting = store.acting();
    store
        .write(
            Scope::Tenant(&first.tenant),
            "write the audit records",
            |db, _| Box::pin(append_all_in(db, acting, records)),
        )
        .await
}

/// The newest first.
pub async fn list(store: &Store, tenant: &str, filter: &EntryFilter) -> Result<Vec<Entry>> {
    store
        .read(Scope::Tenant(tenant), "list audit records", |db, _| {
            Box::pin(async move { Ok(sql::list(db, tenant, filter).await?) })
        })
        .await
}

/// What the records are about, each thing once: those that name a connection, a stream or a secret.
pub async fn subjects(store: &Store, tenant: &str) -> Result<Vec<String>> {
    store
        .read(Scope::Tenant(tenant), "list what is noted", |db, _| {
            Box::pin(async move { Ok(sql::subjects(db, tenant).await?) })
        })
        .await
}

/// Signs the end of the chain, unless it is signed already. Gives back the newest signed head.
pub async fn seal(store: &Store, tenant: &str, key: &SealKey) -> Result<Option<Seal>> {
    let scope = Scope::Tenant(tenant);
    store
        .write_alone(scope, "audit seal", "sign the end of the audit trail", |db, _| {
            Box::pin(async move {
                let Some(head) = sql::head(db, tenant).await? else {
                    return Ok(None);
                };
                let newest = sql::newest_seal(db, tenant, SealKind::Head).await?;
                if newest.as_ref().is_some_and(|seal| seal.number >= head.number) {
                    return Ok(newest);
                }
                // What is there is signed, not what the head's row says of it.
                let last = page::page(db, tenant, (head.number - 1, head.number), 1).await?;
                if last.first().is_none_or(|entry| entry.hash != head.hash) {
                    let why = "it is gone or changed, although the chain's head names it";
                    return Err(Error::from(Broken {
                        number: head.number,
                        why,
                    })
                    .into());
                }
                let place = (tenant, head.number, head.hash.as_str());
                let seal = Seal::new(SealKind::Head, place, sql::now_ms(db).await?, key);
                sql::insert_seal(db, &seal).await?;
                Ok(Some(seal))
            })
        })
        .await
}

/// Every tenant that has an audit trail.
pub async fn tenants(store: &Store) -> Result<Vec<String>> {
    store
        .read(Scope::Everyone, "list the audit trails", |db, _| {
            Box::pin(async move {
                let tenants = sqlx::query_scalar("SELECT tenant FROM audit_heads ORDER BY tenant");
                Ok(tenants.fetch_all(db).await?)
            })
        })
        .await
}

/// Follows a tenant's chain from its beginning to where it stands now. `keys` are those that may have
/// signed it, `noted` a head that was noted elsewhere. What does not verify is told of.
pub async fn verify(
    store: &Store,
    tenant: &str,
    keys: &[String],
    noted: Option<(i64, &str)>,
) -> Result<std::result::Result<Verified, Broken>> {
    let found = follow_chain(store, tenant, keys, noted).await?;
    if let Err(broken) = &found {
        let event = Event::new(tenant, Family::AuditBroken, format!("audit:{tenant}"))
            .with("number", broken.number)
            .with("reason", broken.why)
            .once(&broken.number.to_string());
        // What was found is said, whether or not it can be stored.
        if let Err(error) = events::append(store, &event).await {
            tracing::error!(tenant, %error, "that the audit trail is broken cannot be told");
        }
    }
    Ok(found)
}

async fn follow_chain(
    store: &Store,
    tenant: &str,
    keys: &[String],
    noted: Option<(i64, &str)>,
) -> Result<std::result::Result<Verified, Broken>> {
    let scope = Scope::Tenant(tenant);
    let doing = "verify the audit trail";
    // The seal first: what is appended between the two only makes the head larger.
    let (newest, head, anchor) = store
        .read(scope, doing, |db, _| {
            Box::pin(async move {
                let newest = sql::newest_seal(db, tenant, SealKind::Head).await?;
                let head = sql::head(db, tenant).await?;
                Ok((
                    newest,
                    head,
                    sql::newest_seal(db, tenant, SealKind::Anchor).await?,
                ))
            })
        })
        .await?;
    let through = head.as_ref().map_or(i64::MAX, |head| head.number);
    let mut chain = Chain::new(tenant, keys, noted);
    if let Some(anchor) = &anchor
        && let Err(broken) = chain.anchor(anchor)
    {
        return Ok(Err(broken));
    }
    let mut pages = pages(store, tenant, (chain.last().0, through));
    while let Some(page) = pages.next().await {
        let (entries, seals) = page?;
        if let Err(broken) = follow(&mut chain, &entries, seals) {
            return Ok(Err(broken));
        }
    }
    let (number, hash) = chain.last();
    let why = match &head {
        Some(head) if head.number > number => "it is gone, although the chain's head names it",
        Some(head) if head.hash != hash => "the chain's head names another record",
        None if number > 0 => "the chain's head is gone",
        _ => return Ok(chain.end(newest.as_ref())),
    };
    // A signed head says the same more strongly.
    let number = if head.as_ref().is_some_and(|head| head.number > number) {
        number + 1
    } else {
        number
    };
    Ok(chain.end(newest.as_ref()).and(Err(Broken { number, why })))
}

type Page = Result<(Vec<Entry>, Vec<Seal>)>;

/// The records after one through another in order, up to a page without any: so many pages are read ahead at once
/// while those before are followed.
fn pages(store: &Store, tenant: &str, (after, through): (i64, i64)) -> impl Stream<Item = Page> + Unpin {
    let (store, tenant) = (store.clone(), tenant.to_owned());
    let starts = std::iter::successors(Some(after), |start| start.checked_add(PAGE));
    stream::iter(starts.take_while(move |start| *start < through))
        .map(move |start| {
            let (store, tenant) = (store.clone(), tenant.clone());
            let part = (start, through.min(start.saturating_add(PAGE)));
            let reading = tokio::spawn(async move { read_page(&store, &tenant, part).await });
            AbortOnDropHandle::new(reading)
        })
        .buffered(READ_AHEAD)
        .map(|read| {
            read.map_err(|error| Error::internal("a reader of the audit trail ended").caused_by(error))?
        })
        .take_while(|page| future::ready(page.as_ref().map_or(true, |(entries, _)| !entries.is_empty())))
}

async fn read_page(store: &Store, tenant: &str, part: (i64, i64)) -> Page {
    store
        .read(Scope::Tenant(tenant), "verify the audit trail", |db, _| {
            Box::pin(async move {
                let entries = page::page(db, tenant, part, PAGE).await?;
                Ok((entries, sql::seals(db, tenant, part).await?))
            })
        })
        .await
}

fn follow(chain: &mut Chain<'_>, entries: &[Entry], seals: Vec<Seal>) -> chain::Step {
    let mut seals = seals.into_iter().peekable();
    for entry in entries {
        // Only one whole object in its place leaves no doubt what the hashed bytes say.
        if serde_json::from_str::<&serde_json::value::RawValue>(&entry.details)
            .map_or(true, |details| !details.get().starts_with('{'))
        {
            let why = "it was changed: its details are no object";
            return Err(Broken {
                number: entry.number,
                why,
            });
        }
        chain.record(&chain::Link {
            tenant: &entry.tenant,
            number: entry.number,
            bytes: entry.canonical().as_bytes(),
            previous: &entry.previous,
            hash: &entry.hash,
            personal_hash: entry.personal_hash.as_deref(),
            personal: entry.personal.as_deref().zip(entry.salt.as_deref()),
        })?;
        while let Some(seal) = seals.next_if(|seal| seal.number <= entry.number) {
            chain.head(&seal)?;
        }
    }
    Ok(())
}

/// Whose personal data is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erase<'a> {
    Principal(&'a str),
    Subject(&'a str),
}

/// Erases what names people from records. The chain holds: it has only a salted hash of it, and the
/// salt goes too. Gives back from how many.
pub async fn erase_personal(store: &Store, tenant: &str, whose: Erase<'_>) -> Result<i64> {
    let (column, value) = match whose {
        Erase::Principal(value) => ("principal", value),
        Erase::Subject(value) => ("subject", value),
    };
    let record = &Record::new(tenant, "audit.erase", format!("audit:{column}")).with("of", value);
    let acting = store.acting();
    store
        .write(Scope::Tenant(tenant), "erase personal data", |db, _| {
            Box::pin(async move {
                let erased = sql::erase(db, tenant, column, value).await?;
                append_in(db, acting, &record.clone().with("records", erased)).await?;
                Ok(erased)
            })
        })
        .await
}

/// Removes records that are older than so many days and signed; a signed anchor takes their place.
/// Gives back how many.
pub async fn prune(store: &Store, tenant: &str, keep_days: u32, key: &SealKey) -> Result<i64> {
    if keep_days < KEPT_DAYS_MIN {
        return Err(Error::usage(format!(
            "audit records are kept for {KEPT_DAYS_MIN} days at least"
        ))
        .with("days", keep_days)
        .hint(format!("ask for {KEPT_DAYS_MIN} days or more")));
    }
    let by_function = matches!(store.place(), Place::Postgres(_));
    let acting = store.acting();
    let record = &Record::new(tenant, "audit.prune", format!("audit:{tenant}"));
    let scope = Scope::Tenant(tenant);
    store
        .write_alone(scope, "audit seal", "remove old audit records", |db, _| {
            Box::pin(async move {
                let now = sql::now_ms(db).await?;
                let before = now.saturating_sub(i64::from(keep_days) * DAY_MS);
                let Some((number, hash)) = sql::sealed_before(db, tenant, before).await? else {
                    return Ok(0);
                };
                let anchor = Seal::new(SealKind::Anchor, (tenant, number, &hash), now, key);
                sql::insert_seal(db, &anchor).await?;
                let gone = sql::remove(db, tenant, number, by_function).await?;
                let record = record.clone().with("through", number).with("records", gone);
                append_in(db, acting, &record).await?;
                Ok(gone)
            })
        })
        .await
}
