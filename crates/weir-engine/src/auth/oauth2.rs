//! OAuth 2 (RFC 6749): client credentials, refresh token, password; the authorisation code is
//! exchanged elsewhere, once, and refreshed here.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use weir_protocol::spec::{AuthSpec, Oauth2Grant};
use weir_protocol::{Error, Result, Secret};

use super::credential::Values;
use super::fixed::Put;
use super::token::{Fresh, TokenAuth, TokenSource};
use super::{AuthInput, OnRotated, basic, bearer, json_path, token_request};
use crate::http::{Outgoing, Transport};

pub(super) struct Oauth2 {
    grant: Oauth2Grant,
    token_url: String,
    client_id: String,
    client_secret: Secret,
    /// Replaced when the vendor rotates it.
    refresh_token: RwLock<Option<Secret>>,
    scopes: Vec<String>,
    extra: Vec<(String, String)>,
    basic_client: bool,
    token_path: String,
    expires_path: String,
    transport: Arc<Transport>,
    on_rotated: Option<OnRotated>,
    secrets: Vec<Secret>,
    hint: String,
}

pub(super) fn build(values: &Values, spec: &AuthSpec, input: &AuthInput<'_>) -> Result<TokenAuth<Oauth2>> {
    let AuthSpec::Oauth2 {
        grant,
        token_url,
        authorize_url: _,
        client_id,
        client_secret,
        refresh_token,
        scopes,
        extra,
        basic_client,
        token_path,
        expires_path,
    } = spec
    else {
        return Err(Error::internal("oauth2 was built from another method").hint("report this defect"));
    };
    let refreshed = matches!(grant, Oauth2Grant::AuthorizationCode | Oauth2Grant::RefreshToken);
    // A public client has no secret; client credentials without one make no sense.
    let client_secret = match grant {
        Oauth2Grant::ClientCredentials => values.required(client_secret)?,
        _ => values.optional(client_secret)?,
    };
    let refresh_token = if refreshed {
        Some(Secret::new(values.required(refresh_token)?))
    } else {
        None
    };
    let extra = extra
        .iter()
        .map(|(name, template)| Ok((name.clone(), values.required(template)?)));
    let source = Oauth2 {
        grant: *grant,
        token_url: values.required(token_url)?,
        client_id: values.required(client_id)?,
        client_secret: Secret::new(client_secret),
        refresh_token: RwLock::new(refresh_token),
        scopes: scopes.clone(),
        extra: extra.collect::<Result<_>>()?,
        basic_client: *basic_client,
        token_path: token_path.clone(),
        expires_path: expires_path.clone(),
        transport: input.transport.clone(),
        on_rotated: input.on_rotated.clone(),
        secrets: values.secrets(),
        hint: values.hint(),
    };
    Ok(TokenAuth::new(source, input.transport.clock().clone()))
}

impl Oauth2 {
    fn refresh_token(&self) -> Option<Secret> {
        self.refresh_token
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn request(&self) -> Result<Outgoing> {
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut field = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
        field(
            "grant_type",
            match self.grant {
                Oauth2Grant::ClientCredentials => "client_credentials",
                Oauth2Grant::Password => "password",
                Oauth2Grant::AuthorizationCode | Oauth2Grant::RefreshToken => "refresh_token",
            },
        );
        if let Some(token) = self.refresh_token() {
            field("refresh_token", token.expose());
        }
        if !self.basic_client {
            field("client_id", &self.client_id);
            if !self.client_secret.expose().is_empty() {
                field("client_secret", self.client_secret.expose());
            }
        }
        // A refresh asks for what was granted; naming scopes there makes some vendors refuse.
        if !self.scopes.is_empty() && self.refresh_token().is_none() {
            field("scope", &self.scopes.join(" "));
        }
        for (name, value) in &self.extra {
            field(name, value);
        }
        let mut out = token_request::form(&self.token_url, &fields)?;
        if self.basic_client {
            let encode =
                |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let value = basic::header(&encode(&self.client_id), &encode(self.client_secret.expose()));
            out.set_header("Authorization", value);
        }
        Ok(out)
    }

    fn rotate(&self, token: String) {
        let token = Secret::new(token);
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
        let answer = token_request::send(&self.transport, &self.request()?, true).await?;
        let value = token_request::read(&answer, self.secrets(), &self.hint)?;
        let fresh = token_request::fresh(&value, &self.token_path, &self.expires_path, &self.token_url)?;
        if let (true, Some(token)) = (
            self.refresh_token().is_some(),
            json_path::text(&value, "refresh_token"),
        ) {
            self.rotate(token);
        }
        Ok(fresh)
    }

    fn apply(&self, out: &mut Outgoing, token: &Secret) -> Result<()> {
        Put::header("Authorization").apply(out, &bearer::header(None, token.expose()));
        Ok(())
    }

    fn secrets(&self) -> Vec<Secret> {
        let mut secrets = self.secrets.clone();
        secrets.push(self.client_secret.clone());
        secrets.extend(self.refresh_token());
        secrets
    }

    fn hint(&self) -> String {
        self.hint.clone()
    }
}
