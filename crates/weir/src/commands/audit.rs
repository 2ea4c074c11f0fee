use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use weir_control::audit::{self, Broken, EntryFilter, Erase, KEPT_DAYS_MIN, Verified};
use weir_control::{DEFAULT_TENANT, tenants};
use weir_protocol::{Error, Result};

use super::Context;
use crate::output::{Format, Sheet, line, raw, time};
use crate::wiring::Wiring;
use crate::{audit_trail, errors};

/// What was done and by whom: list, verify, export
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir audit list --action secret.read --since 2026-01-01\n  weir audit verify\n  weir audit export --output audit.jsonl && weir audit verify --file audit.jsonl"
)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// The records, newest first
    #[command(after_help = "Example:\n  weir audit list --principal cli --since 2026-01-01T12:00:00Z")]
    List(ListArgs),
    /// Look whether a record was changed, removed, moved or added
    #[command(
        after_help = "An export is verified without a store and outside of a project. Note the printed head elsewhere:\nwith --head, a trail that was written anew is found even by who no longer trusts the signing key.\n\nExample:\n  weir audit verify --file audit.jsonl --key \"$PUBLIC_KEY\""
    )]
    Verify {
        /// An export instead of the store
        #[arg(long, value_name = "EXPORT")]
        file: Option<PathBuf>,
        /// Public key that may have signed it, in base64; several may be given
        #[arg(long, value_name = "BASE64")]
        key: Vec<String>,
        /// A head that was noted elsewhere
        #[arg(long, value_name = "NUMBER:HASH")]
        head: Option<String>,
        /// Whose records in the store
        #[arg(long, default_value = DEFAULT_TENANT, conflicts_with = "file")]
        tenant: String,
    },
    /// Write all records to a file that anybody can verify
    #[command(after_help = "Example:\n  weir audit export --output audit.jsonl")]
    Export {
        /// The file, JSON lines
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// Whose records
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
    /// Sign the newest record, and print it as a head to note elsewhere
    #[command(after_help = "Example:\n  weir audit seal")]
    Seal,
    /// Erase what names people; the records stay, and the chain holds
    #[command(after_help = "Example:\n  weir audit erase --principal cli")]
    Erase {
        /// In the records of this principal
        #[arg(long, required_unless_present = "subject")]
        principal: Option<String>,
        /// In the records about this subject
        #[arg(long, conflicts_with = "principal")]
        subject: Option<String>,
    },
    /// Remove signed records that are older than some days
    #[command(after_help = "Example:\n  weir audit prune --keep-days 365")]
    Prune {
        #[arg(long, value_name = "DAYS", default_value_t = KEPT_DAYS_MIN)]
        keep_days: u32,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// From this day or moment on
    #[arg(long, value_name = "TIME", value_parser = audit::moment)]
    since: Option<i64>,
    /// Who acted: `cli`, `system`, a principal's name, or a token as `token:ID`
    #[arg(long)]
    principal: Option<String>,
    /// What was done, as `secret.read`
    #[arg(long)]
    action: Option<String>,
    /// What it was done to, as `connection:github`
    #[arg(long)]
    subject: Option<String>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Whose records
    #[arg(long, default_value = DEFAULT_TENANT)]
    tenant: String,
}

pub(crate) async fn run(args: &AuditArgs, context: &Context) -> Result<()> {
    match &args.command {
        AuditCommand::Verify {
            file,
            key,
            head,
            tenant,
        } => verify(file.as_ref(), key, (head.as_deref(), tenant), context).await,
        AuditCommand::List(args) => list(args, context).await,
        AuditCommand::Export { output, tenant } => export(output, tenant, context).await,
        AuditCommand::Seal => {
            let wiring = Wiring::open(context)?;
            let store = wiring.store().await?;
            match audit::seal(&store, DEFAULT_TENANT, &wiring.audit_key()?).await? {
                Some(seal) => line(format!("{}:{}", seal.number, seal.hash)),
                None => line("there is no audit record yet"),
            }
            Ok(())
        }
        AuditCommand::Erase { principal, subject } => {
            let store = Wiring::open(context)?.store().await?;
            let whose = match (principal, subject) {
                (Some(principal), _) => Erase::Principal(principal),
                (None, Some(subject)) => Erase::Subject(subject),
                (None, None) => {
                    return Err(Error::usage("nobody is named").hint("give --principal or --subject"));
                }
            };
            let erased = audit::erase_personal(&store, DEFAULT_TENANT, whose).await?;
            line(format!("erased what names people in {erased} records"));
            Ok(())
        }
        AuditCommand::Prune { keep_days } => {
            let wiring = Wiring::open(context)?;
            let store = wiring.store().await?;
            let gone = audit::prune(&store, DEFAULT_TENANT, *keep_days, &wiring.audit_key()?).await?;
            line(format!("removed {gone} records"));
            Ok(())
        }
    }
}

async fn list(args: &ListArgs, context: &Context) -> Result<()> {
    let store = Wiring::open(context)?.store().await?;
    let filter = EntryFilter {
        since_ms: args.since,
        before: None,
        principal: args.principal.clone(),
        action: args.action.clone(),
        subject: args.subject.clone(),
        limit: args.limit,
    };
    tenants::get(&store, &args.tenant).await?;
    let found = audit::list(&store, &args.tenant, &filter).await?;
    if context.format() == Format::Json {
        raw(&format!("{:#}\n", json!(found)));
        return Ok(());
    }
    let mut sheet = Sheet::new([
        "number",
        "time",
        "principal",
        "action",
        "subject",
        "outcome",
        "of",
        "details",
        "person",
    ]);
    for entry in found {
        sheet.push([
            entry.number.into(),
            time(Some(entry.at_ms)),
            entry.principal.into(),
            entry.action.into(),
            entry.subject.into(),
            entry.outcome.into(),
            entry.correlation_id.into(),
            entry.details.into(),
            entry.personal.into(),
        ]);
    }
    sheet.print(context.format())
}

async fn verify(
    file: Option<&PathBuf>,
    keys: &[String],
    (head, tenant): (Option<&str>, &str),
    context: &Context,
) -> Result<()> {
    let noted = head.map(audit::noted_head).transpose()?;
    let noted = noted.as_ref().map(|(number, hash)| (*number, hash.as_str()));
    let found = match file {
        Some(path) => {
            let opened = File::open(path).map_err(|error| errors::file("read", path, error))?;
            audit::verify_export(&mut BufReader::new(opened), keys, noted)?
        }
        None => {
            let wiring = Wiring::open(context)?;
            let mut known = keys.to_vec();
            if known.is_empty() {
                known = wiring.audit_keys()?;
            }
            let store = wiring.store().await?;
            tenants::get(&store, tenant).await?;
            audit::verify(&store, tenant, &known, noted).await?
        }
    };
    let found = found.map_err(|broken: Broken| match file {
        Some(file) => Error::from(broken).with("file", file.display()),
        None => broken.into(),
    })?;
    if file.is_some() && keys.is_empty() {
        tracing::warn!("the export's own key was believed: name the one that you know with --key");
    }
    tell(&found, context.format());
    Ok(())
}

fn tell(found: &Verified, format: Format) {
    if format == Format::Json {
        raw(&format!("{:#}\n", json!(found)));
        return;
    }
    if found.records == 0 {
        line("there is no audit record yet");
        return;
    }
    line(format!(
        "{} records hold, {} to {}; signed up to {}; personal data erased in {}",
        found.records, found.first, found.number, found.sealed, found.erased
    ));
    line(format!("head: {}:{}", found.number, found.hash));
}

async fn export(output: &PathBuf, tenant: &str, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let store = wiring.store().await?;
    let key = wiring.audit_key()?;
    tenants::get(&store, tenant).await?;
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    // Complete or not at all.
    let draft = tempfile::NamedTempFile::new_in(folder.unwrap_or_else(|| std::path::Path::new(".")))
        .map_err(|error| errors::file("write", output, error))?;
    let mut out = BufWriter::new(draft);
    let done = audit::export(&store, tenant, &key, &mut out).await?;
    let draft = out
        .into_inner()
        .map_err(|error| errors::file("write", output, error.into_error()))?;
    draft
        .persist(output)
        .map_err(|error| errors::file("write", output, error.error))?;
    line(format!("{} records in {}", done.records, output.display()));
    line(format!("head: {}:{}", done.head.number, done.head.hash));
    line(format!(
        "key: {} (of {})",
        key.public(),
        audit_trail::file(&wiring.project).display()
    ));
    Ok(())
}
