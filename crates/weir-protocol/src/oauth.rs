//! The words of OAuth 2 between who speaks to an authorization server and who keeps what it grants.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::spec::Oauth2Grant;
use crate::{Error, Result, Secret};

/// One connection's client at its authorization server: what may be told of it.
#[derive(Debug, Clone)]
pub struct OauthClient {
    pub grant: Oauth2Grant,
    pub client_id: String,
    pub token_url: String,
    pub issuer: Option<String>,
    pub authorize_url: Option<String>,
    pub authorize_params: Vec<(String, String)>,
    /// What is asked for.
    pub scopes: Vec<String>,
    pub can_device: bool,
    pub can_revoke: bool,
    /// A refresh token that the connection's credential holds.
    pub seed: Option<Secret>,
}

/// What a token is asked for with.
#[derive(Debug, Clone, Copy)]
pub enum Exchange<'a> {
    /// Client credentials or a password: nothing that anybody keeps.
    Own,
    Code {
        code: &'a Secret,
        verifier: &'a Secret,
        redirect_uri: &'a str,
    },
    Device {
        code: &'a Secret,
    },
    Refresh {
        token: &'a Secret,
    },
}

/// How asking for a token ended, where the server said something about the grant.
#[derive(Debug)]
pub enum Exchanged {
    Granted(Box<Granted>),
    /// The code or refresh token is void: asking again does not help, consenting again does.
    Refused(Error),
    /// A device's person has not decided yet.
    Pending,
    /// The same, and the device asks too often.
    SlowDown,
}

/// What an authorization server gave.
#[derive(Debug, Clone)]
pub struct Granted {
    pub access_token: Secret,
    /// None where the one before stays good.
    pub refresh_token: Option<Secret>,
    /// None where the server does not say.
    pub expires_in: Option<Duration>,
    pub refresh_expires_in: Option<Duration>,
    /// What was granted, where the server says it; else what was asked for.
    pub scopes: Option<Vec<String>>,
}

/// What a person needs to consent on another device.
#[derive(Debug, Clone)]
pub struct DeviceCode {
    pub device_code: Secret,
    pub user_code: String,
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    pub expires_in: Duration,
    pub interval: Duration,
}

/// Speaks to the authorization server of one connection.
#[async_trait]
pub trait AuthorizationServer: fmt::Debug + Send + Sync {
    fn client(&self) -> &OauthClient;
    /// What nobody needs who only uses the tokens: the client's secret, a refresh token.
    fn own_secrets(&self) -> Vec<Secret> {
        self.client().seed.iter().cloned().collect()
    }
    async fn begin_device(&self) -> Result<DeviceCode>;
    /// An error says nothing about the grant: the network, the server, or the client's own settings.
    async fn exchange(&self, what: Exchange<'_>) -> Result<Exchanged>;
    /// Gives a refresh token up, and with it the access tokens made from it.
    async fn revoke(&self, token: &Secret) -> Result<()>;
}

/// An access token as it is handed out.
#[derive(Debug, Clone)]
pub struct AccessToken {
    pub token: Secret,
    /// How long it may be used before it is asked for again; None: until it is refused.
    pub use_for: Option<Duration>,
}

/// Whoever keeps the tokens of one connection, for all that use it.
#[async_trait]
pub trait AccessTokens: Send + Sync {
    /// The token now; another one than `refused`, which the vendor did not take.
    async fn token(&self, refused: Option<&Secret>) -> Result<AccessToken>;
}
