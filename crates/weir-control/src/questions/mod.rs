//! What a caller is asked before a request can go on, over protocols that keep nothing in between: the caller
//! shows a text back that is good once, for the same principal and the same request, for a short time.

mod sql;
#[cfg(test)]
mod tests;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use weir_protocol::{Error, Result, Secret};

use crate::oauth::random_text;
use crate::store::{Scope, stored_badly};
use crate::{Access, Store};

/// How long a person may take to answer.
pub const LIFE_MS: i64 = 15 * 60_000;
/// Longer texts than any that were handed out are not looked up.
const TEXT_BYTES_MAX: usize = 128;

/// SHA-256, in hexadecimal digits.
fn digest(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}

/// Keeps what is known of a request until its caller comes back. Gives what they have to show then.
/// `about` is the request in one form for one meaning.
pub async fn ask(store: &Store, access: &Access, about: &str, kept: &Value) -> Result<Secret> {
    let shown = random_text()?;
    let new = &sql::Question {
        hash: digest(shown.expose()),
        tenant: access.tenant.clone(),
        principal: access.principal.clone(),
        about: digest(about),
        kept: kept.to_string(),
    };
    store
        .write(Scope::Tenant(&access.tenant), "keep the question", |db, _| {
            Box::pin(async move {
                sql::forget_old(db, &new.tenant).await?;
                Ok(sql::insert(db, new, LIFE_MS).await?)
            })
        })
        .await?;
    Ok(shown)
}

/// Takes back what was kept, once. Whatever is not exactly what was handed out, to this caller, for this
/// request, and not long ago, is refused with the kind `denied`, whatever it is that is wrong.
pub async fn take(store: &Store, access: &Access, about: &str, shown: &str) -> Result<Value> {
    if shown.len() > TEXT_BYTES_MAX {
        return Err(unknown());
    }
    let (hash, about) = (&digest(shown), &digest(about));
    let (tenant, principal) = (access.tenant.as_str(), access.principal.as_str());
    let kept = store
        .write(Scope::Tenant(tenant), "take the question back", |db, _| {
            Box::pin(async move {
                let found = sql::get(db, (tenant, principal), (hash, about)).await?;
                // Of two who show it at once, one removes it.
                let is_ours = found.is_some() && sql::remove(db, tenant, hash).await?;
                Ok(found.filter(|_| is_ours))
            })
        })
        .await?
        .ok_or_else(unknown)?;
    serde_json::from_str(&kept).map_err(|error| stored_badly("question", &kept, error))
}

fn unknown() -> Error {
    Error::denied("the request state is not known here, was used, or is for another request or caller")
        .hint("send the request again without it")
}
