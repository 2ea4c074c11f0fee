//! Who has what: principals with the tokens and sessions that act for them, and what providers granted to weir.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_protocol::Result;

use super::{Kind, Permission, Principal, Token, TokenStatus, sql};
use crate::sessions::OpenSession;
use crate::store::Scope;
use crate::{Store, oauth, sessions};

/// Who acts at providers with what they granted.
const WEIR: &str = "weir";

/// One line of an access review: a principal, and one thing that it acts with, where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    pub principal: String,
    pub kind: Kind,
    /// What can be done here with the token or session now: nothing, once it has ended.
    pub permissions: BTreeSet<Permission>,
    pub token: Option<Token>,
    /// Of a person who is logged in.
    pub session: Option<OpenSession>,
    /// What a provider lets weir do for a connection: access elsewhere, and none here.
    pub oauth: Option<oauth::Grant>,
}

impl Grant {
    fn nothing(principal: &str, kind: Kind) -> Self {
        Self {
            principal: principal.to_owned(),
            kind,
            permissions: BTreeSet::new(),
            token: None,
            session: None,
            oauth: None,
        }
    }

    /// Names the line among those of its tenant.
    pub fn key(&self) -> String {
        let token = self.token.as_ref().map(|token| token.id.as_str());
        let session = self.session.as_ref().map(|session| session.id.as_str());
        let connection = self.oauth.as_ref().map(|grant| grant.connection.as_str());
        let held = token.or(session).or(connection).unwrap_or_default();
        format!("{} {held}", self.principal)
    }
}

/// Who has what in a tenant: every principal with every token of it, ended ones included, and every session that is
/// open; then what providers granted to connections.
pub async fn review(store: &Store, tenant: &str) -> Result<Vec<Grant>> {
    let (principals, tokens) = store
        .read(Scope::Tenant(tenant), "review access", |db, _| {
            Box::pin(async move {
                let principals = sql::principals(db, tenant).await?;
                Ok((principals, sql::tokens(db, tenant).await?))
            })
        })
        .await?;
    let open = sessions::list(store, tenant).await?;
    let mut lines: Vec<Grant> = principals
        .into_iter()
        .flat_map(|principal| lines(&principal, &tokens, &open))
        .collect();
    let granted = oauth::list(store, tenant).await?;
    lines.extend(granted.into_iter().map(|grant| Grant {
        oauth: Some(grant),
        ..Grant::nothing(WEIR, Kind::System)
    }));
    Ok(lines)
}

fn lines(principal: &Principal, tokens: &[Token], open: &[OpenSession]) -> Vec<Grant> {
    let nothing = || Grant::nothing(&principal.name, principal.kind);
    let own = tokens.iter().filter(|token| token.principal == principal.name);
    let mut lines: Vec<Grant> = own
        .map(|token| Grant {
            permissions: match token.status {
                TokenStatus::Active => token.permissions(),
                TokenStatus::Expired | TokenStatus::Revoked => BTreeSet::new(),
            },
            token: Some(token.clone()),
            ..nothing()
        })
        .collect();
    let open = open.iter().filter(|session| session.principal == principal.name);
    lines.extend(open.map(|session| Grant {
        permissions: session.permissions(),
        session: Some(session.clone()),
        ..nothing()
    }));
    if lines.is_empty() {
        lines.push(nothing());
    }
    lines
}
