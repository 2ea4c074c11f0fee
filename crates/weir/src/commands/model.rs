use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use weir_control::events::{self, Gate};
use weir_control::{DEFAULT_TENANT, Store};
use weir_protocol::{Error, ErrorKind, Result};
use weir_query::models::{ModelRun, ModelStatus, Models, RunOptions};

use super::Context;
use crate::messenger;
use crate::output::{Format, Sheet, line, raw};
use crate::wiring::Wiring;

/// Gold models: run, list, graph
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir model run\n  weir model graph --as dot | dot -Tsvg > models.svg")]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    /// Build models, each after those it reads; a version is published only if its checks pass
    #[command(after_help = "Example:\n  weir model run gold_engineering_issue_flow --downstream")]
    Run {
        /// Names of models; without any, all of them
        names: Vec<String>,
        /// Also those that read the named ones
        #[arg(long)]
        downstream: bool,
        /// Build incremental models anew
        #[arg(long)]
        full: bool,
    },
    /// The models of the project and of the connectors it uses
    #[command(after_help = "Example:\n  weir model list")]
    List,
    /// What reads what
    #[command(after_help = "Example:\n  weir model graph --as dot")]
    Graph {
        #[arg(long = "as", value_enum, default_value_t)]
        shape: Shape,
    },
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Shape {
    #[default]
    Text,
    /// Graphviz
    Dot,
    Json,
}

pub(crate) async fn run(args: &ModelArgs, context: &Context) -> Result<()> {
    let wiring = Arc::new(Wiring::open(context)?);
    match &args.command {
        ModelCommand::Run {
            names,
            downstream,
            full,
        } => {
            // What changed in the tables is told before models read them.
            messenger::tell(&wiring, &wiring.store().await?).await;
            let engine = wiring.query_engine().await?;
            let options = RunOptions {
                downstream: *downstream,
                full: *full,
                ..RunOptions::default()
            };
            let writer = weir_query::LakeTables::new(wiring.lake()?);
            let runs = Box::pin(engine.run_models(&writer, names, options)).await?;
            tell_gates(&wiring.store().await?, &runs).await;
            print(&runs, context.format())?;
            first_failure(runs)
        }
        ModelCommand::List => list(wiring.query_engine().await?.models(), context.format()),
        ModelCommand::Graph { shape } => {
            let graph = wiring.query_engine().await?.models().graph();
            match shape {
                Shape::Text => raw(&graph.to_text()),
                Shape::Dot => raw(&graph.to_dot()),
                Shape::Json => raw(&format!("{:#}\n", json!(graph))),
            }
            Ok(())
        }
    }
}

/// Tells of models that their checks kept from being published. That nobody can be told is no failure of the models.
async fn tell_gates(store: &Store, runs: &[ModelRun]) {
    for run in runs {
        let failed = run.checks.iter().filter(|check| !check.passed);
        let failed: Vec<String> = failed.map(|check| check.check.clone()).collect();
        if run.status != ModelStatus::Failed || failed.is_empty() {
            continue;
        }
        let gate = Gate {
            table: run.name.clone(),
            failed,
        };
        if let Err(error) = events::tell_gate(store, DEFAULT_TENANT, &gate).await {
            tracing::warn!(model = run.name, %error, "nobody could be told of the checks that failed");
        }
    }
}

fn list(models: &Models, format: Format) -> Result<()> {
    let mut sheet = Sheet::new([
        "model",
        "materialize",
        "owner",
        "reads",
        "checks",
        "file",
        "description",
    ]);
    for model in models.iter() {
        let reads: Vec<&str> = model.reads.iter().map(String::as_str).collect();
        sheet.push([
            model.name.as_str().into(),
            model.spec.materialize.as_str().into(),
            model.spec.owner.as_deref().into(),
            reads.join(", ").into(),
            model.spec.checks.len().into(),
            model.file.display().to_string().into(),
            model.spec.description.as_deref().into(),
        ]);
    }
    sheet.print(format)
}

fn print(runs: &[ModelRun], format: Format) -> Result<()> {
    let mut sheet = Sheet::new(["model", "status", "rows", "version", "checks", "seconds"]);
    for run in runs {
        let passed = run.checks.iter().filter(|check| check.passed).count();
        #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
        let seconds = run.duration_ms as f64 / 1_000.0;
        sheet.push([
            run.name.as_str().into(),
            status(run.status).into(),
            run.rows.into(),
            run.version.into(),
            checks(passed, run.checks.len()),
            json!(seconds),
        ]);
    }
    sheet.print(format)?;
    if format == Format::Table {
        for run in runs {
            for check in run.checks.iter().filter(|check| !check.passed) {
                line(format!(
                    "{}: check {} failed: {}",
                    run.name,
                    check.check,
                    check.sample.join("; ")
                ));
            }
        }
    }
    Ok(())
}

fn status(status: ModelStatus) -> &'static str {
    match status {
        ModelStatus::Built => "built",
        ModelStatus::Failed => "failed",
        ModelStatus::Skipped => "skipped",
    }
}

fn checks(passed: usize, all: usize) -> Value {
    if all == 0 {
        Value::Null
    } else {
        format!("{passed} of {all}").into()
    }
}

fn first_failure(runs: Vec<ModelRun>) -> Result<()> {
    let mut failed = runs.into_iter().filter(|run| run.status != ModelStatus::Built);
    let Some(first) = failed.next() else { return Ok(()) };
    for other in failed {
        match other.error {
            Some(error) => tracing::error!(model = other.name, "{error}"),
            None => tracing::error!(
                model = other.name,
                "skipped, because a model that it reads failed"
            ),
        }
    }
    Err(first
        .error
        .unwrap_or_else(|| {
            Error::new(ErrorKind::Gate, "a model was skipped").hint("mend the models that it reads")
        })
        .with("model", first.name))
}
