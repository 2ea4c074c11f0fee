//! Requests to an authorization server: codes, devices, refreshes, revocation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use weir_protocol::oauth::{AuthorizationServer, DeviceCode, Exchange, Exchanged, Granted, OauthClient};
use weir_protocol::spec::{AuthSpec, Oauth2Grant};
use weir_protocol::{Error, Result, Secret};

use super::super::credential::Values;
use super::super::token_request::{self, Tries};
use super::super::{AuthInput, basic, json_path};
use crate::http::{Outgoing, Transport};

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Words in names of fields that prove who asks.
const SECRET_FIELDS: [&str; 4] = ["password", "secret", "assertion", "key"];
/// Where a server does not say how often a device may ask (RFC 8628, 3.2).
const INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
const DEVICE_LIFE_DEFAULT: Duration = Duration::from_secs(600);

/// One connection's client at its authorization server.
pub(in crate::auth) struct Client {
    client: OauthClient,
    client_secret: Secret,
    device_url: Option<String>,
    revoke_url: Option<String>,
    extra: Vec<(String, String)>,
    basic_client: bool,
    token_path: String,
    expires_path: String,
    transport: Arc<Transport>,
    secrets: Vec<Secret>,
    hint: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "OAuth client {} at {}",
            self.client.client_id, self.client.token_url
        )
    }
}

fn rendered(values: &Values, templates: &BTreeMap<String, String>) -> Result<Vec<(String, String)>> {
    let pairs = templates.iter();
    pairs
        .map(|(name, template)| Ok((name.clone(), values.required(template)?)))
        .collect()
}

impl Client {
    pub(in crate::auth) fn build(values: &Values, spec: &AuthSpec, input: &AuthInput<'_>) -> Result<Self> {
        let AuthSpec::Oauth2 {
            grant,
            token_url,
            authorize_url,
            authorize_params,
            device_url,
            revoke_url,
            issuer,
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
        // A public client has no secret; client credentials without one make no sense.
        let client_secret = match grant {
            Oauth2Grant::ClientCredentials => values.required(client_secret)?,
            _ => values.optional(client_secret)?,
        };
        let maybe =
            |template: &Option<String>| template.as_ref().map(|text| values.required(text)).transpose();
        let (device_url, revoke_url) = (maybe(device_url)?, maybe(revoke_url)?);
        let seed = if grant.is_kept() {
            values.optional(refresh_token)?
        } else {
            String::new()
        };
        Ok(Self {
            client: OauthClient {
                grant: *grant,
                client_id: values.required(client_id)?,
                token_url: values.required(token_url)?,
                issuer: maybe(issuer)?,
                authorize_url: maybe(authorize_url)?,
                authorize_params: rendered(values, authorize_params)?,
                scopes: scopes.clone(),
                can_device: device_url.is_some(),
                can_revoke: revoke_url.is_some(),
                seed: (!seed.is_empty()).then(|| Secret::new(seed)),
            },
            client_secret: Secret::new(client_secret),
            device_url,
            revoke_url,
            extra: rendered(values, extra)?,
            basic_client: *basic_client,
            token_path: token_path.clone(),
            expires_path: expires_path.clone(),
            transport: input.transport.clone(),
            secrets: values.secrets(),
            hint: values.hint(),
        })
    }

    pub(super) fn required_refresh_token(&self, values: &Values, spec: &AuthSpec) -> Result<Secret> {
        let template = match spec {
            AuthSpec::Oauth2 { refresh_token, .. } => refresh_token.as_str(),
            _ => "",
        };
        match &self.client.seed {
            Some(seed) => Ok(seed.clone()),
            None => values.required(template).map(Secret::new),
        }
    }

    pub(super) fn secrets(&self) -> Vec<Secret> {
        let mut secrets = self.secrets.clone();
        secrets.push(self.client_secret.clone());
        secrets.extend(self.client.seed.clone());
        secrets
    }

    /// What tokens are made from without anybody's consent: the client's secret, and fields of the request that are
    /// as good as it.
    pub(super) fn made_from(&self) -> Vec<Secret> {
        let is_secret = |name: &str| SECRET_FIELDS.iter().any(|word| name.contains(word));
        let extra = self.extra.iter().filter(|(name, _)| is_secret(name));
        let all = extra.map(|(_, value)| Secret::new(value.as_str()));
        let all = all.chain([self.client_secret.clone()]);
        all.filter(|secret| !secret.expose().is_empty()).collect()
    }

    pub(super) fn hint(&self) -> &str {
        &self.hint
    }

    pub(super) fn confused(&self, message: &str) -> Error {
        Error::auth(message)
            .with("url", &self.client.token_url)
            .hint("check the URLs of the connector's auth against the vendor's documentation")
    }

    /// A form with what proves who the client is.
    fn form(&self, url: &str, mut fields: Vec<(String, String)>) -> Result<Outgoing> {
        if !self.basic_client {
            fields.push(("client_id".to_owned(), self.client.client_id.clone()));
            if !self.client_secret.expose().is_empty() {
                fields.push(("client_secret".to_owned(), self.client_secret.expose().to_owned()));
            }
        }
        let mut out = token_request::form(url, &fields)?;
        if self.basic_client {
            let encode =
                |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let value = basic::header(
                &encode(&self.client.client_id),
                &encode(self.client_secret.expose()),
            );
            out.set_header("Authorization", value);
        }
        Ok(out)
    }

    fn fields(&self, what: Exchange<'_>) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let mut field = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
        match what {
            Exchange::Own => {
                field("grant_type", self.client.grant.as_str());
                // A refresh asks for what was granted; naming scopes there makes some vendors refuse.
                if !self.client.scopes.is_empty() {
                    field("scope", &self.client.scopes.join(" "));
                }
            }
            Exchange::Code {
                code,
                verifier,
                redirect_uri,
            } => {
                field("grant_type", "authorization_code");
                field("code", code.expose());
                field("code_verifier", verifier.expose());
                field("redirect_uri", redirect_uri);
            }
            Exchange::Device { code } => {
                field("grant_type", DEVICE_GRANT);
                field("device_code", code.expose());
            }
            Exchange::Refresh { token } => {
                field("grant_type", "refresh_token");
                field("refresh_token", token.expose());
            }
        }
        fields.extend(self.extra.iter().cloned());
        fields
    }

    fn granted(&self, value: &Value) -> Result<Granted> {
        let fresh = token_request::fresh(
            value,
            &self.token_path,
            &self.expires_path,
            &self.client.token_url,
        )?;
        let text = |path| json_path::text(value, path).filter(|text| !text.is_empty());
        let refresh_expires_in = text("refresh_token_expires_in").or_else(|| text("refresh_expires_in"));
        Ok(Granted {
            access_token: fresh.token,
            refresh_token: text("refresh_token").map(Secret::new),
            expires_in: fresh.lifetime,
            refresh_expires_in: refresh_expires_in
                .and_then(|text| token_request::seconds(&text))
                .filter(|life| !life.is_zero()),
            scopes: text("scope").map(|scopes| {
                let split = scopes.split(|c: char| c.is_whitespace() || c == ',');
                split
                    .filter(|scope| !scope.is_empty())
                    .map(ToOwned::to_owned)
                    .collect()
            }),
        })
    }
}

#[async_trait]
impl AuthorizationServer for Client {
    fn own_secrets(&self) -> Vec<Secret> {
        let own = [Some(&self.client_secret), self.client.seed.as_ref()];
        let own = own.into_iter().flatten();
        own.filter(|secret| !secret.expose().is_empty())
            .cloned()
            .collect()
    }

    fn client(&self) -> &OauthClient {
        &self.client
    }

    async fn begin_device(&self) -> Result<DeviceCode> {
        let url = self.device_url.as_ref().ok_or_else(|| {
            Error::spec("the connector does not say where a device asks for a code").hint(
                "log in with a browser, or set device_url in the connector's auth if the vendor has one",
            )
        })?;
        let mut fields = Vec::new();
        if !self.client.scopes.is_empty() {
            fields.push(("scope".to_owned(), self.client.scopes.join(" ")));
        }
        let out = self.form(url, fields)?;
        let answer = token_request::send(&self.transport, &out, true, Tries::Several).await?;
        let value = token_request::read(&answer, self.secrets(), &self.hint)?;
        let text = |name| json_path::text(&value, name).filter(|text| !text.is_empty());
        let missing = |name: &'static str| {
            Error::auth("the answer to a device has no code")
                .with("missing", name)
                .with("url", url)
                .hint("check device_url of the connector's auth")
        };
        // An older draft, which some still speak, calls it verification_url.
        let uri = text("verification_uri").or_else(|| text("verification_url"));
        let lasting = |name| text(name).and_then(|text| token_request::seconds(&text));
        Ok(DeviceCode {
            device_code: Secret::new(text("device_code").ok_or_else(|| missing("device_code"))?),
            user_code: text("user_code").ok_or_else(|| missing("user_code"))?,
            verification_uri: uri.ok_or_else(|| missing("verification_uri"))?,
            verification_uri_complete: text("verification_uri_complete"),
            expires_in: lasting("expires_in").unwrap_or(DEVICE_LIFE_DEFAULT),
            interval: lasting("interval").unwrap_or(INTERVAL_DEFAULT),
        })
    }

    async fn exchange(&self, what: Exchange<'_>) -> Result<Exchanged> {
        let mut secrets = self.secrets();
        let tries = match what {
            // Who sends a code twice may lose what the first one gave (RFC 6749, 4.1.2).
            Exchange::Code { code, verifier, .. } => {
                secrets.extend([code.clone(), verifier.clone()]);
                Tries::One
            }
            Exchange::Device { code } | Exchange::Refresh { token: code } => {
                secrets.push(code.clone());
                Tries::Several
            }
            Exchange::Own => Tries::Several,
        };
        let out = self.form(&self.client.token_url, self.fields(what))?;
        let answer = token_request::send(&self.transport, &out, true, tries).await?;
        match token_request::outcome(&answer, secrets, &self.hint) {
            Ok(value) => Ok(Exchanged::Granted(Box::new(self.granted(&value)?))),
            Err(refusal) => match refusal.code.as_deref() {
                Some("authorization_pending") => Ok(Exchanged::Pending),
                Some("slow_down") => Ok(Exchanged::SlowDown),
                Some("invalid_grant" | "access_denied" | "expired_token") if refusal.is_about_grant => {
                    Ok(Exchanged::Refused(refusal.error))
                }
                _ => Err(refusal.error),
            },
        }
    }

    async fn revoke(&self, token: &Secret) -> Result<()> {
        let url = self.revoke_url.as_ref().ok_or_else(|| {
            Error::spec("the connector does not say where a token is given up")
                .hint("end weir's access in the vendor's own settings")
        })?;
        let fields = vec![
            ("token".to_owned(), token.expose().to_owned()),
            ("token_type_hint".to_owned(), "refresh_token".to_owned()),
        ];
        let out = self.form(url, fields)?;
        let answer = token_request::send(&self.transport, &out, true, Tries::Several).await?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        let mut secrets = self.secrets();
        secrets.push(token.clone());
        Err(token_request::refusal(&answer, secrets, &self.hint).error)
    }
}
