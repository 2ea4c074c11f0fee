//! OpenID Connect: discovery, authorization code with PKCE and nonce, ID tokens checked, and access tokens that
//! programs show.

mod keys;
#[cfg(test)]
mod tests;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use url::{Host, Url};
use weir_protocol::oidc::{Identity, IdentityProvider, LoginProof, Shown};
use weir_protocol::spec::Reliability;
use weir_protocol::{Error, Result, Secret};

use self::keys::Keys;
use self::verify::Sort;
use super::token_request::{self, Tries};
use super::{basic, json_path};
use crate::http::{ClientSettings, HostRules, Outgoing, Patience, ReliabilityDefaults, Transport, show_url};

/// Discovery documents, key sets and token answers are far smaller.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long what a provider says of itself counts.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// Which provider, and as whom it knows us.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Option<Secret>,
    /// Besides `openid`.
    pub scopes: Vec<String>,
    /// Whether the provider may have a private address.
    pub allow_private_hosts: bool,
}

/// What a provider says of itself.
#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    end_session_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// One identity provider. Clones share what is known of it.
#[derive(Clone)]
pub struct Oidc {
    settings: OidcSettings,
    transport: Arc<Transport>,
    metadata: Arc<Mutex<Option<(Duration, Metadata)>>>,
    keys: Arc<Keys>,
}

impl fmt::Debug for Oidc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "Oidc({} at {})",
            self.settings.client_id, self.settings.issuer
        )
    }
}

impl Oidc {
    pub fn new(settings: OidcSettings) -> Result<Self> {
        let issuer = Url::parse(&settings.issuer).map_err(|error| {
            Error::spec("the issuer is not a URL")
                .with("issuer", &settings.issuer)
                .caused_by(error)
                .hint("write it as the provider does, with https://")
        })?;
        let is_here = match issuer.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        let silent = Reliability::default();
        let defaults = ReliabilityDefaults {
            timeout: TIMEOUT,
            ..ReliabilityDefaults::default()
        };
        let mut patience = Patience::resolve(&silent, &silent, &defaults)?;
        patience.response_max_bytes = ANSWER_BYTES_MAX;
        let hosts = HostRules::open(settings.allow_private_hosts || is_here);
        Ok(Self {
            settings,
            transport: Transport::new(&ClientSettings::new(hosts, patience))?,
            metadata: Arc::default(),
            keys: Arc::default(),
        })
    }

    async fn get(&self, url: &str) -> Result<Value> {
        let parsed = Url::parse(url).map_err(|error| odd(url, "it names no URL").caused_by(error))?;
        let mut out = Outgoing::get(parsed);
        out.set_header("Accept", "application/json");
        let answer = token_request::send(&self.transport, &out, true, Tries::Several).await?;
        if answer.status != 200 {
            return Err(odd(url, "it does not answer with 200").with("status", answer.status));
        }
        serde_json::from_slice(&answer.body).map_err(|error| odd(url, "it answers no JSON").caused_by(error))
    }

    async fn metadata(&self) -> Result<Metadata> {
        let mut known = self.metadata.lock().await;
        let now = self.transport.clock().elapsed();
        if let Some((_, metadata)) = known
            .as_ref()
            .filter(|(at, _)| now.saturating_sub(*at) < KNOWN_FOR)
        {
            return Ok(metadata.clone());
        }
        let issuer = &self.settings.issuer;
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let metadata: Metadata = serde_json::from_value(self.get(&url).await?)
            .map_err(|error| odd(&url, "it lacks what an OpenID provider says of itself").caused_by(error))?;
        if metadata.issuer != *issuer {
            return Err(
                Error::denied("the provider calls itself otherwise than the issuer that is set")
                    .with("its issuer", &metadata.issuer)
                    .with("set", issuer)
                    .hint("set WEIR_OIDC_ISSUER to exactly what the provider's openid-configuration says"),
            );
        }
        *known = Some((now, metadata.clone()));
        Ok(metadata)
    }

    /// Exchanges a code for an ID token. Sent once: a code may be used once.
    async fn id_token(
        &self,
        metadata: &Metadata,
        (code, redirect_uri): (&Secret, &str),
        proof: &LoginProof,
    ) -> Result<Secret> {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut fields = vec![
            field("grant_type", "authorization_code"),
            field("code", code.expose()),
            field("redirect_uri", redirect_uri),
            field("code_verifier", proof.verifier.expose()),
        ];
        let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
        let takes_post =
            methods.is_some_and(|methods| methods.iter().any(|method| method == "client_secret_post"));
        let secret = self.settings.client_secret.as_ref();
        if secret.is_none() || takes_post {
            fields.push(field("client_id", &self.settings.client_id));
        }
        if let Some(secret) = secret.filter(|_| takes_post) {
            fields.push(field("client_secret", secret.expose()));
        }
        let mut out = token_request::form(&metadata.token_endpoint, &fields)?;
        if let Some(secret) = secret.filter(|_| !takes_post) {
            let encode =
                |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let value = basic::header(&encode(&self.settings.client_id), &encode(secret.expose()));
            out.set_header("Authorization", value);
        }
        let answer = token_request::send(&self.transport, &out, true, Tries::One).await?;
        let mut secrets = vec![code.clone(), proof.verifier.clone()];
        secrets.extend(secret.cloned());
        let hint = "check WEIR_OIDC_CLIENT_ID and WEIR_OIDC_CLIENT_SECRET, and log in anew";
        let value = token_request::read(&answer, secrets, hint)?;
        json_path::text(&value, "id_token")
            .map(Secret::new)
            .ok_or_else(|| odd(&metadata.token_endpoint, "it gives no ID token"))
    }
}

/// A provider that does not speak as it should.
fn odd(url: &str, why: &str) -> Error {
    let shown = Url::parse(url).map_or_else(|_| url.to_owned(), |url| show_url(&url));
    Error::source_failed(format!("the identity provider cannot be used: {why}"))
        .with("url", shown)
        .hint("check WEIR_OIDC_ISSUER: its /.well-known/openid-configuration has to be an OpenID provider's")
}

#[async_trait]
impl IdentityProvider for Oidc {
    fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// What it says of itself is not looked at where the key is known: this is asked with every request of a program.
    async fn read_access_token(&self, token: &Secret, audience: &str) -> Result<Shown> {
        let (algorithm, kid) = verify::header(token, Sort::Access)?;
        let key = self.keys.find(self, kid.as_deref(), algorithm).await?;
        verify::access(token, (&key, algorithm), (&self.settings.issuer, audience))
    }

    async fn authorize_url(&self, redirect_uri: &str, proof: &LoginProof) -> Result<String> {
        let metadata = self.metadata().await?;
        let endpoint = &metadata.authorization_endpoint;
        let mut url = Url::parse(endpoint)
            .map_err(|error| odd(endpoint, "its authorization_endpoint is no URL").caused_by(error))?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(proof.verifier.expose()));
        let mut scopes = vec!["openid"];
        scopes.extend(self.settings.scopes.iter().map(String::as_str));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", proof.state.expose())
            .append_pair("nonce", proof.nonce.expose())
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    async fn identify(
        &self,
        code: &Secret,
        iss: Option<&str>,
        redirect_uri: &str,
        proof: &LoginProof,
    ) -> Result<Identity> {
        let metadata = self.metadata().await?;
        let is_due = metadata.authorization_response_iss_parameter_supported;
        if iss.map_or(is_due, |iss| iss != metadata.issuer) {
            return Err(
                Error::denied("the answer comes from another provider than was asked")
                    .with("iss", iss.unwrap_or("none"))
                    .with("expected", &metadata.issuer)
                    .hint("log in anew"),
            );
        }
        let token = self.id_token(&metadata, (code, redirect_uri), proof).await?;
        let (algorithm, kid) = verify::header(&token, Sort::Id)?;
        let key = self.keys.find(self, kid.as_deref(), algorithm).await?;
        let party = (metadata.issuer.as_str(), self.settings.client_id.as_str());
        verify::id(&token, (&key, algorithm), party, &proof.nonce)
    }

    async fn logout_url(&self, back_to: &str) -> Result<Option<String>> {
        let Some(endpoint) = self.metadata().await?.end_session_endpoint else {
            return Ok(None);
        };
        let mut url = Url::parse(&endpoint)
            .map_err(|error| odd(&endpoint, "its end_session_endpoint is no URL").caused_by(error))?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", back_to);
        Ok(Some(url.into()))
    }
}
