//! The last things that a program said beside its messages, for the error that it ends in.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

use super::SharedRedactor;

const LINES_MAX: usize = 12;
pub(super) const LINE_CHARS_MAX: usize = 400;
/// Standard error is read in pieces of this size; a longer line is cut.
const PIECE_BYTES: usize = 8 << 10;

#[derive(Clone)]
pub(super) struct Tail(Arc<Mutex<Said>>);

struct Said {
    lines: VecDeque<String>,
    /// When the program last said anything.
    at: Instant,
}

impl Tail {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Said {
            lines: VecDeque::new(),
            at: Instant::now(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        // Each change is complete in itself, so a panic elsewhere leaves it sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last_at(&self) -> Instant {
        self.lock().at
    }

    pub(super) fn heard(&self) {
        self.lock().at = Instant::now();
    }

    pub(super) fn push(&self, line: String) {
        let mut said = self.lock();
        said.at = Instant::now();
        if said.lines.len() == LINES_MAX {
            said.lines.pop_front();
        }
        said.lines.push_back(line);
    }

    /// None where it said nothing.
    pub(super) fn text(&self) -> Option<String> {
        let said = self.lock();
        let lines: Vec<&str> = said.lines.iter().map(String::as_str).collect();
        (!lines.is_empty()).then(|| lines.join(" | "))
    }

    /// Reads standard error to its end, so that the program never waits for it to be read.
    pub(super) async fn listen(self, mut errors: impl AsyncRead + Unpin, redactor: SharedRedactor) {
        let mut waiting: Vec<u8> = Vec::new();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let bytes = match errors.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(bytes) => bytes,
            };
            self.heard();
            for part in piece
                .get(..bytes)
                .unwrap_or_default()
                .split_inclusive(|byte| *byte == b'\n')
            {
                if waiting.len() < PIECE_BYTES {
                    waiting.extend_from_slice(part);
                }
                if part.ends_with(b"\n") {
                    self.line(&waiting, &redactor);
                    waiting.clear();
                }
            }
        }
        self.line(&waiting, &redactor);
    }

    fn line(&self, line: &[u8], redactor: &SharedRedactor) {
        let line = redactor.excerpt(line, LINE_CHARS_MAX);
        if !line.is_empty() {
            tracing::debug!(target: "weir::process", "{line}");
            self.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::Secret;

    use super::*;

    #[tokio::test]
    async fn the_last_lines_are_kept_short_and_clean() {
        let mut text = Vec::new();
        for number in 0..100 {
            text.extend_from_slice(format!("line {number} hunter2\n").as_bytes());
        }
        text.extend(std::iter::repeat_n(b'x', 100_000));
        let tail = Tail::new();
        let redactor = SharedRedactor::new(vec![Secret::new("hunter2")]);
        tail.clone().listen(text.as_slice(), redactor).await;
        let said = tail.text().unwrap();
        assert!(said.starts_with("line 89 [redacted] | "), "{said}");
        assert!(said.ends_with("x…") && said.len() < 1_000, "{said}");
    }
}
