//! Renders a method's values, and says which of the credential is missing instead of failing in a template.

use serde_json::Map;
use weir_protocol::spec::AuthSpec;
use weir_protocol::{Error, Result, Secret};

use super::{AuthInput, Render};

/// The value of a credential that is no secret: which OAuth grant is meant.
const GRANT: &str = "grant";

pub(super) struct Values {
    render: Render,
    present: Vec<String>,
    secrets: Vec<Secret>,
    connection: String,
    /// Which of several OAuth grants is meant.
    grant: Option<String>,
}

impl Values {
    pub(super) fn new(input: &AuthInput<'_>) -> Self {
        let set = || {
            input
                .credential
                .iter()
                .flat_map(|credential| credential.values.iter())
        };
        Self {
            render: input.render.clone(),
            present: set()
                .filter(|(_, secret)| !secret.expose().is_empty())
                .map(|(name, _)| name.clone())
                .collect(),
            secrets: set()
                .filter(|(name, _)| *name != GRANT)
                .map(|(_, secret)| secret.clone())
                .collect(),
            grant: set()
                .find(|(name, _)| *name == GRANT)
                .map(|(_, grant)| grant.expose().to_owned()),
            connection: input.connection.to_owned(),
        }
    }

    pub(super) fn secrets(&self) -> Vec<Secret> {
        self.secrets.clone()
    }

    pub(super) fn connection(&self) -> &str {
        &self.connection
    }

    /// Where a person sets a value.
    pub(super) fn file(&self) -> String {
        format!("connections/{}.yaml", self.connection)
    }

    /// What to do when the vendor refuses what is set.
    pub(super) fn hint(&self) -> String {
        if self.present.is_empty() {
            return format!(
                "the source asks for a credential; set credential in {}",
                self.file()
            );
        }
        let names: Vec<String> = self
            .present
            .iter()
            .map(|name| format!("credential.{name}"))
            .collect();
        format!(
            "check that {} in {} is right, not expired and not revoked",
            names.join(" and "),
            self.file()
        )
    }

    /// Renders a value that must not be empty.
    pub(super) fn required(&self, template: &str) -> Result<String> {
        if let Some(name) = self.missing(template) {
            return Err(self.missing_error(&format!("credential.{name}")));
        }
        let value = (self.render)(template, &Map::new())?;
        if value.trim().is_empty() {
            return Err(Error::auth("an auth value is empty")
                .with("template", template)
                .with("connection", &self.connection)
                .hint(format!("set what it names in {}", self.file())));
        }
        Ok(value)
    }

    /// Renders a value that may be empty, as it is where the credential lacks what it names.
    pub(super) fn optional(&self, template: &str) -> Result<String> {
        if self.missing(template).is_some() {
            Ok(String::new())
        } else {
            (self.render)(template, &Map::new())
        }
    }

    pub(super) fn missing_error(&self, field: &str) -> Error {
        Error::auth(format!("{field} is not set"))
            .with("connection", &self.connection)
            .hint(format!(
                "set {field} in {}, best as a reference: ${{NAME}}",
                self.file()
            ))
    }

    /// Whether a person can consent to it: all that it needs by then is who the client is.
    pub(super) fn can_log_in(&self, spec: &AuthSpec) -> bool {
        match spec {
            AuthSpec::Oauth2 {
                authorize_url,
                device_url,
                client_id,
                ..
            } => (authorize_url.is_some() || device_url.is_some()) && self.missing(client_id).is_none(),
            _ => false,
        }
    }

    /// Whether it is of the grant that the credential names, where it names one.
    pub(super) fn is_meant(&self, spec: &AuthSpec) -> bool {
        match (spec, &self.grant) {
            (AuthSpec::Oauth2 { grant, .. }, Some(wanted)) => grant.as_str() == wanted,
            _ => true,
        }
    }

    /// Whether the credential has everything that the method's templates name.
    pub(super) fn has_all(&self, spec: &AuthSpec) -> bool {
        let templates: Vec<&str> = match spec {
            AuthSpec::None {} => vec![],
            AuthSpec::Basic { username, .. } => vec![username],
            AuthSpec::Bearer { token, .. } => vec![token],
            AuthSpec::ApiKey { value, .. } => vec![value],
            AuthSpec::Oauth2 {
                grant,
                client_id,
                refresh_token,
                ..
            } => {
                if grant.is_kept() {
                    vec![client_id, refresh_token]
                } else {
                    vec![client_id]
                }
            }
            AuthSpec::Session { login, .. } => login.request.headers.values().map(String::as_str).collect(),
            AuthSpec::Jwt { key, .. } => vec![key],
            AuthSpec::StandardWebhooks { secret } => vec![secret],
        };
        templates.iter().all(|template| self.missing(template).is_none())
    }

    /// The first value of the credential that a template needs and that is not set. One that the
    /// template itself treats as optional is not needed.
    fn missing(&self, template: &str) -> Option<String> {
        if template.contains("default") || template.contains("defined") || template.contains("{%") {
            return None;
        }
        let named = template.split("credential.").skip(1).filter_map(|rest| {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            (!name.is_empty()).then_some(name)
        });
        named.into_iter().find(|name| !self.present.contains(name))
    }
}
