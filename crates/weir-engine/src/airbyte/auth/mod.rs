//! How a manifest's requests are signed: what its authenticators add to parameters, headers and bodies.

mod jwt;
mod key;
mod legacy_session;
mod oauth;
mod pools;
mod rotating;
mod session;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use weir_protocol::{Result, Secret};

use super::env::Env;
use super::node::Node;
use super::records::path;
use super::request::{Injection, Options};
use super::template::{Text, py_text};
use crate::auth::{Authenticator, Generation};
use crate::http::{Answer, Outgoing};

/// Requests are signed before they reach the client; it only has to know what to hide.
pub(crate) struct Unsigned(pub(crate) Arc<RwLock<Vec<Secret>>>);

#[async_trait]
impl Authenticator for Unsigned {
    async fn sign(&self, _: &mut Outgoing) -> Result<Generation> {
        Ok(Generation::default())
    }

    async fn renew(&self, _: Generation) -> Result<bool> {
        Ok(false)
    }

    fn secrets(&self) -> Vec<Secret> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hint(&self) -> String {
        "check the credential in the connection's settings".to_owned()
    }
}

/// Where a token comes from.
pub(crate) enum Token {
    Text(Text),
    Session(Box<session::Session>),
}

pub(crate) enum Auth {
    None,
    Key { put: Injection, token: Token },
    Bearer(Token),
    Basic { username: Text, password: Text },
    Oauth(Box<oauth::OAuth>),
    Jwt(Box<jwt::Jwt>),
    LegacySession(Box<legacy_session::LegacySession>),
    Rotating(Box<rotating::Rotating>),
}

impl Auth {
    /// Shared by all requesters that declare the same.
    pub(crate) fn of(env: &Arc<Env>, node: Option<&Node<'_>>) -> Result<Arc<Self>> {
        let Some(node) = node else {
            return Ok(Arc::new(Self::None));
        };
        let key = node.value.to_string();
        let known = env
            .auths
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let made = Arc::new(Self::new(env, node)?);
        env.auths
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, made.clone());
        Ok(made)
    }

    fn new(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        Ok(match node.kind() {
            "NoAuth" => Self::None,
            "BearerAuthenticator" => Self::Bearer(Token::Text(node.text_or("api_token", "")?)),
            "ApiKeyAuthenticator" => Self::Key {
                put: match node.get("inject_into") {
                    Some(option) => Injection::new(&option)?,
                    None => Injection::header(
                        node,
                        node.str("header")
                            .ok_or_else(|| node.error("an API key needs inject_into or header"))?,
                    )?,
                },
                token: Token::Text(node.text_or("api_token", "")?),
            },
            "BasicHttpAuthenticator" => Self::Basic {
                username: node.text_or("username", "")?,
                password: node.text_or("password", "")?,
            },
            "OAuthAuthenticator" => Self::Oauth(Box::new(oauth::OAuth::new(env, node)?)),
            "JwtAuthenticator" => Self::Jwt(Box::new(jwt::Jwt::new(node)?)),
            "SessionTokenAuthenticator" => session(env, node)?,
            "LegacySessionTokenAuthenticator" => {
                Self::LegacySession(Box::new(legacy_session::LegacySession::new(node)?))
            }
            "RateLimitedMultipleTokenAuthenticator" => {
                Self::Rotating(Box::new(rotating::Rotating::new(env, node)?))
            }
            "SelectiveAuthenticator" => return selected(env, node),
            _ => return Err(node.unknown("an authenticator")),
        })
    }

    pub(crate) async fn sign(&self, env: &Env, options: &mut Options) -> Result<()> {
        let mut own = Options::default();
        let mut header = |value: String| {
            own.headers
                .insert("Authorization".to_owned(), Value::String(value))
        };
        match self {
            // Those that choose by the request sign it as a whole.
            Self::None | Self::Rotating(_) => {}
            Self::Key { put, token } => {
                let token = token.get(env).await?;
                put.put(env, &mut own, Value::String(token))?;
            }
            Self::Bearer(token) => {
                header(format!("Bearer {}", token.get(env).await?));
            }
            Self::Basic { username, password } => {
                let scope = env.scope();
                let both = format!("{}:{}", username.eval_text(&scope)?, password.eval_text(&scope)?);
                let encoded = STANDARD.encode(both);
                env.hide(&encoded);
                header(format!("Basic {encoded}"));
            }
            Self::Oauth(oauth) => {
                header(format!("Bearer {}", oauth.token(env).await?));
            }
            Self::Jwt(jwt) => jwt.sign(env, &mut own)?,
            Self::LegacySession(session) => session.sign(env, &mut own).await?,
        }
        options.merge(own)
    }

    /// What can only be signed when the whole request is known.
    pub(crate) async fn sign_whole(&self, env: &Env, out: &mut Outgoing) -> Result<()> {
        match self {
            Self::Rotating(rotating) => rotating.sign(env, out).await,
            _ => Ok(()),
        }
    }

    /// Heeds an answer to a request that it signed.
    pub(crate) fn note(&self, out: &Outgoing, answer: &Answer) {
        if let Self::Rotating(rotating) = self {
            rotating.note(out, answer);
        }
    }

    /// Whether the same request would get through with another token.
    pub(crate) fn has_other(&self, out: &Outgoing) -> bool {
        matches!(self, Self::Rotating(rotating) if rotating.has_other(out))
    }

    pub(crate) fn is_rotating(&self) -> bool {
        matches!(self, Self::Rotating(_))
    }

    /// After a refusal: the next request fetches a new token.
    pub(crate) async fn forget(&self, env: &Env) {
        match self {
            Self::Oauth(oauth) => oauth.forget(env).await,
            Self::Bearer(Token::Session(session))
            | Self::Key {
                token: Token::Session(session),
                ..
            } => {
                session.forget().await;
            }
            _ => {}
        }
    }
}

impl Token {
    async fn get(&self, env: &Env) -> Result<String> {
        match self {
            Self::Text(text) => {
                let token = text.eval_text(&env.scope())?;
                env.hide(&token);
                Ok(token)
            }
            Self::Session(session) => session.token(env).await,
        }
    }
}

fn session(env: &Arc<Env>, node: &Node<'_>) -> Result<Auth> {
    let how = node.need("request_authentication")?;
    let session = session::Session::new(env, node, &how)?;
    let token = Token::Session(Box::new(session));
    Ok(match how.kind() {
        "Bearer" => Auth::Bearer(token),
        _ => Auth::Key {
            put: Injection::new(&how.need("inject_into")?)?,
            token,
        },
    })
}

/// The authenticator that the settings choose.
fn selected(env: &Arc<Env>, node: &Node<'_>) -> Result<Auth> {
    let steps = node.list("authenticator_selection_path");
    let steps: Vec<String> = steps.iter().map(|step| py_text(step.value)).collect();
    let chosen = path::get(&env.config, &steps).ok_or_else(|| {
        node.error(format!(
            "the settings have no '{}', which chooses the authenticator",
            steps.join(".")
        ))
    })?;
    let chosen = py_text(chosen);
    let known = node.need("authenticators")?;
    let found = known.members().into_iter().find(|(name, _)| *name == chosen);
    match found {
        Some((_, found)) => Auth::new(env, &found),
        None => {
            let names: Vec<&str> = known.members().into_iter().map(|(name, _)| name).collect();
            Err(node.error(format!(
                "there is no authenticator '{chosen}'; there are {}",
                names.join(", ")
            )))
        }
    }
}
