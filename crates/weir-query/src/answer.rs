//! An answer on its way: batches under the question's limits.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use tokio::time::{Duration, Instant, timeout_at};
use weir_protocol::query::QueryLimits;
use weir_protocol::{Error, Result};

use crate::failure::explain;
use crate::session::Session;

pub(crate) struct Answer {
    schema: SchemaRef,
    batches: SendableRecordBatchStream,
    rows_left: usize,
    deadline: Deadline,
    pub(crate) truncated: bool,
    _session: Session,
}

/// When a question must be answered.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    timeout_s: u64,
}

impl Deadline {
    pub(crate) fn of(limits: &QueryLimits) -> Self {
        // A year stands for "no limit": an instant far beyond may not exist.
        let timeout = Duration::from_secs(limits.timeout_s.min(365 * 24 * 3600));
        Self {
            at: Instant::now() + timeout,
            timeout_s: limits.timeout_s,
        }
    }

    pub(crate) async fn hold<T>(self, work: impl Future<Output = Result<T>>) -> Result<T> {
        timeout_at(self.at, work).await.unwrap_or_else(|_| {
            Err(
                Error::timeout(format!("the query was not answered within {} s", self.timeout_s))
                    .hint("narrow it by a filter, or raise the time limit"),
            )
        })
    }
}

impl Answer {
    pub(crate) async fn start(
        session: Session,
        plan: LogicalPlan,
        limits: &QueryLimits,
        deadline: Deadline,
    ) -> Result<Self> {
        let plan = limited(plan, limits.rows_max)?;
        let state = session.context.state();
        let physical = deadline
            .hold(async { state.create_physical_plan(&plan).await.map_err(explain) })
            .await?;
        let batches = execute_stream(physical, session.context.task_ctx()).map_err(explain)?;
        Ok(Self {
            schema: batches.schema(),
            batches,
            rows_left: limits.rows_max,
            deadline,
            truncated: false,
            _session: session,
        })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows; none when the answer is complete or cut off.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let next = self
                .deadline
                .hold(async { self.batches.next().await.transpose().map_err(explain) })
                .await?;
            let Some(batch) = next else { return Ok(None) };
            if batch.num_rows() == 0 {
                continue;
            }
            if self.rows_left == 0 {
                self.truncated = true;
                return Ok(None);
            }
            let kept = batch.num_rows().min(self.rows_left);
            self.truncated |= kept < batch.num_rows();
            self.rows_left -= kept;
            return Ok(Some(batch.slice(0, kept)));
        }
    }
}

/// Tells the optimizer that more than one row beyond the limit is never looked at.
fn limited(plan: LogicalPlan, rows_max: usize) -> Result<LogicalPlan> {
    let whole = matches!(
        plan,
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)
    );
    match rows_max.checked_add(1) {
        Some(fetch) if !whole && i64::try_from(fetch).is_ok() => LogicalPlanBuilder::from(plan)
            .limit(0, Some(fetch))
            .and_then(LogicalPlanBuilder::build)
            .map_err(explain),
        _ => Ok(plan),
    }
}
