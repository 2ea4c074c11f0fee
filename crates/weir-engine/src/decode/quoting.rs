//! Quotes of CSV by which rows may be lost. The reader takes them all: a quote that nobody closes takes the rest of the
//! text into one value, and one that should not be there joins the rows up to the next. A quote within a line that
//! is not doubled takes nothing, and is left to the reader.

use memchr::{memchr, memchr2};

const MARK: &[u8] = b"\xef\xbb\xbf";

/// What is wrong with a row's quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misquoted {
    /// A value begins with a quote, and none closes it.
    Unclosed,
    /// A value of several lines ends with a quote that looks like another one's beginning.
    Swallows,
}

impl Misquoted {
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Unclosed => "a CSV value begins with a quote that is never closed",
            Self::Swallows => "a CSV value of several lines ends where another one seems to begin",
        }
    }
}

/// Looks at the text of one row, as the reader took it.
pub(crate) fn misquoted(row: &[u8], delimiter: u8, quote: u8) -> Option<Misquoted> {
    let find = |from: usize| memchr(quote, row.get(from..)?).map(|found| from + found);
    let mut from = 0;
    while let Some(open) = find(from) {
        if !begins_value(row.get(..open)?, delimiter) {
            from = open + 1;
            continue;
        }
        let mut close = open + 1;
        loop {
            let Some(found) = find(close) else {
                return Some(Misquoted::Unclosed);
            };
            close = found + 1;
            if row.get(close) != Some(&quote) {
                break;
            }
            close += 1;
        }
        let value = row.get(open..close.saturating_sub(1))?;
        if !ends_value(row.get(close..)?, delimiter)
            && memchr2(b'\n', b'\r', value).is_some()
            && begins_value(value, delimiter)
        {
            return Some(Misquoted::Swallows);
        }
        from = close;
    }
    None
}

fn begins_value(before: &[u8], delimiter: u8) -> bool {
    match before.last() {
        None | Some(b'\n' | b'\r') => true,
        Some(last) => *last == delimiter || before == MARK,
    }
}

/// Blanks between a closing quote and the delimiter are many writers' habit, and hide nothing.
fn ends_value(after: &[u8], delimiter: u8) -> bool {
    let mut blanks = after
        .iter()
        .skip_while(|byte| **byte != delimiter && matches!(**byte, b' ' | b'\t'));
    match blanks.next() {
        None | Some(b'\n' | b'\r') => true,
        Some(next) => *next == delimiter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_that_add_up_are_left_alone() {
        for row in [
            "1,abc\n",
            "1,\"a,b\"\r\n",
            "\"1\",\"a \"\"b\"\" c\"",
            "\n\"1\" ,\"two\nlines\"\t\n",
            "1,5\" nail\n",
            "1,\"5\" nail\",x\n",
            "1,\"a\" b,x\n",
            "1,\"two\nlines \\\"x\\\" y\"\n",
            "\u{feff}\"id\",name\n",
            "\"\",\"\"\"\"\n",
        ] {
            assert_eq!(misquoted(row.as_bytes(), b',', b'"'), None, "{row}");
        }
        assert_eq!(misquoted(b"'a\tb'\t'c'\n", b'\t', b'\''), None);
    }

    #[test]
    fn those_that_do_not_are_told() {
        for (row, found) in [
            ("1,\"abc\n2,def\n", Some(Misquoted::Unclosed)),
            ("1,\"", Some(Misquoted::Unclosed)),
            ("\u{feff}\"id,name\n", Some(Misquoted::Unclosed)),
            ("1,\"a\"\"", Some(Misquoted::Unclosed)),
            ("1,\"abc\n2,\"def\"\n", Some(Misquoted::Swallows)),
            ("\"a,1\n\"b\",2\n", Some(Misquoted::Swallows)),
        ] {
            assert_eq!(misquoted(row.as_bytes(), b',', b'"'), found, "{row}");
        }
    }
}
