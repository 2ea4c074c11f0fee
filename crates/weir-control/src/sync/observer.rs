use weir_protocol::Books;
use weir_protocol::source::{Notice, Progress};

use super::StreamOutcome;

/// Watches a sync while it goes on. Called from several tasks; must not block.
pub trait Observer: Send + Sync {
    /// After each page or so. `books.read` counts what the source gave; the other counts are those
    /// of the last checkpoint.
    fn on_progress(&self, stream: &str, progress: &Progress, books: &Books) {
        let _ = (stream, progress, books);
    }

    fn on_notice(&self, stream: &str, notice: &Notice) {
        let _ = (stream, notice);
    }

    fn on_stream_done(&self, outcome: &StreamOutcome) {
        let _ = outcome;
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
