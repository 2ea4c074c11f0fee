//! Reads policies and decides with them. The rule is written down in
//! `docs/decisions/20261121-policies.md`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Effect, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    Policy, PolicyId, PolicySet, PrincipalConstraint, Request, RestrictedExpression, ValidationMode,
    Validator,
};
use sha2::{Digest as _, Sha256};
use weir_protocol::{Error, Result};

use super::{Decision, PolicyFile, Reason, Resource, ResourceKind, schema};
use crate::principals::{Access, Permission};

/// The permit that stands for the roles. No file can give a policy this name.
const ROLES: &str = "roles";
const FILES_MAX: usize = 1000;
const BYTES_MAX: usize = 1 << 20;

/// All policies of a project, as they were read at one moment.
#[derive(Debug, Clone)]
pub struct Policies {
    version: String,
    files: Vec<PolicyFile>,
    names: Vec<String>,
    /// Of the files, and the permit of the roles.
    with_roles: PolicySet,
    /// Of the files alone: for what their permits narrow.
    alone: PolicySet,
    permits: Vec<(PrincipalConstraint, ActionConstraint)>,
}

impl Policies {
    /// No file: the roles decide.
    pub fn none() -> Self {
        Self {
            version: version(&[]),
            files: Vec::new(),
            names: Vec::new(),
            with_roles: PolicySet::new(),
            alone: PolicySet::new(),
            permits: Vec::new(),
        }
    }

    /// Reads and checks the files. One mistake refuses them all: half of the rules are no rules.
    pub fn read(mut files: Vec<PolicyFile>) -> Result<Self> {
        files.sort_by(|one, other| one.path.cmp(&other.path));
        refuse_much(&files)?;
        let mut alone = PolicySet::new();
        let (mut names, mut permits) = (Vec::new(), Vec::new());
        for file in &files {
            for policy in policies_of(file)? {
                let name = policy.id().to_string();
                if name == ROLES || names.contains(&name) {
                    return Err(Error::spec(format!("two policies are named '{name}'"))
                        .with("file", &file.path)
                        .hint("give each another @id; 'roles' stands for the roles themselves"));
                }
                if policy.effect() == Effect::Permit {
                    permits.push((policy.principal_constraint(), policy.action_constraint()));
                }
                alone.add(policy).map_err(|error| broken(file, &error))?;
                names.push(name);
            }
        }
        validate(&alone, &files)?;
        let mut with_roles = alone.clone();
        let roles = Policy::parse(Some(PolicyId::new(ROLES)), "permit(principal, action, resource);");
        let roles = roles.map_err(|error| internal(&error))?;
        with_roles.add(roles).map_err(|error| internal(&error))?;
        Ok(Self {
            version: version(&files),
            files,
            names,
            with_roles,
            alone,
            permits,
        })
    }

    /// Names exactly these files: their SHA-256. What was decided with one version is decided anew with
    /// another.
    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn files(&self) -> &[PolicyFile] {
        &self.files
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether a request may be made. Whatever goes wrong on the way is a no.
    pub fn decide(
        &self,
        access: &Access,
        permission: Permission,
        resource: &Resource,
        via: &str,
    ) -> Decision {
        if !access.permissions.contains(&permission) {
            return Decision::new(false, Reason::LacksPermission, vec![ROLES.to_owned()]);
        }
        if self.is_empty() {
            return Decision::new(true, Reason::Roles, vec![ROLES.to_owned()]);
        }
        self.ask(access, permission, resource, via)
            .unwrap_or_else(|error| Decision::new(false, Reason::Failed, vec![error.to_string()]))
    }

    fn ask(
        &self,
        access: &Access,
        permission: Permission,
        resource: &Resource,
        via: &str,
    ) -> Result<Decision> {
        let schema = schema::schema()?;
        let (principal, mut entities) = principal_of(access)?;
        let (about, others) = resource_of(resource)?;
        entities.extend(others);
        let action = uid("Action", permission.as_str())?;
        let context = [("via".to_owned(), RestrictedExpression::new_string(via.to_owned()))];
        let context = Context::from_pairs(context).map_err(|error| internal(&error))?;
        let entities = Entities::from_entities(entities, Some(schema)).map_err(|error| internal(&error))?;
        let request = Request::new(principal.clone(), action, about, context, Some(schema));
        let request = request.map_err(|error| internal(&error))?;
        let narrows = self
            .permits
            .iter()
            .any(|(who, what)| names_principal(who, &principal, &entities) && names_action(what, permission));
        let set = if narrows { &self.alone } else { &self.with_roles };
        let response = Authorizer::new().is_authorized(&request, set, &entities);
        let failed: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
        if !failed.is_empty() {
            return Ok(Decision::new(false, Reason::Failed, failed));
        }
        let mut by: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        by.sort();
        let is_allowed = response.decision() == cedar_policy::Decision::Allow;
        let reason = match (is_allowed, narrows) {
            (true, true) => Reason::Permitted,
            (true, false) => Reason::Roles,
            (false, _) if by.is_empty() => Reason::NotPermitted,
            (false, _) => Reason::Forbidden,
        };
        Ok(Decision::new(is_allowed, reason, by))
    }
}

fn refuse_much(files: &[PolicyFile]) -> Result<()> {
    let bytes: usize = files.iter().map(|file| file.text.len()).sum();
    if files.len() <= FILES_MAX && bytes <= BYTES_MAX {
        return Ok(());
    }
    Err(Error::limit(format!(
        "there are {} policy files with {bytes} bytes",
        files.len()
    ))
    .hint(format!("use {FILES_MAX} files and {BYTES_MAX} bytes at most")))
}

/// The policies of one file, named by their `@id`, else by the file and their place in it.
fn policies_of(file: &PolicyFile) -> Result<Vec<Policy>> {
    let set: PolicySet = file.text.parse().map_err(|error| broken(file, &error))?;
    if set.templates().next().is_some() {
        return Err(Error::spec("a policy has a slot (?principal or ?resource)")
            .with("file", &file.path)
            .hint("write the principal or resource out: slots are for templates"));
    }
    let mut policies: Vec<(usize, &Policy)> = set
        .policies()
        .map(|policy| {
            let id = policy.id().to_string();
            let place = id.strip_prefix("policy").and_then(|place| place.parse().ok());
            (place.unwrap_or(usize::MAX), policy)
        })
        .collect();
    policies.sort_by_key(|(place, _)| *place);
    let stem = file.path.rsplit('/').next().unwrap_or(&file.path);
    let stem = stem.strip_suffix(".cedar").unwrap_or(stem);
    Ok(policies
        .into_iter()
        .enumerate()
        .map(|(place, (_, policy))| {
            let own = policy.annotation("id").map(ToOwned::to_owned);
            let name = own.unwrap_or_else(|| format!("{stem}#{}", place + 1));
            policy.new_id(PolicyId::new(name))
        })
        .collect())
}

fn validate(set: &PolicySet, files: &[PolicyFile]) -> Result<()> {
    let validator = Validator::new(schema::schema()?.clone());
    let found = validator.validate(set, ValidationMode::Strict);
    let mistakes: Vec<String> = found.validation_errors().map(ToString::to_string).collect();
    let Some(first) = mistakes.first() else {
        return Ok(());
    };
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut error = Error::spec(format!("a policy does not fit the schema: {first}"))
        .with("files", paths.join(", "))
        .hint("`weir policy schema` prints what policies may name");
    if mistakes.len() > 1 {
        error = error.with("further mistakes", mistakes[1..].join("; "));
    }
    Err(error)
}

fn broken(file: &PolicyFile, error: &dyn std::fmt::Display) -> Error {
    Error::spec(format!("a policy cannot be read: {error}"))
        .with("file", &file.path)
        .hint("docs/guides/policies.md shows how policies are written")
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::internal(format!("a policy cannot be asked: {error}")).hint("report it")
}

fn version(files: &[PolicyFile]) -> String {
    let mut digest = Sha256::new();
    for file in files {
        // Lengths first, so that no two lists of files run into the same bytes.
        digest.update((file.path.len() as u64).to_be_bytes());
        digest.update(&file.path);
        digest.update((file.text.len() as u64).to_be_bytes());
        digest.update(&file.text);
    }
    let digest = digest.finalize();
    digest.iter().fold(String::new(), |mut hex, byte| {
        // A String takes everything.
        write!(hex, "{byte:02x}").unwrap_or_default();
        hex
    })
}

fn uid(kind: &str, id: &str) -> Result<EntityUid> {
    let kind: EntityTypeName = kind.parse().map_err(|error| internal(&error))?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> HashMap<String, RestrictedExpression> {
    let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), text(value)))
        .collect()
}

fn principal_of(access: &Access) -> Result<(EntityUid, Vec<Entity>)> {
    let principal = uid("Principal", &access.principal)?;
    let mut above = HashSet::from([uid(ResourceKind::Tenant.as_str(), &access.tenant)?]);
    let mut entities = Vec::new();
    for role in &access.roles {
        above.insert(uid("Role", role.as_str())?);
    }
    for group in &access.groups {
        let group = uid("Group", group)?;
        entities.push(Entity::new_no_attrs(group.clone(), HashSet::new()));
        above.insert(group);
    }
    let attributes = texts([
        ("name", &access.principal),
        ("kind", access.kind.as_str()),
        ("tenant", &access.tenant),
    ]);
    let entity = Entity::new(principal.clone(), attributes, above).map_err(|error| internal(&error))?;
    entities.push(entity);
    Ok((principal, entities))
}

/// The resource, and what stands above it.
fn resource_of(resource: &Resource) -> Result<(EntityUid, Vec<Entity>)> {
    let mut entities = Vec::new();
    let mut above = BTreeSet::new();
    let tenant = Resource::new(ResourceKind::Tenant, &resource.tenant, &resource.tenant);
    let mut put = |part: &Resource, above: &BTreeSet<EntityUid>| -> Result<EntityUid> {
        let id = uid(part.kind.as_str(), &part.name)?;
        let attributes = texts([
            ("name", &part.name),
            ("tenant", &part.tenant),
            ("connection", &part.connection),
            ("connector", &part.connector),
            ("classification", &part.classification),
            ("environment", &part.environment),
            ("effect", &part.effect),
        ]);
        let above = above.iter().cloned().collect();
        let entity = Entity::new(id.clone(), attributes, above).map_err(|error| internal(&error))?;
        entities.push(entity);
        Ok(id)
    };
    if resource.kind == ResourceKind::Tenant {
        let id = put(resource, &above)?;
        return Ok((id, entities));
    }
    let environment = |mut part: Resource| {
        part.environment.clone_from(&resource.environment);
        part
    };
    above.insert(put(&environment(tenant), &BTreeSet::new())?);
    if !resource.connector.is_empty() && resource.kind != ResourceKind::Connector {
        let part = Resource {
            kind: ResourceKind::Connector,
            name: resource.connector.clone(),
            connection: String::new(),
            effect: String::new(),
            ..resource.clone()
        };
        let tenant_only = above.clone();
        above.insert(put(&part, &tenant_only)?);
    }
    if !resource.connection.is_empty() && resource.kind != ResourceKind::Connection {
        let part = Resource {
            kind: ResourceKind::Connection,
            name: resource.connection.clone(),
            effect: String::new(),
            ..resource.clone()
        };
        let higher = above.clone();
        above.insert(put(&part, &higher)?);
    }
    let id = put(resource, &above)?;
    Ok((id, entities))
}

fn names_principal(constraint: &PrincipalConstraint, principal: &EntityUid, entities: &Entities) -> bool {
    match constraint {
        PrincipalConstraint::Any => true,
        PrincipalConstraint::Is(kind) => principal.type_name() == kind,
        PrincipalConstraint::Eq(other) => principal == other,
        PrincipalConstraint::In(above) => entities.is_ancestor_of(above, principal) || above == principal,
        PrincipalConstraint::IsIn(kind, above) => {
            principal.type_name() == kind && (entities.is_ancestor_of(above, principal) || above == principal)
        }
    }
}

fn names_action(constraint: &ActionConstraint, permission: Permission) -> bool {
    let is_named = |uid: &EntityUid| {
        let id = uid.id().unescaped();
        id == permission.as_str() || id == schema::group_of(permission)
    };
    match constraint {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => is_named(uid),
        ActionConstraint::In(uids) => uids.iter().any(is_named),
    }
}
