//! Builds models in order: write, audit, publish.

use std::collections::BTreeSet;
use std::time::Instant;

use weir_protocol::query::QueryLimits;
use weir_protocol::{Error, ErrorKind, Result};

use super::check::{CheckResult, CheckSpec, Severity, quote};
use super::{Materialize, Model};
use crate::answer::{Answer, Deadline};
use crate::engine::QueryEngine;
use crate::functions::LastValues;
use crate::output::Cells;
use crate::session::{Asked, Session};
use crate::tables::{GoldWriter, Layer, Snapshot, TableName};

/// Wrong rows shown of a failed check.
const SAMPLE_ROWS_MAX: usize = 3;

/// One model's part of a run.
#[derive(Debug)]
pub struct ModelRun {
    pub name: String,
    pub status: ModelStatus,
    /// Rows of the table as it is now; none for a view.
    pub rows: Option<u64>,
    /// Version that was published; none for a view.
    pub version: Option<i64>,
    pub duration_ms: u64,
    pub checks: Vec<CheckResult>,
    /// Why it failed.
    pub error: Option<Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelStatus {
    /// Published (a view: valid, and its checks hold).
    Built,
    Failed,
    /// Not tried, because a model that it reads failed.
    Skipped,
}

/// How models are run.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions {
    /// Also those that read the chosen ones.
    pub downstream: bool,
    /// Build incremental models anew.
    pub full: bool,
    pub limits: QueryLimits,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            downstream: false,
            full: false,
            limits: QueryLimits {
                timeout_s: 3600,
                ..QueryLimits::default()
            },
        }
    }
}

/// What a model turned out to be.
struct Outcome {
    rows: Option<u64>,
    version: Option<i64>,
}

impl QueryEngine {
    /// Builds the chosen models (all, where none is named), each after those it reads. A model that
    /// fails does not stop those that do not read it; its published version stays.
    pub async fn run_models(
        &self,
        writer: &dyn GoldWriter,
        names: &[String],
        options: RunOptions,
    ) -> Result<Vec<ModelRun>> {
        let mut runs = Vec::new();
        let mut broken: BTreeSet<&str> = BTreeSet::new();
        for model in self.models.select(names, options.downstream)? {
            let begun = Instant::now();
            let mut checks = Vec::new();
            let outcome = if model.reads.iter().any(|read| broken.contains(read.as_str())) {
                None
            } else {
                let deadline = Deadline::of(&options.limits);
                let building = self.run_model(writer, model, options, &mut checks);
                Some(deadline.hold(Box::pin(building)).await)
            };
            let (status, outcome, error) = match outcome {
                Some(Ok(outcome)) => (ModelStatus::Built, Some(outcome), None),
                Some(Err(error)) => (ModelStatus::Failed, None, Some(error)),
                None => (ModelStatus::Skipped, None, None),
            };
            if status != ModelStatus::Built {
                broken.insert(&model.name);
            }
            runs.push(ModelRun {
                name: model.name.clone(),
                status,
                rows: outcome.as_ref().and_then(|outcome| outcome.rows),
                version: outcome.as_ref().and_then(|outcome| outcome.version),
                duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                checks,
                error,
            });
        }
        Ok(runs)
    }

    async fn run_model(
        &self,
        writer: &dyn GoldWriter,
        model: &Model,
        options: RunOptions,
        checks: &mut Vec<CheckResult>,
    ) -> Result<Outcome> {
        let memory_bytes = options.limits.memory_bytes;
        if model.spec.materialize == Materialize::View {
            self.plan_model(model, memory_bytes, LastValues::new()).await?;
            self.check_model(model, None, &options.limits, checks).await?;
            return Ok(Outcome {
                rows: None,
                version: None,
            });
        }
        let staged = self
            .stage_model(writer, model, options.full, memory_bytes)
            .await?;
        let rows = staged.snapshot().rows();
        let checked = self
            .check_model(model, Some(staged.snapshot()), &options.limits, checks)
            .await;
        match checked {
            Ok(()) => Ok(Outcome {
                rows,
                version: Some(staged.publish().await?),
            }),
            Err(error) => {
                if let Err(left) = staged.discard().await {
                    tracing::warn!(model = model.name, %left, "the unpublished build could not be removed");
                }
                Err(error)
            }
        }
    }

    /// Runs the model's checks against what is staged (a view: against itself).
    async fn check_model(
        &self,
        model: &Model,
        staged: Option<&Snapshot>,
        limits: &QueryLimits,
        results: &mut Vec<CheckResult>,
    ) -> Result<()> {
        for check in &model.spec.checks {
            let sample = self.wrong_rows(model, check, staged, limits).await?;
            results.push(CheckResult {
                check: check.title(),
                severity: check.severity,
                passed: sample.is_empty(),
                sample,
            });
        }
        for failed in results
            .iter()
            .filter(|result| !result.passed && result.severity == Severity::Warn)
        {
            tracing::warn!(model = model.name, check = failed.check, sample = ?failed.sample, "check failed");
        }
        match results
            .iter()
            .find(|result| !result.passed && result.severity == Severity::Error)
        {
            None => Ok(()),
            Some(failed) => Err(Error::new(
                ErrorKind::Gate,
                format!("model '{}' fails its check {}", model.name, failed.check),
            )
            .with("sample", failed.sample.join("; "))
            .hint("the version published before stays; mend the model or its sources and run it again")),
        }
    }

    async fn wrong_rows(
        &self,
        model: &Model,
        check: &CheckSpec,
        staged: Option<&Snapshot>,
        limits: &QueryLimits,
    ) -> Result<Vec<String>> {
        let table = TableName::new(Layer::Gold, &model.name);
        let sql = check.wrong_rows(&format!("gold.{}", quote(&table.name)));
        let asked = Asked {
            memory_bytes: limits.memory_bytes,
            staged: staged.cloned(),
            ..Asked::default()
        };
        let session = Session::open(&self.shared, asked).await?;
        let in_check = |error: Error| error.with("model", &model.name).with("check", check.title());
        let plan = session.plan_query(&sql).await.map_err(in_check)?;
        let few = QueryLimits {
            rows_max: SAMPLE_ROWS_MAX,
            ..*limits
        };
        let mut answer = Answer::start(session, plan, &few, Deadline::of(limits))
            .await
            .map_err(in_check)?;
        let names: Vec<String> = answer
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let mut sample = Vec::new();
        while let Some(batch) = answer.next().await.map_err(in_check)? {
            Cells::of(&batch, |cells| {
                for row in 0..batch.num_rows() {
                    let pairs: Vec<String> = names
                        .iter()
                        .zip(cells.values(row)?)
                        .map(|(name, value)| format!("{name}: {value}"))
                        .collect();
                    sample.push(pairs.join(", "));
                }
                Ok(())
            })?;
        }
        Ok(sample)
    }
}
