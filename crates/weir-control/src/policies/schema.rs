//! What policies may name: made from the permissions, so that a new one can be named at once.

use std::sync::LazyLock;

use cedar_policy::Schema;
use weir_protocol::{Error, Result};

use super::ResourceKind;
use crate::principals::{Permission, Role};

static SCHEMA: LazyLock<std::result::Result<Schema, String>> = LazyLock::new(|| {
    let read = Schema::from_cedarschema_str(&text());
    read.map(|(schema, _)| schema).map_err(|error| error.to_string())
});

/// What every policy file is checked against.
pub(super) fn schema() -> Result<&'static Schema> {
    SCHEMA.as_ref().map_err(|error| {
        Error::internal(format!("the schema of policies cannot be read: {error}")).hint("report it")
    })
}

/// The schema as Cedar writes it. Every resource has the same attributes, so that a condition on one of
/// them needs no question about its kind; what a kind does not have is an empty text.
pub fn text() -> String {
    let about = "{\n    name: String,\n    tenant: String,\n    connection: String,\n    connector: String,\n    \
                 classification: String,\n    environment: String,\n    effect: String,\n}";
    let roles: Vec<String> = Role::ALL.iter().map(|role| format!("\"{role}\"")).collect();
    let mut text = format!(
        "// What policies may name. Attributes that a resource does not have are empty texts.\n\
         entity Group;\nentity Role enum [{}];\n\
         entity Principal in [Role, Group, Tenant] = {{\n    name: String,\n    kind: String,\n    tenant: String,\n}};\n",
        roles.join(", ")
    );
    for kind in ResourceKind::ALL {
        let above = match kind {
            ResourceKind::Tenant => "",
            ResourceKind::Connection => " in [Connector, Tenant]",
            ResourceKind::Stream | ResourceKind::Call | ResourceKind::Run | ResourceKind::Thing => {
                " in [Connection, Connector, Tenant]"
            }
            ResourceKind::Connector | ResourceKind::Secret | ResourceKind::Token => " in [Tenant]",
        };
        text += &format!("entity {kind}{above} = {about};\n");
    }
    text += "action \"read\", \"write\";\n";
    let kinds: Vec<String> = ResourceKind::ALL.iter().map(ToString::to_string).collect();
    for permission in Permission::ALL {
        let group = group_of(permission);
        text += &format!(
            "action \"{permission}\" in [\"{group}\"] appliesTo {{\n    principal: [Principal],\n    resource: [{}],\n    \
             context: {{ via: String }},\n}};\n",
            kinds.join(", ")
        );
    }
    text
}

/// `read` or `write`: what stands after the colon.
pub(super) fn group_of(permission: Permission) -> &'static str {
    permission.as_str().rsplit(':').next().unwrap_or_default()
}
