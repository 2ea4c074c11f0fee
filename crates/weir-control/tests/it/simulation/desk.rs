//! Where processes wait for their turn. A process is a thread with a runtime of its own; of all that
//! live, one runs at a time, and it stops before each step that somebody else could see.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use weir_protocol::{Error, Result};

/// What is done at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something appears in the object store.
    Put,
    Delete,
    Read,
    /// A write to the control store.
    Store,
    /// A page of the source.
    Page,
}

/// How a step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    /// It fails, and has no effect.
    Fail,
    /// It has its effect, but the one who asked is told that it failed.
    LoseAnswer,
    /// It is done twice, as by a client that repeats a request whose answer it lost.
    Twice,
    /// The process dies before it.
    Die,
}

/// How a process ended, unless it died.
pub(super) type Outcome = Option<Result<String, Error>>;

#[derive(Debug)]
enum Status {
    Runs,
    Waits(Kind, String),
    Told(Verdict),
    Over(Outcome),
}

#[derive(Debug, Default)]
struct Processes {
    all: Vec<Status>,
    dead: Vec<bool>,
}

/// Processes come here with what they are about to do, and are told how it ends.
#[derive(Debug, Default)]
pub(super) struct Desk {
    processes: Mutex<Processes>,
    turn: Condvar,
}

thread_local! {
    /// The process whose thread this is. Threads that libraries start have none, and pass: their process
    /// waits for them.
    static ME: RefCell<Option<(Arc<Desk>, usize)>> = const { RefCell::new(None) };
}

/// What unwinds a process that died.
struct Killed;

/// Waits for the turn of this thread's process.
pub(super) fn pass(kind: Kind, what: impl FnOnce() -> String) -> Verdict {
    match ME.with_borrow(Clone::clone) {
        Some((desk, me)) => desk.wait(me, kind, what()),
        None => Verdict::Go,
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Processes> {
        self.processes.lock().unwrap()
    }

    fn wait(&self, me: usize, kind: Kind, what: String) -> Verdict {
        let mut processes = self.lock();
        if !processes.dead[me] {
            processes.all[me] = Status::Waits(kind, what);
            self.turn.notify_all();
        }
        loop {
            if processes.dead[me] {
                drop(processes);
                std::panic::resume_unwind(Box::new(Killed));
            }
            if let Status::Told(verdict) = processes.all[me] {
                processes.all[me] = Status::Runs;
                return verdict;
            }
            processes = self.turn.wait(processes).unwrap();
        }
    }

    /// Starts a process.
    pub(super) fn start<F>(self: &Arc<Self>, work: impl FnOnce() -> F + Send + 'static) -> usize
    where
        F: Future<Output = Result<String>>,
    {
        let me = {
            let mut processes = self.lock();
            processes.all.push(Status::Runs);
            processes.dead.push(false);
            processes.all.len() - 1
        };
        let desk = self.clone();
        std::thread::spawn(move || {
            ME.set(Some((desk.clone(), me)));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let lives = std::panic::AssertUnwindSafe(|| runtime.block_on(work()));
            let ended = std::panic::catch_unwind(lives);
            let _: Option<()> = ME.take().map(drop);
            runtime.shutdown_background();
            let mut processes = desk.lock();
            let outcome = match ended {
                _ if processes.dead[me] => None,
                Ok(outcome) => Some(outcome),
                Err(panic) => Some(Err(panicked(panic.as_ref()))),
            };
            processes.all[me] = Status::Over(outcome);
            desk.turn.notify_all();
        });
        me
    }

    /// Waits until every process waits or is over, and gives those that wait.
    pub(super) fn waiting(&self) -> Vec<(usize, Kind, String)> {
        let busy = |status: &Status| matches!(status, Status::Runs | Status::Told(_));
        let mut processes = self.lock();
        while processes.all.iter().any(busy) {
            processes = self.turn.wait(processes).unwrap();
        }
        let waits = processes.all.iter().enumerate();
        waits
            .filter_map(|(process, status)| match status {
                Status::Waits(kind, what) => Some((process, *kind, what.clone())),
                _ => None,
            })
            .collect()
    }

    pub(super) fn tell(&self, process: usize, verdict: Verdict) {
        let mut processes = self.lock();
        if verdict == Verdict::Die {
            processes.dead[process] = true;
        }
        processes.all[process] = Status::Told(verdict);
        self.turn.notify_all();
    }

    /// How a process that is over ended; asked once.
    pub(super) fn outcome(&self, process: usize) -> Outcome {
        match &mut self.lock().all[process] {
            Status::Over(outcome) => outcome.take(),
            _ => None,
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Error::internal(format!("panicked: {}", text.unwrap_or_default())).hint("mend it")
}
