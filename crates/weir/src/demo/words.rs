//! Texts of the demo's issues and comments, put together from parts.

use super::dice::{below, pick};

const AREAS: &[&str] = &[
    "login",
    "billing export",
    "search",
    "CSV import",
    "webhooks",
    "the mobile app",
    "the dashboard",
    "permissions",
    "notifications",
    "the scheduler",
    "the API client",
    "dark mode",
    "pagination",
    "the audit page",
    "two-factor setup",
    "report filters",
    "file upload",
    "the onboarding tour",
];

const FAULTS: &[&str] = &[
    "crashes",
    "times out",
    "shows stale data",
    "loses the selection",
    "is slow with many rows",
    "returns 500",
    "ignores the time zone",
    "double-counts refunds",
    "breaks on Safari",
    "cannot be undone",
    "prints a wrong total",
    "forgets the last filter",
];

const WISHES: &[&str] = &[
    "Support",
    "Document",
    "Speed up",
    "Add keyboard shortcuts to",
    "Add an audit trail to",
    "Make it easy to test",
    "Translate",
    "Add retries to",
    "Allow sorting in",
    "Add limits to",
];

const SENTENCES: &[&str] = &[
    "Steps to reproduce: open the page, choose last month, press export.",
    "Expected: the file holds every row that the page shows.",
    "It started after the last release and happens about once a day.",
    "The same account works in another browser.",
    "The log has a line `deadline exceeded after 30s` each time.",
    "A customer with 40,000 rows reported this and can help to test.",
    "A workaround is to reload and wait for the second request to finish.",
    "I would be glad to send a change if somebody tells me where to start.",
    "See the attached trace; the third call takes almost all of the time.",
    "This matters to us because the month-end report depends on it.",
    "- [ ] test on a slow connection\\n- [ ] test with 1,000 projects",
    "```text\\nthread 'main' panicked at src/export.rs:214: index out of range\\n```",
];

const ANSWERS: &[&str] = &[
    "I can reproduce this on the current main.",
    "Thanks for the report! Could you add the version and the browser?",
    "The cause is the cache key: it does not include the tenant.",
    "Fixed by the change above; it ships with the next release.",
    "Same here, with about 12,000 rows.",
    "Let us split this: the timeout is one thing, the wrong total another.",
    "I measured it: 2.4 s before, 0.3 s after.",
    "Closing as a duplicate; the other issue has the discussion.",
    "Reopened, because the nightly run failed again.",
    "Good idea. I would put it behind a setting at first.",
];

/// An issue's title. The text is JSON already: nothing in it needs to be escaped.
pub(crate) fn title(number: u64) -> String {
    let area = pick(1, number, AREAS);
    if below(2, number, 3) == 0 {
        format!("{} {area}", pick(3, number, WISHES))
    } else {
        format!(
            "{area} {} (case {})",
            pick(4, number, FAULTS),
            below(5, number, 900) + 100
        )
    }
}

/// Paragraphs of an issue's or comment's body, as JSON text without the quotes.
pub(crate) fn body(salt: u64, n: u64, comment: bool) -> String {
    let (from, most) = if comment { (ANSWERS, 4) } else { (SENTENCES, 9) };
    let count = 1 + below(salt, n, most);
    let mut out = String::with_capacity(600);
    for part in 0..count {
        if part > 0 {
            out.push_str("\\n\\n");
        }
        out.push_str(pick(salt + 1 + part, n, from));
    }
    out
}
