//! The settings as they are now: authenticators replace tokens that can be used only once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::records::path;

/// Is told the whole settings each time a part of them was replaced.
pub type OnSettings = Arc<dyn Fn(&Value) + Send + Sync>;

pub(crate) struct Live {
    settings: Mutex<Value>,
    on_change: Option<OnSettings>,
    /// Held while tokens are replaced, so that two streams do not use up the same one.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// What was replaced and is kept nowhere yet.
    told: Mutex<Option<String>>,
}

impl Live {
    pub(crate) fn new(settings: &Value, on_change: Option<OnSettings>) -> Self {
        Self {
            settings: Mutex::new(settings.clone()),
            on_change,
            turn: tokio::sync::Mutex::default(),
            told: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Value> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, steps: &[String]) -> Option<Value> {
        path::get(&self.lock(), steps).cloned()
    }

    /// Several at once; whoever keeps the settings is told of all together.
    pub(crate) fn replace(&self, changes: Vec<(&[String], Value)>) {
        let mut settings = self.lock();
        let mut names = Vec::new();
        for (steps, value) in changes {
            names.push(steps.join("."));
            path::create(&mut settings, steps, value);
        }
        match &self.on_change {
            Some(on_change) => on_change(&settings),
            None => *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(names.join(", ")),
        }
    }

    /// Names of settings that were replaced and that nobody keeps; told once.
    pub(crate) fn untold(&self) -> Option<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
