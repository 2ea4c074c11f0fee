//! Access tokens of the identity provider, as programs show them with each request. One that was seen is a session
//! with the token's scopes: an admin sees and ends it, and what a person loses at a login their programs lose, too.
//! It goes on after the token's end for as long as a person's would, so that what was asked for may wait for its
//! approval; only who shows a token that is good asks for anything.

use std::collections::BTreeSet;

use weir_protocol::oidc::Shown;
use weir_protocol::{Error, Result, Secret};

use super::{LIFE_MAX, LoginDesk, Vouched, idle_ms, known_as, of_row, rules, sql, touch};
use crate::Access;
use crate::audit::{self, Acting, Ending, Record};
use crate::principals::{Kind, Permission};
use crate::store::{Scope, int};

/// No digest is this: nobody comes in with an access token's session as a browser's.
const NO_HASH: &str = "";
const ID_CHARS: usize = 32;

/// What a token is known by. Its signature is left out: of some algorithms, whoever has one can make others.
fn id(token: &Secret) -> Option<String> {
    let (signed, _) = token.expose().rsplit_once('.')?;
    Some(rules::hash(signed).chars().take(ID_CHARS).collect())
}

fn shut() -> Error {
    Error::auth("the access token opens nothing here any more: it was revoked, or its roles were taken away")
        .hint("log in anew at the authorization server, or ask an admin of weir")
}

impl LoginDesk {
    /// What access tokens have to be made for; None where none are taken.
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// Who makes them, as it calls itself.
    pub fn issuer(&self) -> &str {
        self.provider.issuer()
    }

    /// Who shows an access token of the identity provider. Fails with the kind `auth` where nobody can act with it,
    /// and with `denied` where it is right and its claims stand for no role.
    pub async fn authenticate(&self, token: &Secret) -> Result<Access> {
        let wrong = || Error::auth("the token has not the form of one").hint("send an access token");
        let audience = self.audience.as_deref().ok_or_else(wrong)?;
        let id = &id(token).ok_or_else(wrong)?;
        let shown = self.provider.read_access_token(token, audience).await?;
        let row = match self.seen(id).await? {
            Some(row) => row,
            None => {
                self.take(id, &shown).await?;
                self.seen(id).await?.ok_or_else(shut)?
            }
        };
        if row.is_over == 1 || row.scopes.is_none() {
            return Err(shut());
        }
        if row.is_shut() {
            let has_none = self.rules.roles(&shown.identity).is_empty();
            return Err(if has_none {
                self.rules.no_role(&row.principal)
            } else {
                shut()
            });
        }
        let access = of_row(&row, id)?;
        touch(&self.store, &row, id).await?;
        Ok(access)
    }

    async fn seen(&self, id: &str) -> Result<Option<sql::Row>> {
        let tenant = self.tenant.as_str();
        let row = self
            .store
            .read(Scope::Tenant(tenant), "look the access token up", |db, _| {
                Box::pin(async move { Ok(sql::get(db, id, idle_ms()).await?) })
            })
            .await?;
        Ok(row.filter(|row| row.tenant == self.tenant))
    }

    /// A token that is shown for the first time.
    async fn take(&self, id: &str, shown: &Shown) -> Result<()> {
        let (tenant, identity) = (self.tenant.as_str(), &shown.identity);
        let (principal, kind) = if shown.is_program {
            (rules::by_subject(identity), Kind::Agent)
        } else {
            (self.rules.principal(identity)?, Kind::User)
        };
        let vouched = Vouched {
            roles: self.rules.roles(identity),
            groups: self.rules.groups(identity)?,
            role_words: self.rules.role_words(identity),
        };
        let words = shown.scopes.iter();
        let scopes: BTreeSet<Permission> = words.filter_map(|word| word.parse().ok()).collect();
        let texts = (
            rules::json(&vouched.roles)?,
            rules::json(&vouched.groups)?,
            rules::json(&vouched.role_words)?,
            rules::json(&scopes)?,
        );
        let stored = &sql::Vouched {
            roles: &texts.0,
            groups: &texts.1,
            role_words: &texts.2,
            scopes: Some(&texts.3),
        };
        let names: Vec<&str> = vouched.roles.iter().map(|role| role.as_str()).collect();
        let allowed: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        let record = Record::new(tenant, "session.login", format!("principal:{principal}"))
            .with("session", id)
            .with("by", "access_token")
            .with("roles", names.join(" "))
            .with("scopes", allowed.join(" "));
        let record = &if names.is_empty() {
            record.ended(Ending::Refused)
        } else {
            record
        };
        let (principal, acting) = (principal.as_str(), &Acting::new(&principal));
        let ends = (
            int(LIFE_MAX.as_secs()) * 1000,
            shown.ends_at_s.saturating_mul(1000),
        );
        self.store
            .write_alone(
                Scope::Tenant(tenant),
                principal,
                "take the access token",
                |db, _| {
                    Box::pin(async move {
                        // By another request that came at once.
                        if sql::get(db, id, idle_ms()).await?.is_some() {
                            return Ok(());
                        }
                        known_as(db, (tenant, principal), kind).await?;
                        sql::remove_over(db, tenant, idle_ms()).await?;
                        sql::insert(db, (tenant, id, principal), NO_HASH, stored, ends).await?;
                        audit::append_in(db, acting, record).await
                    })
                },
            )
            .await
    }
}
