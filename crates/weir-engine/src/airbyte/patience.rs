//! What a retriever does when the source wants less at once: pages with fewer records, the slice's
//! pages from the beginning, or the slice's window in halves.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use weir_protocol::{Error, ErrorKind, Result};

use super::node::Node;
use super::request::{Paginator, Requester};
use super::slices::{CursorPlan, Slice};

use super::time::{Delta, Moment, parse_duration};

/// Reads of a slice that end in a reset at the same place.
const RESETS_MAX: u32 = 2;

/// How far pages may shrink.
#[derive(Debug, Clone)]
pub(super) struct Reduction {
    factor: f64,
    least: i64,
    attempts: u32,
    wait: f64,
    retries_at_least: u32,
    restores: bool,
    message: Option<String>,
}

impl Reduction {
    pub(super) fn new(node: &Node<'_>, paginator: Option<&Paginator>) -> Result<Self> {
        let number = |field: &str, usual: f64| node.value.get(field).and_then(Value::as_f64).unwrap_or(usual);
        let count = |field: &str, usual: i64| -> Result<u32> {
            let count = node.int(field).unwrap_or(usual);
            u32::try_from(count)
                .map_err(|_| node.error(format!("{field} is {count}; it must not be negative")))
        };
        let Some(paginator) = paginator else {
            return Err(node.error("page_size_reduction needs a DefaultPaginator"));
        };
        if let Some(why) = paginator.keeps_size() {
            return Err(node.error(format!("page_size_reduction is not possible here: {why}")));
        }
        let restores = match node.str("reset_policy") {
            None | Some("NEVER") => false,
            Some("AFTER_SUCCESSFUL_PAGE") => true,
            Some(other) => {
                return Err(node.error(format!(
                    "reset_policy is '{other}'; it may be NEVER or AFTER_SUCCESSFUL_PAGE"
                )));
            }
        };
        let made = Self {
            factor: number("reduction_factor", 2.0),
            least: node.int("minimum_page_size").unwrap_or(1),
            attempts: count("max_attempts", 5)?,
            wait: number("backoff_seconds", 0.5),
            retries_at_least: count("retries_at_minimum_page_size", 0)?,
            restores,
            message: node.str("failure_message").map(str::to_owned),
        };
        if made.factor <= 1.0 || made.least < 1 || made.attempts < 1 || made.wait < 0.0 {
            return Err(node.error(
                "page_size_reduction needs a reduction_factor above 1, a minimum_page_size and max_attempts of at least 1, and no negative backoff_seconds",
            ));
        }
        if paginator.fixed_size().is_some_and(|size| size <= made.least) {
            return Err(node.error(format!(
                "pages can never shrink: page_size is not above minimum_page_size, {}",
                made.least
            )));
        }
        if let Some(border) = paginator.counts_against().filter(|border| *border > made.least) {
            return Err(node.error(format!(
                "the paginator's stop_condition takes every page of fewer than {border} records for the last; compare with page_size instead"
            )));
        }
        Ok(made)
    }
}

/// The size that one slice's pages are asked for in.
#[derive(Default)]
pub(super) struct PageSize {
    pub(super) now: Option<i64>,
    attempts: u32,
    retries: u32,
}

impl PageSize {
    /// The next size is set; how long to wait before it is used.
    pub(super) fn reduce(
        &mut self,
        rules: &Reduction,
        declared: Option<i64>,
        said: Option<String>,
    ) -> Result<Duration> {
        let current = self.now.or(declared).ok_or_else(|| {
            Error::spec("the page size is to shrink, but the paginator has none")
                .hint("set page_size and page_size_option of the paginator")
        })?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "page sizes are small"
        )]
        let smaller = (current as f64 / rules.factor).floor() as i64;
        let smaller = smaller.max(rules.least);
        if smaller >= current {
            if self.retries < rules.retries_at_least {
                self.retries += 1;
                return Ok(seconds(rules.wait * f64::from(self.retries)));
            }
            return Err(refused(rules, current, said));
        }
        self.attempts += 1;
        if self.attempts > rules.attempts {
            return Err(refused(rules, current, said));
        }
        tracing::info!(from = current, to = smaller, "the source wants smaller pages");
        self.now = Some(smaller);
        Ok(seconds(rules.wait * f64::from(self.attempts)))
    }

    /// A page came.
    pub(super) fn came(&mut self, rules: &Reduction) {
        (self.attempts, self.retries) = (0, 0);
        if rules.restores {
            self.now = None;
        }
    }
}

fn seconds(wait: f64) -> Duration {
    Duration::from_secs_f64(wait.min(3600.0))
}

fn refused(rules: &Reduction, size: i64, said: Option<String>) -> Error {
    let error = Error::source_failed(format!(
        "the source refuses pages of every size, down to {size} records"
    ));
    let error = match said {
        Some(said) => error.with("answer", said),
        None => error,
    };
    error.hint(
        rules
            .message
            .as_deref()
            .unwrap_or("ask for less at once: fewer fields, or narrower slices"),
    )
}

/// When a slice's pages begin anew, and where.
#[derive(Clone)]
pub(super) struct Reset {
    /// Go on from the newest record's cursor instead of from the slice's beginning.
    splits: bool,
    records_max: Option<u64>,
}

impl Reset {
    pub(super) fn new(node: &Node<'_>, is_filtered: bool) -> Result<Self> {
        let splits = match node.str("action") {
            Some("RESET") => false,
            Some("SPLIT_USING_CURSOR") => true,
            other => {
                let other = other.unwrap_or("nothing");
                return Err(node.error(format!(
                    "action is '{other}'; it may be RESET or SPLIT_USING_CURSOR"
                )));
            }
        };
        let limits = node.get("limits");
        if let Some(limits) = limits.as_ref().filter(|_| is_filtered) {
            return Err(limits.error("the limits of a pagination reset do not go with a record filter"));
        }
        let records_max = limits.and_then(|limits| limits.int("number_of_records"));
        Ok(Self {
            splits,
            records_max: records_max.and_then(|most| u64::try_from(most).ok()),
        })
    }
}

/// What has been seen of a slice since its pages began.
#[derive(Default)]
pub(super) struct Seen {
    records: u64,
    newest: Option<Moment>,
    same: u32,
}

impl Seen {
    pub(super) fn observe(&mut self, records: u64, newest: Option<Moment>) {
        self.records += records;
        self.newest = self.newest.max(newest);
    }

    pub(super) fn wants_cursor(rules: Option<&Reset>) -> bool {
        rules.is_some_and(|rules| rules.splits)
    }

    pub(super) fn is_full(&self, rules: Option<&Reset>) -> bool {
        let most = rules.and_then(|rules| rules.records_max);
        most.is_some_and(|most| self.records >= most)
    }

    /// The slice that the pages begin anew with.
    pub(super) fn restart(
        &mut self,
        rules: Option<&Reset>,
        cursor: Option<&Arc<CursorPlan>>,
        (whole, before): (&Arc<Slice>, &Arc<Slice>),
    ) -> Result<Arc<Slice>> {
        let cursor = cursor.filter(|_| Self::wants_cursor(rules));
        let next = match (cursor, self.newest) {
            (Some(cursor), Some(newest)) => Arc::new(cursor.from(whole, newest)),
            (Some(_), None) => whole.clone(),
            (None, _) => before.clone(),
        };
        self.records = 0;
        if next.view.all != before.view.all {
            self.same = 0;
            return Ok(next);
        }
        self.same += 1;
        if self.same >= if cursor.is_some() { 1 } else { RESETS_MAX } {
            return Err(Error::source_failed(
                "the source asks again to begin the pages anew, at the same place",
            )
            .with("slice", &whole.key)
            .hint("the manifest's RESET_PAGINATION rule or its limits hold for every page; check them"));
        }
        Ok(next)
    }
}

/// How far windows may be halved.
#[derive(Clone)]
pub(super) struct Splitting {
    least: Option<Delta>,
    message: Option<String>,
}

/// Halves of halves.
const DEPTH_MAX: u32 = 10;

impl Splitting {
    pub(super) fn new(node: &Node<'_>) -> Result<Self> {
        let least = node.str("min_split_window").map(|text| {
            parse_duration(text)
                .filter(|least| least.months == 0 && least.micros > 0)
                .ok_or_else(|| {
                    node.error(format!(
                        "min_split_window is '{text}'; it must be a duration of days, hours, minutes or seconds"
                    ))
                })
        });
        Ok(Self {
            least: least.transpose()?,
            message: node.str("failure_message").map(str::to_owned),
        })
    }

    pub(super) fn halves(
        &self,
        cursor: Option<&Arc<CursorPlan>>,
        slice: &Slice,
        depth: u32,
        said: Option<String>,
    ) -> Result<[Arc<Slice>; 2]> {
        let halves = cursor.filter(|_| depth < DEPTH_MAX);
        let halves = halves.and_then(|cursor| cursor.halves(slice, self.least));
        halves.map(|halves| halves.map(Arc::new)).ok_or_else(|| {
            let error = Error::new(
                ErrorKind::Source,
                "the source refuses the slice's window, and it cannot be made any narrower",
            )
            .with("window", &slice.view.cursor);
            let error = match said {
                Some(said) => error.with("answer", said),
                None => error,
            };
            error.hint(
                self.message
                    .as_deref()
                    .unwrap_or("a smaller cursor_granularity or min_split_window allows narrower ones"),
            )
        })
    }
}

/// Refuses an error handler's action that the retriever has no rules for.
pub(super) fn check_actions(
    node: &Node<'_>,
    requester: &Requester,
    (reduces, splits): (bool, bool),
) -> Result<()> {
    let missing = [
        (
            requester.reduces_pages() && !reduces,
            "REDUCE_PAGE_SIZE",
            "page_size_reduction",
        ),
        (
            requester.splits_windows() && !splits,
            "SPLIT_REQUEST_WINDOW",
            "request_window_splitting",
        ),
    ];
    match missing.into_iter().find(|(is_missing, ..)| *is_missing) {
        Some((_, action, field)) => Err(node.error(format!(
            "a response filter has the action {action}, but the retriever has no {field}"
        ))),
        None => Ok(()),
    }
}
