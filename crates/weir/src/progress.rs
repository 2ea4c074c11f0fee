//! How far a sync is: a line a stream on a terminal, plain lines now and then elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use weir_control::{Observer, StreamOutcome};
use weir_protocol::Books;
use weir_protocol::source::{Notice, Progress};

use crate::commands::Context;
use crate::output::{bytes, thousands};

/// Where there is no terminal, a stream says at most this often how far it is.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Seconds after which a rate means something.
const PACE_AFTER_S: f64 = 1.0;

/// Watches a sync for people.
pub(crate) struct Watcher {
    shows: Shows,
    bars: MultiProgress,
    streams: Mutex<BTreeMap<String, Line>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    Bars,
    Lines,
    Nothing,
}

struct Line {
    /// None where there is no terminal: each bar has a thread that turns its spinner.
    bar: Option<ProgressBar>,
    begun: Instant,
    said: Instant,
}

impl Watcher {
    pub(crate) fn new(context: &Context) -> Self {
        let global = &context.global;
        let shows = if global.quiet || global.no_progress || context.logs_json() {
            Shows::Nothing
        } else if std::io::stderr().is_terminal() {
            Shows::Bars
        } else {
            Shows::Lines
        };
        let target = match shows {
            Shows::Bars => ProgressDrawTarget::stderr_with_hz(8),
            Shows::Lines | Shows::Nothing => ProgressDrawTarget::hidden(),
        };
        Self {
            shows,
            bars: MultiProgress::with_draw_target(target),
            streams: Mutex::new(BTreeMap::new()),
        }
    }

    fn with_line(&self, stream: &str, change: impl FnOnce(&mut Line)) {
        let mut streams = match self.streams.lock() {
            Ok(streams) => streams,
            Err(poisoned) => poisoned.into_inner(),
        };
        let line = streams.entry(stream.to_owned()).or_insert_with(|| Line {
            bar: (self.shows == Shows::Bars).then(|| self.bar(stream)),
            begun: Instant::now(),
            said: Instant::now(),
        });
        change(line);
    }

    fn bar(&self, stream: &str) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new_spinner());
        let style = ProgressStyle::with_template("{spinner} {prefix:22} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_prefix(stream.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }

    /// A line above the bars.
    fn say(&self, text: &str) {
        if self.shows != Shows::Nothing {
            self.bars.suspend(|| eprintln!("{text}"));
        }
    }
}

impl Observer for Watcher {
    fn on_progress(&self, stream: &str, progress: &Progress, books: &Books) {
        self.with_line(stream, |line| {
            let text = || state(progress, books, line.begun.elapsed());
            if let Some(bar) = &line.bar {
                bar.set_message(text());
            } else if self.shows == Shows::Lines && line.said.elapsed() >= LINE_EVERY {
                eprintln!("{stream}: {}", text());
                line.said = Instant::now();
            }
        });
    }

    fn on_notice(&self, stream: &str, notice: &Notice) {
        let hint = notice.hint.as_deref().map(|hint| format!(" ({hint})"));
        self.say(&format!(
            "note: {stream}: {}{}",
            notice.message,
            hint.unwrap_or_default()
        ));
    }

    fn on_stream_done(&self, outcome: &StreamOutcome) {
        self.with_line(&outcome.stream, |line| {
            if let Some(bar) = &line.bar {
                bar.finish_and_clear();
            }
        });
        self.say(&format!(
            "{}: {}, read {}, landed {}, {} in {:.1} s",
            outcome.stream,
            outcome.status,
            count(outcome.books.read),
            count(outcome.books.landed),
            bytes(outcome.progress.bytes),
            outcome.duration.as_secs_f64(),
        ));
    }
}

/// Rows, bytes, rate and what is left, as far as the source tells.
fn state(progress: &Progress, books: &Books, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let mut text = format!("{} rows  {}", count(books.read), bytes(progress.bytes));
    // The first page says nothing about the pace.
    if seconds >= PACE_AFTER_S {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = books.read as f64 / seconds;
        text.push_str(&format!("  {rate:.0} rows/s"));
    }
    let left = remaining(progress, books, seconds);
    if progress.slices_total > 1 {
        text.push_str(&format!(
            "  slice {} of {}",
            progress.slices_done, progress.slices_total
        ));
    }
    if let Some(left) = left {
        text.push_str(&format!("  {left:.0} s left"));
    }
    text
}

/// Seconds until the end at the present pace; none where the source does not say how much there is.
#[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
fn remaining(progress: &Progress, books: &Books, seconds: f64) -> Option<f64> {
    let share = if progress.records_total > 0 {
        books.read as f64 / progress.records_total as f64
    } else if progress.slices_total > 1 {
        progress.slices_done as f64 / progress.slices_total as f64
    } else {
        return None;
    };
    (share > 0.01 && share < 1.0).then(|| seconds / share - seconds)
}

fn count(number: u64) -> String {
    thousands(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_rows_bytes_rate_and_what_is_left() {
        let progress = Progress {
            bytes: 2 << 20,
            records_total: 4_000,
            ..Progress::default()
        };
        let books = Books {
            read: 1_000,
            ..Books::default()
        };
        insta::assert_snapshot!(state(&progress, &books, Duration::from_secs(2)), @"1,000 rows  2.0 MiB  500 rows/s  6 s left");
    }

    #[test]
    fn does_not_guess_what_the_source_does_not_say() {
        let text = state(&Progress::default(), &Books::default(), Duration::ZERO);
        assert!(!text.contains("left"), "{text}");
    }
}
