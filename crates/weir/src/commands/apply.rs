use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use weir_control::DEFAULT_TENANT;
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_control::projects::{self, Plan};
use weir_protocol::{Error, Result};

use super::{Context, plan};
use crate::errors;
use crate::output::{Format, line, prompt};
use crate::wiring::Wiring;

/// Make the control store what the project folder says
#[derive(Debug, Args)]
#[command(
    after_help = "What changed since the plan was made is not overwritten: plan again. What would leave state or secrets\nbehind is refused unless it is named.\n\nExamples:\n  weir apply\n  weir apply --yes --accept-orphans connection:shop"
)]
pub(crate) struct ApplyArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Exactly this plan, as `weir plan --out` wrote it
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// What may be left behind, as the refusal names it
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    accept_orphans: Vec<String>,
    /// Of the store; a plan knows its own
    #[arg(long, default_value = DEFAULT_TENANT)]
    tenant: String,
}

pub(crate) async fn run(args: &ApplyArgs, context: &Context) -> Result<()> {
    let wiring = Wiring::open(context)?;
    let wanted = plan::wanted(&wiring)?;
    let store = wiring.store().await?;
    // The folder's own policies bind who applies it too.
    let permission = Permission::ConnectionsWrite;
    wiring.allow(&args.tenant, permission, &Target::Tenant).await?;
    let plan = match &args.plan {
        Some(path) => read(path)?,
        None => projects::plan(&store, &args.tenant, &wanted).await?,
    };
    plan::show(&plan, context);
    if plan.changes.is_empty() {
        store.close().await;
        return Ok(());
    }
    if !args.yes {
        ask(&plan)?;
    }
    let version = projects::apply(&store, &plan, &wanted, &args.accept_orphans).await?;
    store.close().await;
    if context.format() == Format::Table {
        line(format!("applied: version {version}"));
    }
    Ok(())
}

fn ask(plan: &Plan) -> Result<()> {
    let is_answered = || -> Option<bool> {
        prompt(&format!(
            "apply these changes to {}? [y/N] ",
            plan::summary(&plan.changes)
        ));
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim(), "y" | "Y" | "yes"))
    };
    if !std::io::stdin().is_terminal() {
        return Err(Error::usage("nobody is there to be asked").hint("look at `weir plan`, then add --yes"));
    }
    match is_answered() {
        Some(true) => Ok(()),
        _ => Err(Error::usage("nothing was applied").hint("answer y, or add --yes")),
    }
}

fn read(path: &Path) -> Result<Plan> {
    let text = std::fs::read_to_string(path).map_err(|error| errors::file("read", path, error))?;
    serde_json::from_str(&text).map_err(|error| {
        Error::spec("the file is not a plan")
            .with("file", path.display())
            .caused_by(error)
            .hint("write one with `weir plan --out FILE`")
    })
}
