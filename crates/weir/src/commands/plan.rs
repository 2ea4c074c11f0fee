use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use weir_control::DEFAULT_TENANT;
use weir_control::policies::Policies;
use weir_control::projects::{self, Change, ChangeKind, FileChange, Line, Plan, Wanted, WantedConnection};
use weir_control::secrets::Reference;
use weir_protocol::{Error, Result};

use super::Context;
use crate::output::{Format, line, raw, refused};
use crate::project::{BundleFile, check_schedule};
use crate::vaults;
use crate::wiring::{Wiring, registered};

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const PLAIN: &str = "\u{1b}[0m";
/// With `--detailed-exit-code`: there is a difference.
const DIFFERS: u8 = 2;

/// Show what `weir apply` would change in the control store
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir plan\n  weir plan --out shop.plan && weir apply --plan shop.plan --yes"
)]
pub(crate) struct PlanArgs {
    /// Write the plan to a file that `weir apply --plan` takes
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Exit with 2 where there is a difference
    #[arg(long)]
    detailed_exit_code: bool,
    #[arg(long, default_value = DEFAULT_TENANT)]
    tenant: String,
}

pub(crate) async fn run(args: &PlanArgs, context: &Context) -> Result<ExitCode> {
    let wiring = Wiring::open(context)?;
    let wanted = wanted(&wiring)?;
    let store = wiring.store().await?;
    let plan = projects::plan(&store, &args.tenant, &wanted).await?;
    store.close().await;
    if let Some(path) = &args.out {
        write(path, &plan)?;
    }
    show(&plan, context);
    if context.format() == Format::Table {
        let bundles = wiring.project.bundles(&wiring.catalog)?;
        bundles.iter().flat_map(BundleFile::notes).for_each(line);
    }
    if args.detailed_exit_code && !plan.changes.is_empty() {
        return Ok(ExitCode::from(DIFFERS));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the project's folder says. Refuses what could not be served: a broken file, a secret in one.
pub(super) fn wanted(wiring: &Wiring) -> Result<Wanted> {
    let project = &wiring.project;
    if let Some(problem) = wiring.catalog.problems().next() {
        return Err(
            Error::spec(format!("connector '{}': {}", problem.connector, problem.error)).hint(
                problem
                    .error
                    .next_step()
                    .unwrap_or("mend the file named")
                    .to_owned(),
            ),
        );
    }
    Policies::read(project.policy_files()?)?;
    project.refuse_literal_secrets(&wiring.catalog)?;
    let bundles = project.bundles(&wiring.catalog)?;
    if let Some(problem) = bundles.iter().find_map(BundleFile::problem) {
        return Err(problem);
    }
    let mut connections = Vec::new();
    for (_, path) in project.connection_files()? {
        // Variables stay as they are: their values are the server's.
        let spec = project.read_connection(&path, &|name| Some(name.to_owned()), &check_schedule)?;
        wiring.connector(&spec)?;
        connections.push(WantedConnection {
            connection: registered(&spec),
            references: vaults::references(&spec)
                .iter()
                .filter(|reference| reference.is_own())
                .map(own_name)
                .collect(),
            schedule: spec.schedule,
        });
    }
    Ok(Wanted {
        files: project.files()?,
        connections,
    })
}

fn own_name(reference: &Reference) -> String {
    let text = reference.to_string();
    text.strip_prefix("secret:").unwrap_or(&text).to_owned()
}

/// A difference as people or programs read it.
pub(super) fn show(plan: &Plan, context: &Context) {
    if context.format() != Format::Table {
        return raw(&format!("{:#}\n", json!(plan)));
    }
    if plan.changes.is_empty() {
        return line(format!("no difference (version {})", plan.base_version));
    }
    let colours = std::io::stdout().is_terminal() && !context.settings.no_color;
    raw(&text(plan, colours));
    for orphan in &plan.orphans {
        line(format!("leaves behind: {} ({})", orphan.what, orphan.name));
    }
}

fn text(plan: &Plan, colours: bool) -> String {
    let paint = |colour: &str, text: &str| painted(colours, colour, text);
    let mut out = String::new();
    for change in &plan.changes {
        let (colour, sign) = sign(change.change);
        let head = format!("{sign} {} {}", change.kind.as_str(), change.name);
        // A String takes everything.
        writeln!(out, "{}", paint(colour, &head)).unwrap_or_default();
        for file in &change.files {
            lines(&mut out, file, &paint);
        }
    }
    let count = |kind| plan.changes.iter().filter(|change| change.change == kind).count();
    writeln!(
        out,
        "{} to add, {} to change, {} to remove",
        count(ChangeKind::Added),
        count(ChangeKind::Changed),
        count(ChangeKind::Removed)
    )
    .unwrap_or_default();
    out
}

fn sign(change: ChangeKind) -> (&'static str, char) {
    match change {
        ChangeKind::Added => (GREEN, '+'),
        ChangeKind::Changed => (YELLOW, '~'),
        ChangeKind::Removed => (RED, '-'),
    }
}

fn lines(out: &mut String, file: &FileChange, paint: &dyn Fn(&str, &str) -> String) {
    let (colour, sign) = sign(file.change);
    let mut put = |text: String| writeln!(out, "{text}").unwrap_or_default();
    put(paint(colour, &format!("  {sign} {}", file.path)));
    if file.change == ChangeKind::Removed {
        return;
    }
    changed_lines(out, &file.lines, paint);
}

fn changed_lines(out: &mut String, lines: &[Line], paint: &dyn Fn(&str, &str) -> String) {
    let mut put = |text: String| writeln!(out, "{text}").unwrap_or_default();
    for line in lines {
        match line {
            Line::Kept(text) => put(format!("      {}", text.trim_end_matches('\n'))),
            Line::Removed(text) => put(paint(RED, &format!("    - {}", text.trim_end_matches('\n')))),
            Line::Added(text) => put(paint(GREEN, &format!("    + {}", text.trim_end_matches('\n')))),
            Line::Skipped(count) => put(format!("      … {count} lines")),
        }
    }
}

/// Lines that differ, as people read them.
pub(super) fn difference(lines: &[Line], colours: bool) -> String {
    let mut out = String::new();
    changed_lines(&mut out, lines, &|colour, text| painted(colours, colour, text));
    out
}

fn painted(colours: bool, colour: &str, text: &str) -> String {
    if colours {
        format!("{colour}{text}{PLAIN}")
    } else {
        text.to_owned()
    }
}

/// Names of what changes, for a question.
pub(super) fn summary(changes: &[Change]) -> String {
    format!("{} objects", changes.len())
}

fn write(path: &Path, plan: &Plan) -> Result<()> {
    let text = format!("{:#}\n", json!(plan));
    std::fs::write(path, text).map_err(|error| refused(&path.display().to_string(), error))
}
