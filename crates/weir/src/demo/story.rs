//! The demo from beginning to end.

use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_protocol::{Error, Result};

use super::chart::{self, Month};
use super::dataset::{ADDED, BAD, CHANGED, COMMENTS, COMMENTS_ADDED, ISSUES, PULLS};
use super::project::DemoProject;
use super::server::Server;
use super::stage::Stage;
use super::verify::{books_balance, claim, count, holds, number};

/// Pages of the long lists after which the first sync is killed, of some 400.
const KILL_AT_PAGE: u64 = 150;
/// Commit often, so that the killed sync leaves something behind.
const CHECKPOINT_ROWS: &str = "2000";
/// Months that the chart shows.
const MONTHS: usize = 12;

const ASK_LABELS: &str = "SELECT label['name'] AS label, count(*) AS issues, sum(CASE WHEN state = 'open' THEN 1 ELSE 0 END) AS open \
     FROM (SELECT state, unnest(labels) AS label FROM github_issues) GROUP BY 1 ORDER BY 2 DESC";
const ASK_ANSWERS: &str =
    "SELECT login, comments, discussions FROM gold_engineering_top_commenters ORDER BY comments DESC LIMIT 5";

/// Tells the whole story in `keep`, or in a folder that vanishes afterwards.
pub(crate) async fn tell(keep: Option<&Path>, no_color: bool) -> Result<()> {
    let mut stage = Stage::new(no_color);
    let scratch = tempfile::tempdir().map_err(|error| {
        Error::internal("cannot make a folder for the demo")
            .caused_by(error)
            .hint("make room in the system's temporary folder, or give --keep DIR")
    })?;
    let folder = keep.map_or_else(|| scratch.path().join("demo"), Path::to_owned);
    let server = Server::start().await?;
    let project = DemoProject::write(&folder, &server)?;
    stage.remark(&format!(
        "A local server at {} behaves as GitHub's REST API: {} issues, {} comments.",
        server.base_url(),
        number(ISSUES),
        number(COMMENTS)
    ));
    stage.remark(&format!("The project folder is {}.", folder.display()));
    killed(&mut stage, &project, &server).await?;
    resumed(&mut stage, &project, &server).await?;
    changed(&mut stage, &project, &server).await?;
    modelled(&mut stage, &project).await?;
    booked(&mut stage, &project).await?;
    asked(&mut stage, &project).await?;
    charted(&mut stage, &project).await?;
    where_it_lies(&mut stage, &project, keep).await
}

/// A full sync that dies half-way.
async fn killed(stage: &mut Stage, project: &DemoProject, server: &Server) -> Result<()> {
    stage.step("A full sync, killed half-way (kill -9)");
    let sync = ["sync", "github", "--checkpoint-rows", CHECKPOINT_ROWS];
    project
        .kill_midway(stage, &sync, server.pages(), KILL_AT_PAGE)
        .await?;
    let (issues, _) = count(project, "github_issues", "id").await?;
    let (comments, _) = count(project, "github_issue_comments", "id").await?;
    stage.remark(&format!(
        "Killed after {} requests, without a chance to clean up. Committed by then: {} issues, {} comments.",
        number(server.requests()),
        number(issues),
        number(comments)
    ));
    if comments >= COMMENTS {
        return Err(Error::internal("the sync was through before it was killed")
            .hint("run the demo again; report it if it comes back"));
    }
    Ok(())
}

/// The same command once more.
async fn resumed(stage: &mut Stage, project: &DemoProject, server: &Server) -> Result<()> {
    stage.step("The same command again: it goes on where the last commit was");
    project.show(stage, &["sync", "github"]).await?;
    for (table, key, rows) in [
        ("github_issues", "id", ISSUES),
        ("github_issue_comments", "id", COMMENTS),
        ("github_pull_requests", "id", PULLS),
    ] {
        stage.checked(&holds(project, table, key, rows).await?);
    }
    stage.checked(&format!(
        "nothing lost, nothing doubled; {} requests in all, one of which was told to wait (429, Retry-After)",
        number(server.requests())
    ));
    Ok(())
}

/// The vendor's data changed, has a new field, and some of it is wrong.
async fn changed(stage: &mut Stage, project: &DemoProject, server: &Server) -> Result<()> {
    stage.step("An incremental sync: changes, a new field, and bad records");
    server.advance();
    stage.remark(&format!(
        "Meanwhile {CHANGED} issues changed and {ADDED} are new; they have a new field `priority`, and {} of them are wrong.",
        BAD.len()
    ));
    let before = server.requests();
    project
        .show(
            stage,
            &[
                "sync",
                "github",
                "--stream",
                "issues",
                "--stream",
                "issue_comments",
            ],
        )
        .await?;
    let bad = BAD.len() as u64;
    stage.checked(&format!(
        "{} requests instead of all pages",
        number(server.requests() - before)
    ));
    stage.checked(&holds(project, "github_issues", "id", ISSUES + ADDED - bad).await?);
    stage.checked(&holds(project, "github_issue_comments", "id", COMMENTS + COMMENTS_ADDED).await?);
    let sql = "SELECT count(*) AS n FROM github_issues WHERE priority IS NOT NULL";
    let with_priority = project.rows(&["query", sql]).await?;
    let found = with_priority
        .first()
        .and_then(|row| row["n"].as_u64())
        .unwrap_or_default();
    claim("issues with the new field", CHANGED + ADDED - bad, found)?;
    stage.checked(&format!(
        "the new column `priority` is filled in {} issues",
        number(found)
    ));
    project
        .show(stage, &["quarantine", "list", "github", "issues"])
        .await?;
    let held = project
        .rows(&["quarantine", "list", "github", "issues", "--rows", "100"])
        .await?;
    claim("records in quarantine", bad, held.len() as u64)?;
    stage.checked(&format!(
        "{bad} records wait in quarantine with their reasons and their bytes"
    ));
    Ok(())
}

async fn modelled(stage: &mut Stage, project: &DemoProject) -> Result<()> {
    stage.step("Two gold models: built, checked, then published");
    let models = ["gold_engineering_issue_flow", "gold_engineering_top_commenters"];
    project
        .show(stage, &["model", "run", models[0], models[1]])
        .await?;
    for model in models {
        let rows = project
            .rows(&["query", &format!("SELECT count(*) AS n FROM {model}")])
            .await?;
        let found = rows.first().and_then(|row| row["n"].as_u64()).unwrap_or_default();
        claim(&format!("{model} holds rows"), 1, u64::from(found > 0))?;
    }
    Ok(())
}

async fn booked(stage: &mut Stage, project: &DemoProject) -> Result<()> {
    stage.step("The books: read = landed + filtered + deduplicated + quarantined");
    project.show(stage, &["run", "list"]).await?;
    let runs = project.rows(&["run", "list"]).await?;
    let mut shown = Vec::new();
    for run in &runs {
        let id = run["id"].as_str().unwrap_or_default();
        shown.push(project.object(&["run", "show", id]).await?);
    }
    claim("runs", 3, shown.len() as u64)?;
    let streams = books_balance(&shown)?;
    stage.checked(&format!(
        "{streams} books of {} runs balance, those of the killed run included",
        runs.len()
    ));
    Ok(())
}

async fn asked(stage: &mut Stage, project: &DemoProject) -> Result<()> {
    stage.step("Two questions");
    stage.remark("Which labels have the most issues, and how many of them are open?");
    project.show(stage, &["query", ASK_LABELS]).await?;
    stage.remark("Who answers most?");
    project.show(stage, &["query", ASK_ANSWERS]).await
}

async fn charted(stage: &mut Stage, project: &DemoProject) -> Result<()> {
    stage.step("Issues opened and closed by month");
    let sql =
        "SELECT CAST(month AS varchar) AS month, opened, closed FROM gold_engineering_issue_flow ORDER BY 1";
    let rows = project.rows(&["query", sql]).await?;
    let months: Vec<Month> = rows.iter().map(month).collect();
    stage.text(&chart::draw(&months[months.len().saturating_sub(MONTHS)..]));
    Ok(())
}

fn month(row: &Value) -> Month {
    let number = |name: &str| row[name].as_u64().unwrap_or_default();
    Month {
        month: row["month"]
            .as_str()
            .unwrap_or_default()
            .chars()
            .take(7)
            .collect(),
        opened: number("opened"),
        closed: number("closed"),
    }
}

async fn where_it_lies(stage: &mut Stage, project: &DemoProject, keep: Option<&Path>) -> Result<()> {
    stage.step("Where everything lies");
    project.show(stage, &["lake", "usage"]).await?;
    let lake: PathBuf = project.folder.join("lake");
    for (part, what) in [
        ("bronze/raw_github_issues", "as received: JSON Lines, zstd"),
        ("silver/github_issues", "typed: a Delta table, for any engine"),
        ("gold/gold_engineering_issue_flow", "made of it: a Delta table"),
        ("quarantine/github_issues", "what did not fit, with reasons"),
    ] {
        stage.remark(&format!("  {}  {what}", lake.join(part).display()));
    }
    if keep.is_none() {
        stage.remark("  (the folder vanishes now; `weir demo --keep DIR` keeps it)");
    }
    stage.remark(&format!(
        "\nThe demo took {:.0} s. The same on a real repository:\n",
        stage.seconds()
    ));
    stage.remark(
        "  export GITHUB_TOKEN=…; weir init github-lake --connector github --set repository=apache/datafusion && cd github-lake && weir sync github\n",
    );
    Ok(())
}
