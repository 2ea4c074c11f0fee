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
use super::{AuthInput, Authenticator, OnRotated, bearer};
use crate::http::Outgoing;

pub(super) use client::Client;

pub(super) fn build(
    values: &Values,
    spec: &AuthSpec,
    input: &AuthInput<'_>,
) -> Result<Arc<dyn Authenticator>> {
    let client = Client::build(values, spec, input)?;
    if let Some(tokens) = input.tokens.as_ref().filter(|_| client.client().grant.is_kept()) {
        return Ok(Arc::new(kept::Kept::new(client, tokens.clone(), input)));
    }
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
    Ok(Arc::new(TokenAuth::new(source, input.transport.clock().clone())))
}

fn sign(out: &mut Outgoing, token: &Secret) {
    Put::header("Authorization").apply(out, &bearer::header(None, token.expose()));
}

/// Tokens of one process.
struct Oauth2 {
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
