use std::process::{Command, Stdio};
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::time::Instant;
use weir_control::DEFAULT_TENANT;
use weir_control::oauth::{self, Callback, Grant, Grants, Proof};
use weir_control::secrets;
use weir_protocol::oauth::{AuthorizationServer, Exchange, Exchanged};
use weir_protocol::units::Span;
use weir_protocol::{Error, Result};

use super::Context;
use crate::grants;
use crate::output::{Sheet, line, time};
use crate::renewals;
use crate::wiring::Wiring;

/// How long a person may take.
const LOGIN_MAX: Duration = Duration::from_secs(600);
/// By how much a device that asks too often asks less (RFC 8628, 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// Connect connections by OAuth: log in, look, log out
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir auth login crm\n  weir auth status\n  weir auth logout crm")]
pub(crate) struct AuthArgs {
    #[command(subcommand)]
    command: AuthCommand,
}

#[derive(Debug, Subcommand)]
enum AuthCommand {
    /// Let a person consent, and keep what the provider grants
    #[command(
        after_help = "Opens the provider's page in a browser and waits on a loopback address for its answer. The connector's\nauth says where the page is. Register http://127.0.0.1/oauth/callback at the provider; where it takes no\nother port than a registered one, use --port.\n\nExamples:\n  weir auth login crm\n  weir auth login crm --device      on a machine without a browser\n  weir auth login crm --port 8477 --no-browser"
    )]
    Login {
        /// Name of the connection
        connection: String,
        /// Consent on another device, by a code to type there
        #[arg(long, conflicts_with_all = ["port", "no_browser"])]
        device: bool,
        /// Print the address only
        #[arg(long)]
        no_browser: bool,
        /// Port of the loopback address; any free one if left out
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        port: u16,
    },
    /// What is connected, until when, and what went wrong; never a token
    #[command(after_help = "Example:\n  weir auth status crm --format json")]
    Status {
        /// Only this connection
        connection: Option<String>,
    },
    /// Exchange the value of a secret without a break: the new one is tried before it counts
    #[command(
        after_help = "Every connection that names the secret is checked with the new value; only if all of them work it takes\nthe old one's place. The old one is kept until the runs that hold it have ended: end it at the vendor then.\nWithout --secret the vendor itself makes the new value and ends the old one, where the connector says how.\n\nExamples:\n  pass show crm-new | weir auth rotate crm --secret crm_key --expires 90d\n  weir auth rotate crm"
    )]
    Rotate {
        /// Name of a connection that uses the secret
        connection: String,
        /// Name of the secret, as in secret:NAME; left out, the vendor makes the new value
        #[arg(long, value_name = "NAME")]
        secret: Option<String>,
        /// How long the new value is good for
        #[arg(long, value_name = "TIME", requires = "secret")]
        expires: Option<Span>,
    },
    /// Give a grant up, here and at the provider
    #[command(after_help = "Example:\n  weir auth logout crm")]
    Logout {
        /// Name of the connection
        connection: String,
    },
}

pub(crate) async fn run(args: &AuthArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    match &args.command {
        AuthCommand::Login {
            connection,
            device,
            no_browser,
            port,
        } => {
            let server = grants::server(&wiring, connection).await?;
            let grants = grants::grants(&wiring).await?;
            let client = server.client();
            let by_device = *device || client.authorize_url.is_none() && client.can_device;
            let grant = if by_device {
                on_device(&grants, connection, server.as_ref()).await?
            } else {
                in_browser(&grants, connection, server.as_ref(), (*port, !no_browser)).await?
            };
            say_connected(&grant);
        }
        AuthCommand::Status { connection } => status(&wiring, connection.as_deref(), context).await?,
        AuthCommand::Rotate {
            connection,
            secret,
            expires,
        } => rotate(&wiring, (connection, secret.as_deref()), *expires).await?,
        AuthCommand::Logout { connection } => logout(&wiring, connection).await?,
    }
    Ok(())
}

async fn in_browser(
    grants: &Grants,
    connection: &str,
    server: &dyn AuthorizationServer,
    (port, opens): (u16, bool),
) -> Result<Grant> {
    let listener = weir_server::loopback::bind(port).await?;
    let bound = listener.local_addr().map_err(|error| {
        Error::internal("the loopback address is not known")
            .caused_by(error)
            .hint("try again, or name one with --port")
    })?;
    let redirect_uri = &oauth::redirect_uri(&format!("http://{bound}"));
    let proof = &Proof::new()?;
    let url = oauth::authorize_url(server.client(), redirect_uri, proof)?;
    line(format!(
        "Consent to the access of '{connection}' here:\n\n{url}\n"
    ));
    if opens && !open(&url) {
        line("No browser could be opened: open the address yourself, on this machine.");
    }
    let waiting = weir_server::loopback::wait(listener, async |callback: Callback| {
        let code = &oauth::code_of(server.client(), &proof.state, &callback)?;
        let exchange = Exchange::Code {
            code,
            verifier: &proof.verifier,
            redirect_uri,
        };
        let granted = grants.exchange(server, exchange).await?;
        let grant = grants.connect(server.client(), connection, &granted).await?;
        Ok((format!("weir may use '{connection}' now."), grant))
    });
    tokio::time::timeout(LOGIN_MAX, waiting)
        .await
        .unwrap_or_else(|_| Err(too_late()))
}

fn too_late() -> Error {
    Error::timeout("nobody consented in time")
        .with("limit", format!("{} s", LOGIN_MAX.as_secs()))
        .hint("begin the login anew")
}

/// Whether a program that opens addresses could be started.
fn open(url: &str) -> bool {
    let (program, first): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("rundll32", &["url.dll,FileProtocolHandler"])
    } else {
        ("xdg-open", &[])
    };
    Command::new(program)
        .args(first)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .is_ok()
}

async fn on_device(grants: &Grants, connection: &str, server: &dyn AuthorizationServer) -> Result<Grant> {
    let asked = server.begin_device().await?;
    line(format!(
        "Consent to the access of '{connection}' at {} with the code {}",
        asked.verification_uri, asked.user_code
    ));
    if let Some(url) = &asked.verification_uri_complete {
        line(format!("or at {url}"));
    }
    let until = Instant::now() + asked.expires_in.min(LOGIN_MAX);
    let mut interval = asked.interval;
    loop {
        tokio::time::sleep(interval).await;
        if Instant::now() >= until {
            return Err(too_late());
        }
        let exchange = Exchange::Device {
            code: &asked.device_code,
        };
        match server.exchange(exchange).await {
            Ok(Exchanged::Granted(granted)) => {
                return grants.connect(server.client(), connection, &granted).await;
            }
            Ok(Exchanged::Pending) => {}
            Ok(Exchanged::SlowDown) => interval += SLOWER,
            Ok(Exchanged::Refused(error)) => return Err(error),
            // RFC 8628, 3.5: ask less often where no answer comes.
            Err(error) if error.kind().is_transient() => interval *= 2,
            Err(error) => return Err(error),
        }
    }
}

fn say_connected(grant: &Grant) {
    line(format!("'{}' is connected", grant.connection));
    if !grant.missing_scopes.is_empty() {
        line(format!(
            "The provider did not grant: {}. What needs them will be refused.",
            grant.missing_scopes.join(" ")
        ));
    }
    if !grant.can_refresh {
        line(
            "The provider gave no refresh token: the login has to be repeated when the access ends. Many give one \
             for the scope offline_access, or for access_type=offline.",
        );
    }
}

async fn status(wiring: &Wiring, connection: Option<&str>, context: &Context) -> Result<()> {
    let store = wiring.store().await?;
    let grants = match connection {
        Some(name) => vec![oauth::get(&store, DEFAULT_TENANT, name).await?],
        None => oauth::list(&store, DEFAULT_TENANT).await?,
    };
    let mut sheet = Sheet::new([
        "connection",
        "state",
        "method",
        "scopes",
        "missing scopes",
        "access ends",
        "login ends",
        "last refresh",
        "refreshes",
        "error",
    ]);
    for grant in grants {
        sheet.push([
            grant.connection.into(),
            grant.state.as_str().into(),
            grant.method.into(),
            grant.scopes.join(" ").into(),
            grant.missing_scopes.join(" ").into(),
            time(grant.access_expires_at_ms),
            time(grant.refresh_expires_at_ms),
            time(Some(grant.refreshed_at_ms)),
            grant.can_refresh.into(),
            grant.error.into(),
        ]);
    }
    sheet.print(context.format())
}

/// By a value that somebody gives, or by one that the vendor makes.
async fn rotate(
    wiring: &Wiring,
    (connection, name): (&str, Option<&str>),
    expires: Option<Span>,
) -> Result<()> {
    let done = match name {
        None => renewals::renew(wiring, connection, None).await?,
        Some(name) => {
            let value = super::secret::value(name)?;
            let done = renewals::exchange(wiring, (connection, name), &value).await?;
            if let Some(life) = expires {
                let end = renewals::end_of(wiring, life).await?;
                wiring.own_secrets().await?.expires(name, end).await?;
            }
            done
        }
    };
    line(format!(
        "secret '{}' has its new value; it was tried with {}",
        done.secret,
        done.connections.join(", ")
    ));
    let held = secrets::end_rotations(&wiring.store().await?, DEFAULT_TENANT).await?;
    if held > 0 {
        line(
            "Runs that began before hold the old one: let them end before you end it at the vendor; \
             `weir serve` removes it here then.",
        );
        return Ok(());
    }
    let ended = renewals::end_at_vendors(wiring).await?;
    line(match ended {
        0 => "No run holds the old one any more: end it at the vendor if it does not end it by itself.",
        _ => "No run held the old one any more, and the vendor ended it.",
    });
    Ok(())
}

async fn logout(wiring: &Wiring, connection: &str) -> Result<()> {
    // A connection whose file is gone or wrong can still be disconnected.
    let server = match grants::server(wiring, connection).await {
        Ok(server) => Some(server),
        Err(error) => {
            tracing::warn!(%error, "the provider cannot be told");
            None
        }
    };
    let grants = grants::grants(wiring).await?;
    let done = grants.disconnect(connection, server.as_deref()).await?;
    match done.at_provider {
        Some(Ok(())) => line(format!(
            "'{connection}' is disconnected, and the provider confirmed it"
        )),
        Some(Err(error)) => {
            line(format!("'{connection}' is disconnected here"));
            return Err(error.hint("the provider did not confirm it: end weir's access in its own settings"));
        }
        None => line(format!(
            "'{connection}' is disconnected here; end weir's access in the provider's own settings, too"
        )),
    }
    Ok(())
}
