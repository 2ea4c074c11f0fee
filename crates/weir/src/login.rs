//! Who logs people in to the server, as the environment and `weir.yaml` say.

use std::sync::Arc;

use weir_control::sessions::{LoginDesk, LoginRules};
use weir_control::{DEFAULT_TENANT, Store};
use weir_engine::auth::oidc::{Oidc, OidcSettings};
use weir_protocol::{Error, Result};
use weir_server::Login;

use crate::config::LoginSettings;
use crate::project::ProjectFile;

/// None where nobody logs in with a browser.
pub(crate) fn login(
    file: &ProjectFile,
    settings: &LoginSettings,
    store: &Store,
    base: &str,
) -> Result<Option<Login>> {
    let Some(issuer) = &settings.issuer else {
        return Ok(None);
    };
    let client_id = settings.client_id.clone().ok_or_else(|| {
        Error::spec("WEIR_OIDC_ISSUER is set, and WEIR_OIDC_CLIENT_ID is not")
            .hint("set it to the id that weir has at the identity provider, or unset WEIR_OIDC_ISSUER")
    })?;
    let provider = Oidc::new(OidcSettings {
        issuer: issuer.clone(),
        client_id,
        client_secret: settings.client_secret.clone(),
        scopes: file.login.scopes.clone(),
        allow_private_hosts: settings.allow_private_hosts,
    })?;
    let rules = LoginRules {
        role_claim: settings
            .role_claim
            .clone()
            .unwrap_or_else(|| file.login.role_claim.clone()),
        roles: file.login.roles.clone(),
        principal_claim: file.login.principal_claim.clone(),
        group_claim: file.login.group_claim.clone(),
    };
    if rules.roles.is_empty() {
        tracing::warn!("login.roles in weir.yaml names no role: nobody can log in");
    }
    let desk = LoginDesk::new(store, DEFAULT_TENANT, Arc::new(provider), rules, base);
    Ok(Some(Login::new(desk, base)))
}
