//! Decisions of the pump that need no I/O.

use std::time::Duration;

use weir_protocol::destination::Committed;
use weir_protocol::source::StreamDescriptor;
use weir_protocol::{Books, Error, ReadMode, StreamState, SyncMode, WriteMode};

use super::{Bounds, SyncOptions};
use crate::states::Wish;

/// Bytes below which a writer cannot work well; fewer streams run at once before one gets less.
const STREAM_MEMORY_MIN: u64 = 32 << 20;

/// How many streams run at once, and what each may hold in memory.
pub(super) fn shares(options: &SyncOptions, streams: usize) -> (usize, u64) {
    let affordable = usize::try_from(options.memory_bytes / STREAM_MEMORY_MIN).unwrap_or(usize::MAX);
    let at_once = options.streams_at_once_max.min(streams).min(affordable).max(1);
    (at_once, options.memory_bytes / at_once as u64)
}

/// The mode of a stream's run, before anything is known of the last one.
pub fn wanted_mode(stream: &StreamDescriptor, options: &SyncOptions) -> SyncMode {
    let mode = usual_mode(stream);
    if options.full && !stream.is_received {
        as_full(mode)
    } else {
        mode
    }
}

/// The mode of a stream when nothing else is asked for.
pub(super) fn usual_mode(stream: &StreamDescriptor) -> SyncMode {
    stream.mode.unwrap_or_else(|| {
        SyncMode::default_for(!stream.primary_key.is_empty(), stream.cursor_field.is_some())
    })
}

/// The mode that reads everything and leaves each record once.
fn as_full(mode: SyncMode) -> SyncMode {
    match mode {
        // Rows without a key would stand there twice if everything were appended again.
        SyncMode::IncrementalAppend => SyncMode::FullRefreshReplace,
        SyncMode::IncrementalMerge => SyncMode::FullRefreshMerge,
        SyncMode::IncrementalHistory => SyncMode::FullRefreshHistory,
        full => full,
    }
}

/// The mode to open a stream in first: opening it in another one gives a full refresh up that is not
/// published yet. `last` is the mode of the newest checkpoint that the store knows.
pub(super) fn opening_mode(
    wanted: SyncMode,
    options: &SyncOptions,
    last: Option<SyncMode>,
    is_complete: bool,
) -> SyncMode {
    match last {
        Some(last)
            if wanted.read() == ReadMode::Incremental
                && last.read() == ReadMode::FullRefresh
                && !is_complete
                && !options.restart =>
        {
            last
        }
        _ => wanted,
    }
}

/// How a stream is opened and read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) mode: SyncMode,
    pub(super) state: Option<StreamState>,
    /// What `from` reads elsewhere than.
    pub(super) set_aside: Option<StreamState>,
    /// Forget what an interrupted full refresh left.
    pub(super) restart: bool,
    /// What every checkpoint commits, whatever is read: a backfill moves no cursor.
    pub(super) kept: Option<StreamState>,
}

/// What the lake holds of a stream, and how the run that wrote it read.
pub(super) struct Last<'a> {
    pub(super) committed: &'a Committed,
    /// Unknown where the store does not know that run.
    pub(super) mode: Option<SyncMode>,
    /// Whether this very run wrote it (it is being tried again).
    pub(super) is_ours: bool,
}

/// Where to read on, and in which mode.
pub(super) fn decide(
    wanted: SyncMode,
    options: &SyncOptions,
    last: Option<&Last<'_>>,
    wish: Option<&Wish>,
) -> Decision {
    // A full read that was asked for stays asked for, until somebody says to give it up.
    let wanted = match wish {
        Some(Wish::Full) if !options.restart => as_full(wanted),
        _ => wanted,
    };
    match wish {
        Some(Wish::Reset) => return anew(wanted, last),
        Some(Wish::From(state)) if wanted.read() == ReadMode::Incremental => {
            let from = options.from.is_some();
            return Decision {
                mode: wanted,
                state: (!from).then(|| state.clone()),
                set_aside: from.then(|| state.clone()),
                restart: false,
                kept: None,
            };
        }
        Some(Wish::From(_) | Wish::Full) | None => {}
    }
    let Some(last) = last else {
        return anew(wanted, None);
    };
    let state = &last.committed.state;
    // Reading from elsewhere is not reading on.
    if options.from.is_some() && !last.is_ours && wanted.read() == ReadMode::Incremental {
        return Decision {
            set_aside: Some(state.clone()),
            ..anew(wanted, Some(last))
        };
    }
    let go_on = |mode| Decision {
        mode,
        state: Some(state.clone()),
        set_aside: None,
        restart: false,
        kept: None,
    };
    match wanted.read() {
        ReadMode::Incremental => match last.mode {
            // A full refresh that was not read to its end has published nothing yet: end it first.
            Some(mode) if mode.read() == ReadMode::FullRefresh && !state.complete => {
                if options.restart && !last.is_ours {
                    anew(wanted, Some(last))
                } else {
                    go_on(mode)
                }
            }
            _ => go_on(wanted),
        },
        ReadMode::FullRefresh => {
            let interrupted = !state.complete && last.mode.is_none_or(|mode| mode == wanted);
            if interrupted && (last.is_ours || !options.restart) {
                go_on(wanted)
            } else {
                anew(wanted, Some(last))
            }
        }
    }
}

/// Reads from the beginning. What an interrupted full refresh left is forgotten.
pub(super) fn anew(mode: SyncMode, last: Option<&Last<'_>>) -> Decision {
    let interrupted = last.is_some_and(|last| !last.committed.state.complete);
    Decision {
        mode,
        state: None,
        set_aside: None,
        restart: interrupted && mode.read() == ReadMode::FullRefresh,
        kept: None,
    }
}

/// Whether the state must tell records at the cursor apart: appended rows, and rows without a key,
/// which a later run of another mode may be appended to.
pub(super) fn skip_edge(mode: SyncMode, stream: &StreamDescriptor) -> bool {
    mode.write() == WriteMode::Append || stream.primary_key.is_empty()
}

/// Whether a record that is read again stands in the table twice.
pub fn doubles(stream: &StreamDescriptor) -> bool {
    usual_mode(stream) == SyncMode::IncrementalAppend && stream.primary_key.is_empty()
}

/// Says that what is read again would stand twice in the table of a stream, and what to do instead.
pub fn would_double(connection: &str, stream: &StreamDescriptor) -> Error {
    Error::usage(format!(
        "stream '{}' appends and has no primary key: what is read again would stand in its table twice",
        stream.name
    ))
    .with("connection", connection)
    .hint(format!(
        "`weir sync {connection} --stream {} --full` makes a clean table of all that the source has; \
         or say --accept-duplicates if the second rows are meant",
        stream.name
    ))
}

/// What was accepted since the last checkpoint.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pending {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// State moved since.
    pub(super) moved: bool,
    /// No batch came after the last move of state, so state covers all that was accepted.
    pub(super) covered: bool,
}

impl Pending {
    pub(super) fn none() -> Self {
        Self {
            covered: true,
            ..Self::default()
        }
    }

    /// Whether a checkpoint would commit something, and nothing that state does not cover.
    pub(super) fn can_commit(&self) -> bool {
        self.covered && self.moved
    }

    pub(super) fn is_due(&self, bounds: &Bounds, age: Duration) -> bool {
        self.can_commit() && (self.rows >= bounds.rows || self.bytes >= bounds.bytes || age >= bounds.age)
    }
}

/// Refuses books in which a record is missing, or counted twice.
pub(super) fn audit(books: &Books, given: u64) -> Result<(), Error> {
    let show = |error: Error| {
        error
            .with("read", books.read)
            .with("landed", books.landed)
            .with("filtered", books.filtered)
            .with("deduplicated", books.deduplicated)
            .with("quarantined", books.quarantined)
            .hint("the data is committed and Bronze holds every record; report it, then `weir lake rebuild`")
    };
    if !books.balance() {
        return Err(show(Error::internal("the books do not balance")));
    }
    if books.read != given {
        let error = Error::internal("the destination accounts for other records than the source gave");
        return Err(show(error.with("given", given)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use SyncMode::{FullRefreshMerge, FullRefreshReplace, IncrementalAppend, IncrementalMerge};

    fn committed(complete: bool) -> Committed {
        Committed {
            sequence: 3,
            run: "r".to_owned(),
            state: StreamState {
                floor: Some(7.into()),
                complete,
                ..StreamState::default()
            },
            books: Books::default(),
        }
    }

    /// Mode, whether state is passed, whether the writer starts over.
    fn decided(
        wanted: SyncMode,
        last: Option<(SyncMode, bool)>,
        change: impl Fn(&mut SyncOptions, &mut bool),
    ) -> (SyncMode, bool, bool) {
        let mut options = SyncOptions::default();
        let mut is_ours = false;
        change(&mut options, &mut is_ours);
        let committed = committed(last.is_some_and(|(_, complete)| complete));
        let last = last.map(|(mode, _)| Last {
            committed: &committed,
            mode: Some(mode),
            is_ours,
        });
        let decision = decide(wanted, &options, last.as_ref(), None);
        (decision.mode, decision.state.is_some(), decision.restart)
    }

    #[test]
    fn an_incremental_read_goes_on_from_what_is_committed() {
        for complete in [true, false] {
            let last = Some((IncrementalMerge, complete));
            assert_eq!(
                decided(IncrementalMerge, last, |_, _| {}),
                (IncrementalMerge, true, false)
            );
        }
        assert_eq!(
            decided(IncrementalMerge, None, |_, _| {}),
            (IncrementalMerge, false, false)
        );
    }

    #[test]
    fn a_full_read_goes_on_only_where_it_was_interrupted() {
        let full = |last, restart| decided(FullRefreshReplace, last, |options, _| options.restart = restart);
        assert_eq!(
            full(Some((FullRefreshReplace, false)), false),
            (FullRefreshReplace, true, false)
        );
        assert_eq!(
            full(Some((FullRefreshReplace, false)), true),
            (FullRefreshReplace, false, true)
        );
        assert_eq!(
            full(Some((FullRefreshReplace, true)), false),
            (FullRefreshReplace, false, false)
        );
        // Another mode left it: its state means something else.
        assert_eq!(
            full(Some((FullRefreshMerge, false)), false),
            (FullRefreshReplace, false, true)
        );
        assert_eq!(
            full(Some((IncrementalAppend, false)), false),
            (FullRefreshReplace, false, true)
        );
    }

    #[test]
    fn trying_again_within_a_run_does_not_start_over() {
        let again = decided(
            FullRefreshMerge,
            Some((FullRefreshMerge, false)),
            |options, is_ours| {
                options.restart = true;
                *is_ours = true;
            },
        );
        assert_eq!(again, (FullRefreshMerge, true, false));
    }

    #[test]
    fn an_incremental_run_ends_an_interrupted_full_one_first() {
        let last = Some((FullRefreshMerge, false));
        assert_eq!(
            decided(IncrementalMerge, last, |_, _| {}),
            (FullRefreshMerge, true, false)
        );
        let last = Some((FullRefreshMerge, true));
        assert_eq!(
            decided(IncrementalMerge, last, |_, _| {}),
            (IncrementalMerge, true, false)
        );
    }

    #[test]
    fn a_wish_comes_first() {
        let committed = committed(true);
        let last = Last {
            committed: &committed,
            mode: Some(IncrementalMerge),
            is_ours: false,
        };
        let options = SyncOptions::default();
        let decision = decide(IncrementalMerge, &options, Some(&last), Some(&Wish::Reset));
        assert_eq!(decision.state, None);
        let wish = Wish::From(StreamState {
            floor: Some(1.into()),
            ..StreamState::default()
        });
        let decision = decide(IncrementalMerge, &options, Some(&last), Some(&wish));
        assert_eq!(decision.state.unwrap().floor, Some(1.into()));
    }

    #[test]
    fn a_full_read_that_was_asked_for_stays_asked_for_until_it_is_given_up() {
        let committed = committed(true);
        let last = Last {
            committed: &committed,
            mode: Some(IncrementalAppend),
            is_ours: false,
        };
        let mut options = SyncOptions::default();
        let wished =
            |options: &SyncOptions| decide(IncrementalAppend, options, Some(&last), Some(&Wish::Full));
        let decision = wished(&options);
        assert_eq!((decision.mode, decision.state), (FullRefreshReplace, None));
        options.restart = true;
        let decision = wished(&options);
        assert_eq!(decision.mode, IncrementalAppend);
        assert_eq!(decision.state.unwrap().floor, Some(7.into()));
    }

    #[test]
    fn a_stream_without_a_key_remembers_its_edge_in_every_mode() {
        let keyed = StreamDescriptor {
            primary_key: vec!["id".to_owned()],
            cursor_field: Some("at".to_owned()),
            ..StreamDescriptor::default()
        };
        let keyless = StreamDescriptor {
            primary_key: Vec::new(),
            ..keyed.clone()
        };
        assert!(skip_edge(FullRefreshReplace, &keyless) && skip_edge(IncrementalAppend, &keyed));
        assert!(!skip_edge(FullRefreshReplace, &keyed));
        assert!(doubles(&keyless) && !doubles(&keyed));
    }

    #[test]
    fn reading_from_elsewhere_names_what_it_sets_aside() {
        let committed = committed(true);
        let last = Last {
            committed: &committed,
            mode: Some(IncrementalMerge),
            is_ours: false,
        };
        let options = SyncOptions {
            from: Some("9".to_owned()),
            ..SyncOptions::default()
        };
        let floor = |decision: Decision| {
            assert_eq!(decision.state, None);
            decision.set_aside.and_then(|state| state.floor)
        };
        assert_eq!(
            floor(decide(IncrementalMerge, &options, Some(&last), None)),
            Some(7.into())
        );
        let wish = Wish::From(StreamState {
            floor: Some(1.into()),
            ..StreamState::default()
        });
        let wished = decide(IncrementalMerge, &options, Some(&last), Some(&wish));
        assert_eq!(floor(wished), Some(1.into()));
        assert_eq!(floor(decide(IncrementalMerge, &options, None, None)), None);
        let reset = decide(IncrementalMerge, &options, Some(&last), Some(&Wish::Reset));
        assert_eq!(floor(reset), None);
    }

    #[test]
    fn memory_is_divided_and_bounds_the_number_of_streams() {
        let options = |mib: u64| SyncOptions {
            memory_bytes: mib << 20,
            ..SyncOptions::default()
        };
        assert_eq!(shares(&options(256), 10), (4, 64 << 20));
        assert_eq!(shares(&options(256), 2), (2, 128 << 20));
        assert_eq!(shares(&options(64), 10), (2, 32 << 20));
        assert_eq!(shares(&options(8), 10), (1, 8 << 20));
    }

    #[test]
    fn nothing_is_committed_that_state_does_not_cover() {
        let bounds = Bounds {
            rows: 10,
            ..Bounds::default()
        };
        let pending = Pending {
            rows: 10,
            moved: true,
            covered: true,
            ..Pending::default()
        };
        assert!(pending.is_due(&bounds, Duration::ZERO));
        assert!(
            !Pending {
                covered: false,
                ..pending
            }
            .is_due(&bounds, Duration::MAX)
        );
        assert!(
            !Pending {
                moved: false,
                ..pending
            }
            .is_due(&bounds, Duration::MAX)
        );
        assert!(!Pending { rows: 9, ..pending }.is_due(&bounds, Duration::ZERO));
        assert!(Pending { rows: 0, ..pending }.is_due(&bounds, Duration::from_secs(30)));
    }

    #[test]
    fn books_with_a_hole_are_refused() {
        let good = Books {
            read: 3,
            landed: 2,
            quarantined: 1,
            ..Books::default()
        };
        audit(&good, 3).unwrap();
        audit(&good, 4).unwrap_err();
        let error = audit(&Books { landed: 3, ..good }, 3).unwrap_err();
        insta::assert_snapshot!(format!("{error:?}"), @"[internal] the books do not balance (read: 3, landed: 3, filtered: 0, deduplicated: 0, quarantined: 1) -> the data is committed and Bronze holds every record; report it, then `weir lake rebuild`");
    }
}
