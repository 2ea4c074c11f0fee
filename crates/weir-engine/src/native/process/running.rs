//! A program that runs: its lines, its end, and its being ended.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::{Child, ChildStdout};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument as _;
use weir_protocol::{Error, Result};

use super::lifeline::Wish;
use super::lines::{Lines, Read};
use super::tail::{LINE_CHARS_MAX, Tail};
use super::{Lifeline, PrivateFolder, SharedRedactor};

/// Longest log message that is handed on.
const LOG_CHARS_MAX: usize = 4_000;
/// How long a program that was asked to end may take.
const GRACE: Duration = Duration::from_secs(2);
/// How long a program's output may stay open after its end, held by something that it started.
const HELD_OPEN_MAX: Duration = Duration::from_secs(3);

pub(super) struct Parts {
    pub(super) name: String,
    pub(super) child: Child,
    /// What ends what a signal does not reach.
    pub(super) also: Vec<String>,
    pub(super) lifeline: Lifeline,
    pub(super) folder: PrivateFolder,
    pub(super) silence: Duration,
    pub(super) line_bytes_max: usize,
    pub(super) redactor: SharedRedactor,
}

/// What a program wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::native) enum Line<'a> {
    Whole(&'a [u8]),
    /// The output ended in the middle of this line.
    Cut(&'a [u8]),
}

/// Ended with its whole process group when it is dropped.
pub(in crate::native) struct Running {
    lines: Lines<ChildStdout>,
    parts: Option<Parts>,
    name: String,
    silence: Duration,
    line_bytes_max: usize,
    redactor: SharedRedactor,
    tail: Tail,
    listener: JoinHandle<()>,
    status: Option<ExitStatus>,
}

impl Running {
    pub(super) fn new(mut parts: Parts) -> Result<Self> {
        let (Some(output), Some(errors)) = (parts.child.stdout.take(), parts.child.stderr.take()) else {
            return Err(Error::internal("the program's output cannot be read").hint("report it"));
        };
        let tail = Tail::new();
        let listener = tokio::spawn(
            tail.clone()
                .listen(errors, parts.redactor.clone())
                .in_current_span(),
        );
        Ok(Self {
            lines: Lines::new(output, parts.line_bytes_max),
            name: parts.name.clone(),
            silence: parts.silence,
            line_bytes_max: parts.line_bytes_max,
            redactor: parts.redactor.clone(),
            parts: Some(parts),
            tail,
            listener,
            status: None,
        })
    }

    /// The next line of its output; none when it has ended.
    pub(in crate::native) async fn next_line(&mut self) -> Result<Option<Line<'_>>> {
        let read = match self.lines.ready() {
            Some(read) => read,
            None => self.wait().await?,
        };
        match read {
            Read::Line => Ok(Some(Line::Whole(self.lines.line()))),
            Read::Cut => Ok(Some(Line::Cut(self.lines.line()))),
            Read::End => Ok(None),
            Read::TooLong => {
                let beginning = self.lines.line().get(..LINE_CHARS_MAX).unwrap_or_default();
                Err(
                    Error::limit(format!("'{}' wrote a line that is too long", self.name))
                        .with("bytes_max", self.line_bytes_max)
                        .with("line", self.redactor.excerpt(beginning, LINE_CHARS_MAX / 4))
                        .hint("leave out the stream or the field that is so large"),
                )
            }
        }
    }

    async fn wait(&mut self) -> Result<Read> {
        let began = Instant::now();
        let mut ended_at = self.status.map(|_| began);
        let mut is_killed = false;
        loop {
            let Some(parts) = &mut self.parts else {
                return Ok(Read::End);
            };
            let silent_at = began.max(self.tail.last_at()) + self.silence;
            let wake_at = ended_at.map_or(silent_at, |at| at + HELD_OPEN_MAX);
            tokio::select! {
                biased;
                read = self.lines.next() => {
                    self.tail.heard();
                    return read.map_err(|error| unreadable(&self.name, error));
                }
                status = parts.child.wait(), if self.status.is_none() => {
                    self.status = Some(status.map_err(|error| unreadable(&self.name, error))?);
                    ended_at = Some(Instant::now());
                }
                () = sleep_until(wake_at) => match ended_at {
                    Some(_) if is_killed => return Ok(Read::End),
                    Some(_) => {
                        tracing::warn!(program = self.name, "what the program started held its output open and is ended");
                        parts.lifeline.signal(Wish::Kill);
                        (is_killed, ended_at) = (true, Some(Instant::now()));
                    }
                    None if began.max(self.tail.last_at()) + self.silence <= Instant::now() => {
                        return Err(self.silent());
                    }
                    None => {}
                },
            }
        }
    }

    fn silent(&self) -> Error {
        let error = Error::timeout(format!("'{}' said nothing for too long and was ended", self.name))
            .with("seconds", self.silence.as_secs_f64());
        self.with_tail(error).hint(
            "look at what it waits for; config.silence sets how long it may be silent, as in silence: 30m",
        )
    }

    /// Whether it has not ended yet.
    pub(in crate::native) fn is_running(&mut self) -> bool {
        match (&self.status, &mut self.parts) {
            (None, Some(parts)) => matches!(parts.child.try_wait(), Ok(None)),
            _ => false,
        }
    }

    /// Takes notice of something it said that is no message.
    pub(in crate::native) fn note(&self, line: &[u8]) -> String {
        let line = self.redactor.excerpt(line, LINE_CHARS_MAX);
        if !line.is_empty() {
            self.tail.push(line.clone());
        }
        line
    }

    /// Text without secrets.
    pub(in crate::native) fn clean(&self, text: &str) -> String {
        self.redactor.excerpt(text.as_bytes(), LOG_CHARS_MAX)
    }

    /// The error with the last things that the program said.
    pub(in crate::native) fn with_tail(&self, error: Error) -> Error {
        match self.tail.text() {
            // Cleaned again: it may hold what was told to be secret only after it was said.
            Some(said) => error.with("last said", self.redactor.clean(&said)),
            None => error,
        }
    }

    /// Waits for its end after the last line. An end that is not a success is an error.
    pub(in crate::native) async fn end(&mut self) -> Result<()> {
        let status = match (self.status, &mut self.parts) {
            (Some(status), _) => status,
            (None, Some(parts)) => match timeout(self.silence, parts.child.wait()).await {
                Ok(status) => status.map_err(|error| unreadable(&self.name, error))?,
                Err(_elapsed) => return Err(self.silent()),
            },
            (None, None) => return Ok(()),
        };
        // What it said last may still be on its way.
        if timeout(HELD_OPEN_MAX, &mut self.listener).await.is_err() {
            tracing::debug!(program = self.name, "standard error is held open");
        }
        if let Some(mut parts) = self.parts.take() {
            // Whatever it started and left.
            parts.lifeline.signal(Wish::Kill);
            parts.lifeline.release();
        }
        if status.success() {
            return Ok(());
        }
        Err(self.died(status))
    }

    fn died(&self, status: ExitStatus) -> Error {
        let error = Error::source_failed(format!("'{}' {}", self.name, how(status)));
        self.with_tail(error)
            .hint("`--verbose` logs all that it says; what was committed stays")
    }
}

#[cfg(unix)]
fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;

    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(9)) => "was ended by signal 9 (killed; out of memory?)".to_owned(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => format!("ended with {status}"),
    }
}

#[cfg(not(unix))]
fn how(status: ExitStatus) -> String {
    format!("ended with {status}")
}

fn unreadable(name: &str, error: std::io::Error) -> Error {
    Error::unavailable(format!("the output of '{name}' cannot be read"))
        .caused_by(error)
        .hint("run again; what was committed stays")
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut parts) = self.parts.take() else {
            return;
        };
        parts.lifeline.signal(Wish::Terminate);
        // Without a runtime, or when it ends meanwhile, the lifeline does the rest.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            if let [program, rest @ ..] = &parts.also[..] {
                let ended = tokio::process::Command::new(program).args(rest).output().await;
                tracing::debug!(?ended, "the container was ended");
            }
            if timeout(GRACE, parts.child.wait()).await.is_err() {
                tracing::warn!(
                    program = parts.name,
                    "the program does not end when asked and is killed"
                );
            }
            parts.lifeline.signal(Wish::Kill);
            if let Err(error) = parts.child.kill().await {
                tracing::debug!(%error, "the program's end was not seen");
            }
            parts.lifeline.release();
            drop(parts.folder);
        });
    }
}
