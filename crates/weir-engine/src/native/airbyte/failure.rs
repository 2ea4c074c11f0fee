//! What a program says went wrong, in our words.

use weir_protocol::{Error, ErrorKind, Result};

use super::messages::{Trace, TraceError};
use crate::http::Redactor;

const MESSAGE_CHARS_MAX: usize = 2_000;

/// The first failure that a program told; the others are logged.
#[derive(Default)]
pub(super) struct Failures(Option<TraceError>);

impl Failures {
    pub(super) fn take(&mut self, trace: Trace) {
        if trace.kind == "ERROR"
            && let Some(error) = trace.error
        {
            self.0.get_or_insert(error);
        }
    }

    /// What the program told counts more than how it ended.
    pub(super) fn result(self, ended: Result<()>, redactor: &Redactor) -> Result<()> {
        match self.0 {
            Some(told) => Err(error(&told, redactor)),
            None => ended,
        }
    }
}

fn error(told: &TraceError, redactor: &Redactor) -> Error {
    let show = |text: &str| redactor.excerpt(text.as_bytes(), MESSAGE_CHARS_MAX);
    if let Some(trace) = &told.stack_trace {
        tracing::debug!(target: "weir::process", "{}", redactor.clean(trace));
    }
    let (kind, hint) = match told.failure_type.as_deref() {
        Some("config_error") => (
            ErrorKind::Spec,
            "mend config.settings; `weir check` tells whether they work",
        ),
        Some("transient_error") => (
            ErrorKind::Unavailable,
            "run again later; what was committed stays",
        ),
        _ => (
            ErrorKind::Source,
            "what was committed stays; `--verbose` logs what the program says",
        ),
    };
    let message = match show(&told.message) {
        empty if empty.is_empty() => "the program failed and does not say why".to_owned(),
        message => message,
    };
    let error = Error::new(kind, message.clone());
    match told.internal_message.as_deref().map(show) {
        Some(internal) if !internal.is_empty() && internal != message => error.with("internally", internal),
        _ => error,
    }
    .hint(hint)
}
