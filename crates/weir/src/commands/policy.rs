use std::collections::BTreeSet;
use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weir_control::DEFAULT_TENANT;
use weir_control::policies::{
    self, CaseFile, Policies, Resource, ResourceKind, Someone, Surroundings, Target,
};
use weir_control::principals::{Kind, Permission, Role};
use weir_protocol::{Error, ErrorKind, Result};

use super::Context;
use super::token::words;
use crate::output::{Format, Sheet, line, raw};
use crate::vendors::offers;
use crate::wiring::Wiring;

/// Rules that are finer than roles: check them, try them, explain them
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir policy validate\n  weir policy test\n  weir policy explain loader runs:write connection shop --role operator"
)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Read policies/*.cedar and check them against the schema
    #[command(after_help = "Example:\n  weir policy validate")]
    Validate,
    /// Decide every case of policies/*.test.yaml, and compare
    #[command(after_help = "Example:\n  weir policy test")]
    Test,
    /// Say whether somebody may do something, and which policy decides
    #[command(
        after_help = "Examples:\n  weir policy explain loader runs:write connection shop --role operator\n  weir policy explain eve tokens:write tenant default --role admin --kind user"
    )]
    Explain(Explain),
    /// Print what policies may name
    #[command(after_help = "Example:\n  weir policy schema")]
    Schema,
}

#[derive(Debug, Args)]
struct Explain {
    /// Who asks
    principal: String,
    /// What is asked for
    #[arg(value_parser = words(&Permission::ALL, Permission::as_str))]
    action: Permission,
    /// Kind of what it is asked of: tenant, connector, connection, stream, run, secret, token, thing
    kind_of_resource: ResourceKind,
    /// Its name; a stream's is CONNECTION/STREAM
    name: String,
    #[arg(long, value_parser = words(&Kind::ALL, Kind::as_str), default_value = "token")]
    kind: Kind,
    /// A role of who asks; may be given again
    #[arg(long = "role", value_name = "ROLE", value_parser = words(&Role::ALL, Role::as_str))]
    roles: Vec<Role>,
    /// A scope of who asks; may be given again
    #[arg(long = "scope", value_name = "SCOPE", value_parser = words(&Permission::ALL, Permission::as_str))]
    scopes: Vec<Permission>,
    /// A group of who asks; may be given again
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// How it is asked: api or cli
    #[arg(long, default_value = "api")]
    via: String,
    #[arg(long, default_value = DEFAULT_TENANT)]
    tenant: String,
}

pub(crate) async fn run(args: &PolicyArgs, context: &Context) -> Result<()> {
    if let PolicyCommand::Schema = &args.command {
        raw(&policies::schema_text());
        return Ok(());
    }
    let wiring = Wiring::open(context)?;
    let read = Policies::read(wiring.project.policy_files()?)?;
    match &args.command {
        PolicyCommand::Validate => {
            line(format!(
                "{} policies in {} files are right (version {})",
                read.names().len(),
                read.files().len(),
                read.version()
            ));
            Ok(())
        }
        PolicyCommand::Test => test(&wiring, &read, context.format()),
        PolicyCommand::Explain(asked) => explain(&wiring, &read, asked, context.format()).await,
        PolicyCommand::Schema => Ok(()),
    }
}

fn test(wiring: &Wiring, read: &Policies, format: Format) -> Result<()> {
    let mut sheet = Sheet::new(["file", "case", "ok", "detail"]);
    let mut failed = 0;
    for file in wiring.project.policy_cases()? {
        let cases = CaseFile::parse(Path::new(&file.path), &file.text)?;
        for case in &cases.cases {
            let tried = policies::try_case(read, case);
            failed += usize::from(tried.mistake.is_some());
            let ok = if tried.mistake.is_some() { "FAILED" } else { "ok" };
            let detail = tried.mistake.unwrap_or_else(|| tried.decision.to_string());
            sheet.push([
                file.path.as_str().into(),
                tried.name.into(),
                ok.into(),
                detail.into(),
            ]);
        }
    }
    sheet.print(format)?;
    if failed == 0 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Gate,
        format!(
            "{failed} of {} cases are not decided as expected",
            sheet.rows.len()
        ),
    )
    .hint("change the policy or the case; `weir policy explain` shows how one request is decided"))
}

async fn explain(wiring: &Wiring, read: &Policies, asked: &Explain, format: Format) -> Result<()> {
    let someone = Someone {
        name: asked.principal.clone(),
        kind: asked.kind,
        roles: asked.roles.iter().copied().collect(),
        scopes: asked.scopes.iter().copied().collect(),
        groups: asked.groups.iter().cloned().collect::<BTreeSet<_>>(),
        tenant: asked.tenant.clone(),
    };
    let resource = found(wiring, asked).await?;
    let decision = read.decide(&someone.access(), asked.action, &resource, &asked.via);
    if format == Format::Table {
        line(decision.to_string());
        for (name, value) in attributes(&resource) {
            line(format!("  resource.{name} = {value}"));
        }
        line(format!("  policies: version {}", read.version()));
    } else {
        raw(&format!(
            "{:#}\n",
            json!({ "decision": decision, "resource": resource, "policies": read.version() })
        ));
    }
    Ok(())
}

fn attributes(resource: &Resource) -> Vec<(String, Value)> {
    match json!(resource) {
        Value::Object(fields) => fields.into_iter().collect(),
        _ => Vec::new(),
    }
}

/// With the attributes that the server would see.
async fn found(wiring: &Wiring, asked: &Explain) -> Result<Resource> {
    let name = asked.name.clone();
    let target = match asked.kind_of_resource {
        ResourceKind::Tenant => Target::Tenant,
        ResourceKind::Connector => Target::Connector(name),
        ResourceKind::Connection => Target::Connection(name),
        ResourceKind::Stream => {
            let (connection, stream) = name.split_once('/').ok_or_else(|| {
                Error::usage(format!("'{name}' does not name a stream")).hint("write CONNECTION/STREAM")
            })?;
            Target::Stream(connection.to_owned(), stream.to_owned())
        }
        ResourceKind::Call => {
            let mut all = offers(wiring).await?.into_iter();
            let offer = all.find(|offer| format!("{}/{}", offer.connection, offer.action) == name);
            let offer = offer.ok_or_else(|| {
                Error::not_found(format!("'{name}' is no action of a connection"))
                    .hint("write CONNECTION/ACTION; `weir action list` shows those there are")
            })?;
            Target::Action {
                connection: offer.connection,
                action: offer.action,
                effect: offer.effect,
            }
        }
        ResourceKind::Run => Target::Run(name),
        ResourceKind::Secret => Target::Secret(name),
        ResourceKind::Token => Target::Token(name),
        ResourceKind::Thing => Target::Thing(name),
    };
    let surroundings: Surroundings = wiring.surroundings().await?;
    let store = wiring.store().await?;
    let found = surroundings.find(&store, &asked.tenant, &target).await?;
    found.ok_or_else(|| {
        Error::not_found(format!("there is no run '{}'", asked.name))
            .hint("`weir run list` shows the runs there are")
    })
}
