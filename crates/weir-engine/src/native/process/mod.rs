//! Programs that are sources: started, listened to and ended in one place, whatever they speak.
//!
//! A program runs in a process group of its own, with an environment that holds only what the
//! connection names and a few harmless variables, and gets its settings by files that only the
//! user may read. Whatever way weir ends, the group ends with it and the files are removed: a
//! [`lifeline`](Lifeline) sees to that even when weir itself is killed.

mod batches;
mod choices;
mod lifeline;
mod lines;
mod private_folder;
mod program;
mod running;
mod secrets;
mod settings;
mod shared_redactor;
mod stray;
mod tail;
#[cfg(test)]
mod tests;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;
use weir_protocol::{ReadEvent, Result};

pub(super) use batches::{Batches, Events};
pub(super) use choices::{Declared, described};
use lifeline::Lifeline;
pub(super) use private_folder::PrivateFolder;
pub(super) use program::{Argument, Program};
pub(super) use running::{Line, Running};
pub(super) use secrets::{marked, named, suspected};
pub(super) use settings::ProcessSettings;
pub(super) use shared_redactor::SharedRedactor;
pub(super) use stray::{Stray, bare};
#[cfg(test)]
pub(super) use tests::engine;

/// Events that wait between the process and the lake; the process waits when they are not taken.
const EVENTS_AHEAD: usize = 4;

/// Runs `work` in a task of its own, whose events are the stream. Dropping the stream ends the task.
pub(super) fn events<W>(work: impl FnOnce(Events) -> W) -> BoxStream<'static, Result<ReadEvent>>
where
    W: Future<Output = ()> + Send + 'static,
{
    let (out, incoming) = mpsc::channel(EVENTS_AHEAD);
    let task = AbortOnDropHandle::new(tokio::spawn(work(out).in_current_span()));
    stream::unfold((incoming, task), |(mut incoming, task)| async move {
        let event = incoming.recv().await?;
        Some((event, (incoming, task)))
    })
    .boxed()
}
