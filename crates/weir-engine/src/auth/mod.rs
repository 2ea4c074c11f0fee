//! How requests are signed: one file a method. `build` picks the method that the connection's
//! credential names and renders its values.

mod api_key;
mod basic;
mod bearer;
mod credential;
mod fixed;
mod json_path;
mod jwt;
mod oauth2;
pub mod oidc;
mod session;
pub(crate) mod standard_webhooks;
mod token;
mod token_request;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use weir_protocol::connection::Credential;
use weir_protocol::oauth::{AccessTokens, AuthorizationServer};
use weir_protocol::spec::AuthSpec;
use weir_protocol::{Error, Result, Secret};

use crate::http::{Outgoing, Transport};
use credential::Values;

/// Which token signed a request, so that a refusal of an old one does not throw a new one away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Generation(u64);

/// Signs requests.
#[async_trait]
pub trait Authenticator: Send + Sync {
    async fn sign(&self, out: &mut Outgoing) -> Result<Generation>;
    /// After a 401 to a request of that generation: true when it is worth trying again.
    async fn renew(&self, refused: Generation) -> Result<bool>;
    /// What must not be shown: the credential's values and the tokens got with them.
    fn secrets(&self) -> Vec<Secret>;
    /// What to do when the vendor refuses the credential.
    fn hint(&self) -> String;
}

/// Renders a template over `config`, `credential` and the names given besides.
pub type Render = Arc<dyn Fn(&str, &Map<String, Value>) -> Result<String> + Send + Sync>;

/// Told when the vendor replaced the refresh token: the old one is void, so the new one must be kept.
pub type OnRotated = Arc<dyn Fn(&Secret) + Send + Sync>;

/// What an authenticator is built from.
pub struct AuthInput<'a> {
    /// The connector's `auth`.
    pub specs: &'a [AuthSpec],
    pub credential: Option<&'a Credential>,
    /// Name of the connection, for messages.
    pub connection: &'a str,
    /// Rendered `http.base_url`, for a session's login.
    pub base_url: &'a str,
    pub render: Render,
    pub transport: Arc<Transport>,
    pub on_rotated: Option<OnRotated>,
    /// Who keeps the connection's tokens, where somebody does.
    pub tokens: Option<Arc<dyn AccessTokens>>,
}

pub fn build(input: &AuthInput<'_>) -> Result<Arc<dyn Authenticator>> {
    let spec = choose(input)?;
    let values = Values::new(input);
    Ok(match spec {
        None | Some(AuthSpec::None {}) => Arc::new(fixed::Fixed::unsigned(&values)),
        Some(AuthSpec::Basic { username, password }) => Arc::new(basic::build(&values, username, password)?),
        Some(AuthSpec::Bearer { token, scheme }) => {
            Arc::new(bearer::build(&values, token, scheme.as_deref())?)
        }
        Some(AuthSpec::ApiKey {
            placement,
            name,
            value,
        }) => Arc::new(api_key::build(&values, *placement, name, value)?),
        Some(spec @ AuthSpec::Oauth2 { .. }) => oauth2::build(&values, spec, input)?,
        Some(AuthSpec::Session {
            login,
            placement,
            name,
            value,
        }) => Arc::new(session::build(&values, login, *placement, name, value, input)?),
        Some(spec @ AuthSpec::Jwt { .. }) => jwt::build(&values, spec, input)?,
        Some(AuthSpec::StandardWebhooks { secret }) => {
            Arc::new(standard_webhooks::build(&values, secret, input)?)
        }
    })
}

/// Who speaks to the authorization server, where the chosen method keeps what one grants.
pub fn authorization_server(input: &AuthInput<'_>) -> Result<Option<Arc<dyn AuthorizationServer>>> {
    match choose(input)? {
        Some(spec @ AuthSpec::Oauth2 { grant, .. }) if grant.is_kept() => {
            let client = oauth2::Client::build(&Values::new(input), spec, input)?;
            Ok(Some(Arc::new(client)))
        }
        _ => Ok(None),
    }
}

/// Tokens that need nobody's consent, for whoever signs with them elsewhere.
pub struct OwnTokens {
    pub tokens: Arc<dyn AccessTokens>,
    /// What nobody needs who only uses the tokens: the client's secret, the private key.
    pub made_from: Vec<Secret>,
}

/// The tokens of a method that makes them without a person: client credentials, a password, a signed assertion.
pub fn own_tokens(input: &AuthInput<'_>) -> Result<Option<OwnTokens>> {
    let values = Values::new(input);
    match choose(input)? {
        Some(spec @ AuthSpec::Oauth2 { grant, .. }) if !grant.is_kept() => {
            oauth2::own_tokens(&values, spec, input).map(Some)
        }
        Some(spec @ AuthSpec::Jwt { .. }) => jwt::own_tokens(&values, spec, input).map(Some),
        _ => Ok(None),
    }
}

/// The method that the credential names; where it names none, the only one there is.
fn choose<'a>(input: &AuthInput<'a>) -> Result<Option<&'a AuthSpec>> {
    let methods: Vec<&str> = input.specs.iter().map(AuthSpec::method).collect();
    let file = format!("connections/{}.yaml", input.connection);
    if let Some(method) = input
        .credential
        .and_then(|credential| credential.method.as_deref())
    {
        let values = Values::new(input);
        let known = input
            .specs
            .iter()
            .filter(|spec| spec.method() == method && values.is_meant(spec))
            .collect::<Vec<_>>();
        if known.is_empty() && method == "none" && input.specs.is_empty() {
            return Ok(None);
        }
        // Two specs of one method differ in what they ask for: the first that has it all is meant.
        let complete = known
            .iter()
            .find(|spec| values.has_all(spec))
            .or_else(|| known.iter().find(|spec| values.can_log_in(spec)))
            .or(known.first());
        return complete.copied().map(Some).ok_or_else(|| {
            let hint = match &methods[..] {
                [] => format!(
                    "the connector has no auth method at all: remove credential from {file}, or say by auth: in its config (or in the connector's file) how requests are signed"
                ),
                methods => format!("set credential.method in {file} to one of: {}", methods.join(", ")),
            };
            Error::spec(format!("the connector knows no auth method '{method}'"))
                .with("connection", input.connection)
                .hint(hint)
        });
    }
    match input.specs {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        several => {
            let unsigned = several.iter().find(|spec| matches!(spec, AuthSpec::None {}));
            match (unsigned, input.credential) {
                (Some(none), None) => Ok(Some(none)),
                (_, None) => Err(Error::auth("no credential is set")
                    .with("connection", input.connection)
                    .hint(format!(
                        "set credential in {file}, with method: {}",
                        methods.join(" or ")
                    ))),
                (_, Some(_)) => Err(
                    Error::spec("the credential does not say which auth method it is for")
                        .with("connection", input.connection)
                        .hint(format!(
                            "set credential.method in {file} to one of: {}",
                            methods.join(", ")
                        )),
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests;
