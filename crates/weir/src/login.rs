//! Who logs people in to the server, and whose access tokens it takes, as the environment and `weir.yaml` say.

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
        if file.login.access_tokens {
            tracing::warn!(
                "login.access_tokens is set, and WEIR_OIDC_ISSUER is not: no access token is taken"
            );
        }
        return Ok(None);
    };
    let client_id = settings.client_id.clone().ok_or_else(|| {
        Error::spec("WEIR_OIDC_ISSUER is set, and WEIR_OIDC_CLIENT_ID is not")
            .hint("set it to the id that weir has at the identity provider, or unset WEIR_OIDC_ISSUER")
    })?;
    let audience = audience(file, &client_id, base)?;
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
    let desk = match audience {
        Some(audience) => desk.taking_access_tokens(audience),
        None => desk,
    };
    Ok(Some(Login::new(desk, base)))
}

/// What access tokens have to be made for; None where none are taken.
fn audience(file: &ProjectFile, client_id: &str, base: &str) -> Result<Option<String>> {
    if !file.login.access_tokens {
        return Ok(None);
    }
    let own = || format!("{}/mcp", base.trim_end_matches('/'));
    let audience = file.login.audience.clone().unwrap_or_else(own);
    if audience == client_id {
        return Err(Error::spec(
            "login.audience is weir's own id at the identity provider: ID tokens are made for that",
        )
        .hint("register weir as a resource of its own there, and name that"));
    }
    Ok(Some(audience))
}
