//! Decisions that need no I/O.

use std::collections::BTreeSet;

use weir_protocol::{Error, Result};

use super::{Access, Permission, Role};

const NAME_LENGTH_MAX: usize = 128;

/// Whether a request may do what it asks for.
pub fn may(access: &Access, permission: Permission) -> Result<()> {
    if access.permissions.contains(&permission) {
        return Ok(());
    }
    let roles: Vec<&str> = Role::ALL
        .into_iter()
        .filter(|role| role.permissions().contains(&permission))
        .map(Role::as_str)
        .collect();
    Err(Error::denied(format!(
        "'{}' lacks the permission {permission}",
        access.principal
    ))
    .with("missing", permission)
    .with("principal", &access.principal)
    .hint(format!(
        "ask for a token with the scope {permission}, or with the role {}",
        roles.join(" or ")
    )))
}

/// What roles and scopes come to.
pub(crate) fn granted(roles: &BTreeSet<Role>, scopes: &BTreeSet<Permission>) -> BTreeSet<Permission> {
    let of_roles = roles.iter().flat_map(|role| role.permissions());
    of_roles.chain(scopes.iter().copied()).collect()
}

/// Nobody hands out what they do not have.
pub(super) fn may_grant(access: &Access, permissions: &BTreeSet<Permission>) -> Result<()> {
    let beyond: Vec<&str> = permissions
        .difference(&access.permissions)
        .map(|permission| permission.as_str())
        .collect();
    if beyond.is_empty() {
        return Ok(());
    }
    Err(Error::denied(format!(
        "'{}' cannot hand out permissions that it does not have",
        access.principal
    ))
    .with("missing", beyond.join(", "))
    .hint("leave these roles or scopes out, or ask somebody who has them"))
}

/// Refuses what cannot be a principal's name.
pub fn check_name(name: &str) -> Result<()> {
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let is_allowed = |letter: char| is_plain(letter) || matches!(letter, '-' | '_' | '.' | '@' | '+');
    if name.starts_with(is_plain) && name.len() <= NAME_LENGTH_MAX && name.chars().all(is_allowed) {
        return Ok(());
    }
    Err(
        Error::usage(format!("'{name}' cannot be the name of a principal")).hint(format!(
            "use up to {NAME_LENGTH_MAX} lower-case letters, digits, - _ . @ +, beginning with a letter or digit"
        )),
    )
}
