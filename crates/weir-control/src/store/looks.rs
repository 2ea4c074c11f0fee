//! Reads that many ask for at once, as of the token that an agent sends with each of its calls: one look answers all
//! who asked before it began. Nobody gets an answer that is older than the question, and nobody waits long for another.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use weir_protocol::Result;

use super::{Scope, Store, Work};

/// Who waits for longer looks for itself.
const WAIT_MAX: Duration = Duration::from_secs(3);

type Answer = Arc<dyn Any + Send + Sync>;
type Waiting = Vec<oneshot::Sender<Turn>>;

/// Who waits for the next look at a thing. A thing that stands here is being looked at.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<BTreeMap<String, Waiting>>);

/// What somebody gets who waited.
#[derive(Debug)]
enum Turn {
    Answer(Answer),
    Look(Lead),
}

/// The duty to look for those who wait. However it ends, who came meanwhile is told or looks.
#[derive(Debug)]
struct Lead {
    looks: Arc<Looks>,
    thing: String,
    /// Those who asked before this look.
    waiting: Waiting,
}

impl Looks {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait for the next look; none where nobody looks.
    #[cfg(test)]
    pub(super) fn waiting(&self, thing: &str) -> Option<usize> {
        self.all().get(thing).map(Vec::len)
    }

    /// None where who had to look went away or takes long.
    async fn turn(self: &Arc<Self>, thing: &str) -> Option<Turn> {
        let turn = {
            let mut all = self.all();
            if let Some(waiting) = all.get_mut(thing) {
                let (sender, turn) = oneshot::channel();
                waiting.push(sender);
                turn
            } else {
                all.insert(thing.to_owned(), Waiting::new());
                return Some(Turn::Look(Lead {
                    looks: self.clone(),
                    thing: thing.to_owned(),
                    waiting: Waiting::new(),
                }));
            }
        };
        tokio::time::timeout(WAIT_MAX, turn).await.ok()?.ok()
    }
}

impl Lead {
    fn tell(&mut self, answer: &Answer) {
        for waiting in self.waiting.drain(..) {
            // Whoever went away meanwhile needs no answer.
            let _told = waiting.send(Turn::Answer(answer.clone()));
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // Those who were not told look by themselves: their senders end here.
        self.waiting.clear();
        let mut all = self.looks.all();
        let Some(came) = all.get_mut(&self.thing) else {
            return;
        };
        let mut came = std::mem::take(came);
        while let Some(next) = came.pop() {
            if next.is_closed() {
                continue;
            }
            let lead = Self {
                looks: self.looks.clone(),
                thing: self.thing.clone(),
                waiting: came,
            };
            drop(all);
            // Where it goes away right now, this runs again for it.
            let _told = next.send(Turn::Look(lead));
            return;
        }
        all.remove(&self.thing);
    }
}

impl Store {
    /// As [`Self::read`], for what many ask for at once: whoever names the same thing meanwhile shares the answer of the
    /// next look.
    pub(crate) async fn read_shared<'e, T, W>(
        &self,
        scope: Scope<'_>,
        thing: &str,
        doing: &'static str,
        work: W,
    ) -> Result<T>
    where
        T: Any + Clone + Send + Sync,
        W: Work<'e, T>,
    {
        let mut lead = match self.looks.turn(thing).await {
            Some(Turn::Answer(answer)) => {
                if let Some(answer) = answer.downcast_ref::<T>() {
                    return Ok(answer.clone());
                }
                None
            }
            Some(Turn::Look(lead)) => Some(lead),
            None => None,
        };
        let value = self.read(scope, doing, work).await?;
        if let Some(lead) = &mut lead
            && !lead.waiting.is_empty()
        {
            let answer: Answer = Arc::new(value.clone());
            lead.tell(&answer);
        }
        Ok(value)
    }
}
