//! From an identity provider's claims to a principal and its roles. Needs no I/O.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use weir_protocol::oidc::Identity;
use weir_protocol::{Error, Result};

use crate::principals::{Role, check_groups, check_name};
use crate::store::stored_badly;

/// How claims are read.
#[derive(Debug, Clone, Default)]
pub struct LoginRules {
    /// Path of the claim that says what somebody may do, as `groups` or `realm_access.roles`.
    pub role_claim: String,
    /// Its values, and the role that each stands for. Others stand for none.
    pub roles: BTreeMap<String, Role>,
    /// The claim that names people, instead of their verified email address.
    pub principal_claim: Option<String>,
    /// Path of the claim whose values are the groups of people, as rules of approvals and policies name them.
    pub group_claim: String,
}

fn words<'a>(identity: &'a Identity, path: &str) -> Vec<&'a str> {
    match find(identity, path) {
        Some(Value::String(text)) => vec![text.as_str()],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn find<'a>(identity: &'a Identity, path: &str) -> Option<&'a Value> {
    // A claim may have dots in its own name, as those that are URLs have.
    if let Some(value) = identity.claims.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let first = identity.claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

impl LoginRules {
    /// What the claims let somebody do: nothing, unless a value is named.
    pub(super) fn roles(&self, identity: &Identity) -> BTreeSet<Role> {
        self.roles_by(words(identity, &self.role_claim))
    }

    /// What values of the claim stand for now.
    pub(super) fn roles_by<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> BTreeSet<Role> {
        let role = |word: &str| self.roles.get(word).copied();
        words.into_iter().filter_map(role).collect()
    }

    /// Of the claim's values, those that stand for a role.
    pub(super) fn role_words(&self, identity: &Identity) -> BTreeSet<String> {
        let all = words(identity, &self.role_claim).into_iter();
        all.filter(|word| self.roles.contains_key(*word))
            .map(ToOwned::to_owned)
            .collect()
    }

    /// The groups that the provider vouches for.
    pub(super) fn groups(&self, identity: &Identity) -> Result<BTreeSet<String>> {
        let all = words(identity, &self.group_claim).into_iter();
        let groups: BTreeSet<String> = all.map(ToOwned::to_owned).collect();
        check_groups(&groups).map_err(|error| {
            Error::denied(format!("the groups of your claim '{}' cannot be taken", self.group_claim))
                .caused_by(error)
                .hint("have the identity provider put fewer or other groups into it, or name another claim: login.group_claim in weir.yaml")
        })?;
        Ok(groups)
    }

    /// The name of a person. Two people never have the same: what could be said otherwise, or is no name,
    /// gives way to what the provider never gives to anybody else.
    pub(super) fn principal(&self, identity: &Identity) -> Result<String> {
        let text = |name: &str| find(identity, name).and_then(Value::as_str);
        let named = match &self.principal_claim {
            Some(claim) if claim == "sub" => None,
            Some(claim) => Some(text(claim).ok_or_else(|| {
                Error::denied(format!("the identity provider does not say your {claim}"))
                    .hint("have it put the claim into ID tokens, or name another: login.principal_claim in weir.yaml")
            })?),
            None => {
                let is_verified = identity.claims.get("email_verified") == Some(&Value::Bool(true));
                text("email").filter(|_| is_verified)
            }
        };
        if let Some(name) = named
            .map(str::to_lowercase)
            .filter(|name| check_name(name).is_ok())
        {
            return Ok(name);
        }
        Ok(by_subject(identity))
    }

    pub(super) fn no_role(&self, principal: &str) -> Error {
        let known: Vec<&str> = self.roles.keys().map(String::as_str).collect();
        let hint = if known.is_empty() {
            "an admin says which values of the claim stand for which role: login.roles in weir.yaml"
                .to_owned()
        } else {
            format!(
                "have one of these put into your claim '{}' at the identity provider: {}",
                self.role_claim,
                known.join(", ")
            )
        };
        Error::denied(format!("'{principal}' has no role here")).hint(hint)
    }
}

/// By what the provider never gives to anybody else; programs have no other name.
pub(super) fn by_subject(identity: &Identity) -> String {
    let subject = &identity.subject;
    if check_name(subject).is_ok() {
        return subject.clone();
    }
    let digest = hash(&format!("{}\0{subject}", identity.issuer));
    format!("sub-{}", digest.chars().take(32).collect::<String>())
}

pub(super) fn hash(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn json<T: Serialize>(set: &BTreeSet<T>) -> Result<String> {
    serde_json::to_string(set).map_err(|error| {
        Error::internal("cannot write a set of roles or groups")
            .caused_by(error)
            .hint("report it")
    })
}

pub(super) fn set_of<T: DeserializeOwned + Ord>(text: &str) -> Result<BTreeSet<T>> {
    serde_json::from_str(text).map_err(|error| stored_badly("set of roles or groups", text, error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn identity(claims: Value) -> Identity {
        Identity {
            issuer: "https://id.example.com".to_owned(),
            subject: claims["sub"].as_str().unwrap_or("s").to_owned(),
            claims: claims.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn roles_are_those_whose_values_are_named() {
        let rules = |claim: &str| LoginRules {
            role_claim: claim.to_owned(),
            roles: BTreeMap::from([
                ("ops".to_owned(), Role::Operator),
                ("boss".to_owned(), Role::Admin),
            ]),
            ..LoginRules::default()
        };
        let of = |claim: &str, claims: Value| rules(claim).roles(&identity(claims));
        assert_eq!(
            of("groups", json!({ "groups": ["ops", "x"] })),
            BTreeSet::from([Role::Operator])
        );
        assert_eq!(
            of("groups", json!({ "groups": "boss" })),
            BTreeSet::from([Role::Admin])
        );
        assert_eq!(
            of("a.b", json!({ "a": { "b": ["ops"] } })),
            BTreeSet::from([Role::Operator])
        );
        assert_eq!(
            of("https://x.y/r", json!({ "https://x.y/r": ["ops"] })),
            BTreeSet::from([Role::Operator])
        );
        for none in [
            json!({}),
            json!({ "groups": ["admin"] }),
            json!({ "groups": 7 }),
            json!({ "groups": [["ops"]] }),
        ] {
            assert!(of("groups", none).is_empty());
        }
        assert!(
            LoginRules::default()
                .roles(&identity(json!({ "groups": ["ops"] })))
                .is_empty()
        );
    }

    #[test]
    fn two_people_never_have_one_name() {
        let rules = LoginRules::default();
        let named = |claims: Value| rules.principal(&identity(claims)).unwrap();
        assert_eq!(
            named(json!({ "sub": "7", "email": "Ali@Example.com", "email_verified": true })),
            "ali@example.com"
        );
        assert_eq!(named(json!({ "sub": "7", "email": "ali@example.com" })), "7");
        let (upper, lower) = (named(json!({ "sub": "Ali" })), named(json!({ "sub": "ali" })));
        assert_eq!(lower, "ali");
        assert!(upper.starts_with("sub-") && upper.len() == 36, "{upper}");
        assert_ne!(
            named(json!({ "sub": "auth0|1" })),
            named(json!({ "sub": "auth0|2" }))
        );
        let by_name = LoginRules {
            principal_claim: Some("preferred_username".to_owned()),
            ..LoginRules::default()
        };
        by_name.principal(&identity(json!({ "sub": "7" }))).unwrap_err();
    }
}
