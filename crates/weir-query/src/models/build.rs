//! Plans one build of a model and streams it to where models are built.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, ident, lit};
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use weir_protocol::query::QueryLimits;
use weir_protocol::{Error, Result};

use super::check::quote;
use super::{Materialize, Model, lake_types};
use crate::engine::QueryEngine;
use crate::failure::explain;
use crate::functions::LastValues;
use crate::session::{Asked, Session};
use crate::tables::{Build, BuildMode, GoldWriter, Layer, Snapshot, Staged, TableName};

const VERSION: &str = "weir.model.version";
const DIGEST: &str = "weir.model.digest";

/// A build that was planned: the session that runs it, its plan, how it meets the table.
struct Planned {
    session: Session,
    plan: LogicalPlan,
    mode: BuildMode,
}

impl QueryEngine {
    /// Builds the model where no reader sees it yet.
    pub(super) async fn stage_model(
        &self,
        writer: &dyn GoldWriter,
        model: &Model,
        full: bool,
        memory_bytes: usize,
    ) -> Result<Box<dyn Staged>> {
        let planned = self.plan_build(model, full, memory_bytes).await?;
        let state = planned.session.context.state();
        let physical = state.create_physical_plan(&planned.plan).await.map_err(explain)?;
        let rows = execute_stream(physical, planned.session.context.task_ctx()).map_err(explain)?;
        let schema = rows.schema();
        let properties = [
            (VERSION, model.spec.version.to_string()),
            (DIGEST, model.digest.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value));
        writer
            .stage(Build {
                model: model.name.clone(),
                schema,
                rows: rows.map(|batch| batch.map_err(explain)).boxed(),
                mode: planned.mode,
                properties: BTreeMap::from(properties),
                memory_bytes: memory_bytes as u64,
            })
            .await
    }

    /// Plans the model's SQL; names and columns that are wrong come to light here.
    pub(super) async fn plan_model(
        &self,
        model: &Model,
        memory_bytes: usize,
        last: LastValues,
    ) -> Result<(Session, LogicalPlan)> {
        let asked = Asked {
            memory_bytes,
            last: Some(last),
            ..Asked::default()
        };
        let session = Session::open(&self.shared, asked).await?;
        let plan = session
            .plan_query(&model.sql)
            .await
            .map_err(|error| error.with("model", &model.name))?;
        Ok((session, plan))
    }

    async fn plan_build(&self, model: &Model, full: bool, memory_bytes: usize) -> Result<Planned> {
        let table = TableName::new(Layer::Gold, &model.name);
        let built = match model.spec.materialize {
            Materialize::Incremental if !full => self.shared.tables.snapshot(&table, None).await?,
            _ => None,
        };
        if let Some(built) = built.filter(|built| same_algorithm(built, model)) {
            let last = self.last_values(model, memory_bytes).await?;
            let (session, plan) = self.plan_model(model, memory_bytes, last.clone()).await?;
            let plan = lake_types::adapt(&model.name, newer(plan, model, &last)?)?;
            if same_columns(&built, &plan) {
                let mode = BuildMode::Merge {
                    keys: model.spec.unique_key.clone(),
                };
                return Ok(Planned { session, plan, mode });
            }
            tracing::info!(model = model.name, "columns changed: the model is built anew");
        }
        let (session, plan) = self.plan_model(model, memory_bytes, LastValues::new()).await?;
        let plan = lake_types::adapt(&model.name, plan)?;
        check_key(model, &plan)?;
        Ok(Planned {
            session,
            plan,
            mode: BuildMode::Replace,
        })
    }

    /// The greatest values in the built table of the cursor and of what `weir_last` is asked about.
    async fn last_values(&self, model: &Model, memory_bytes: usize) -> Result<LastValues> {
        let columns: BTreeSet<&String> = model.asks_last.iter().chain(&model.spec.cursor).collect();
        let mut last = LastValues::new();
        if columns.is_empty() {
            return Ok(last);
        }
        let maxima: Vec<String> = columns
            .iter()
            .map(|column| format!("max({})", quote(column)))
            .collect();
        let sql = format!("select {} from gold.{}", maxima.join(", "), quote(&model.name));
        let limits = QueryLimits {
            memory_bytes,
            ..QueryLimits::default()
        };
        let mut answer = self.ask(&sql, None, &limits).await.map_err(|error| {
            error
                .with("model", &model.name)
                .hint("`cursor` and weir_last name columns of the model itself")
        })?;
        if let Some(batch) = answer.next().await? {
            for (column, values) in columns.into_iter().zip(batch.columns()) {
                last.insert(
                    column.clone(),
                    ScalarValue::try_from_array(values, 0).map_err(explain)?,
                );
            }
        }
        Ok(last)
    }
}

fn same_algorithm(built: &Snapshot, model: &Model) -> bool {
    built.properties.get(VERSION) == Some(&model.spec.version.to_string())
        && built.properties.get(DIGEST) == Some(&model.digest)
}

fn same_columns(built: &Snapshot, plan: &LogicalPlan) -> bool {
    let before = built
        .schema
        .fields()
        .iter()
        .map(|field| (field.name(), field.data_type()));
    before.eq(plan
        .schema()
        .fields()
        .iter()
        .map(|field| (field.name(), field.data_type())))
}

/// Rows at or after the greatest cursor value that is built. Rows at it come again: another one with
/// the same value may have arrived since, and the key makes the repetition harmless.
fn newer(plan: LogicalPlan, model: &Model, last: &LastValues) -> Result<LogicalPlan> {
    let Some((cursor, value)) = model
        .spec
        .cursor
        .as_ref()
        .and_then(|cursor| last.get_key_value(cursor))
    else {
        return Ok(plan);
    };
    if value.is_null() {
        return Ok(plan);
    }
    let column = ident(cursor.clone());
    let newer = column.clone().gt_eq(lit(value.clone())).or(column.is_null());
    LogicalPlanBuilder::from(plan)
        .filter(newer)
        .and_then(LogicalPlanBuilder::build)
        .map_err(explain)
}

fn check_key(model: &Model, plan: &LogicalPlan) -> Result<()> {
    let missing = model
        .spec
        .unique_key
        .iter()
        .chain(&model.spec.cursor)
        .find(|column| !plan.schema().fields().iter().any(|field| field.name() == *column));
    match missing {
        None => Ok(()),
        Some(column) => {
            let names: Vec<&str> = plan
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect();
            Err(
                Error::spec(format!("model '{}' has no column '{column}'", model.name))
                    .with("file", model.file.display())
                    .hint(format!(
                        "`unique_key` and `cursor` name its columns, which are: {}",
                        names.join(", ")
                    )),
            )
        }
    }
}
