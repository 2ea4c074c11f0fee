//! Tokens that the connection signs itself.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};
use weir_protocol::{Error, Result};

use super::super::env::Env;
use super::super::node::Node;
use super::super::request::{Injection, Mapping, Options};
use super::super::template::{Condition, Scope, Takes, Text, compact, json_is_true};
use super::super::time::SECOND;
use super::key;

pub(crate) struct Jwt {
    secret: Text,
    passphrase: Option<Text>,
    algorithm: Algorithm,
    lifetime: i64,
    encode_secret: Option<Condition>,
    prefix: Option<Text>,
    headers: [(&'static str, Option<Text>); 3],
    claims: [(&'static str, Option<Text>); 3],
    more_headers: Option<Mapping>,
    more_claims: Option<Mapping>,
    put: Injection,
}

impl Jwt {
    pub(super) fn new(node: &Node<'_>) -> Result<Self> {
        let parameters = node.parameters();
        let below = |group: &str, field: &str| match node.get(group) {
            Some(group) => group.text(field),
            None => Ok(None),
        };
        let mapping = |field: &str| {
            node.get(field)
                .map(|node| Mapping::new(&node, parameters))
                .transpose()
        };
        Ok(Self {
            secret: node.need_text("secret_key")?,
            passphrase: node.text("passphrase")?,
            algorithm: algorithm(node)?,
            lifetime: node.int("token_duration").unwrap_or(1200),
            encode_secret: node.condition("base64_encode_secret_key")?,
            prefix: node.text("header_prefix")?,
            headers: [
                ("kid", below("jwt_headers", "kid")?),
                ("typ", below("jwt_headers", "typ")?),
                ("cty", below("jwt_headers", "cty")?),
            ],
            claims: [
                ("iss", below("jwt_payload", "iss")?),
                ("sub", below("jwt_payload", "sub")?),
                ("aud", below("jwt_payload", "aud")?),
            ],
            more_headers: mapping("additional_jwt_headers")?,
            more_claims: mapping("additional_jwt_payload")?,
            put: match node.get("request_option") {
                Some(option) => Injection::new(&option)?,
                None => Injection::header(node, "Authorization")?,
            },
        })
    }

    pub(super) fn sign(&self, env: &Env, options: &mut Options) -> Result<()> {
        let scope = env.scope().with_function("json_loads");
        let signed = self.signed(env, &scope)?;
        env.hide(&signed);
        let prefix = self
            .prefix
            .as_ref()
            .map(|prefix| prefix.eval_text(&scope))
            .transpose()?;
        let token = match prefix.filter(|prefix| !prefix.is_empty() && prefix != "None") {
            Some(prefix) => format!("{prefix} {signed}"),
            None => signed,
        };
        self.put.put(env, options, Value::String(token))
    }

    fn signed(&self, env: &Env, scope: &Scope<'_>) -> Result<String> {
        let now = env.now().micros.div_euclid(SECOND);
        let mut claims = self.members(&self.claims, self.more_claims.as_ref(), scope)?;
        for (name, at) in [
            ("iat", now),
            ("exp", now.saturating_add(self.lifetime)),
            ("nbf", now),
        ] {
            claims.insert(name.to_owned(), Value::from(at));
        }
        let mut header = BTreeMap::from([("typ".to_owned(), Value::from("JWT"))]);
        header.extend(self.members(&self.headers, self.more_headers.as_ref(), scope)?);
        header.insert("alg".to_owned(), Value::from(format!("{:?}", self.algorithm)));
        let secret = self.secret.eval_text(scope)?;
        env.hide(&secret);
        let encodes = self
            .encode_secret
            .as_ref()
            .is_some_and(|encode| encode.holds(scope).unwrap_or(false));
        let passphrase = match &self.passphrase {
            Some(passphrase) => passphrase.eval_text(scope)?,
            None => String::new(),
        };
        let secret = if !passphrase.is_empty() && passphrase != "None" {
            env.hide(&passphrase);
            key::opened(&secret, &passphrase)?
        } else if encodes {
            STANDARD.encode(&secret)
        } else {
            secret
        };
        // The very bytes that the reference signs: some vendors' proxies compare them.
        let part = |members: Map<String, Value>| URL_SAFE_NO_PAD.encode(compact(&Value::Object(members)));
        let message = format!("{}.{}", part(header.into_iter().collect()), part(claims));
        let key = key::of(self.algorithm, &secret)?;
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, self.algorithm);
        let signature = signature.map_err(|error| {
            Error::auth("the token cannot be signed")
                .caused_by(error)
                .hint("check that secret_key and algorithm belong together")
        })?;
        Ok(format!("{message}.{signature}"))
    }

    fn members(
        &self,
        named: &[(&'static str, Option<Text>)],
        more: Option<&Mapping>,
        scope: &Scope<'_>,
    ) -> Result<Map<String, Value>> {
        let more = more.map(|more| more.eval(scope, Takes::Anything)).transpose()?;
        let mut members = match more {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        for (name, text) in named {
            if let Some(text) = text {
                let value = text.eval(scope, Takes::Anything)?;
                if json_is_true(&value) {
                    members.insert((*name).to_owned(), value);
                }
            }
        }
        Ok(members)
    }
}

fn algorithm(node: &Node<'_>) -> Result<Algorithm> {
    let name = node.str("algorithm").unwrap_or("HS256");
    name.parse().map_err(|_| {
        node.error(format!(
            "the signing algorithm '{name}' is not available; HS, RS, PS and ES ones and EdDSA are"
        ))
    })
}
