//! The parts of a server. They live and die together: one that is gone unnoticed would leave a server
//! that answers and does nothing.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use weir_protocol::{Error, Result};

pub(crate) struct Parts {
    stop: CancellationToken,
    names: HashMap<Id, &'static str>,
    tasks: JoinSet<Result<()>>,
}

impl Parts {
    /// Parts that end once `stop` is called.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            names: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    pub(crate) fn start(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        let task = self.tasks.spawn(part);
        self.names.insert(task.id(), name);
    }

    /// Waits until all have ended. The first that ends without being asked to asks all others, and is
    /// the error.
    pub(crate) async fn wait(mut self) -> Result<()> {
        let mut first = None;
        while let Some(ended) = self.tasks.join_next_with_id().await {
            if let Err(error) = self.judge(ended) {
                tracing::error!(%error, "the server stops");
                first.get_or_insert(error);
                self.stop.cancel();
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn judge(&self, ended: Result<(Id, Result<()>), JoinError>) -> Result<()> {
        let name = |id: &Id| self.names.get(id).copied().unwrap_or("part");
        match ended {
            Ok((_, Err(error))) => Err(error),
            Ok((_, Ok(()))) if self.stop.is_cancelled() => Ok(()),
            Ok((id, Ok(()))) => Err(
                Error::internal(format!("the server's {} ended by itself", name(&id)))
                    .hint("start the server again; report it if it comes back"),
            ),
            Err(panic) => Err(
                Error::internal(format!("the server's {} broke off", name(&panic.id())))
                    .caused_by(panic)
                    .hint("start the server again; what runs had is taken over; report it"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::ErrorKind;

    use super::*;

    async fn end_of(part: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
        let stop = CancellationToken::new();
        let mut parts = Parts::new(stop.clone());
        parts.start("patient one", async move {
            stop.cancelled().await;
            Ok(())
        });
        parts.start("other one", part);
        parts.wait().await
    }

    #[tokio::test]
    async fn a_part_that_dies_takes_the_others_with_it_and_says_which_it_was() {
        let panicked = end_of(async { panic!("a defect") }).await.unwrap_err();
        assert_eq!(panicked.message(), "the server's other one broke off");
        let ended = end_of(async { Ok(()) }).await.unwrap_err();
        assert_eq!(ended.message(), "the server's other one ended by itself");
        let refused = end_of(async { Err(Error::denied("no").hint("ask")) })
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied);
    }

    #[tokio::test]
    async fn parts_that_were_asked_to_end_end_well() {
        let stop = CancellationToken::new();
        let mut parts = Parts::new(stop.clone());
        let stopped = stop.clone();
        parts.start("one", async move {
            stopped.cancelled().await;
            Ok(())
        });
        stop.cancel();
        parts.wait().await.unwrap();
    }
}
