//! Decisions that need no I/O.

use std::collections::BTreeSet;

use weir_protocol::{Error, Result};

use super::{Access, Permission, Role};

const NAME_LENGTH_MAX: usize = 128;
const GROUPS_MAX: usize = 200;
const GROUP_CHARS_MAX: usize = 200;

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

/// Groups are what rules and policies decide by: only who is in one, or an admin, puts somebody into it.
pub(super) fn may_group(access: &Access, groups: &BTreeSet<String>) -> Result<()> {
    let beyond: Vec<&str> = groups.difference(&access.groups).map(String::as_str).collect();
    if beyond.is_empty() || access.roles.contains(&Role::Admin) {
        return Ok(());
    }
    Err(Error::denied(format!(
        "'{}' cannot put anybody into groups that it is not in",
        access.principal
    ))
    .with("groups", beyond.join(", "))
    .hint("leave these groups out, or ask an admin"))
}

/// Refuses what cannot be a set of groups.
pub(crate) fn check_groups(groups: &BTreeSet<String>) -> Result<()> {
    if groups.len() > GROUPS_MAX {
        return Err(Error::limit(format!("{} groups are named", groups.len()))
            .hint(format!("name {GROUPS_MAX} at most")));
    }
    let is_plain = |group: &String| {
        (1..=GROUP_CHARS_MAX).contains(&group.chars().count()) && !group.chars().any(|c| c.is_ascii_control())
    };
    match groups.iter().find(|group| !is_plain(group)) {
        None => Ok(()),
        Some(group) => Err(
            Error::usage(format!("{group:?} cannot be the name of a group")).hint(format!(
                "use 1 to {GROUP_CHARS_MAX} characters without control characters"
            )),
        ),
    }
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
