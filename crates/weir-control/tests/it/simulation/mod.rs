//! The checkpoint protocol under schedules that a seed decides: the real pump, control store and lake,
//! with a source, an object store and a clock that are simulated. Processes are stopped before each
//! call that another could see; there they wait, die, fail, or are overtaken.
//!
//! `WEIR_SIM_SEED=N` replays one seed and prints its trace; `WEIR_SIM_SEEDS=N` runs so many.

mod check;
mod desk;
mod dice;
mod flaw;
mod objects;
mod process;
mod shop;
mod source;
mod story;
mod trace;
mod world;

use std::fmt::Write as _;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use desk::{Kind, pass};
use flaw::Flaw;

const SEEDS: u64 = 1_000;
/// Seeds that found a defect once: 372, a table without columns from a
/// rebuild of which no record landed; 591, Bronze of a sleeping run taken away before its number was; 880, a stream
/// opened again by a run whose lease was over; 1062, a sleeping run's rows in the staging table that another one
/// began under the same number; 3023 and 5455, Bronze of a refresh that goes on taken away with what another
/// process, which had slept, wrote into a refresh that was given up; 3384, Bronze of a sleeping run taken away because
/// a refresh had its number, which was not published yet; 8817, a rebuild that made a table of what a run wrote which
/// failed before its first commit.
const FOUND: &[u64] = &[372, 591, 880, 1062, 3023, 3384, 5455, 8817];
/// Lines of a trace that a failure shows.
const LINES_MAX: usize = 400;

/// Makes each write to the control store a step of its process.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let write = || {
            pass(Kind::Store, || "write to the store".to_owned());
        };
        fail::cfg_callback("control.before_write", write).unwrap();
    });
}

#[expect(clippy::disallowed_methods, reason = "a seed is given to this test alone")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The first seed of those given out by `next` that shows a fault, on two threads.
fn search(seeds: &[u64], flaw: Flaw) -> Option<(u64, story::Ending)> {
    prepare();
    let next = AtomicU64::new(0);
    let find = || loop {
        let place = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
        let seed = *seeds.get(place)?;
        let ending = story::run(seed, flaw);
        if ending.fault.is_some() {
            next.store(seeds.len() as u64, Ordering::Relaxed);
            return Some((seed, ending));
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(find);
        let mine = find();
        let theirs = other.join().unwrap();
        // The smaller one, so that it is the same whichever thread was faster.
        [mine, theirs].into_iter().flatten().min_by_key(|(seed, _)| *seed)
    })
}

fn shown(ending: &story::Ending) -> String {
    let mut text = String::new();
    let skipped = ending.trace.len().saturating_sub(LINES_MAX);
    for line in &ending.trace[skipped..] {
        writeln!(text, "  {line}").unwrap();
    }
    text
}

#[test]
fn no_schedule_loses_or_doubles_a_record() {
    prepare();
    if let Some(seed) = number("WEIR_SIM_SEED") {
        let ending = story::run(seed, Flaw::None);
        println!("{}", shown(&ending));
        assert_eq!(ending.fault, None, "seed {seed}");
        return;
    }
    let count = number("WEIR_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("WEIR_SIM_FIRST").unwrap_or(1);
    let seeds: Vec<u64> = FOUND.iter().copied().chain(first..first + count).collect();
    let started = Instant::now();
    if let Some((seed, ending)) = search(&seeds, Flaw::None) {
        panic!(
            "seed {seed}: {}\n{}replay it with WEIR_SIM_SEED={seed}",
            ending.fault.as_deref().unwrap_or_default(),
            shown(&ending)
        );
    }
    println!("{} seeds in {:.0?}", seeds.len(), started.elapsed());
}

#[test]
fn a_seed_is_one_schedule() {
    prepare();
    for seed in 1..=6 {
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(move || story::run(seed, Flaw::None));
            (story::run(seed, Flaw::None), other.join().unwrap())
        });
        for (mine, theirs) in one.trace.iter().zip(&two.trace) {
            assert_eq!(mine, theirs, "seed {seed}");
        }
        assert_eq!(one.trace.len(), two.trace.len(), "seed {seed}");
    }
}

/// What the simulation is worth: it finds each way in which the protocol is broken here.
#[test]
fn a_broken_protocol_is_found() {
    let seeds: Vec<u64> = (1..=200).collect();
    for flaw in [
        Flaw::StateBeforeRows,
        Flaw::ForgetsCommitted,
        Flaw::CommitsOverwrite,
        Flaw::BronzeIsForgotten,
    ] {
        let found = search(&seeds, flaw);
        let (seed, ending) = found.unwrap_or_else(|| panic!("{flaw:?} is not found"));
        println!("{flaw:?}: seed {seed}: {}", ending.fault.unwrap_or_default());
    }
}
