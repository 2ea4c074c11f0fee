//! Tokens as the secret store holds them.

use serde_json::{Value, json};
use sqlx::AnyConnection;
use weir_protocol::{Error, Secret};

use crate::secrets::Secrets;
use crate::store::Outcome;

/// Under which name; no `secret:` reference can name it.
pub(super) fn name(connection: &str) -> String {
    format!("oauth/{connection}")
}

#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    pub(super) access: Option<Secret>,
    pub(super) refresh: Option<Secret>,
}

impl Held {
    /// Of both, the one whose end ends the other.
    pub(super) fn into_revocable(self) -> Option<Secret> {
        self.refresh.or(self.access)
    }

    fn to_secret(&self) -> Secret {
        let text = |token: &Option<Secret>| token.as_ref().map(|token| token.expose().to_owned());
        Secret::new(json!({ "access": text(&self.access), "refresh": text(&self.refresh) }).to_string())
    }
}

pub(super) async fn get(
    secrets: &Secrets,
    db: &mut AnyConnection,
    connection: &str,
) -> Outcome<Option<Held>> {
    let Some(text) = secrets.get_in(db, &name(connection)).await? else {
        return Ok(None);
    };
    // The cause is left out: it may quote what was read.
    let Ok(value) = serde_json::from_str::<Value>(text.expose()) else {
        return Err(Error::state("the stored tokens cannot be read")
            .with("connection", connection)
            .hint(format!(
                "connect it anew: `weir auth login {connection}`; report it"
            ))
            .into());
    };
    let text = |key: &str| value[key].as_str().map(Secret::new);
    Ok(Some(Held {
        access: text("access"),
        refresh: text("refresh"),
    }))
}

pub(super) async fn put(
    secrets: &Secrets,
    db: &mut AnyConnection,
    connection: &str,
    id: &str,
    held: &Held,
) -> Outcome<()> {
    secrets.put_in(db, &name(connection), id, &held.to_secret()).await
}
