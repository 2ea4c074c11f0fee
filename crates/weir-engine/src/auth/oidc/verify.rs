//! Whether a token is what it says: an ID token (OpenID Connect Core, 3.1.3.7), or an access token (RFC 9068, 4).

use std::collections::BTreeSet;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use weir_protocol::oidc::{Identity, Shown};
use weir_protocol::{Error, Result, Secret};

/// Signed by a private key that only the provider has: nothing symmetric, and not `none`.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// How access tokens call themselves; those of older providers only say that they are tokens.
const ACCESS_TYPES: [&str; 3] = ["at+jwt", "application/at+jwt", "jwt"];
/// How far clocks may be apart.
const SKEW_S: u64 = 60;

/// Which token is looked at: what is said where it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Id,
    Access,
}

impl Sort {
    fn refused(self, why: &str) -> Error {
        match self {
            Self::Id => Error::auth(format!("the ID token is refused: {why}"))
                .hint("log in anew; if it stays, check the clocks, and the client at the provider"),
            Self::Access => Error::auth(format!("the access token is refused: {why}")).hint(
                "get a new one from the authorization server, for the resource that weir's metadata names",
            ),
        }
    }
}

/// How it says that it is signed.
pub(super) fn header(token: &Secret, sort: Sort) -> Result<(Algorithm, Option<String>)> {
    // The cause is left out: it may quote the token.
    let header = jsonwebtoken::decode_header(token.expose())
        .map_err(|_| sort.refused("it is no signed token of a kind that is taken"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(sort
            .refused("its algorithm is not among those that are taken")
            .with("algorithm", format!("{:?}", header.alg)));
    }
    // Whoever does not know what is critical has to refuse it (RFC 7515, 4.1.11), and nothing is known here.
    if header.crit.is_some() {
        return Err(sort.refused("it asks for what is not known here"));
    }
    let kind = header.typ.as_deref().unwrap_or_default();
    let is_access = ACCESS_TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known));
    if sort == Sort::Access && !is_access {
        return Err(sort.refused("it does not say that it is an access token"));
    }
    Ok((header.alg, header.kid))
}

type Claims = Map<String, Value>;

fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// What both say: by whom, for whom, and until when.
fn decoded(
    token: &Secret,
    (key, algorithm): (&DecodingKey, Algorithm),
    (issuer, audience): (&str, &str),
    sort: Sort,
) -> Result<Identity> {
    let mut rules = Validation::new(algorithm);
    rules.leeway = SKEW_S;
    rules.validate_nbf = true;
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[audience]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let decoded = jsonwebtoken::decode::<Claims>(token.expose(), key, &rules)
        .map_err(|error| sort.refused(&error.to_string()))?;
    let claims = decoded.claims;
    let subject = text(&claims, "sub").unwrap_or_default().to_owned();
    if subject.is_empty() {
        return Err(sort.refused("it says nothing of who it is about"));
    }
    Ok(Identity {
        issuer: issuer.to_owned(),
        subject,
        claims,
    })
}

/// An ID token of this client and this login.
pub(super) fn id(
    token: &Secret,
    key: (&DecodingKey, Algorithm),
    (issuer, client_id): (&str, &str),
    nonce: &Secret,
) -> Result<Identity> {
    let identity = decoded(token, key, (issuer, client_id), Sort::Id)?;
    let claims = &identity.claims;
    let refused = |why| Err(Sort::Id.refused(why));
    let has_others = claims
        .get("aud")
        .and_then(Value::as_array)
        .is_some_and(|all| all.len() > 1);
    match text(claims, "azp") {
        Some(party) if party != client_id => return refused("it is for another client"),
        None if has_others => return refused("it is for several clients, and names none of them"),
        _ => {}
    }
    let given = text(claims, "nonce").unwrap_or_default();
    if verify_slices_are_equal(given.as_bytes(), nonce.expose().as_bytes()).is_err() {
        return refused("it belongs to another login: its nonce is another");
    }
    Ok(identity)
}

/// An access token for this resource.
pub(super) fn access(
    token: &Secret,
    key: (&DecodingKey, Algorithm),
    (issuer, audience): (&str, &str),
) -> Result<Shown> {
    let identity = decoded(token, key, (issuer, audience), Sort::Access)?;
    let claims = &identity.claims;
    let ends_at_s = claims.get("exp").and_then(Value::as_i64);
    let ends_at_s = ends_at_s.ok_or_else(|| Sort::Access.refused("its end is no whole number"))?;
    let client = text(claims, "client_id").or_else(|| text(claims, "azp"));
    Ok(Shown {
        is_program: client == Some(identity.subject.as_str()),
        scopes: ["scope", "scp"]
            .iter()
            .flat_map(|name| words(claims.get(*name)))
            .collect(),
        ends_at_s: ends_at_s.saturating_add(i64::try_from(SKEW_S).unwrap_or_default()),
        identity,
    })
}

/// Words with spaces between them, or a list of words.
fn words(value: Option<&Value>) -> BTreeSet<String> {
    match value {
        Some(Value::String(text)) => text.split_whitespace().map(ToOwned::to_owned).collect(),
        Some(Value::Array(all)) => all
            .iter()
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .collect(),
        _ => BTreeSet::new(),
    }
}
