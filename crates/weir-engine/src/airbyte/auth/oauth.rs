//! OAuth access tokens, refreshed when they run out.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::Mutex;
use url::Url;
use weir_protocol::{Error, Result};

use super::super::env::{Env, Timeouts};
use super::super::node::Node;
use super::super::request::{Mapping, Options};
use super::super::template::{Condition, Takes, Text, json_is_true, py_text, quote};
use super::super::time::{Delta, Moment, SECOND, isoparse};
use super::Auth;
use crate::http::{Answer, Body, Method, Outgoing, Sent, Verdict};

/// How deep the answer is searched for the token.
const DEPTH_MAX: usize = 5;

pub(crate) struct OAuth {
    endpoint: Option<Text>,
    client_id: Option<(Text, Text)>,
    client_secret: Option<(Text, Text)>,
    refresh_token: Option<Text>,
    refresh_token_name: Text,
    scopes: Vec<String>,
    grant: (Text, Text),
    access_token_name: Text,
    access_token: Option<Text>,
    expires_name: Text,
    /// When the token of the settings runs out.
    expiry: Option<Text>,
    body: Option<Mapping>,
    headers: Option<Mapping>,
    as_params: bool,
    expires_at_format: Option<String>,
    assertion: Option<(Condition, Arc<Auth>)>,
    updater: Option<Updater>,
    expired: Expired,
    kept: Mutex<Option<(String, Moment)>>,
}

/// By what an answer says that the refresh token is used up; never where one part is not declared.
struct Expired {
    codes: Vec<u64>,
    key: String,
    values: Vec<String>,
}

impl Expired {
    fn new(node: &Node<'_>) -> Self {
        // Those of the updater count where they are given.
        let updater = node.get("refresh_token_updater");
        let holder = |field: &str| {
            updater
                .as_ref()
                .filter(|node| node.get(field).is_some())
                .unwrap_or(node)
        };
        let list = |field: &str| holder(field).list(field);
        let values = list("refresh_token_error_values");
        let codes = list("refresh_token_error_status_codes");
        let key = "refresh_token_error_key";
        Self {
            codes: codes.iter().filter_map(|code| code.value.as_u64()).collect(),
            key: holder(key).str(key).unwrap_or_default().to_owned(),
            values: values.iter().map(|value| py_text(value.value)).collect(),
        }
    }

    fn is_told_by(&self, answer: &Answer) -> bool {
        if !self.codes.contains(&u64::from(answer.status)) {
            return false;
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let told = body.get(&self.key).map(py_text);
        told.is_some_and(|told| self.values.contains(&told))
    }
}

fn no_refresh() -> Error {
    Error::auth("the refresh token is used up or was withdrawn")
        .hint("sign in anew at the vendor and set the new refresh token in the connection's settings")
}

/// Where the settings hold the token that refreshing replaces.
struct Updater {
    refresh_name: String,
    access_path: Vec<String>,
    expiry_path: Vec<String>,
    refresh_path: Vec<String>,
}

impl OAuth {
    pub(super) fn new(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        let pair = |field: &str| -> Result<Option<(Text, Text)>> {
            let Some(value) = node.text(field)? else {
                return Ok(None);
            };
            Ok(Some((node.text_or(&format!("{field}_name"), field)?, value)))
        };
        let parameters = node.parameters();
        let mapping = |field: &str| {
            let node = node.get(field);
            node.map(|below| Mapping::new(&below, parameters)).transpose()
        };
        let assertion = match (
            node.condition("use_profile_assertion")?,
            node.get("profile_assertion"),
        ) {
            (Some(used), Some(profile)) => Some((used, Auth::of(env, Some(&profile))?)),
            _ => None,
        };
        Ok(Self {
            endpoint: node.text("token_refresh_endpoint")?,
            client_id: pair("client_id")?,
            client_secret: pair("client_secret")?,
            refresh_token: node.text("refresh_token")?,
            refresh_token_name: node.text_or("refresh_token_name", "refresh_token")?,
            scopes: node
                .list("scopes")
                .iter()
                .map(|scope| py_text(scope.value))
                .collect(),
            grant: (
                node.text_or("grant_type_name", "grant_type")?,
                node.text_or("grant_type", "refresh_token")?,
            ),
            access_token_name: node.text_or("access_token_name", "access_token")?,
            access_token: node.text("access_token_value")?,
            expires_name: node.text_or("expires_in_name", "expires_in")?,
            expiry: node.text("token_expiry_date")?,
            body: mapping("refresh_request_body")?,
            headers: mapping("refresh_request_headers")?,
            as_params: node.flag("send_refresh_request_as_query_params"),
            expires_at_format: node.str("token_expiry_date_format").map(str::to_owned),
            assertion,
            updater: node.get("refresh_token_updater").map(|node| Updater::new(&node)),
            expired: Expired::new(node),
            kept: Mutex::default(),
        })
    }

    pub(super) async fn forget(&self, env: &Env) {
        // Of a token in the settings the next request must know which one was refused.
        let refused = match &self.updater {
            Some(updater) => env.live.get(&updater.access_path).map(|token| py_text(&token)),
            None => None,
        };
        *self.kept.lock().await = Some((refused.unwrap_or_default(), Moment::utc(i64::MIN / 2)));
    }

    pub(super) async fn token(&self, env: &Env) -> Result<String> {
        if let Some(updater) = &self.updater {
            return self.token_of_settings(env, updater).await;
        }
        let mut kept = self.kept.lock().await;
        if kept.is_none() {
            *kept = self.given(env)?;
        }
        if let Some((token, until)) = &*kept
            && env.now() <= *until
        {
            return Ok(token.clone());
        }
        let (token, until) = Box::pin(self.refresh(env)).await?;
        env.hide(&token);
        *kept = Some((token.clone(), until));
        Ok(token)
    }

    /// The token that the settings hold, and until when.
    fn given(&self, env: &Env) -> Result<Option<(String, Moment)>> {
        let scope = env.scope();
        let forever = Moment::utc(i64::MAX / 2);
        let Some(text) = &self.access_token else {
            return Ok(None);
        };
        let token = text.eval(&scope, Takes::Anything)?;
        if !json_is_true(&token) {
            return Ok(None);
        }
        let token = py_text(&token);
        env.hide(&token);
        if self.endpoint.is_none() {
            return Ok(Some((token, forever)));
        }
        let until = match &self.expiry {
            Some(expiry) => self::expiry(&expiry.eval_text(&scope)?),
            None => None,
        };
        Ok(until.map(|until| (token, until)))
    }

    /// The token that the settings hold; a new one is written there, together with what refreshes it
    /// the next time. All authenticators of a source see the same settings.
    async fn token_of_settings(&self, env: &Env, updater: &Updater) -> Result<String> {
        let _turn = env.live.turn.lock().await;
        let mut forced = self.kept.lock().await;
        let text = |steps: &[String]| env.live.get(steps).filter(|value| !value.is_null());
        let token = text(&updater.access_path).map(|token| py_text(&token));
        let refused = forced.take().map(|(token, _)| token);
        if let Some(token) = token.filter(|token| refused.as_ref() != Some(token)) {
            let until = text(&updater.expiry_path).map(|until| py_text(&until));
            let until = until.and_then(|until| expiry(&until));
            if until.is_some_and(|until| env.now() <= until) {
                env.hide(&token);
                return Ok(token);
            }
        }
        let (answer, token, until) = Box::pin(self.fetch(env)).await?;
        env.hide(&token);
        let mut changes = vec![(updater.access_path.as_slice(), Value::from(token.as_str()))];
        if let Some(next) = find(&answer, &updater.refresh_name, 0) {
            env.hide(&py_text(next));
            changes.push((&updater.refresh_path, next.clone()));
        }
        changes.push((&updater.expiry_path, Value::from(until.or_utc().isoformat('T'))));
        env.live.replace(changes);
        Ok(token)
    }

    async fn refresh(&self, env: &Env) -> Result<(String, Moment)> {
        let (_, token, until) = self.fetch(env).await?;
        Ok((token, until))
    }

    /// What the token endpoint answers, the token in it, and until when it can be used.
    async fn fetch(&self, env: &Env) -> Result<(Value, String, Moment)> {
        let out = self.request(env).await?;
        let client = env.client(None, Timeouts::NONE)?;
        let classify = |answer: &Answer| {
            Ok(self
                .expired
                .is_told_by(answer)
                .then(|| Verdict::Fail(no_refresh())))
        };
        let Sent::Answer(answer) = client.send(out, &classify).await? else {
            return Err(self.no_token(env));
        };
        let body: Value =
            serde_json::from_slice(&answer.body).map_err(|error| self.no_token(env).caused_by(error))?;
        let scope = env.scope();
        let token =
            find(&body, &self.access_token_name.eval_text(&scope)?, 0).filter(|token| json_is_true(token));
        let token = token.map(py_text).ok_or_else(|| self.no_token(env))?;
        let expires = find(&body, &self.expires_name.eval_text(&scope)?, 0).map(py_text);
        let until = expires.and_then(|text| self.until(env, &text));
        let hour = Delta::micros(3600 * SECOND);
        let until = until
            .or_else(|| env.now().plus(hour))
            .unwrap_or_else(|| env.now());
        Ok((body, token, until))
    }

    fn until(&self, env: &Env, text: &str) -> Option<Moment> {
        if let Some(format) = &self.expires_at_format {
            return Moment::parse(text, format).or_else(|| isoparse(text).map(Moment::or_utc));
        }
        let seconds: f64 = text.trim().parse().ok()?;
        #[expect(clippy::cast_possible_truncation, reason = "lifetimes are small")]
        env.now().plus(Delta::micros((seconds.min(1e9) as i64) * SECOND))
    }

    fn no_token(&self, _: &Env) -> Error {
        Error::auth("the token endpoint answered without an access token")
            .hint("check client id, client secret and refresh token of the connection, and access_token_name")
    }

    async fn request(&self, env: &Env) -> Result<Outgoing> {
        let scope = env.scope();
        let Some(endpoint) = &self.endpoint else {
            return Err(
                Error::auth("there is neither an access token nor an endpoint to get one")
                    .hint("set the access token in the connection's settings"),
            );
        };
        let headers = match &self.headers {
            Some(headers) => headers.eval(&scope, Takes::Anything)?,
            None => Value::Null,
        };
        let headers = headers.as_object().cloned().unwrap_or_default();
        let fields = self.fields(env, headers.contains_key("Authorization")).await?;
        let url = endpoint.eval_text(&scope)?;
        let mut url = Url::parse(&url).map_err(|error| {
            Error::spec("token_refresh_endpoint is no URL")
                .caused_by(error)
                .hint("check the authenticator")
        })?;
        let encoded = encode(&fields);
        if self.as_params {
            url.set_query(Some(&encoded));
        }
        let mut out = Outgoing::new(Method::POST, url);
        out.headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), py_text(value)))
            .collect();
        // Form fields, whatever a content type among the headers says: so does the reference.
        if !self.as_params {
            out.body = Body::Form(encoded);
        }
        Ok(out)
    }

    async fn fields(&self, env: &Env, signed_by_header: bool) -> Result<Map<String, Value>> {
        let scope = env.scope();
        let mut fields = Map::new();
        if let Some((used, profile)) = &self.assertion
            && used.holds(&scope)?
        {
            let mut options = Options::default();
            Box::pin(profile.sign(env, &mut options)).await?;
            let token = options.headers.values().next().map(py_text).unwrap_or_default();
            let token = token.strip_prefix("Bearer ").unwrap_or(&token).to_owned();
            fields.insert(
                self.grant.0.eval_text(&scope)?,
                Value::from("urn:ietf:params:oauth:grant-type:jwt-bearer"),
            );
            fields.insert("assertion".to_owned(), Value::String(token));
            return Ok(fields);
        }
        fields.insert(
            self.grant.0.eval_text(&scope)?,
            Value::String(self.grant.1.eval_text(&scope)?),
        );
        if !signed_by_header {
            for (name, value) in [&self.client_id, &self.client_secret].into_iter().flatten() {
                let value = value.eval_text(&scope)?;
                env.hide(&value);
                fields.insert(name.eval_text(&scope)?, Value::String(value));
            }
        }
        if let Some(updater) = &self.updater {
            let value = env.live.get(&updater.refresh_path).map(|value| py_text(&value));
            let value = value.unwrap_or_default();
            env.hide(&value);
            fields.insert(updater.refresh_name.clone(), Value::String(value));
        } else if let Some(refresh) = &self.refresh_token {
            let value = refresh.eval_text(&scope)?;
            env.hide(&value);
            fields.insert(self.refresh_token_name.eval_text(&scope)?, Value::String(value));
        }
        if !self.scopes.is_empty() {
            fields.insert("scopes".to_owned(), Value::from(self.scopes.clone()));
        }
        if let Some(body) = &self.body
            && let Value::Object(more) = body.eval(&scope, Takes::Anything)?
        {
            for (name, value) in more {
                fields.entry(name).or_insert(value);
            }
        }
        Ok(fields)
    }
}

/// Seconds since 1970, or a date-time. A text that is neither tells of no token that holds: a new one is
/// asked for.
fn expiry(text: &str) -> Option<Moment> {
    let number = text.parse::<i64>().ok();
    let number = number.map(|seconds| Moment::utc(seconds.saturating_mul(SECOND)));
    number.or_else(|| isoparse(text).map(Moment::or_utc))
}

fn encode(fields: &Map<String, Value>) -> String {
    let mut pairs = Vec::new();
    for (name, value) in fields {
        let several = match value {
            Value::Array(items) => items.iter().map(py_text).collect(),
            Value::Null => Vec::new(),
            value => vec![py_text(value)],
        };
        pairs.extend(
            several
                .into_iter()
                .map(|value| format!("{}={}", quote(name, "", true), quote(&value, "", true))),
        );
    }
    pairs.join("&")
}

/// The first value of that name, anywhere in the answer.
fn find<'v>(value: &'v Value, name: &str, depth: usize) -> Option<&'v Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    match value {
        Value::Object(members) => match members.get(name) {
            Some(found) => Some(found).filter(|found| !found.is_null()),
            None => members.values().find_map(|value| find(value, name, depth + 1)),
        },
        Value::Array(items) => items.iter().find_map(|item| find(item, name, depth + 1)),
        _ => None,
    }
}

impl Updater {
    fn new(node: &Node<'_>) -> Self {
        let path = |field: &str, usual: &[&str]| -> Vec<String> {
            match node.get(field) {
                Some(node) => node.items().iter().map(|step| py_text(step.value)).collect(),
                None => usual.iter().map(|step| (*step).to_owned()).collect(),
            }
        };
        Self {
            refresh_name: node
                .str("refresh_token_name")
                .unwrap_or("refresh_token")
                .to_owned(),
            access_path: path("access_token_config_path", &["credentials", "access_token"]),
            expiry_path: path(
                "token_expiry_date_config_path",
                &["credentials", "token_expiry_date"],
            ),
            refresh_path: path("refresh_token_config_path", &["credentials", "refresh_token"]),
        }
    }
}
