//! One seed: processes that work, stop, die and come back, one step at a time.

use std::collections::BTreeMap;

use super::check;
use super::desk::{Kind, Verdict};
use super::dice::Dice;
use super::flaw::Flaw;
use super::process::Task;
use super::trace::Trace;
use super::world::World;

/// Longer than a lease holds.
pub(super) const LEASE_MS: i64 = 31_000;
const STEPS_MAX: u64 = 20_000;
/// Steps within which a process that is to die or to stop does so.
const FATE_STEPS: u64 = 90;

/// What is in store for a process.
#[derive(Debug, Default, Clone, Copy)]
struct Fate {
    steps: u64,
    dies_at: Option<u64>,
    /// It stands still then, as a machine that sleeps, and goes on when others went by.
    stops_at: Option<u64>,
    /// The same, right before it commits for the n-th time.
    stops_at_commit: Option<u64>,
    commits: u64,
    was_stopped: bool,
    is_stopped: bool,
    /// Steps that fail, in a hundred.
    troubles: u64,
}

pub(super) struct Story {
    pub(super) world: World,
    dice: Dice,
    trace: Trace,
    fates: BTreeMap<usize, Fate>,
    steps: u64,
    /// Something put an older state of the table back.
    pub(super) was_restored: bool,
    /// A full read was asked for.
    pub(super) was_full: bool,
}

/// What came of a seed.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) trace: Vec<String>,
    /// What is wrong, if something is.
    pub(super) fault: Option<String>,
}

/// Runs one seed to its end.
pub(super) fn run(seed: u64, flaw: Flaw) -> Ending {
    let mut dice = Dice::new(seed);
    let world = World::new(&mut dice, flaw);
    let mut story = Story {
        world,
        dice,
        trace: Trace::default(),
        fates: BTreeMap::new(),
        steps: 0,
        was_restored: false,
        was_full: false,
    };
    story.tell(&format!("seed {seed}: {:?}", story.world.place.conf));
    let fault = story.go().err();
    Ending {
        trace: story.trace.into_lines(),
        fault,
    }
}

impl Story {
    pub(super) fn tell(&mut self, line: &str) {
        self.trace.push(line);
    }

    fn go(&mut self) -> Result<(), String> {
        let acts = self.dice.between(1, 3);
        for act in 0..acts {
            let task = if act == 0 { sync() } else { self.task() };
            self.act(task)?;
            self.between();
        }
        // Those that sleep wake up, to a world that has gone on.
        for fate in self.fates.values_mut() {
            fate.is_stopped = false;
        }
        self.drive()?;
        self.world.jump(2 * LEASE_MS);
        check::end(self)
    }

    fn task(&mut self) -> Task {
        let still = self.world.place.conf.mode == weir_protocol::SyncMode::FullRefreshAppend;
        match self.dice.below(20) {
            0 => Task::Compact,
            1 => Task::Vacuum {
                keeps: self.sleepers() > 0,
            },
            2 => Task::Release,
            3 => Task::Rebuild,
            4 if !still && self.sleepers() == 0 => {
                let newest = check::newest_version(&self.world);
                Task::Restore(self.dice.between(0, newest.max(0).unsigned_abs()).cast_signed())
            }
            5 | 6 if !still => Task::Sync {
                full: true,
                restart: self.dice.percent(30),
            },
            7 if !still => Task::Sync {
                full: false,
                restart: true,
            },
            _ => sync(),
        }
    }

    fn sleepers(&self) -> usize {
        self.fates.values().filter(|fate| fate.is_stopped).count()
    }

    /// What happens while nobody works.
    fn between(&mut self) {
        for _ in 0..self.dice.below(4) {
            let may_be_late = self.sleepers() == 0;
            let change = self.world.place.shop.lock().unwrap().change(may_be_late);
            self.tell(&format!("shop: {change}"));
        }
        if self.dice.percent(70) {
            self.jump(LEASE_MS);
        }
        if self.dice.percent(25) {
            self.tell("the contract is mended");
            self.world.place.conf.contract = weir_protocol::spec::Contract::Evolve;
        }
    }

    fn jump(&mut self, ms: i64) {
        self.tell(&format!("clock: {ms} ms"));
        self.world.jump(ms);
    }

    /// Starts a process with a fate, sometimes a second beside it, and goes on until nobody is awake.
    fn act(&mut self, task: Task) -> Result<(), String> {
        self.start(task);
        let is_alone = matches!(task, Task::Vacuum { keeps: false } | Task::Restore(_));
        if !is_alone && self.dice.percent(25) {
            let second = match self.dice.below(6) {
                0 => Task::Compact,
                1 => Task::Release,
                2 => Task::Rebuild,
                3 => Task::Vacuum { keeps: true },
                _ => sync(),
            };
            self.start(second);
        }
        self.drive()
    }

    fn start(&mut self, task: Task) {
        let dice = &mut self.dice;
        let troubles = if dice.percent(30) { dice.between(1, 4) } else { 0 };
        let mut fate = Fate {
            dies_at: dice.percent(45).then(|| dice.between(1, FATE_STEPS)),
            stops_at: dice.percent(15).then(|| dice.between(1, FATE_STEPS)),
            stops_at_commit: dice.percent(20).then(|| dice.between(1, 4)),
            troubles,
            ..Fate::default()
        };
        // It keeps no file for writers that it does not see: nobody may come beside it.
        if task == (Task::Vacuum { keeps: false }) {
            fate.stops_at = None;
        }
        match task {
            Task::Restore(_) => self.was_restored = true,
            Task::Sync { full: true, .. } => self.was_full = true,
            _ => {}
        }
        let place = self.world.place.clone();
        let process = self.world.desk.start(move || task.run(place));
        self.tell(&format!("{process}: starts {task:?}, {fate:?}"));
        self.fates.insert(process, fate);
    }

    fn drive(&mut self) -> Result<(), String> {
        loop {
            let waiting = self.world.desk.waiting();
            self.hear()?;
            let awake: Vec<_> = waiting
                .into_iter()
                .filter(|(process, ..)| !self.fates[process].is_stopped)
                .collect();
            if awake.is_empty() {
                return Ok(());
            }
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err("it does not come to an end".to_owned());
            }
            self.meanwhile();
            let place = self.dice.below(awake.len() as u64);
            let (process, kind, what) = &awake[usize::try_from(place).unwrap()];
            self.step(*process, *kind, what);
        }
    }

    /// What the processes that are over say.
    fn hear(&mut self) -> Result<(), String> {
        let processes: Vec<usize> = self.fates.keys().copied().collect();
        for process in processes {
            let Some(outcome) = self.world.desk.outcome(process) else {
                continue;
            };
            match &outcome {
                Ok(done) => self.tell(&format!("{process}: ends, {done}")),
                Err(error) => self.tell(&format!("{process}: fails, {error:?}")),
            }
            if let Err(error) = outcome
                && error.kind() == weir_protocol::ErrorKind::Internal
                && !error.to_string().contains("broke off")
            {
                return Err(format!("a process ends with a defect: {error:?}"));
            }
        }
        Ok(())
    }

    fn meanwhile(&mut self) {
        if self.dice.percent(3) {
            let change = self.world.place.shop.lock().unwrap().change(false);
            self.tell(&format!("shop: {change}"));
        }
        if self.dice.percent(1) {
            let ms = self.dice.pick(&[-3_600_000, 5_000, LEASE_MS]);
            self.jump(ms);
        }
        if self.dice.percent(4)
            && let Some((process, fate)) = self.fates.iter_mut().find(|(_, fate)| fate.is_stopped)
        {
            fate.is_stopped = false;
            let line = format!("{process}: wakes up");
            self.tell(&line);
        }
    }

    fn step(&mut self, process: usize, kind: Kind, what: &str) {
        let fate = self.fates.get_mut(&process).unwrap();
        fate.steps += 1;
        let is_commit = what.starts_with("create");
        fate.commits += u64::from(is_commit);
        let stops =
            fate.stops_at == Some(fate.steps) || is_commit && fate.stops_at_commit == Some(fate.commits);
        if stops && !fate.was_stopped {
            fate.is_stopped = true;
            fate.was_stopped = true;
            self.tell(&format!("{process}: stops before {what}"));
            if self.dice.percent(70) {
                self.jump(LEASE_MS);
            }
            return;
        }
        let verdict = if fate.dies_at == Some(fate.steps) {
            Verdict::Die
        } else if self.dice.percent(fate.troubles) {
            match kind {
                Kind::Put => self
                    .dice
                    .pick(&[Verdict::Fail, Verdict::LoseAnswer, Verdict::Twice]),
                Kind::Delete => self.dice.pick(&[Verdict::Fail, Verdict::LoseAnswer]),
                Kind::Read | Kind::Page => Verdict::Fail,
                Kind::Store => Verdict::Go,
            }
        } else {
            Verdict::Go
        };
        match verdict {
            Verdict::Go => self.tell(&format!("{process}: {what}")),
            other => self.tell(&format!("{process}: {what} ({other:?})")),
        }
        self.world.desk.tell(process, verdict);
    }
}

pub(super) fn sync() -> Task {
    Task::Sync {
        full: false,
        restart: false,
    }
}
