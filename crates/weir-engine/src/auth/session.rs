//! A session: a login request of its own answers the token that signs all others.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use url::Url;
use weir_protocol::spec::{Placement, Request, SessionLogin};
use weir_protocol::{Error, Result, Secret};

use super::credential::Values;
use super::fixed::Put;
use super::token::{Fresh, TokenAuth, TokenSource};
use super::token_request::Tries;
use super::{AuthInput, Render, json_path, token_request};
use crate::http::{Answer, Body, Method, Outgoing, Transport};

pub(super) struct Session {
    login: Outgoing,
    spec: SessionLogin,
    put: Put,
    /// What is sent, over `session.token`.
    value: String,
    render: Render,
    transport: Arc<Transport>,
    secrets: Vec<Secret>,
    hint: String,
}

pub(super) fn build(
    values: &Values,
    login: &SessionLogin,
    placement: Placement,
    name: &str,
    value: &str,
    input: &AuthInput<'_>,
) -> Result<TokenAuth<Session>> {
    if login.token_path.is_none() && login.token_header.is_none() {
        return Err(Error::spec("the session's login does not say where its token is")
            .hint("set token_path (in the answer's body) or token_header in auth.login"));
    }
    let source = Session {
        login: request(values, &login.request, input.base_url)?,
        spec: login.clone(),
        put: Put {
            placement,
            name: name.to_owned(),
        },
        value: value.to_owned(),
        render: input.render.clone(),
        transport: input.transport.clone(),
        secrets: values.secrets(),
        hint: values.hint(),
    };
    Ok(TokenAuth::new(source, input.transport.clock().clone()))
}

fn request(values: &Values, spec: &Request, base_url: &str) -> Result<Outgoing> {
    let path = values.optional(&spec.path)?;
    let url = if path.contains("://") {
        path
    } else {
        format!(
            "{}/{}",
            base_url.trim_end_matches('/'),
            path.trim_start_matches('/')
        )
    };
    let mut url = Url::parse(&url).map_err(|error| {
        Error::spec("the login's path makes no URL")
            .with("url", &url)
            .caused_by(error)
            .hint("check auth.login.request.path")
    })?;
    let params = pairs(values, &spec.params)?;
    if !params.is_empty() {
        url.query_pairs_mut().extend_pairs(params);
    }
    let body = body(values, spec)?;
    let default = if matches!(body, Body::Empty) {
        "GET"
    } else {
        "POST"
    };
    let method = spec.method.as_deref().unwrap_or(default).to_ascii_uppercase();
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| Error::spec(format!("'{method}' is not an HTTP method")).hint("use GET or POST"))?;
    let mut out = Outgoing::new(method, url);
    for (name, template) in &spec.headers {
        out.set_header(name, values.required(template)?);
    }
    out.body = body;
    Ok(out)
}

fn body(values: &Values, spec: &Request) -> Result<Body> {
    if let Some(json) = &spec.json {
        return Ok(Body::Json(rendered(values, json)?.to_string().into()));
    }
    if let Some(form) = &spec.form {
        let text = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs(values, form)?)
            .finish();
        return Ok(Body::Form(text));
    }
    if let Some(graphql) = &spec.graphql {
        let variables = rendered(
            values,
            &Value::Object(graphql.variables.clone().into_iter().collect()),
        )?;
        let query = values.required(&graphql.query)?;
        return Ok(Body::Json(
            json!({ "query": query, "variables": variables })
                .to_string()
                .into(),
        ));
    }
    match &spec.text {
        Some(text) => Ok(Body::Text(values.required(text)?)),
        None => Ok(Body::Empty),
    }
}

fn pairs(values: &Values, map: &BTreeMap<String, Value>) -> Result<Vec<(String, String)>> {
    let text = |value: &Value| match value {
        Value::String(template) => values.required(template),
        other => Ok(other.to_string()),
    };
    map.iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| Ok((name.clone(), text(value)?)))
        .collect()
}

/// The value with every text in it rendered.
pub(super) fn rendered(values: &Values, value: &Value) -> Result<Value> {
    Ok(match value {
        Value::String(template) => Value::String(values.required(template)?),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| rendered(values, item))
                .collect::<Result<_>>()?,
        ),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| Ok((name.clone(), rendered(values, value)?)));
            Value::Object(members.collect::<Result<Map<_, _>>>()?)
        }
        other => other.clone(),
    })
}

impl Session {
    fn token(&self, answer: &Answer) -> Option<String> {
        if let Some(header) = &self.spec.token_header {
            return answer.header(header).map(str::to_owned);
        }
        let value: Value = serde_json::from_slice(&answer.body).ok()?;
        json_path::text(&value, self.spec.token_path.as_deref()?)
    }
}

#[async_trait]
impl TokenSource for Session {
    async fn fetch(&self) -> Result<Fresh> {
        let answer = token_request::send(&self.transport, &self.login, false, Tries::Several).await?;
        // A login whose token comes in a header may answer anything in its body.
        if self.spec.token_header.is_none() || !(200..300).contains(&answer.status) {
            token_request::read(&answer, self.secrets.clone(), &self.hint)?;
        }
        let token = self.token(&answer).ok_or_else(|| {
            Error::auth("the login's answer has no token")
                .with("token_path", self.spec.token_path.as_deref().unwrap_or("-"))
                .with("token_header", self.spec.token_header.as_deref().unwrap_or("-"))
                .hint("check token_path or token_header of auth.login against the vendor's documentation")
        })?;
        Ok(Fresh {
            token: Secret::new(token),
            lifetime: Some(self.spec.lifetime.get()),
        })
    }

    fn apply(&self, out: &mut Outgoing, token: &Secret) -> Result<()> {
        let mut names = Map::new();
        names.insert("session".to_owned(), json!({ "token": token.expose() }));
        self.put.apply(out, &(self.render)(&self.value, &names)?);
        Ok(())
    }

    fn secrets(&self) -> Vec<Secret> {
        self.secrets.clone()
    }

    fn hint(&self) -> String {
        self.hint.clone()
    }
}
