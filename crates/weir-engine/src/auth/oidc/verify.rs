//! Whether an ID token is what it says (OpenID Connect Core, 3.1.3.7).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
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
/// How far clocks may be apart.
const SKEW_S: u64 = 60;

fn refused(why: &str) -> Error {
    Error::auth(format!("the ID token is refused: {why}"))
        .hint("log in anew; if it stays, check the clocks, and the client at the provider")
}

/// How it says that it is signed.
pub(super) fn header(token: &Secret) -> Result<(Algorithm, Option<String>)> {
    // The cause is left out: it may quote the token.
    let header = jsonwebtoken::decode_header(token.expose())
        .map_err(|_| refused("it is no signed token of a kind that is taken"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(refused("its algorithm is not among those that are taken")
            .with("algorithm", format!("{:?}", header.alg)));
    }
    Ok((header.alg, header.kid))
}

/// What it says, once all of it is checked.
pub(super) fn claims(
    token: &Secret,
    (key, algorithm): (&DecodingKey, Algorithm),
    (issuer, client_id): (&str, &str),
    nonce: &Secret,
) -> Result<Map<String, Value>> {
    let mut rules = Validation::new(algorithm);
    rules.leeway = SKEW_S;
    rules.validate_nbf = true;
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[client_id]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let decoded = jsonwebtoken::decode::<Map<String, Value>>(token.expose(), key, &rules)
        .map_err(|error| refused(&error.to_string()))?;
    let claims = decoded.claims;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let has_others = claims
        .get("aud")
        .and_then(Value::as_array)
        .is_some_and(|all| all.len() > 1);
    match text("azp") {
        Some(party) if party != client_id => return Err(refused("it is for another client")),
        None if has_others => return Err(refused("it is for several clients, and names none of them")),
        _ => {}
    }
    if text("sub").is_none_or(str::is_empty) {
        return Err(refused("it says nothing of who it is about"));
    }
    let given = text("nonce").unwrap_or_default();
    if verify_slices_are_equal(given.as_bytes(), nonce.expose().as_bytes()).is_err() {
        return Err(refused("it belongs to another login: its nonce is another"));
    }
    Ok(claims)
}
