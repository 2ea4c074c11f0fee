//! OAuth 2 (RFC 6749). What is granted to the client itself, each process fetches for itself; where
//! there is a refresh token, one keeper does it for all, if there is one.

mod client;
mod kept;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use weir_protocol::oauth::{AuthorizationServer as _, Exchange, Exchanged};
use weir_protocol::spec::AuthSpec;
use weir_protocol::{Result, Secret};

use super::credential::Values;
use super::fixed::Put;
use super::token::{Fresh, TokenAuth, TokenSource};
use super::{AuthInput, Authenticator, OnRotated, OwnTokens, bearer};
use crate::http::Outgoing;

pub(super) use client::Client;
pub(super) use kept::Kept;

pub(super) fn build(
    values: &Values,
    spec: &AuthSpec,
    input: &AuthInput<'_>,
) -> Result<Arc<dyn Authenticator>> {
    if let Some(lent) = lent(values, input).filter(|_| !is_kept(spec)) {
        return Ok(Arc::new(lent));
    }
    let client = Client::build(values, spec, input)?;
    if let Some(tokens) = input.tokens.as_ref().filter(|_| client.client().grant.is_kept()) {
        return Ok(Arc::new(Kept::new(client.secrets(), tokens.clone(), input)));
    }
    Ok(Arc::new(fetching(client, values, spec, input)?))
}

/// Signs with tokens that somebody else asks for: what they are made from is not here.
pub(super) fn lent(values: &Values, input: &AuthInput<'_>) -> Option<Kept> {
    let tokens = input.tokens.clone()?;
    Some(Kept::new(values.secrets(), tokens, input))
}

fn is_kept(spec: &AuthSpec) -> bool {
    matches!(spec, AuthSpec::Oauth2 { grant, .. } if grant.is_kept())
}

/// The tokens of a client that needs nobody's consent, and what they are made from.
pub(super) fn own_tokens(values: &Values, spec: &AuthSpec, input: &AuthInput<'_>) -> Result<OwnTokens> {
    let client = Client::build(values, spec, input)?;
    let made_from = client.made_from();
    let tokens = Arc::new(fetching(client, values, spec, input)?);
    Ok(OwnTokens { tokens, made_from })
}

fn fetching(
    client: Client,
    values: &Values,
    spec: &AuthSpec,
    input: &AuthInput<'_>,
) -> Result<TokenAuth<Oauth2>> {
    let refresh_token = if client.client().grant.is_kept() {
        Some(client.required_refresh_token(values, spec)?)
    } else {
        None
    };
    let source = Oauth2 {
        client,
        refresh_token: RwLock::new(refresh_token),
        on_rotated: input.on_rotated.clone(),
    };
    Ok(TokenAuth::new(source, input.transport.clock().clone()))
}

fn sign(out: &mut Outgoing, token: &Secret) {
    Put::header("Authorization").apply(out, &bearer::header(None, token.expose()));
}

/// Tokens of one process.
pub(super) struct Oauth2 {
    client: Client,
    /// Replaced when the vendor rotates it.
    refresh_token: RwLock<Option<Secret>>,
    on_rotated: Option<OnRotated>,
}

impl Oauth2 {
    fn refresh_token(&self) -> Option<Secret> {
        self.refresh_token
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn rotate(&self, token: Secret) {
        if self.refresh_token().as_ref() == Some(&token) {
            return;
        }
        *self.refresh_token.write().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        if let Some(on_rotated) = &self.on_rotated {
            on_rotated(&token);
        }
    }
}

#[async_trait]
impl TokenSource for Oauth2 {
    async fn fetch(&self) -> Result<Fresh> {
        let refresh_token = self.refresh_token();
        let what = match &refresh_token {
            Some(token) => Exchange::Refresh { token },
            None => Exchange::Own,
        };
        let granted = match self.client.exchange(what).await? {
            Exchanged::Granted(granted) => granted,
            Exchanged::Refused(error) => return Err(error),
            Exchanged::Pending | Exchanged::SlowDown => {
                return Err(self
                    .client
                    .confused("the token endpoint speaks of a device, where none asked"));
            }
        };
        if let (Some(_), Some(token)) = (refresh_token, granted.refresh_token) {
            self.rotate(token);
        }
        Ok(Fresh {
            token: granted.access_token,
            lifetime: granted.expires_in,
        })
    }

    fn apply(&self, out: &mut Outgoing, token: &Secret) -> Result<()> {
        sign(out, token);
        Ok(())
    }

    fn secrets(&self) -> Vec<Secret> {
        let mut secrets = self.client.secrets();
        secrets.extend(self.refresh_token());
        secrets
    }

    fn hint(&self) -> String {
        self.client.hint().to_owned()
    }
}
