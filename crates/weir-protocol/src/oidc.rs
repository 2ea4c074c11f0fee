//! The words of OpenID Connect between who asks an identity provider and who keeps sessions.

use std::collections::BTreeSet;
use std::fmt;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::{Result, Secret};

/// What ties an answer to the browser that asked.
#[derive(Debug, Clone)]
pub struct LoginProof {
    pub state: Secret,
    pub nonce: Secret,
    pub verifier: Secret,
}

/// Who somebody is, as the provider signed it.
#[derive(Debug, Clone)]
pub struct Identity {
    pub issuer: String,
    /// Never given to anybody else by this issuer.
    pub subject: String,
    pub claims: Map<String, Value>,
}

/// What an access token says that a program shows, once all of it is checked (RFC 9068).
#[derive(Debug, Clone)]
pub struct Shown {
    pub identity: Identity,
    /// Whether it stands for the program itself, and for no person.
    pub is_program: bool,
    /// What it is good for, of all that the identity may do.
    pub scopes: BTreeSet<String>,
    /// Seconds since 1970 from which on it is over, however far clocks may be apart.
    pub ends_at_s: i64,
}

/// Asks an identity provider.
#[async_trait]
pub trait IdentityProvider: fmt::Debug + Send + Sync {
    /// As it calls itself.
    fn issuer(&self) -> &str;
    /// Whom an access token stands for that was made for `audience`. Fails with the kind `auth` where it is wrong, and
    /// with another one where nobody can say now.
    async fn read_access_token(&self, token: &Secret, audience: &str) -> Result<Shown>;
    /// Where a person logs in.
    async fn authorize_url(&self, redirect_uri: &str, proof: &LoginProof) -> Result<String>;
    /// Who a code stands for. `iss` is what the answer says of where it comes from.
    async fn identify(
        &self,
        code: &Secret,
        iss: Option<&str>,
        redirect_uri: &str,
        proof: &LoginProof,
    ) -> Result<Identity>;
    /// Where a person logs out at the provider, if that is offered.
    async fn logout_url(&self, back_to: &str) -> Result<Option<String>>;
}
