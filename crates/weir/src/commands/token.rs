use std::collections::BTreeSet;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weir_control::policies::Target;
use weir_control::principals::{self, Access, EXPIRY_DEFAULT, Kind, NewToken, Permission, Role, Token};
use weir_control::{DEFAULT_TENANT, tenants};
use weir_protocol::Result;
use weir_protocol::units::Span;

use super::Context;
use crate::output::{Format, Sheet, line, raw, time};
use crate::wiring::Wiring;

/// Tokens of the API: create, list, revoke
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir token create loader --role operator --expires 30d\n  weir token list\n  weir token revoke 0f3a9c51d2e4b687"
)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it: this once, for only a hash of it is kept
    #[command(
        after_help = "Example:\n  weir token create dashboard --scope runs:read --scope schedules:read"
    )]
    Create {
        /// Who will act with it
        principal: String,
        /// What the principal is
        #[arg(long, value_parser = words(&[Kind::User, Kind::Agent, Kind::Token], Kind::as_str), default_value = "token")]
        kind: Kind,
        /// A named set of scopes; may be given again
        #[arg(long = "role", value_name = "ROLE", value_parser = words(&Role::ALL, Role::as_str))]
        roles: Vec<Role>,
        /// One thing that it may do; may be given again
        #[arg(long = "scope", value_name = "SCOPE", value_parser = words(&Permission::ALL, Permission::as_str))]
        scopes: Vec<Permission>,
        /// A group that rules of approvals and policies may name; may be given again
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// How long it lives, at most a year [default: 90d]
        #[arg(long, value_name = "TIME")]
        expires: Option<Span>,
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
    /// All tokens without their secrets, newest first
    #[command(after_help = "Example:\n  weir token list --format json")]
    List {
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
    /// End a token at once
    #[command(after_help = "Example:\n  weir token revoke 0f3a9c51d2e4b687")]
    Revoke {
        /// Id of the token: what stands between the two underscores
        id: String,
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
}

/// Takes a word, and says which there are.
pub(super) fn words<T>(all: &[T], word: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + std::str::FromStr<Err = weir_protocol::Error> + Send + Sync + 'static,
{
    let words: Vec<&'static str> = all.iter().map(|value| word(*value)).collect();
    PossibleValuesParser::new(words).try_map(|text| text.parse::<T>())
}

pub(crate) async fn run(args: &TokenArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?;
    match &args.command {
        TokenCommand::Create {
            principal,
            kind,
            roles,
            scopes,
            groups,
            expires,
            tenant,
        } => {
            wiring
                .allow(tenant, Permission::TokensWrite, &Target::Tenant)
                .await?;
            let new = NewToken {
                principal: principal.clone(),
                kind: *kind,
                roles: roles.iter().copied().collect(),
                scopes: scopes.iter().copied().collect(),
                groups: groups.iter().cloned().collect(),
                expires_in: expires.map_or(EXPIRY_DEFAULT, Span::get),
            };
            let issued = principals::create(&store, &Access::command_line(tenant), &new).await?;
            if context.format() == Format::Json {
                let mut shown = json!(issued.token);
                shown["bearer"] = issued.text.expose().into();
                raw(&format!("{shown:#}\n"));
            } else {
                line(issued.text.expose());
            }
            Ok(())
        }
        TokenCommand::List { tenant } => {
            tenants::get(&store, tenant).await?;
            list(&principals::list(&store, tenant).await?, context.format())
        }
        TokenCommand::Revoke { id, tenant } => {
            let target = Target::Token(id.clone());
            wiring.allow(tenant, Permission::TokensWrite, &target).await?;
            let token = principals::revoke(&store, tenant, id).await?;
            line(format!("token {} of '{}' is revoked", token.id, token.principal));
            Ok(())
        }
    }
}

fn list(tokens: &[Token], format: Format) -> Result<()> {
    let mut sheet = Sheet::new([
        "id",
        "principal",
        "kind",
        "roles",
        "scopes",
        "groups",
        "status",
        "created",
        "created_by",
        "expires",
        "last_used",
    ]);
    for token in tokens {
        sheet.push([
            token.id.as_str().into(),
            token.principal.as_str().into(),
            token.kind.as_str().into(),
            joined(&token.roles),
            joined(&token.scopes),
            joined(&token.groups),
            token.status.as_str().into(),
            time(Some(token.created_at_ms)),
            token.created_by.as_str().into(),
            time(Some(token.expires_at_ms)),
            time(token.last_used_at_ms),
        ]);
    }
    sheet.print(format)
}

/// Several words in one cell.
pub(super) fn joined<T: ToString>(words: &BTreeSet<T>) -> Value {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    words.join(" ").into()
}
