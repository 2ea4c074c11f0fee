//! Names in the lake: one rule each, in one place.

use crate::error::{Error, Result};
use crate::sync_mode::SyncMode;

const NAME_BYTES_MAX: usize = 100;

/// Lower-case ASCII letters, digits and single underscores, starting with a letter.
pub fn check(what: &str, name: &str) -> Result<()> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= NAME_BYTES_MAX
        && !name.ends_with('_')
        && !name.contains("__")
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if good {
        return Ok(());
    }
    let mut error = Error::spec(format!("'{name}' is not a valid {what} name"));
    let nearest = sanitize(name);
    error = if nearest.is_empty() {
        error.hint("use lower-case letters, digits and single underscores, starting with a letter")
    } else {
        error.hint(format!(
            "use lower-case letters, digits and single underscores, starting with a letter, as in '{nearest}'"
        ))
    };
    Err(error)
}

/// The nearest valid name; empty where nothing is left of it.
pub fn sanitize(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut previous_lower = false;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            if c.is_ascii_uppercase() && previous_lower {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
            previous_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        } else {
            if !out.is_empty() && !out.ends_with('_') {
                out.push('_');
            }
            previous_lower = false;
        }
    }
    let start = out.find(|c: char| c.is_ascii_lowercase()).unwrap_or(out.len());
    let mut out = out.split_off(start);
    out.truncate(NAME_BYTES_MAX);
    out.truncate(out.trim_end_matches('_').len());
    out
}

pub fn bronze(source: &str, stream: &str) -> String {
    format!("raw_{source}_{stream}")
}

pub fn silver(source: &str, entity: &str) -> String {
    format!("{source}_{entity}")
}

/// Gold model files are named after the table: `gold_<domain>_<entity>`.
pub fn check_gold(name: &str) -> Result<()> {
    check("model", name)?;
    let parts = name.split('_').count();
    if name.starts_with("gold_") && parts >= 3 {
        return Ok(());
    }
    Err(Error::spec(format!("'{name}' is not a valid model name"))
        .hint("name a model gold_<domain>_<entity>, as in gold_engineering_open_issues"))
}

pub fn run(source: &str, stream: &str, mode: SyncMode) -> String {
    format!("sync_{source}_{stream}_{mode}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mends_names() {
        assert_eq!(sanitize("Pull Requests"), "pull_requests");
        assert_eq!(sanitize("pullRequestID"), "pull_request_id");
        assert_eq!(sanitize("__9lives"), "lives");
        assert_eq!(sanitize("جيت"), "");
    }

    #[test]
    fn a_mended_name_is_valid() {
        for name in ["Pull Requests", "a--b", "x", "A1B2"] {
            check("stream", &sanitize(name)).unwrap();
        }
    }
}
