use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use weir_control::DEFAULT_TENANT;
use weir_control::policies::Target;
use weir_control::principals::Permission;
use weir_control::projects::{self, Change, ChangeKind, ObjectKind, Plan};
use weir_protocol::{Error, Result};

use super::{Context, plan};
use crate::output::{Format, line, prompt};
use crate::wiring::Wiring;
use crate::{errors, grants};

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
    /// What may be left behind, as the refusal names it; a grant is given up at its provider
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
    refuse_unserved(&plan)?;
    if plan.changes.is_empty() {
        store.close().await;
        return Ok(());
    }
    if !args.yes {
        ask(&plan)?;
    }
    let given_up = given_up(&plan, &args.accept_orphans);
    if !given_up.is_empty() {
        // What giving up needs is asked for before anything is changed.
        grants::grants(&wiring).await?;
    }
    let before = projects::current(&store, &plan.tenant).await?.files;
    let version = projects::apply(&store, &plan, &wanted, &args.accept_orphans).await?;
    if context.format() == Format::Table {
        line(format!("applied: version {version}"));
    }
    grants::give_up(&wiring, &before, &given_up).await?;
    store.close().await;
    Ok(())
}

/// Connections that went, and whose grants were accepted to be left behind: nobody wants those to stay good.
fn given_up<'a>(plan: &'a Plan, accepted: &[String]) -> Vec<&'a str> {
    let removed =
        |change: &&Change| change.kind == ObjectKind::Connection && change.change == ChangeKind::Removed;
    let names = plan
        .changes
        .iter()
        .filter(removed)
        .map(|change| change.name.as_str());
    names
        .filter(|name| accepted.contains(&projects::grant_orphan(name)))
        .collect()
}

/// Servers have files of one tenant's connections: runs of another one's would fail for want of them.
fn refuse_unserved(plan: &Plan) -> Result<()> {
    if plan.tenant == DEFAULT_TENANT {
        return Ok(());
    }
    Err(Error::usage(format!(
        "no server would carry out what is applied to tenant '{}'",
        plan.tenant
    ))
    .with("served tenant", DEFAULT_TENANT)
    .hint("apply to it, in a store of its own for each tenant; docs/guides/operations.md says what other tenants can do"))
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
