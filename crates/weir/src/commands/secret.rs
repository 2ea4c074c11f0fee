use std::io::{IsTerminal as _, Read as _};
use std::process::{Command, Stdio};

use clap::{Args, Subcommand};
use weir_control::DEFAULT_TENANT;
use weir_control::secrets::{self, Vault as _};
use weir_protocol::units::Span;
use weir_protocol::{Error, Result, Secret};
use zeroize::Zeroizing;

use super::Context;
use crate::output::{Sheet, line, time};
use crate::renewals;
use crate::wiring::Wiring;

/// Values that stay encrypted in the store: set, list, rotate, delete
#[derive(Debug, Args)]
#[command(
    after_help = "Connections name them as secret:NAME wherever a credential or a setting is a text.\n\nExamples:\n  weir secret set github_token < token.txt\n  weir secret list\n  weir secret rotate-master-key"
)]
pub(crate) struct SecretArgs {
    #[command(subcommand)]
    command: SecretCommand,
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Store a value, read from standard input or asked for
    #[command(
        after_help = "The value is never an argument: those are seen by others. One line break at its end is left out.\n\nExample:\n  pass show github | weir secret set github_token"
    )]
    Set {
        /// Letters, digits, '_', '-' and '.'
        name: String,
        /// How long the value is good for: what ends is told a day before, by `weir serve`
        #[arg(long, value_name = "TIME")]
        expires: Option<Span>,
    },
    /// Names, versions and ages; never values
    #[command(after_help = "Example:\n  weir secret list --format json")]
    List,
    /// Encrypt a value by another data key
    #[command(after_help = "Example:\n  weir secret rotate github_token")]
    Rotate { name: String },
    /// Remove a value for good
    #[command(
        after_help = "What a file of the project, or of what was applied, still names is refused.\n\nExample:\n  weir secret delete github_token"
    )]
    Delete {
        name: String,
        /// Also where somebody still names it: what does works no more
        #[arg(long)]
        accept_loss: bool,
    },
    /// Encrypt all data keys by a new master key, while others go on reading
    #[command(
        after_help = "The project's own key file is exchanged. A key that the environment names is exchanged by you: set\nthe new one, the old one as WEIR_MASTER_KEY_OLD, and run this. It may be broken off and run again.\n\nExample:\n  weir secret rotate-master-key"
    )]
    RotateMasterKey,
}

pub(crate) async fn run(args: &SecretArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    match &args.command {
        SecretCommand::Set { name, expires } => {
            let value = value(name)?;
            let secrets = wiring.own_secrets().await?;
            let version = secrets.set(name, &value).await?;
            if let Some(life) = expires {
                secrets
                    .expires(name, renewals::end_of(&wiring, *life).await?)
                    .await?;
            }
            line(format!(
                "secret '{name}' is stored, version {version}; name it as secret:{name}"
            ));
        }
        SecretCommand::List => {
            let mut sheet = Sheet::new([
                "name",
                "version",
                "set",
                "last read",
                "created",
                "master key",
                "ends",
            ]);
            for secret in secrets::list(&wiring.store().await?, DEFAULT_TENANT).await? {
                sheet.push([
                    secret.name.into(),
                    secret.version.into(),
                    time(Some(secret.set_at_ms)),
                    time(secret.read_at_ms),
                    time(Some(secret.created_at_ms)),
                    secret.master_key_id.into(),
                    time(secret.expires_at_ms),
                ]);
            }
            sheet.print(context.format())?;
        }
        SecretCommand::Rotate { name } => {
            let version = wiring.own_secrets().await?.rotate(name).await?;
            line(format!("secret '{name}' has another data key, version {version}"));
        }
        SecretCommand::Delete { name, accept_loss } => {
            if !accept_loss {
                refuse_used(&wiring, name).await?;
            }
            secrets::delete(&wiring.store().await?, DEFAULT_TENANT, name).await?;
            line(format!("secret '{name}' is deleted"));
        }
        SecretCommand::RotateMasterKey => {
            let wrapped = wiring.rotate_master_key().await?;
            line(format!("{wrapped} secrets are under the new master key"));
        }
    }
    Ok(())
}

/// Refuses to take away what a file names: of this folder, or of what servers without a folder serve.
async fn refuse_used(wiring: &Wiring, name: &str) -> Result<()> {
    let users = wiring
        .named_by(&wiring.store().await?, DEFAULT_TENANT, name)
        .await?;
    if users.is_empty() {
        return Ok(());
    }
    Err(secrets::still_used(name, &users).hint(
        "name another secret there first (and apply that), or say with --accept-loss that they may fail; \
         `weir auth rotate` exchanges a value without a break",
    ))
}

/// From standard input; a person is asked, and what they type is not shown.
pub(super) fn value(name: &str) -> Result<Secret> {
    let unread = |error: std::io::Error| {
        Error::usage("the value cannot be read from standard input")
            .caused_by(error)
            .hint(format!("pipe it in: `weir secret set {name} < FILE`"))
    };
    let mut text = Zeroizing::new(String::new());
    let input = std::io::stdin();
    if input.is_terminal() {
        crate::output::prompt(&format!("value of secret '{name}' (not shown): "));
        echo(false)?;
        let read = input.read_line(&mut text);
        echo(true)?;
        line("");
        read.map_err(unread)?;
    } else {
        input.lock().read_to_string(&mut text).map_err(unread)?;
    }
    let value = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(value.strip_suffix('\r').unwrap_or(value)))
}

/// Whether the terminal shows what is typed.
fn echo(is_shown: bool) -> Result<()> {
    let how = if is_shown { "echo" } else { "-echo" };
    let done = Command::new("stty").arg(how).stdin(Stdio::inherit()).status();
    if done.as_ref().is_ok_and(std::process::ExitStatus::success) {
        return Ok(());
    }
    Err(Error::usage("this terminal cannot hide what is typed").hint("pipe the value in instead"))
}
