//! Which streams and exports wait for each other.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};
use weir_protocol::{Error, Result};

use super::dynamic::collect_parents;
use super::node::Node;
use super::template::{Scope, py_text};

/// Exports that run at the source at once where the manifest says nothing.
const JOBS: usize = 1;

pub(crate) struct Turns {
    /// Streams that are not read at the same time.
    groups: Vec<(BTreeSet<String>, Mutex<()>)>,
    jobs: Semaphore,
}

impl Turns {
    pub(crate) fn new(root: &Node<'_>, scope: &Scope<'_>) -> Result<Self> {
        let groups = root.get("stream_groups").map(|node| node.members());
        let mut found = Vec::new();
        for (_, group) in groups.unwrap_or_default() {
            let action = group.need("action")?;
            if action.kind() != "BlockSimultaneousSyncsAction" {
                return Err(action.unknown("an action of a stream group"));
            }
            let streams = group.list("streams").into_iter();
            let names = streams.map(|stream| {
                stream
                    .get("name")
                    .map_or_else(String::new, |name| py_text(name.value))
            });
            found.push((names.collect(), Mutex::new(())));
        }
        let jobs = match root.text("max_concurrent_async_job_count")? {
            Some(text) => {
                let text = text.eval_text(scope)?;
                text.trim().parse::<usize>().map_err(|error| {
                    root.error(format!(
                        "max_concurrent_async_job_count is '{text}', no whole number"
                    ))
                    .caused_by(error)
                })?
            }
            None => JOBS,
        };
        Ok(Self {
            groups: found,
            jobs: Semaphore::new(jobs.clamp(1, Semaphore::MAX_PERMITS)),
        })
    }

    /// Waits until no stream of the same group is read, neither by itself nor as a parent.
    pub(crate) async fn stream(&self, name: &str, component: &Value) -> Vec<MutexGuard<'_, ()>> {
        let mut names = vec![name.to_owned()];
        collect_parents(component, &mut names);
        let mut held = Vec::new();
        // Always in the same order, so that two streams never wait for each other.
        for (group, turn) in &self.groups {
            if names.iter().any(|name| group.contains(name)) {
                held.push(turn.lock().await);
            }
        }
        held
    }

    /// Waits until another export may be begun.
    pub(crate) async fn job(&self) -> Result<SemaphorePermit<'_>> {
        self.jobs.acquire().await.map_err(|error| {
            Error::internal("no export can be begun any more")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })
    }
}
