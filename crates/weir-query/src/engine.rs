//! The engine: questions in, rows out, models built.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use weir_protocol::query::{Column, Query, QueryLimits, Rows};
use weir_protocol::{Error, Result};

use crate::answer::{Answer, Deadline};
use crate::guard;
use crate::models::Models;
use crate::output::{self, Cells, Format, Written};
use crate::session::{Asked, Session, Shared};
use crate::tables::{AsOf, Tables};

/// Where and how much an engine may spill.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder for temporary files; the system's own if none.
    pub spill: Option<PathBuf>,
    pub spill_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            spill: None,
            spill_bytes_max: 16 << 30,
        }
    }
}

/// Answers SQL over the lake's tables and builds the project's models.
#[derive(Clone)]
pub struct QueryEngine {
    pub(crate) shared: Shared,
    pub(crate) models: Arc<Models>,
}

impl QueryEngine {
    pub fn new(tables: Arc<dyn Tables>, models: Models, settings: Settings) -> Self {
        let views: BTreeMap<String, String> = models.views().collect();
        Self {
            shared: Shared {
                tables,
                views: Arc::new(views),
                spill: settings.spill,
                spill_bytes_max: settings.spill_bytes_max,
            },
            models: Arc::new(models),
        }
    }

    pub fn models(&self) -> &Models {
        &self.models
    }

    /// Answers into `out` as the rows come. For [`Format::Table`] all rows are held until widths are known.
    pub async fn write(
        &self,
        sql: &str,
        as_of: Option<&str>,
        limits: QueryLimits,
        format: Format,
        out: &mut (dyn Write + Send),
    ) -> Result<Written> {
        let mut answer = Box::pin(self.ask(sql, as_of, &limits)).await?;
        Box::pin(output::write(&mut answer, format, limits.memory_bytes, out)).await
    }

    pub(crate) async fn ask(&self, sql: &str, as_of: Option<&str>, limits: &QueryLimits) -> Result<Answer> {
        let statement = guard::read_only(sql)?;
        let as_of = as_of.map(AsOf::parse).transpose()?;
        let deadline = Deadline::of(limits);
        let asked = Asked {
            as_of,
            memory_bytes: limits.memory_bytes,
            ..Asked::default()
        };
        let (session, plan) = deadline
            .hold(async {
                let session = Session::open(&self.shared, asked).await?;
                let plan = session.plan(statement).await?;
                Ok((session, plan))
            })
            .await?;
        Answer::start(session, plan, limits, deadline).await
    }

    async fn rows(&self, sql: &str, as_of: Option<&str>, limits: QueryLimits) -> Result<Rows> {
        let mut answer = self.ask(sql, as_of, &limits).await?;
        let columns = answer
            .schema()
            .fields()
            .iter()
            .map(|field| Column {
                name: field.name().clone(),
                kind: output::kind(field.data_type()),
            })
            .collect();
        let mut rows = Rows {
            columns,
            ..Rows::default()
        };
        let mut held_bytes = 0;
        while let Some(batch) = answer.next().await? {
            held_bytes += batch.get_array_memory_size();
            if held_bytes > limits.memory_bytes {
                return Err(too_wide(limits.memory_bytes));
            }
            Cells::of(&batch, |cells| {
                for row in 0..batch.num_rows() {
                    rows.rows.push(cells.values(row)?);
                }
                Ok(())
            })?;
        }
        rows.truncated = answer.truncated;
        Ok(rows)
    }
}

pub(crate) fn too_wide(memory_bytes: usize) -> Error {
    Error::limit(format!("the answer is larger than {memory_bytes} bytes"))
        .hint("ask for fewer rows or columns, or write it to a file as CSV, JSON or Parquet")
}

#[async_trait]
impl Query for QueryEngine {
    async fn query(&self, sql: &str, as_of: Option<&str>, limits: QueryLimits) -> Result<Rows> {
        Box::pin(self.rows(sql, as_of, limits)).await
    }
}
