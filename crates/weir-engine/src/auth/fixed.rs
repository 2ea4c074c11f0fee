//! Signing with values that do not change: none, basic, bearer and API key.

use async_trait::async_trait;
use weir_protocol::spec::Placement;
use weir_protocol::{Result, Secret};

use super::credential::Values;
use super::{Authenticator, Generation};
use crate::http::Outgoing;

/// Where a signature goes.
#[derive(Clone)]
pub(super) struct Put {
    pub(super) placement: Placement,
    pub(super) name: String,
}

impl Put {
    pub(super) fn header(name: &str) -> Self {
        Self {
            placement: Placement::Header,
            name: name.to_owned(),
        }
    }

    pub(super) fn apply(&self, out: &mut Outgoing, value: &str) {
        match self.placement {
            Placement::Header => out.set_header(&self.name, value),
            Placement::Query => out.set_param(&self.name, value),
            Placement::Cookie => {
                let cookie = format!("{}={value}", self.name);
                let others = out
                    .headers
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case("cookie"));
                let cookies =
                    others.map_or_else(|| cookie.clone(), |(_, others)| format!("{others}; {cookie}"));
                out.set_header("Cookie", cookies);
            }
        }
    }
}

pub(super) struct Fixed {
    signature: Option<(Put, Secret)>,
    secrets: Vec<Secret>,
    hint: String,
}

impl Fixed {
    pub(super) fn unsigned(values: &Values) -> Self {
        Self {
            signature: None,
            secrets: values.secrets(),
            hint: values.hint(),
        }
    }

    pub(super) fn new(values: &Values, put: Put, value: String) -> Self {
        let value = Secret::new(value);
        let mut secrets = values.secrets();
        secrets.push(value.clone());
        Self {
            signature: Some((put, value)),
            secrets,
            hint: values.hint(),
        }
    }
}

#[async_trait]
impl Authenticator for Fixed {
    async fn sign(&self, out: &mut Outgoing) -> Result<Generation> {
        if let Some((put, value)) = &self.signature {
            put.apply(out, value.expose());
        }
        Ok(Generation::default())
    }

    async fn renew(&self, _refused: Generation) -> Result<bool> {
        Ok(false)
    }

    fn secrets(&self) -> Vec<Secret> {
        self.secrets.clone()
    }

    fn hint(&self) -> String {
        self.hint.clone()
    }
}
