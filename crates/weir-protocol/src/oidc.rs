//! The words of OpenID Connect between who asks an identity provider and who keeps sessions.

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

/// Asks an identity provider.
#[async_trait]
pub trait IdentityProvider: fmt::Debug + Send + Sync {
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
