//! The registry of schemas: weir's own families, and those that the project registers. A new version
//! has to fit those before it as the family's compatibility says, and is told why where it does not.

pub mod compat;
mod sql;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_protocol::yaml::closest;
use weir_protocol::{Error, ErrorKind, Result};

use crate::Store;
use crate::audit::{self, Record};
use crate::events::Family;
use crate::store::Scope;

pub use compat::{Breach, Direction, Mode};

/// How weir's own families grow.
const OWN_MODE: Mode = Mode::BackwardTransitive;
const SCHEMA_BYTES_MAX: usize = 256 << 10;
const NAME_CHARS_MAX: usize = 100;
/// Versions that one family may have.
const VERSIONS_MAX: usize = 1000;
/// Breaches that an error names; `check` names all.
const NAMED_MAX: usize = 3;

/// One version of a family's schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventSchema {
    pub family: String,
    pub version: u32,
    /// How the next version has to fit.
    pub compatibility: Mode,
    /// `weir` or `project`.
    pub origin: String,
    pub schema: Value,
}

/// What a candidate came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    pub family: String,
    pub compatibility: Mode,
    /// The version that has this schema already.
    pub same_as: Option<u32>,
    /// Why it is refused; empty where it fits.
    pub breaches: Vec<Breach>,
}

fn own(family: Family) -> Result<EventSchema> {
    let schema = serde_json::from_str(family.schema()).map_err(|error| {
        Error::internal("a schema of weir's own cannot be read")
            .with("family", family)
            .caused_by(error)
            .hint("report it")
    })?;
    Ok(EventSchema {
        family: family.as_str().to_owned(),
        version: family.version(),
        compatibility: OWN_MODE,
        origin: "weir".to_owned(),
        schema,
    })
}

/// Every version of every family: weir's own, then the project's.
pub async fn list(store: &Store, tenant: &str) -> Result<Vec<EventSchema>> {
    let mut found: Vec<EventSchema> = Family::ALL.into_iter().map(own).collect::<Result<_>>()?;
    let registered = store
        .read(Scope::Tenant(tenant), "list event schemas", |db, _| {
            Box::pin(async move { sql::list(db, tenant, None).await })
        })
        .await?;
    found.extend(registered);
    Ok(found)
}

/// One version; the newest where none is named.
pub async fn get(store: &Store, tenant: &str, family: &str, version: Option<u32>) -> Result<EventSchema> {
    let all = list(store, tenant).await?;
    let of_family = all.iter().filter(|schema| schema.family == family);
    let found = of_family
        .filter(|schema| version.is_none_or(|version| version == schema.version))
        .max_by_key(|schema| schema.version);
    if let Some(found) = found {
        return Ok(found.clone());
    }
    let names: Vec<&str> = all.iter().map(|schema| schema.family.as_str()).collect();
    let error = match version {
        Some(version) if names.contains(&family) => {
            Error::not_found(format!("family '{family}' has no version {version}"))
        }
        _ => Error::not_found(format!("there is no family '{family}'")),
    };
    Err(match closest(family, &names) {
        Some(near) if near != family => error.hint(format!("did you mean '{near}'?")),
        _ => error.hint("`weir event schema list` shows families and versions"),
    })
}

/// Whether a schema could be the family's next version. Changes nothing.
pub async fn check(
    store: &Store,
    tenant: &str,
    family: &str,
    schema: &Value,
    mode: Option<Mode>,
) -> Result<Verdict> {
    check_name(family)?;
    check_schema(schema)?;
    let known: Vec<EventSchema> = list(store, tenant)
        .await?
        .into_iter()
        .filter(|known| known.family == family)
        .collect();
    Ok(verdict(family, schema, mode, &known))
}

fn verdict(family: &str, schema: &Value, mode: Option<Mode>, known: &[EventSchema]) -> Verdict {
    let compatibility = mode
        .or_else(|| known.first().map(|known| known.compatibility))
        .unwrap_or_default();
    let same_as = known
        .iter()
        .find(|known| known.schema == *schema)
        .map(|known| known.version);
    let versions: Vec<(u32, Value)> = known
        .iter()
        .map(|known| (known.version, known.schema.clone()))
        .collect();
    let breaches = match same_as {
        Some(_) => Vec::new(),
        None => compat::check(compatibility, &versions, schema),
    };
    Verdict {
        family: family.to_owned(),
        compatibility,
        same_as,
        breaches,
    }
}

/// Registers a schema as the family's next version; the same one again is the version that it has.
/// A compatibility that is named counts from now on.
pub async fn register(
    store: &Store,
    tenant: &str,
    family: &str,
    schema: &Value,
    mode: Option<Mode>,
) -> Result<EventSchema> {
    check_name(family)?;
    check_schema(schema)?;
    if Family::ALL.iter().any(|own| own.as_str() == family) {
        return Err(
            Error::new(ErrorKind::Denied, format!("family '{family}' is weir's own"))
                .hint("choose another name, as in 'shop.order_paid'"),
        );
    }
    let record = &Record::new(tenant, "event_schema.register", format!("event_schema:{family}"));
    let acting = store.acting();
    let thing = format!("event schema {family}");
    store
        .write_alone(Scope::Tenant(tenant), &thing, "register the schema", |db, _| {
            Box::pin(async move {
                let known = sql::list(db, tenant, Some(family)).await?;
                let verdict = verdict(family, schema, mode, &known);
                if !verdict.breaches.is_empty() {
                    return Err(refused(&verdict).into());
                }
                let newest = known.last().map_or(0, |known| known.version);
                if known.len() >= VERSIONS_MAX && verdict.same_as.is_none() {
                    return Err(
                        Error::limit(format!("family '{family}' has {VERSIONS_MAX} versions"))
                            .hint("begin a new family")
                            .into(),
                    );
                }
                sql::put_family(db, tenant, family, verdict.compatibility).await?;
                let version = verdict.same_as.unwrap_or(newest + 1);
                let was = known.last().map(|known| known.compatibility);
                if verdict.same_as.is_none() {
                    sql::insert(db, tenant, family, version, schema).await?;
                }
                if verdict.same_as.is_none() || was != Some(verdict.compatibility) {
                    let record = record
                        .clone()
                        .with("version", version)
                        .with("compatibility", verdict.compatibility.to_string());
                    audit::append_in(db, acting, &record).await?;
                }
                Ok(EventSchema {
                    family: family.to_owned(),
                    version,
                    compatibility: verdict.compatibility,
                    origin: "project".to_owned(),
                    schema: schema.clone(),
                })
            })
        })
        .await
}

fn refused(verdict: &Verdict) -> Error {
    let mut error = Error::new(
        ErrorKind::Conflict,
        format!(
            "the schema does not fit the versions of '{}' before it ({})",
            verdict.family, verdict.compatibility
        ),
    );
    for breach in verdict.breaches.iter().take(NAMED_MAX) {
        error = error.with("why", breach);
    }
    let more = verdict.breaches.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        error = error.with("more", more);
    }
    error.hint("`weir event schema check` names every reason; mend the schema, or begin a new family")
}

/// Lower-case words with dots between them: `shop.order_paid`.
fn check_name(family: &str) -> Result<()> {
    let is_word = |word: &str| {
        word.starts_with(|letter: char| letter.is_ascii_lowercase())
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let is_fine = family.len() <= NAME_CHARS_MAX && family.contains('.') && family.split('.').all(is_word);
    if is_fine {
        return Ok(());
    }
    Err(Error::usage(format!("'{family}' is no name of a family"))
        .hint("use lower-case words with dots between them, as in 'shop.order_paid'"))
}

fn check_schema(schema: &Value) -> Result<()> {
    let refuse = |why: String| Error::spec(format!("the schema {why}"));
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        return Err(refuse("is larger than 256 KiB".to_owned()).hint("make the family smaller"));
    }
    let is_object = schema.get("type").and_then(Value::as_str) == Some("object");
    if !is_object {
        return Err(refuse("is not one of an object".to_owned())
            .hint("write \"type\": \"object\" at its top: an event's data is an object"));
    }
    if let Some(reference) = outside(schema) {
        return Err(refuse(format!("refers to '{reference}'"))
            .hint("refer to parts of the same schema only, as in \"#/$defs/address\": nothing is fetched"));
    }
    jsonschema::validator_for(schema).map(drop).map_err(|error| {
        refuse(format!("is not valid: {error}"))
            .with("at", error.instance_path())
            .hint("mend it; docs/guides/events.md has an example")
    })
}

/// A reference that leads out of the schema.
fn outside(schema: &Value) -> Option<&str> {
    match schema {
        Value::Object(words) => words
            .iter()
            .find_map(|(word, value)| match (word.as_str(), value) {
                ("$ref" | "$dynamicRef", Value::String(reference)) if !reference.starts_with('#') => {
                    Some(reference.as_str())
                }
                _ => outside(value),
            }),
        Value::Array(items) => items.iter().find_map(outside),
        _ => None,
    }
}
