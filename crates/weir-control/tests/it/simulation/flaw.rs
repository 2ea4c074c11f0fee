//! Protocols broken on purpose: each of them must be found.

use std::sync::Arc;

use async_trait::async_trait;
use weir_protocol::destination::Committed;
use weir_protocol::{Batch, Destination, Finished, Receipt, Result, StreamState, StreamWriter, WritePlan};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// A checkpoint's state is committed before the rows that it covers.
    StateBeforeRows,
    /// What the lake holds is not looked at: each run begins where its process thinks that it is.
    ForgetsCommitted,
    /// Two writers may write the same version of a table.
    CommitsOverwrite,
    /// The raw records of one checkpoint are not kept.
    BronzeIsForgotten,
}

/// The destination with the flaws that sit between pump and lake.
pub(super) struct Flawed {
    pub(super) inner: Arc<dyn Destination>,
    pub(super) flaw: Flaw,
}

#[async_trait]
impl Destination for Flawed {
    async fn open(&self, plan: WritePlan) -> Result<Box<dyn StreamWriter>> {
        Ok(Box::new(FlawedWriter {
            inner: self.inner.open(plan).await?,
            flaw: self.flaw,
            late: Vec::new(),
        }))
    }
}

struct FlawedWriter {
    inner: Box<dyn StreamWriter>,
    flaw: Flaw,
    late: Vec<Batch>,
}

impl FlawedWriter {
    async fn bring(&mut self) -> Result<()> {
        for batch in std::mem::take(&mut self.late) {
            self.inner.write(batch).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl StreamWriter for FlawedWriter {
    fn committed(&self) -> Option<&Committed> {
        match self.flaw {
            Flaw::ForgetsCommitted => None,
            _ => self.inner.committed(),
        }
    }

    async fn write(&mut self, batch: Batch) -> Result<()> {
        if self.flaw == Flaw::StateBeforeRows {
            self.late.push(batch);
            return Ok(());
        }
        self.inner.write(batch).await
    }

    async fn checkpoint(&mut self, state: &StreamState) -> Result<Receipt> {
        if self.flaw == Flaw::StateBeforeRows {
            self.inner.checkpoint(state).await?;
            self.bring().await?;
        }
        self.inner.checkpoint(state).await
    }

    async fn finish(mut self: Box<Self>, state: &StreamState) -> Result<Finished> {
        self.bring().await?;
        self.inner.finish(state).await
    }
}
