//! What is blotted out of whatever a program says. It grows: a program may change its settings while
//! it runs, and others of the same connection run beside it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use weir_protocol::Secret;

use crate::http::Redactor;

#[derive(Clone)]
pub(in crate::native) struct SharedRedactor(Arc<RwLock<Held>>);

struct Held {
    secrets: Vec<Secret>,
    redactor: Redactor,
}

impl SharedRedactor {
    pub(super) fn new(secrets: Vec<Secret>) -> Self {
        let redactor = Redactor::new(secrets.clone());
        Self(Arc::new(RwLock::new(Held { secrets, redactor })))
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        // Each change is complete in itself, so a panic elsewhere leaves it sound.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds values that are blotted out from now on.
    pub(super) fn hide(&self, secrets: impl IntoIterator<Item = Secret>) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets {
            if !held.secrets.contains(&secret) {
                held.secrets.push(secret);
            }
        }
        held.redactor = Redactor::new(held.secrets.clone());
    }

    /// The text without the secrets.
    pub(in crate::native) fn clean(&self, text: &str) -> String {
        self.held().redactor.clean(text)
    }

    /// The beginning of what was said on one line, at most `max` characters, without the secrets.
    pub(in crate::native) fn excerpt(&self, said: &[u8], max: usize) -> String {
        self.held().redactor.excerpt(said, max)
    }
}
