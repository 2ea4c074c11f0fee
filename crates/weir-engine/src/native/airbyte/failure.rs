//! What a program says went wrong, in our words.

use weir_protocol::{Error, ErrorKind, Result};

use super::super::process::SharedRedactor;
use super::messages::{Trace, TraceError};

const MESSAGE_CHARS_MAX: usize = 2_000;

/// The first failure that a program told; the others are logged.
#[derive(Default)]
pub(super) struct Failures(Option<TraceError>);

impl Failures {
    pub(super) fn take(&mut self, trace: Trace) {
        if let Trace::Error(error) = trace {
            self.0.get_or_insert(error);
        }
    }

    /// What the program told counts more than how it ended.
    pub(super) fn result(self, ended: Result<()>, redactor: &SharedRedactor) -> Result<()> {
        match self.0 {
            Some(told) => Err(error(&told, redactor)),
            None => ended,
        }
    }
}

fn error(told: &TraceError, redactor: &SharedRedactor) -> Error {
    let show = |text: &str| redactor.excerpt(text.as_bytes(), MESSAGE_CHARS_MAX);
    if !told.stack_trace.is_empty() {
        tracing::debug!(target: "weir::process", "{}", redactor.clean(&told.stack_trace));
    }
    let (kind, hint) = match told.failure_type.as_str() {
        "config_error" => (
            ErrorKind::Spec,
            "mend config.settings; `weir check` tells whether they work",
        ),
        "transient_error" => (
            ErrorKind::Unavailable,
            "run again later; what was committed stays",
        ),
        _ => (
            ErrorKind::Source,
            "what was committed stays; `--verbose` logs what the program says",
        ),
    };
    let internal = show(&told.internal_message);
    let message = match (show(&told.message), internal.as_str()) {
        (message, _) if !message.is_empty() => message,
        (_, "") => "the program failed and does not say why".to_owned(),
        (_, internal) => internal.to_owned(),
    };
    let error = Error::new(kind, message.clone());
    if internal.is_empty() || internal == message {
        return error.hint(hint);
    }
    error.with("internally", internal).hint(hint)
}
