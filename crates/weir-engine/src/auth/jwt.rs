//! Tokens signed with a private key (RFC 7519), sent themselves or exchanged for an access token
//! (RFC 7523: Google service accounts, Salesforce JWT bearer).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};
use weir_protocol::spec::{AuthSpec, JwtAlgorithm};
use weir_protocol::{Error, Result, Secret};

use super::credential::Values;
use super::fixed::Put;
use super::session::rendered;
use super::token::{Fresh, TokenAuth, TokenSource};
use super::token_request::Tries;
use super::{AuthInput, Authenticator, OwnTokens, bearer, oauth2, token_request};
use crate::http::{Outgoing, Transport};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub(super) struct Jwt {
    header: Header,
    key: EncodingKey,
    claims: Map<String, Value>,
    lifetime: Duration,
    token_url: Option<String>,
    transport: Arc<Transport>,
    secrets: Vec<Secret>,
    hint: String,
}

pub(super) fn build(
    values: &Values,
    spec: &AuthSpec,
    input: &AuthInput<'_>,
) -> Result<Arc<dyn Authenticator>> {
    match oauth2::lent(values, input) {
        Some(lent) => Ok(Arc::new(lent)),
        None => Ok(Arc::new(fetching(values, spec, input)?)),
    }
}

/// The tokens that a private key signs, and the key.
pub(super) fn own_tokens(values: &Values, spec: &AuthSpec, input: &AuthInput<'_>) -> Result<OwnTokens> {
    let made_from = match spec {
        AuthSpec::Jwt { key, .. } => vec![Secret::new(values.required(key)?)],
        _ => Vec::new(),
    };
    let tokens = Arc::new(fetching(values, spec, input)?);
    Ok(OwnTokens { tokens, made_from })
}

fn fetching(values: &Values, spec: &AuthSpec, input: &AuthInput<'_>) -> Result<TokenAuth<Jwt>> {
    let AuthSpec::Jwt {
        algorithm,
        key,
        claims,
        headers,
        lifetime,
        token_url,
    } = spec
    else {
        return Err(Error::internal("jwt was built from another method").hint("report this defect"));
    };
    let claims = claims
        .iter()
        .map(|(name, value)| Ok((name.clone(), rendered(values, value)?)));
    let key = values.required(key)?;
    let mut secrets = values.secrets();
    secrets.push(Secret::new(key.clone()));
    let source = Jwt {
        header: header(values, *algorithm, headers.iter())?,
        key: encoding_key(values, *algorithm, &key)?,
        claims: claims.collect::<Result<_>>()?,
        lifetime: lifetime.get(),
        token_url: token_url.as_ref().map(|url| values.required(url)).transpose()?,
        transport: input.transport.clone(),
        secrets,
        hint: values.hint(),
    };
    Ok(TokenAuth::new(source, input.transport.clock().clone()))
}

fn header<'a>(
    values: &Values,
    algorithm: JwtAlgorithm,
    fields: impl Iterator<Item = (&'a String, &'a Value)>,
) -> Result<Header> {
    let mut header = Header::new(known(algorithm));
    for (name, value) in fields {
        let value = rendered(values, value)?;
        match (name.as_str(), value) {
            ("kid", Value::String(text)) => header.kid = Some(text),
            ("typ", Value::String(text)) => header.typ = Some(text),
            ("alg", _) => {
                return Err(Error::spec("auth.headers sets 'alg'").hint("set auth.algorithm instead"));
            }
            (name, value) => header.extras.insert(name, value),
        }
    }
    Ok(header)
}

fn encoding_key(values: &Values, algorithm: JwtAlgorithm, key: &str) -> Result<EncodingKey> {
    // Keys kept on one line in an environment variable have their line ends written out.
    let pem = key.replace("\\n", "\n");
    let made = match algorithm {
        JwtAlgorithm::HS256 | JwtAlgorithm::HS384 | JwtAlgorithm::HS512 => {
            return Ok(EncodingKey::from_secret(key.as_bytes()));
        }
        JwtAlgorithm::RS256 | JwtAlgorithm::RS384 | JwtAlgorithm::RS512 => {
            EncodingKey::from_rsa_pem(pem.as_bytes())
        }
        JwtAlgorithm::ES256 | JwtAlgorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
    };
    made.map_err(|error| {
        Error::auth("the private key cannot be read")
            .with("connection", values.connection())
            .with("algorithm", format!("{algorithm:?}"))
            .caused_by(error)
            .hint(format!(
                "set the whole PEM text, with its BEGIN and END lines, in {}",
                values.file()
            ))
    })
}

fn known(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::HS256 => Algorithm::HS256,
        JwtAlgorithm::HS384 => Algorithm::HS384,
        JwtAlgorithm::HS512 => Algorithm::HS512,
        JwtAlgorithm::RS256 => Algorithm::RS256,
        JwtAlgorithm::RS384 => Algorithm::RS384,
        JwtAlgorithm::RS512 => Algorithm::RS512,
        JwtAlgorithm::ES256 => Algorithm::ES256,
        JwtAlgorithm::ES384 => Algorithm::ES384,
    }
}

impl Jwt {
    fn signed(&self) -> Result<Secret> {
        let now = self.transport.clock().now().as_second();
        let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        let mut claims = self.claims.clone();
        claims.entry("iat").or_insert_with(|| now.into());
        claims
            .entry("exp")
            .or_insert_with(|| now.saturating_add(lifetime).into());
        jsonwebtoken::encode(&self.header, &claims, &self.key)
            .map(Secret::new)
            .map_err(|error| {
                Error::auth("the token cannot be signed")
                    .caused_by(error)
                    .hint("check that key and algorithm belong together")
            })
    }
}

#[async_trait]
impl TokenSource for Jwt {
    async fn fetch(&self) -> Result<Fresh> {
        let assertion = self.signed()?;
        let Some(token_url) = &self.token_url else {
            return Ok(Fresh {
                token: assertion,
                lifetime: Some(self.lifetime),
            });
        };
        let fields = [
            ("grant_type".to_owned(), JWT_BEARER.to_owned()),
            ("assertion".to_owned(), assertion.expose().to_owned()),
        ];
        let answer = token_request::send(
            &self.transport,
            &token_request::form(token_url, &fields)?,
            true,
            Tries::Several,
        )
        .await?;
        let mut secrets = self.secrets.clone();
        secrets.push(assertion);
        let value = token_request::read(&answer, secrets, &self.hint)?;
        let mut fresh = token_request::fresh(&value, "access_token", "expires_in", token_url)?;
        // Salesforce says no life time; the assertion's is the best guess, and a 401 ends it earlier.
        fresh.lifetime.get_or_insert(self.lifetime);
        Ok(fresh)
    }

    fn apply(&self, out: &mut Outgoing, token: &Secret) -> Result<()> {
        Put::header("Authorization").apply(out, &bearer::header(None, token.expose()));
        Ok(())
    }

    fn secrets(&self) -> Vec<Secret> {
        self.secrets.clone()
    }

    fn hint(&self) -> String {
        self.hint.clone()
    }
}
