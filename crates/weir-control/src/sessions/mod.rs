//! People who log in with a browser: who an identity provider says that they are, what its claims let them
//! do here, and for how long. Access tokens that it gave programs are sessions, too, narrowed to their scopes.

mod open;
mod rules;
mod shown;
mod sql;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use sqlx::AnyConnection;
use uuid::Uuid;
use weir_protocol::oidc::{IdentityProvider, LoginProof};
use weir_protocol::{Error, ErrorKind, Result, Secret};

use crate::audit::{self, Acting, Ending, Record};
use crate::oauth::{Callback, random_text};
use crate::principals::{Kind, Permission, Role};
use crate::store::{Outcome, Scope, int};
use crate::{Access, Store};

pub use open::{OpenSession, get, list, revoke};
pub use rules::LoginRules;

/// Unused for so long, a session ends.
pub const IDLE_MAX: Duration = Duration::from_secs(2 * 3600);
/// However much it is used.
pub const LIFE_MAX: Duration = Duration::from_secs(12 * 3600);
/// When a session was used is written so seldom that using it costs one read.
const LAST_USED_STEP_MS: i64 = 60_000;
const PREFIX: &str = "session-";

/// What logging in needs.
#[derive(Clone)]
pub struct LoginDesk {
    store: Store,
    tenant: String,
    provider: Arc<dyn IdentityProvider>,
    rules: LoginRules,
    /// Where browsers find the server.
    base: String,
    /// What access tokens have to be made for; None where none are taken.
    audience: Option<String>,
}

/// A login that was begun.
#[derive(Debug)]
pub struct BegunLogin {
    pub authorize_url: String,
    /// What the browser keeps until it comes back.
    pub kept: Secret,
}

/// A session, and the only time that its whole text is seen.
#[derive(Debug)]
pub struct Session {
    pub access: Access,
    pub roles: BTreeSet<Role>,
    pub cookie: Secret,
}

/// What the provider's claims come to.
struct Vouched {
    roles: BTreeSet<Role>,
    groups: BTreeSet<String>,
    role_words: BTreeSet<String>,
}

/// What the browser kept of a login; None where it is not ours.
fn kept_proof(text: &str) -> Option<LoginProof> {
    let mut parts = text.split('.').map(Secret::new);
    let proof = LoginProof {
        state: parts.next()?,
        nonce: parts.next()?,
        verifier: parts.next()?,
    };
    let is_whole = |secret: &Secret| secret.expose().len() == 43;
    let whole = is_whole(&proof.state) && is_whole(&proof.nonce) && is_whole(&proof.verifier);
    (whole && parts.next().is_none()).then_some(proof)
}

impl LoginDesk {
    pub fn new(
        store: &Store,
        tenant: &str,
        provider: Arc<dyn IdentityProvider>,
        rules: LoginRules,
        base: &str,
    ) -> Self {
        Self {
            store: store.clone(),
            tenant: tenant.to_owned(),
            provider,
            rules,
            base: base.trim_end_matches('/').to_owned(),
            audience: None,
        }
    }

    /// Takes access tokens of the provider, too, that were made for this audience.
    #[must_use]
    pub fn taking_access_tokens(self, audience: impl Into<String>) -> Self {
        Self {
            audience: Some(audience.into()),
            ..self
        }
    }

    fn redirect_uri(&self) -> String {
        format!("{}/login/callback", self.base)
    }

    pub async fn begin(&self) -> Result<BegunLogin> {
        let proof = LoginProof {
            state: random_text()?,
            nonce: random_text()?,
            verifier: random_text()?,
        };
        let authorize_url = self.provider.authorize_url(&self.redirect_uri(), &proof).await?;
        let parts = [&proof.state, &proof.nonce, &proof.verifier].map(Secret::expose);
        Ok(BegunLogin {
            authorize_url,
            kept: Secret::new(parts.join(".")),
        })
    }

    /// Ends a login with the provider's answer and what the browser kept.
    pub async fn finish(&self, callback: &Callback, kept: &str) -> Result<Session> {
        let other = || {
            Error::denied("the answer does not belong to a login of this browser")
                .hint("log in anew, in one window, within ten minutes; cookies have to be allowed")
        };
        let proof = kept_proof(kept).ok_or_else(other)?;
        let state = callback.state.as_ref().map_or("", Secret::expose);
        if verify_slices_are_equal(state.as_bytes(), proof.state.expose().as_bytes()).is_err() {
            return Err(other());
        }
        if let Some(error) = &callback.error {
            let shown: String = error.chars().filter(|c| !c.is_control()).take(100).collect();
            return Err(
                Error::denied(format!("the identity provider did not let you in: {shown}"))
                    .hint("log in anew, or ask whoever runs the identity provider"),
            );
        }
        let code = callback.code.as_ref().ok_or_else(other)?;
        let (iss, redirect_uri) = (callback.iss.as_deref(), self.redirect_uri());
        let identity = self.provider.identify(code, iss, &redirect_uri, &proof).await?;
        let principal = self.rules.principal(&identity)?;
        let roles = self.rules.roles(&identity);
        if roles.is_empty() {
            let refused = Record::new(&self.tenant, "session.login", format!("principal:{principal}"));
            let acting = logging_in(&principal, None);
            audit::append(&self.store.acting_as(acting), &refused.ended(Ending::Refused)).await?;
            return Err(self.rules.no_role(&principal));
        }
        let vouched = Vouched {
            groups: self.rules.groups(&identity)?,
            role_words: self.rules.role_words(&identity),
            roles,
        };
        self.open(&principal, vouched).await
    }

    async fn open(&self, principal: &str, vouched: Vouched) -> Result<Session> {
        let roles = &vouched.roles;
        let id = &Uuid::new_v4().simple().to_string();
        let secret = random_text()?;
        let hash = &rules::hash(secret.expose());
        let texts = (
            rules::json(roles)?,
            rules::json(&vouched.groups)?,
            rules::json(&vouched.role_words)?,
        );
        let stored = &sql::Vouched {
            roles: &texts.0,
            groups: &texts.1,
            role_words: &texts.2,
            scopes: None,
        };
        let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        let record = &Record::new(&self.tenant, "session.login", format!("principal:{principal}"))
            .with("session", id.as_str())
            .with("roles", names.join(" "));
        let (acting, told) = (&logging_in(principal, Some(id)), &vouched);
        let tenant = self.tenant.as_str();
        self.store
            .write_alone(Scope::Tenant(tenant), principal, "open the session", |db, _| {
                Box::pin(async move {
                    known_as(db, (tenant, principal), Kind::User).await?;
                    sql::remove_over(db, tenant, idle_ms()).await?;
                    let life_ms = int(LIFE_MAX.as_secs()) * 1000;
                    // What the provider says now holds for what it said before, too.
                    open::narrow_in(db, tenant, Some(principal), acting, &|open| {
                        Ok((&open.roles & &told.roles, &open.groups & &told.groups))
                    })
                    .await?;
                    sql::insert(db, (tenant, id, principal), hash, stored, (life_ms, 0)).await?;
                    audit::append_in(db, acting, record).await
                })
            })
            .await?;
        Ok(Session {
            access: access((tenant, principal, id), (&vouched.roles, &vouched.groups), None),
            roles: vouched.roles,
            cookie: Secret::new(format!("{id}.{}", secret.expose())),
        })
    }

    /// Takes away from sessions what `login.roles` gives no more: called where a server begins with its rules. Gives
    /// back how many were changed.
    pub async fn narrow(&self) -> Result<usize> {
        let (tenant, rules, acting) = (self.tenant.as_str(), &self.rules, self.store.acting());
        self.store
            .write_alone(Scope::Tenant(tenant), "sessions", "narrow sessions", |db, _| {
                Box::pin(async move {
                    open::narrow_in(db, tenant, None, acting, &|open| {
                        let words = open.role_words.iter().flatten().map(String::as_str);
                        let roles = match open.role_words {
                            Some(_) => &open.roles & &rules.roles_by(words),
                            None => open.roles.clone(),
                        };
                        Ok((roles, open.groups.clone()))
                    })
                    .await
                })
            })
            .await
    }

    /// Where a person logs out at the provider, if that is offered.
    pub async fn logout_url(&self) -> Result<Option<String>> {
        self.provider.logout_url(&format!("{}/login", self.base)).await
    }
}

/// Whether what a request showed, as calls and records name it, is a session.
pub(crate) fn is_session(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// Who a session that is not over belongs to, by the name that calls keep.
pub(crate) async fn holder(store: &Store, tenant: &str, token: &str) -> Result<Access> {
    let id = token.strip_prefix(PREFIX).ok_or_else(unknown)?;
    let row = store
        .read(Scope::Tenant(tenant), "look the session up", |db, _| {
            Box::pin(async move { Ok(sql::get(db, id, idle_ms()).await?) })
        })
        .await?;
    let row = row
        .filter(|row| row.is_over == 0 && row.tenant == tenant && !row.is_shut())
        .ok_or_else(unknown)?;
    of_row(&row, id)
}

fn of_row(row: &sql::Row, id: &str) -> Result<Access> {
    let scopes = row.scopes.as_deref().map(rules::set_of).transpose()?;
    Ok(access(
        (&row.tenant, &row.principal, id),
        (&rules::set_of(&row.roles)?, &rules::set_of(&row.member_of)?),
        scopes.as_ref(),
    ))
}

/// The principal of this name, made where it is missing. Nobody is what somebody else is.
async fn known_as(db: &mut AnyConnection, (tenant, principal): (&str, &str), kind: Kind) -> Outcome<()> {
    if let Some(known) = sql::principal_kind(db, tenant, principal).await?
        && known != kind.as_str()
    {
        let what = if kind == Kind::User {
            "person"
        } else {
            "program of the identity provider"
        };
        let message = format!("'{principal}' is known as {known}, and no {what}");
        return Err(Error::new(ErrorKind::Conflict, message)
            .hint("choose another claim for the names of people: login.principal_claim in weir.yaml")
            .into());
    }
    sql::insert_principal(db, tenant, principal, kind.as_str()).await?;
    Ok(())
}

fn idle_ms() -> i64 {
    int(IDLE_MAX.as_secs()) * 1000
}

/// With scopes it is a program that acts, whoever it acts for: it decides about nothing that waits for people.
fn access(
    (tenant, principal, id): (&str, &str, &str),
    (roles, groups): (&BTreeSet<Role>, &BTreeSet<String>),
    scopes: Option<&BTreeSet<Permission>>,
) -> Access {
    let of_roles = roles.iter().flat_map(|role| role.permissions());
    Access {
        tenant: tenant.to_owned(),
        principal: principal.to_owned(),
        kind: if scopes.is_some() { Kind::Agent } else { Kind::User },
        token: Some(format!("{PREFIX}{id}")),
        permissions: of_roles
            .filter(|permission| scopes.is_none_or(|scopes| scopes.contains(permission)))
            .collect(),
        roles: roles.clone(),
        groups: groups.clone(),
    }
}

fn unknown() -> Error {
    Error::auth("the session is not known, or over").hint("log in: open /login")
}

/// Who shows this cookie. Fails with the kind `auth` where nobody can act with it.
pub async fn authenticate(store: &Store, cookie: &str) -> Result<Access> {
    let (id, secret) = cookie.split_once('.').ok_or_else(unknown)?;
    let row = store
        .read(Scope::Everyone, "look the session up", |db, _| {
            Box::pin(async move { Ok(sql::get(db, id, idle_ms()).await?) })
        })
        .await?
        .ok_or_else(unknown)?;
    let hash = rules::hash(secret);
    if verify_slices_are_equal(row.hash.as_bytes(), hash.as_bytes()).is_err() || row.is_over == 1 {
        return Err(unknown());
    }
    touch(store, &row, id).await?;
    of_row(&row, id)
}

async fn touch(store: &Store, row: &sql::Row, id: &str) -> Result<()> {
    if row.now_ms - row.last_used_at_ms < LAST_USED_STEP_MS {
        return Ok(());
    }
    store
        .statement(Scope::Tenant(&row.tenant), "note the session's use", |db, _| {
            Box::pin(async move { Ok(sql::touch(db, id).await?) })
        })
        .await
}

/// Whom records of a login name: as those of the session's requests do, with the name kept apart.
fn logging_in(principal: &str, id: Option<&str>) -> Acting {
    let mut acting = Acting::new(match id {
        Some(id) => format!("token:{PREFIX}{id}"),
        None => Kind::User.to_string(),
    });
    acting.personal.insert("principal".to_owned(), principal.into());
    acting
}

/// Ends a session. One that is over already stays so.
pub async fn end(store: &Store, access: &Access) -> Result<()> {
    let Some(id) = access
        .token
        .as_deref()
        .and_then(|token| token.strip_prefix(PREFIX))
    else {
        return Ok(());
    };
    let tenant = access.tenant.as_str();
    let record = &Record::new(
        tenant,
        "session.logout",
        format!("principal:{}", access.principal),
    )
    .with("session", id);
    let acting = &access.acting(None);
    store
        .write(Scope::Tenant(tenant), "end the session", |db, _| {
            Box::pin(async move {
                if sql::remove(db, tenant, id).await? {
                    audit::append_in(db, acting, record).await?;
                }
                Ok(())
            })
        })
        .await
}
