//! Patterns of the rules.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// A regular expression over folded text, compiled at its first use.
pub(crate) struct Pattern(LazyLock<Option<Regex>>);

impl Pattern {
    pub(crate) const fn new(make: fn() -> Option<Regex>) -> Self {
        Self(LazyLock::new(make))
    }

    fn regex(&self) -> Option<&Regex> {
        // They are constants of the program: each is compiled in the tests of its rule.
        debug_assert!(self.0.is_some(), "a pattern of the rules does not compile");
        self.0.as_ref()
    }

    pub(crate) fn all<'t>(&self, text: &'t str) -> Vec<Captures<'t>> {
        self.regex()
            .map(|regex| regex.captures_iter(text).collect())
            .unwrap_or_default()
    }

    pub(crate) fn first<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.regex()?.captures(text)
    }

    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(text))
    }
}

/// Declares a [`Pattern`].
macro_rules! pattern {
    ($visible:vis $name:ident, $text:expr) => {
        $visible static $name: $crate::find::pattern::Pattern =
            $crate::find::pattern::Pattern::new(|| $crate::find::pattern::compiled(&$text.to_string()));
    };
}
pub(crate) use pattern;

/// Digits are those of ASCII: others were folded to them, and what is left is no number.
pub(crate) fn compiled(text: &str) -> Option<Regex> {
    Regex::new(&text.replace(r"\d", "[0-9]")).ok()
}

/// Byte range of a group, and its text.
pub(crate) fn group<'t>(found: &Captures<'t>, index: usize) -> Option<(usize, usize, &'t str)> {
    found
        .get(index)
        .map(|found| (found.start(), found.end(), found.as_str()))
}

/// The text of a group, empty where it took no part.
pub(crate) fn text<'t>(found: &Captures<'t>, index: usize) -> &'t str {
    found.get(index).map_or("", |found| found.as_str())
}

/// Byte range of the whole.
pub(crate) fn whole(found: &Captures<'_>) -> (usize, usize) {
    found.get(0).map_or((0, 0), |found| (found.start(), found.end()))
}
