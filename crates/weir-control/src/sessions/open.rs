//! Sessions that are open: shown to admins, ended by them, and narrowed where their roles went.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use weir_protocol::{Error, Result};

use super::{idle_ms, rules, sql};
use crate::Store;
use crate::audit::{self, Acting, Record};
use crate::principals::{Permission, Role};
use crate::store::{Expected, Outcome, Scope};

/// A session that is not over, without its secret. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenSession {
    pub id: String,
    pub principal: String,
    pub roles: BTreeSet<Role>,
    /// Of a program's access token: it gives what both the roles and these give. None for a browser's session.
    pub scopes: Option<BTreeSet<Permission>>,
    /// As the identity provider said at login.
    pub groups: BTreeSet<String>,
    pub created_at_ms: i64,
    /// To the minute.
    pub last_used_at_ms: i64,
    /// Its end, however much it is used.
    pub expires_at_ms: i64,
    #[serde(skip)]
    pub(super) role_words: Option<BTreeSet<String>>,
}

impl TryFrom<sql::Open> for OpenSession {
    type Error = Error;

    fn try_from(row: sql::Open) -> Result<Self> {
        Ok(Self {
            roles: rules::set_of(&row.roles)?,
            scopes: row.scopes.as_deref().map(rules::set_of).transpose()?,
            groups: rules::set_of(&row.member_of)?,
            role_words: row.role_words.as_deref().map(rules::set_of).transpose()?,
            id: row.id,
            principal: row.principal,
            created_at_ms: row.created_at_ms,
            last_used_at_ms: row.last_used_at_ms,
            expires_at_ms: row.expires_at_ms,
        })
    }
}

impl OpenSession {
    pub fn permissions(&self) -> BTreeSet<Permission> {
        let of_roles = self.roles.iter().flat_map(|role| role.permissions());
        let scopes = self.scopes.as_ref();
        of_roles
            .filter(|permission| scopes.is_none_or(|scopes| scopes.contains(permission)))
            .collect()
    }
}

/// A tenant's sessions that are not over, newest first.
pub async fn list(store: &Store, tenant: &str) -> Result<Vec<OpenSession>> {
    let rows = store
        .read(Scope::Tenant(tenant), "list sessions", |db, _| {
            Box::pin(async move { Ok(sql::open(db, tenant, (None, None), idle_ms()).await?) })
        })
        .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// One of them.
pub async fn get(store: &Store, tenant: &str, id: &str) -> Result<OpenSession> {
    let mut rows = store
        .read(Scope::Tenant(tenant), "read the session", |db, _| {
            Box::pin(async move { Ok(sql::open(db, tenant, (None, Some(id)), idle_ms()).await?) })
        })
        .await?;
    rows.pop().ok_or_else(|| no_such_session(id))?.try_into()
}

/// Ends somebody's session at once, unless `expected` refuses what it is by then. Gives back what it was.
pub async fn revoke(
    store: &Store,
    tenant: &str,
    id: &str,
    expected: Expected<'_, OpenSession>,
) -> Result<OpenSession> {
    let record = &Record::new(tenant, "session.revoke", format!("session:{id}"));
    let acting = store.acting();
    let before = get(store, tenant, id).await?;
    store
        .write_alone(Scope::Tenant(tenant), "sessions", "end the session", |db, _| {
            Box::pin(async move {
                let found = sql::open(db, tenant, (None, Some(id)), idle_ms()).await?.pop();
                match found.map(OpenSession::try_from).transpose()? {
                    Some(open) => {
                        expected(&open)?;
                        sql::remove(db, tenant, id).await?;
                        let record = record.clone().with_personal("of", open.principal.as_str());
                        audit::append_in(db, acting, &record).await
                    }
                    // By a commit whose answer was lost.
                    None if audit::is_noted_in(db, record).await? => Ok(()),
                    None => Err(no_such_session(id).into()),
                }
            })
        })
        .await?;
    Ok(before)
}

/// What is left of a session: roles and groups.
type Left = (BTreeSet<Role>, BTreeSet<String>);

/// Leaves sessions no more than what `left` says; one without a role ends. Gives back how many were changed.
pub(super) async fn narrow_in(
    db: &mut AnyConnection,
    tenant: &str,
    principal: Option<&str>,
    acting: &Acting,
    left: &(dyn Fn(&OpenSession) -> Result<Left> + Send + Sync),
) -> Outcome<usize> {
    let mut changed = 0;
    for row in sql::open(db, tenant, (principal, None), idle_ms()).await? {
        let open = OpenSession::try_from(row)?;
        let (roles, groups) = left(&open)?;
        if roles == open.roles && groups == open.groups {
            continue;
        }
        changed += 1;
        let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        let record = if roles.is_empty() {
            sql::remove(db, tenant, &open.id).await?;
            Record::new(tenant, "session.revoke", format!("session:{}", open.id))
        } else {
            let texts = (rules::json(&roles)?, rules::json(&groups)?);
            sql::narrow(db, (tenant, &open.id), &texts.0, &texts.1).await?;
            Record::new(tenant, "session.narrow", format!("session:{}", open.id))
        };
        let record = record
            .with("roles", names.join(" "))
            .with_personal("of", open.principal.as_str());
        audit::append_in(db, acting, &record).await?;
    }
    Ok(changed)
}

fn no_such_session(id: &str) -> Error {
    Error::not_found(format!("there is no session '{id}', or it is over"))
        .hint("`weir session list` shows those that are open")
}
