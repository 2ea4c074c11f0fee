//! A session token of the settings while it is valid, else one that a login gives.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;
use weir_protocol::{Error, Result};

use super::super::env::{Env, Timeouts};
use super::super::node::Node;
use super::super::request::Options;
use super::super::template::{Text, py_text};
use crate::http::{Answer, Body, Method, Outgoing, Sent, Verdict};

pub(crate) struct LegacySession {
    api_url: Text,
    header: Text,
    session_token: Text,
    response_key: Text,
    username: Text,
    password: Text,
    login_url: Text,
    validate_url: Text,
    kept: Mutex<Option<String>>,
}

impl LegacySession {
    pub(super) fn new(node: &Node<'_>) -> Result<Self> {
        Ok(Self {
            api_url: node.text_or("api_url", "")?,
            header: node.need_text("header")?,
            session_token: node.text_or("session_token", "")?,
            response_key: node.need_text("session_token_response_key")?,
            username: node.text_or("username", "")?,
            password: node.text_or("password", "")?,
            login_url: node.need_text("login_url")?,
            validate_url: node.need_text("validate_session_url")?,
            kept: Mutex::default(),
        })
    }

    pub(super) async fn sign(&self, env: &Env, options: &mut Options) -> Result<()> {
        let header = self.header.eval_text(&env.scope())?;
        let mut kept = self.kept.lock().await;
        let token = match &*kept {
            Some(token) => token.clone(),
            None => {
                let token = self.find(env, &header).await?;
                env.hide(&token);
                *kept = Some(token.clone());
                token
            }
        };
        options.headers.insert(header, Value::String(token));
        Ok(())
    }

    async fn find(&self, env: &Env, header: &str) -> Result<String> {
        let scope = env.scope();
        let text = |text: &Text| text.eval_text(&scope);
        let client = env.client(None, Timeouts::NONE)?;
        let base = text(&self.api_url)?;
        let url = |path: String| {
            Url::parse(&format!("{base}{path}")).map_err(|error| {
                Error::spec("the session's URL is no URL")
                    .caused_by(error)
                    .hint("check api_url and login_url")
            })
        };
        let given = text(&self.session_token)?;
        if !given.is_empty() && given != "None" {
            let mut out = Outgoing::get(url(text(&self.validate_url)?)?);
            out.set_header(header, given.clone());
            let refused = |answer: &Answer| Ok((answer.status == 401).then_some(Verdict::Ignore));
            if let Sent::Answer(_) = client.send(out, &refused).await? {
                return Ok(given);
            }
        }
        let mut out = Outgoing::new(Method::POST, url(text(&self.login_url)?)?);
        let body = json!({ "username": text(&self.username)?, "password": text(&self.password)? });
        out.body = Body::Json(Bytes::from(body.to_string()));
        let no_rule = |_: &Answer| Ok(None);
        let key = text(&self.response_key)?;
        let missing = || {
            Error::auth(format!("the login's answer has no '{key}'"))
                .hint("check username and password of the connection")
        };
        let Sent::Answer(answer) = client.send(out, &no_rule).await? else {
            return Err(missing());
        };
        let body: Value = serde_json::from_slice(&answer.body).map_err(|error| missing().caused_by(error))?;
        body.get(&key).map(py_text).ok_or_else(missing)
    }
}
