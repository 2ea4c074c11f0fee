//! A token that a login request answers.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Mutex;
use weir_protocol::{Error, Result};

use super::super::env::Env;
use super::super::node::Node;
use super::super::records::{Decoder, path};
use super::super::request::{Call, Outcome, Requester};
use super::super::template::{Otherwise, Text, py_text};
use super::super::time::{Delta, Moment, SECOND, parse_duration};

/// How long a token is used where the manifest does not say; a login for every request would be rude.
const USUAL_LIFETIME: Delta = Delta {
    months: 0,
    micros: 300 * SECOND,
};

pub(crate) struct Session {
    login: Box<Requester>,
    decoder: Decoder,
    path: Vec<String>,
    lifetime: Delta,
    /// What is sent, with `session_token` in it.
    template: Option<Text>,
    kept: Mutex<Option<(String, Moment)>>,
}

impl Session {
    pub(super) fn new(env: &Arc<Env>, node: &Node<'_>, how: &Node<'_>) -> Result<Self> {
        let lifetime = match node.str("expiration_duration") {
            Some(text) => {
                parse_duration(text).ok_or_else(|| node.error(format!("'{text}' is no duration")))?
            }
            None => USUAL_LIFETIME,
        };
        let steps = node.list("session_token_path");
        let template = how.str("api_token").filter(|text| !text.is_empty());
        let template = template.map(|text| how.template(text, node.parameters(), Otherwise::Itself));
        Ok(Self {
            login: Box::new(Requester::beside(env, &node.need("login_requester")?)?),
            decoder: Decoder::new(node.get("decoder").as_ref())?,
            path: steps.iter().map(|step| py_text(step.value)).collect(),
            lifetime,
            template: template.transpose()?,
            kept: Mutex::default(),
        })
    }

    pub(super) async fn token(&self, env: &Env) -> Result<String> {
        let mut kept = self.kept.lock().await;
        let now = env.now();
        let token = match &*kept {
            Some((token, until)) if *until >= now => token.clone(),
            _ => {
                let token = Box::pin(self.fetch(env)).await?;
                let until = now.plus(self.lifetime).unwrap_or(now);
                *kept = Some((token.clone(), until));
                token
            }
        };
        let Some(template) = &self.template else {
            return Ok(token);
        };
        let value = Value::String(token);
        template.eval_text(&env.scope().with_json("session_token", &value))
    }

    pub(super) async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn fetch(&self, env: &Env) -> Result<String> {
        let Outcome::Answer(answer) = self.login.send(Call::default()).await? else {
            return Err(Error::auth("the login gave no answer")
                .hint("check the error handler of the login requester"));
        };
        let body = self.decoder.first_value(&answer, env.response_bytes_max())?;
        let token = path::get(&body, &self.path).map(py_text).ok_or_else(|| {
            Error::auth(format!("the login's answer has no '{}'", self.path.join(".")))
                .hint("check session_token_path, and that the login succeeds")
        })?;
        env.hide(&token);
        Ok(token)
    }
}
