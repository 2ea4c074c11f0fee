//! The demo's project folder, and weir run in it as a person would.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::watch;
use weir_protocol::{Error, Result};

use super::render::REPOSITORY;
use super::server::{Server, TOKEN};
use super::stage::Stage;
use crate::errors;

/// The variable that the demo's connection takes its token from.
const TOKEN_VARIABLE: &str = "WEIR_DEMO_TOKEN";
/// A step that takes longer than this hangs.
const STEP_TIME_MAX: Duration = Duration::from_secs(300);

pub(super) struct DemoProject {
    program: PathBuf,
    pub(super) folder: PathBuf,
}

impl DemoProject {
    /// Writes the project's files. A folder that holds something already is left alone.
    pub(super) fn write(folder: &Path, server: &Server) -> Result<Self> {
        let failed = |error| errors::file("write the demo's project to", folder, error);
        std::fs::create_dir_all(folder.join("connections")).map_err(failed)?;
        if folder.join("weir.yaml").exists() {
            return Err(
                Error::usage(format!("{} holds a project already", folder.display()))
                    .hint("give --keep a folder that does not exist yet"),
            );
        }
        let connection = format!(
            "# As for the real GitHub, but for base_url and allow_private_hosts.\n\
             connector: github\n\
             allow_private_hosts: true\n\
             config:\n  base_url: {}\n  repository: {REPOSITORY}\n\
             credential:\n  method: bearer\n  token: ${{{TOKEN_VARIABLE}}}\n\
             streams:\n  repositories: {{}}\n  issues: {{}}\n  issue_comments: {{}}\n  pull_requests: {{}}\n  commits: {{}}\n  releases: {{}}\n",
            server.base_url()
        );
        std::fs::write(
            folder.join("weir.yaml"),
            "project: demo\nlake:\n  location: ./lake\n",
        )
        .map_err(failed)?;
        std::fs::write(folder.join("connections/github.yaml"), connection).map_err(failed)?;
        let program = std::env::current_exe().map_err(|error| {
            Error::internal("cannot find this program's own file")
                .caused_by(error)
                .hint("run weir by its path")
        })?;
        Ok(Self {
            program,
            folder: folder.to_owned(),
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .arg("--project")
            .arg(&self.folder)
            .env(TOKEN_VARIABLE, TOKEN)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command whose output people see.
    pub(super) async fn show(&self, stage: &Stage, args: &[&str]) -> Result<()> {
        stage.command(args);
        let running = self.command(args).status();
        let status = within(args, running).await?;
        if status.success() {
            return Ok(());
        }
        Err(broken(args, &format!("it ended with {status}"), ""))
    }

    /// Runs a command whose rows the demo looks at.
    pub(super) async fn rows(&self, args: &[&str]) -> Result<Vec<Value>> {
        self.json(args).await
    }

    /// Runs a command that prints one object.
    pub(super) async fn object(&self, args: &[&str]) -> Result<Value> {
        self.json(args).await
    }

    async fn json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let mut all = args.to_vec();
        all.extend(["--format", "json", "--no-progress"]);
        let output: Output = within(&all, self.command(&all).output()).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(broken(&all, &format!("it ended with {}", output.status), &errors));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| {
            broken(&all, "its output is not the JSON that is expected", &errors).caused_by(error)
        })
    }

    /// Begins a command and kills it, as a power cut would, when the server has served so many pages.
    pub(super) async fn kill_midway(
        &self,
        stage: &Stage,
        args: &[&str],
        mut pages: watch::Receiver<u64>,
        at: u64,
    ) -> Result<()> {
        stage.command(args);
        let mut child = self
            .command(args)
            .spawn()
            .map_err(|error| broken(args, "it did not start", "").caused_by(error))?;
        let reached = tokio::select! {
            ended = child.wait() => {
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(broken(args, &format!("it ended by itself before it could be killed: {how}"), ""));
            }
            reached = within(args, pages.wait_for(|served| *served >= at)) => reached.map(|_| ()),
        };
        reached?;
        // On Unix this is SIGKILL: no handler runs, nothing is flushed.
        child
            .kill()
            .await
            .map_err(|error| broken(args, "it could not be killed", "").caused_by(error))
    }
}

async fn within<T, E>(args: &[&str], work: impl Future<Output = std::result::Result<T, E>>) -> Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match tokio::time::timeout(STEP_TIME_MAX, work).await {
        Ok(done) => done.map_err(|error| broken(args, "it could not be run", "").caused_by(error)),
        Err(_) => Err(broken(
            args,
            &format!("it took longer than {} s", STEP_TIME_MAX.as_secs()),
            "",
        )),
    }
}

fn broken(args: &[&str], how: &str, said: &str) -> Error {
    let error = Error::internal(format!("`weir {}` broke the demo: {how}", args.join(" ")));
    let error = if said.is_empty() {
        error
    } else {
        error.with("it said", said.trim())
    };
    error.hint("run `weir demo --keep DIR` and look at what the folder holds; report it if it comes back")
}
