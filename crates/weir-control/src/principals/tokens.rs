//! Tokens of the API: `weir_<id>_<secret>`. The store keeps a hash of the secret only, so that who reads
//! the store cannot act with what is in it.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use weir_protocol::{Error, ErrorKind, Result, Secret};

use super::rules::{check_groups, check_name, granted, may_grant, may_group};
use super::{Access, COMMAND_LINE, Kind, Permission, Role, sql};
use crate::audit::random;
use crate::audit::{self, Record};
use crate::store::{Expected, Outcome, Scope, int};
use crate::{DEFAULT_TENANT, Store, sessions, tenants};

pub const EXPIRY_DEFAULT: Duration = Duration::from_secs(90 * 86_400);
pub const EXPIRY_MAX: Duration = Duration::from_secs(366 * 86_400);
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const PREFIX: &str = "weir_";
/// When a token was used is written so seldom that using it costs one read.
const LAST_USED_STEP_MS: i64 = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenStatus {
    Active,
    Expired,
    Revoked,
}

impl TokenStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A token as it is shown: all of it but the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    pub id: String,
    pub tenant: String,
    pub principal: String,
    pub kind: Kind,
    pub roles: BTreeSet<Role>,
    pub scopes: BTreeSet<Permission>,
    /// What rules of approvals and policies may name.
    pub groups: BTreeSet<String>,
    pub status: TokenStatus,
    pub created_at_ms: i64,
    /// Principal that made it.
    pub created_by: String,
    pub expires_at_ms: i64,
    pub revoked_at_ms: Option<i64>,
    /// To the minute.
    pub last_used_at_ms: Option<i64>,
}

impl Token {
    pub fn permissions(&self) -> BTreeSet<Permission> {
        granted(&self.roles, &self.scopes)
    }
}

/// A token that is asked for.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Who will act with it; made where it is missing.
    pub principal: String,
    pub kind: Kind,
    pub roles: BTreeSet<Role>,
    pub scopes: BTreeSet<Permission>,
    /// What rules of approvals and policies may name. Only an admin, or who is in them, gives them away.
    pub groups: BTreeSet<String>,
    pub expires_in: Duration,
}

/// A new token, and the only time that its whole text is seen.
#[derive(Debug, Clone)]
pub struct Issued {
    pub token: Token,
    pub text: Secret,
}

/// What whoever has a token or session, by the name that calls keep, may do now. Fails where it is over.
pub(crate) async fn holder(store: &Store, tenant: &str, token: &str) -> Result<Access> {
    if sessions::is_session(token) {
        return sessions::holder(store, tenant, token).await;
    }
    let token = get(store, tenant, token).await?;
    if token.status != TokenStatus::Active {
        return Err(Error::denied("the token that asked for it is revoked or expired")
            .with("token", &token.id)
            .hint("ask for it again with another token"));
    }
    Ok(Access {
        tenant: tenant.to_owned(),
        principal: token.principal.clone(),
        kind: token.kind,
        permissions: token.permissions(),
        roles: token.roles.clone(),
        groups: token.groups.clone(),
        token: Some(token.id),
    })
}

/// Id and secret of a token, before either is known to the store.
struct Parts {
    id: String,
    secret: Secret,
}

impl Parts {
    fn random() -> Result<Self> {
        Ok(Self {
            id: random_hex(ID_BYTES)?,
            secret: Secret::new(random_hex(SECRET_BYTES)?),
        })
    }

    /// None where the text cannot be a token.
    fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_hex = |part: &str, bytes: usize| {
            part.len() == 2 * bytes && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        (is_hex(id, ID_BYTES) && is_hex(secret, SECRET_BYTES)).then(|| Self {
            id: id.to_owned(),
            secret: Secret::new(secret),
        })
    }

    fn hash(&self) -> String {
        hex(&Sha256::digest(self.secret.expose()))
    }

    fn text(&self) -> Secret {
        Secret::new(format!("{PREFIX}{}_{}", self.id, self.secret.expose()))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").map_or_else(|_| String::new(), |()| out)
    })
}

fn random_hex(bytes: usize) -> Result<String> {
    let mut drawn = zeroize::Zeroizing::new(vec![0; bytes]);
    random(&mut drawn)?;
    Ok(hex(&drawn))
}

/// Makes a token for the tenant of who asks. It can do no more than they can.
pub async fn create(store: &Store, access: &Access, new: &NewToken) -> Result<Issued> {
    check(new)?;
    may_be(access, new.kind)?;
    may_grant(access, &granted(&new.roles, &new.scopes))?;
    may_group(access, &new.groups)?;
    tenants::get(store, &access.tenant).await?;
    let parts = &Parts::random()?;
    let noted = &Noted::of(access, new, parts);
    let acting = store.acting();
    let token = store
        .write_alone(
            Scope::Tenant(&access.tenant),
            &access.tenant,
            "create the token",
            |db, _| {
                Box::pin(async move {
                    let records = put_in(db, access, new, parts, noted).await?;
                    let token = sql::token(db, &access.tenant, &parts.id).await?;
                    audit::append_all_in(db, acting, &records).await?;
                    Ok(token.ok_or_else(|| no_such_token(&parts.id))?)
                })
            },
        )
        .await?;
    Ok(Issued {
        token,
        text: parts.text(),
    })
}

/// An agent makes agents' tokens alone: with a person's it could decide about its own calls.
fn may_be(access: &Access, kind: Kind) -> Result<()> {
    if access.kind != Kind::Agent || kind == Kind::Agent {
        return Ok(());
    }
    Err(
        Error::denied(format!("an agent cannot make a token of the kind {kind}"))
            .with("principal", &access.principal)
            .hint("use the kind agent, or let a person make the token"),
    )
}

fn check(new: &NewToken) -> Result<()> {
    check_name(&new.principal)?;
    check_groups(&new.groups)?;
    if new.kind == Kind::System {
        return Err(Error::usage("weir itself needs no token").hint("use the kind user, agent or token"));
    }
    if new.roles.is_empty() && new.scopes.is_empty() {
        return Err(Error::usage("a token without roles and scopes can do nothing")
            .hint("name a role such as operator, or a scope such as runs:read"));
    }
    if new.expires_in.is_zero() || new.expires_in > EXPIRY_MAX {
        return Err(Error::usage(format!(
            "a token cannot live {} seconds",
            new.expires_in.as_secs()
        ))
        .hint(format!(
            "let it expire after 1 second to {} days",
            EXPIRY_MAX.as_secs() / 86_400
        )));
    }
    Ok(())
}

/// What is noted of a new token, made before the transaction that may be tried again.
struct Noted {
    principal: Record,
    token: Record,
}

impl Noted {
    fn of(access: &Access, new: &NewToken, parts: &Parts) -> Self {
        let subject = format!("token:{}", parts.id);
        let words = |words: Vec<&str>| serde_json::Value::from(words);
        let token = Record::new(&access.tenant, "token.create", &subject)
            .with("kind", new.kind.as_str())
            .with(
                "roles",
                words(new.roles.iter().map(|role| role.as_str()).collect()),
            )
            .with(
                "scopes",
                words(new.scopes.iter().map(|scope| scope.as_str()).collect()),
            )
            .with("groups", words(new.groups.iter().map(String::as_str).collect()))
            .with("expires_in_s", new.expires_in.as_secs());
        Self {
            principal: Record::new(&access.tenant, "principal.create", &subject)
                .with("kind", new.kind.as_str())
                .with_personal("for", new.principal.as_str()),
            token: token.with_personal("for", new.principal.as_str()),
        }
    }
}

/// Gives back what is to be audited.
async fn put_in(
    db: &mut sqlx::AnyConnection,
    access: &Access,
    new: &NewToken,
    parts: &Parts,
    noted: &Noted,
) -> Outcome<Vec<Record>> {
    let tenant = &access.tenant;
    if let Some(known) = sql::principal(db, tenant, &new.principal).await?
        && known.kind != new.kind
    {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("'{}' is known as {}", known.name, known.kind),
        )
        .hint(format!("ask for the kind {}, or use another name", known.kind))
        .into());
    }
    let is_new = sql::insert_principal(db, tenant, &new.principal, new.kind).await?;
    let life_ms = int(u64::try_from(new.expires_in.as_millis()).unwrap_or(u64::MAX));
    sql::insert_token(db, access, new, (&parts.id, &parts.hash()), life_ms).await?;
    let principal = is_new.then(|| noted.principal.clone());
    Ok(principal.into_iter().chain([noted.token.clone()]).collect())
}

/// Where the store has no token at all yet: one that can do everything.
pub async fn bootstrap(store: &Store) -> Result<Option<Issued>> {
    let access = &Access::command_line(DEFAULT_TENANT);
    let new = &NewToken {
        principal: "admin".to_owned(),
        kind: Kind::User,
        roles: BTreeSet::from([Role::Admin]),
        scopes: BTreeSet::new(),
        groups: BTreeSet::new(),
        expires_in: EXPIRY_DEFAULT,
    };
    let parts = &Parts::random()?;
    let noted = &Noted::of(access, new, parts);
    let acting = store.acting();
    let token = store
        .write_alone(Scope::Everyone, "tokens", "make the first token", |db, _| {
            Box::pin(async move {
                if sql::others_exist(db, &parts.id).await? {
                    return Ok(None);
                }
                let records = put_in(db, access, new, parts, noted).await?;
                let token = sql::token(db, &access.tenant, &parts.id).await?;
                audit::append_all_in(db, acting, &records).await?;
                Ok(token)
            })
        })
        .await?;
    Ok(token.map(|token| Issued {
        token,
        text: parts.text(),
    }))
}

/// Who shows this token. Fails with the kind `auth` where nobody can act with it.
pub async fn authenticate(store: &Store, text: &str) -> Result<Access> {
    let parts = &Parts::parse(text).ok_or_else(|| unknown("the token has not the form of one"))?;
    let thing = format!("token {}", parts.id);
    let found = store
        .read_shared(Scope::Everyone, &thing, "look the token up", |db, _| {
            Box::pin(async move { Ok(sql::by_id(db, &parts.id).await?) })
        })
        .await?;
    let (token, hash, now_ms) = found.ok_or_else(|| unknown("the token is not known"))?;
    if verify_slices_are_equal(hash.as_bytes(), parts.hash().as_bytes()).is_err() {
        return Err(unknown("the token is not known"));
    }
    match token.status {
        TokenStatus::Active => {}
        TokenStatus::Expired => {
            return Err(Error::auth("the token has expired")
                .with("token", &token.id)
                .hint("ask an admin for a new one: `weir token create`"));
        }
        TokenStatus::Revoked => {
            return Err(Error::auth("the token was revoked")
                .with("token", &token.id)
                .hint("ask an admin for a new one: `weir token create`"));
        }
    }
    if token
        .last_used_at_ms
        .is_none_or(|last| now_ms - last >= LAST_USED_STEP_MS)
    {
        store
            .statement(Scope::Tenant(&token.tenant), "note the token's use", |db, _| {
                let id = &token.id;
                Box::pin(async move { Ok(sql::touch(db, id, now_ms).await?) })
            })
            .await?;
    }
    Ok(Access {
        permissions: token.permissions(),
        roles: token.roles,
        groups: token.groups,
        tenant: token.tenant,
        principal: token.principal,
        kind: token.kind,
        token: Some(token.id),
    })
}

/// Says the same of a token that never was and of one whose secret is wrong.
fn unknown(message: &str) -> Error {
    Error::auth(message).hint("send `Authorization: Bearer weir_…`; `weir token create` makes a token")
}

/// All tokens of a tenant, newest first.
pub async fn list(store: &Store, tenant: &str) -> Result<Vec<Token>> {
    store
        .read(Scope::Tenant(tenant), "list tokens", |db, _| {
            Box::pin(async move { Ok(sql::tokens(db, tenant).await?) })
        })
        .await
}

pub async fn get(store: &Store, tenant: &str, id: &str) -> Result<Token> {
    let found = store
        .read(Scope::Tenant(tenant), "read the token", |db, _| {
            Box::pin(async move { Ok(sql::token(db, tenant, id).await?) })
        })
        .await?;
    found.ok_or_else(|| no_such_token(id))
}

/// Whether a principal could have made a token for themselves: they made it, or a token of whoever did. Whoever has the
/// machine made the first tokens, and is nobody's owner for that.
pub(crate) async fn is_made_by(store: &Store, tenant: &str, id: &str, maker: &str) -> Result<bool> {
    if maker == COMMAND_LINE {
        return Ok(false);
    }
    store
        .read(Scope::Tenant(tenant), "see who made the token", |db, _| {
            Box::pin(async move { Ok(sql::is_made_by(db, tenant, id, maker).await?) })
        })
        .await
}

/// Ends a token at once. One that was revoked before stays as it is.
pub async fn revoke(store: &Store, tenant: &str, id: &str) -> Result<Token> {
    revoke_if(store, tenant, id, &|_| Ok(())).await
}

/// As [`revoke`], unless `expected` refuses what the token is by then.
pub async fn revoke_if(
    store: &Store,
    tenant: &str,
    id: &str,
    expected: Expected<'_, Token>,
) -> Result<Token> {
    let record = &Record::new(tenant, "token.revoke", format!("token:{id}"));
    let acting = store.acting();
    let token = store
        .write_alone(Scope::Tenant(tenant), tenant, "revoke the token", |db, _| {
            Box::pin(async move {
                let Some(known) = sql::token(db, tenant, id).await? else {
                    return Ok(None);
                };
                expected(&known)?;
                let is_new = sql::revoke(db, tenant, id).await?;
                let token = sql::token(db, tenant, id).await?;
                if is_new {
                    audit::append_in(db, acting, record).await?;
                }
                Ok(token)
            })
        })
        .await?;
    token.ok_or_else(|| no_such_token(id))
}

fn no_such_token(id: &str) -> Error {
    Error::not_found(format!("there is no token '{id}'")).hint("`weir token list` shows the ids of tokens")
}
