//! What an answer means, and what the caller of the client gets.

use std::time::Duration;

use weir_protocol::{Error, Result};

use super::Answer;

/// What to do about an answer.
#[derive(Debug)]
pub enum Verdict {
    Success,
    /// The slice ends here, without records.
    Ignore,
    NotModified,
    /// The credential was refused; it may have expired, so it gets one chance to renew itself.
    Unauthorized,
    Retry {
        wait: Option<Duration>,
    },
    /// All requests of this client wait, not only this one.
    RateLimited {
        wait: Option<Duration>,
    },
    Fail(Error),
    /// The request may have had its effect; nothing here tells.
    Open {
        wait: Option<Duration>,
        error: Error,
    },
}

/// Decides before the default classification does; `None` leaves it to the default.
pub type Classify<'a> = &'a (dyn Fn(&Answer) -> Result<Option<Verdict>> + Send + Sync);

/// How a request ended well.
#[derive(Debug)]
pub enum Sent {
    Answer(Answer),
    /// A rule says that this answer counts as "nothing there".
    Ignored(Answer),
    /// 304: what the caller knows by its ETag is still right.
    NotModified(Answer),
}
