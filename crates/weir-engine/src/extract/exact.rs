//! Records as values without loss of digits.
//!
//! A value has 64 bits for a number. An integer beyond them, a fraction of more than 17 digits, or `1e400` would be
//! written as another number than the one that was read. (A fraction of no more digits is its nearest double to
//! whoever wrote it.) `serde_json` can keep the digits of all numbers (`arbitrary_precision`), but then for the whole
//! program, at a cost for each number, and with another meaning of a value for everybody.
//!
//! So a text is looked through before it is parsed. Where it has such a number, a double stands for it
//! that no other number of the text is: it has nearly the same size for whoever looks, goes wherever a step takes it,
//! and becomes the digits that came when the value is written. Other texts go the usual way.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io;
use std::ops::Range;

use memchr::memchr2;
use serde::Serialize as _;
use serde_json::ser::{CompactFormatter, Formatter};
use serde_json::{Number, Serializer, Value};
use weir_protocol::{Error, Result};

/// Integers of so many bytes are within 64 bits.
const INTEGER_BYTES_SAFE_MAX: usize = 18;
/// Numbers of so many digits are in a double what they are in text.
const DIGITS_SAFE_MAX: usize = 15;
/// A double is told from every other one by so many digits.
const FRACTION_DIGITS_MAX: usize = 17;
const SIGN: u64 = 1 << 63;

/// The numbers of some texts that their values do not hold.
#[derive(Debug, Default)]
pub struct Exact {
    /// Doubles that are a number of these texts or stand for one, by their bits.
    used: HashMap<u64, Used>,
    /// Which double stands for a number, by the number's text.
    standing: HashMap<Box<str>, u64>,
}

#[derive(Debug)]
struct Used {
    /// As what it is written; None: as any double.
    digits: Option<Box<str>>,
    /// Where a search for a free one goes on, by its way.
    next: [u64; 2],
}

/// Whether a number is less or more than its nearest double, by size: what stands for it keeps its place among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Down,
    Up,
}

impl Exact {
    /// For values of these texts, and none beside.
    pub fn of(texts: &[&[u8]]) -> Self {
        let mut exact = Self::default();
        if texts.iter().any(|text| is_inexact(text)) {
            texts.iter().for_each(|text| exact.note(text));
        }
        exact
    }

    /// A text by itself, as a value that is looked at and not written again.
    pub(crate) fn value(text: &[u8]) -> serde_json::Result<Value> {
        Self::of(&[text]).parse(text)
    }

    /// The value of one of the texts, or of a part of one. Fails on what is no JSON.
    pub fn parse(&self, text: &[u8]) -> serde_json::Result<Value> {
        if self.standing.is_empty() {
            return serde_json::from_slice(text);
        }
        let mut other = Vec::with_capacity(text.len());
        let mut copied = 0;
        for at in Numbers::of(text) {
            let standing = ascii(&text[at.clone()]).and_then(|digits| self.standing.get(digits));
            if let Some(number) = standing.and_then(|bits| Number::from_f64(f64::from_bits(*bits))) {
                other.extend_from_slice(&text[copied..at.start]);
                other.extend_from_slice(number.to_string().as_bytes());
                copied = at.end;
            }
        }
        other.extend_from_slice(&text[copied..]);
        serde_json::from_slice(&other)
    }

    /// Writes a value with the digits that its numbers came with.
    pub fn write(&self, value: &Value, out: &mut Vec<u8>) -> Result<()> {
        let written = if self.standing.is_empty() {
            serde_json::to_writer(out, value)
        } else {
            value.serialize(&mut Serializer::with_formatter(out, Digits(self)))
        };
        written.map_err(|error| {
            Error::internal("a record cannot be written as JSON")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })
    }

    /// As [`Exact::write`], to a text of its own.
    pub(crate) fn text(&self, value: &Value) -> Result<String> {
        let mut out = Vec::new();
        self.write(value, &mut out)?;
        String::from_utf8(out).map_err(|error| {
            Error::internal("a value is written as text that is not UTF-8")
                .caused_by(error)
                .hint("report this as a bug of weir")
        })
    }

    /// Of a number that the value only stands for.
    pub(crate) fn digits(&self, value: &Value) -> Option<&str> {
        if self.standing.is_empty() {
            return None;
        }
        match value {
            Value::Number(number) if number.is_f64() => self.digits_of(number.as_f64()?),
            _ => None,
        }
    }

    /// Whether values of these texts are written as any others are.
    pub(crate) fn is_empty(&self) -> bool {
        self.standing.is_empty()
    }

    /// Takes more texts on, whose values come into `value` beside what is there.
    pub(crate) fn widen(&mut self, value: &Value, texts: &[String]) {
        self.keep(value);
        texts.iter().for_each(|text| self.note(text.as_bytes()));
    }

    fn digits_of(&self, double: f64) -> Option<&str> {
        self.used.get(&double.to_bits())?.digits.as_deref()
    }

    /// Doubles that are in a value already stand for themselves.
    fn keep(&mut self, value: &Value) {
        match value {
            Value::Number(number) if number.is_f64() => {
                if let Some(double) = number.as_f64() {
                    self.own(double.to_bits());
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.keep(item)),
            Value::Object(members) => members.values().for_each(|member| self.keep(member)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn note(&mut self, text: &[u8]) {
        let (held, others): (Vec<Float<'_>>, Vec<Float<'_>>) = Numbers::of(text)
            .filter_map(|at| Float::of(&text[at]))
            .partition(|float| float.is_held);
        for float in held {
            self.own(float.near.to_bits());
            // Another text's number has it: a double stands for this one too.
            if self.digits_of(float.near).is_some() {
                self.stand(&float);
            }
        }
        let (mut less, mut more): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|float| float.way() == Way::Down);
        less.sort_by(|a, b| b.compare(a));
        more.sort_by(Float::compare);
        for float in more.iter().chain(&less) {
            self.stand(float);
        }
    }

    fn own(&mut self, bits: u64) {
        self.used.entry(bits).or_insert_with(|| Used {
            digits: None,
            next: beside(bits),
        });
    }

    fn stand(&mut self, float: &Float<'_>) {
        if self.standing.contains_key(float.digits) {
            return;
        }
        let bits = self.free(float.near.to_bits(), float.way());
        let digits = Some(float.digits.into());
        let next = beside(bits);
        self.used.insert(bits, Used { digits, next });
        self.standing.insert(float.digits.into(), bits);
    }

    /// The nearest double on the way that is nothing else.
    fn free(&mut self, from: u64, way: Way) -> u64 {
        let mut at = from;
        loop {
            match self.used.get(&at) {
                Some(used) => at = used.next[way as usize],
                None if is_read_back(at) => break,
                None => self.own(at),
            }
        }
        // Shorter ways for those who search after: many numbers may be near the same double.
        let mut behind = from;
        while behind != at {
            let Some(used) = self.used.get_mut(&behind) else {
                break;
            };
            behind = std::mem::replace(&mut used.next[way as usize], at);
        }
        at
    }
}

/// The doubles next to one, down and up. Beyond the ends of them all comes a size that numbers do not have.
fn beside(bits: u64) -> [u64; 2] {
    let sign = bits & SIGN;
    let rare = sign | f64::MIN_POSITIVE.to_bits();
    let size = bits & !SIGN;
    [
        if size == 0 { rare } else { bits - 1 },
        if size == f64::MAX.to_bits() {
            rare
        } else {
            bits + 1
        },
    ]
}

/// Whether the text of a double is parsed to that double: the fast parser may err in the last bit.
fn is_read_back(bits: u64) -> bool {
    let number = Number::from_f64(f64::from_bits(bits));
    let again = number.and_then(|number| number.to_string().parse::<Number>().ok());
    again.and_then(|number| number.as_f64()).map(f64::to_bits) == Some(bits)
}

/// Writes the digits in the place of the doubles that stand for them.
struct Digits<'e>(&'e Exact);

impl Formatter for Digits<'_> {
    fn write_f64<W>(&mut self, writer: &mut W, value: f64) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        match self.0.digits_of(value) {
            Some(digits) => writer.write_all(digits.as_bytes()),
            None => CompactFormatter.write_f64(writer, value),
        }
    }
}

/// The text of a number that stands by itself and that a value does not hold.
pub(super) fn lone_inexact(text: &[u8]) -> Option<&str> {
    let is_alone =
        matches!(text.first(), Some(b'-' | b'0'..=b'9')) && Numbers::of(text).next() == Some(0..text.len());
    if is_alone && is_inexact(text) {
        return ascii(text);
    }
    None
}

/// A number's text. Of what [`Numbers`] finds there is always one: its bytes are digits, signs, `.` and `e`.
fn ascii(number: &[u8]) -> Option<&str> {
    std::str::from_utf8(number).ok()
}

/// Whether a text has a number that its value does not hold.
pub(crate) fn is_inexact(text: &[u8]) -> bool {
    Numbers::of(text).any(|at| {
        let number = &text[at];
        is_suspect(number) && Float::of(number).is_some_and(|float| !float.is_held)
    })
}

/// Whether a number has to be looked at more closely.
fn is_suspect(number: &[u8]) -> bool {
    if memchr2(b'e', b'E', number).is_some() {
        return true;
    }
    if number.len() <= DIGITS_SAFE_MAX {
        return false;
    }
    if !number.contains(&b'.') {
        return number.len() > INTEGER_BYTES_SAFE_MAX;
    }
    let from = number.iter().position(|byte| matches!(byte, b'1'..=b'9'));
    let significant = number.get(from.unwrap_or(number.len())..).unwrap_or_default();
    let digits = significant.iter().filter(|byte| byte.is_ascii_digit()).count();
    digits > FRACTION_DIGITS_MAX || (digits > DIGITS_SAFE_MAX && number.ends_with(b"0"))
}

/// A number that is no integer of 64 bits.
struct Float<'t> {
    digits: &'t str,
    near: f64,
    /// The double is that very number, or as good as it.
    is_held: bool,
}

impl<'t> Float<'t> {
    fn of(text: &'t [u8]) -> Option<Self> {
        let digits = ascii(text)?;
        let (near, is_held) = match digits.parse::<Number>() {
            Ok(number) if !number.is_f64() => return None,
            Ok(number) => (number.as_f64()?, is_held(digits, &number)),
            Err(_) => {
                // Larger than any double, or no number at all.
                let decimal = Decimal::of(digits)?;
                (if decimal.is_negative { f64::MIN } else { f64::MAX }, false)
            }
        };
        Some(Self {
            digits,
            near,
            is_held,
        })
    }

    fn decimal(&self) -> Option<Decimal> {
        Decimal::of(self.digits)
    }

    fn way(&self) -> Way {
        // The shortest text of a double is what a fraction is that it holds; of an integer all digits count.
        let near = if self.digits.contains(['.', 'e', 'E']) {
            Number::from_f64(self.near).map(|near| near.to_string())
        } else {
            Some(format!("{:.0}", self.near))
        };
        let near = near.and_then(|near| Decimal::of(&near));
        let is_more = match (self.decimal(), near) {
            (Some(came), Some(near)) => came.size() > near.size(),
            _ => false,
        };
        // Of what is larger than any double, the double is the largest.
        if is_more && self.near.abs() < f64::MAX {
            Way::Up
        } else {
            Way::Down
        }
    }

    /// By size.
    fn compare(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (self.decimal(), other.decimal());
        ours.as_ref()
            .map(Decimal::size)
            .cmp(&theirs.as_ref().map(Decimal::size))
    }
}

/// An integer that is written as a fraction is another number to whoever types it.
fn is_held(came: &str, number: &Number) -> bool {
    let written = number.to_string();
    if came == written {
        return true;
    }
    if !came.contains(['.', 'e', 'E']) {
        return false;
    }
    let (came, written) = (Decimal::of(came), Decimal::of(&written));
    let is_lost = number.as_f64() == Some(0.0);
    // One that is whole is taken for an integer by whoever wants one.
    let is_short = came
        .as_ref()
        .is_some_and(|came| came.digits.len() <= FRACTION_DIGITS_MAX && came.exponent < 0);
    came == written || (is_short && !is_lost)
}

/// A number by its digits, without zeros at their ends: `-12.50e3` is -125 and 2.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Compares with others without regard to their signs.
    fn size(&self) -> (i64, &str) {
        let digits = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        match self.digits.as_str() {
            "" => (i64::MIN, ""),
            all => (self.exponent.saturating_add(digits), all),
        }
    }

    /// None where the text is no number by JSON's grammar.
    fn of(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix('-');
        let is_negative = unsigned.is_some();
        let (mantissa, exponent) = split(unsigned.unwrap_or(text), &['e', 'E']);
        let (whole, fraction) = split(mantissa, &['.']);
        let is_number = is_digits(whole)
            && (whole.len() == 1 || !whole.starts_with('0'))
            && fraction.is_none_or(is_digits)
            && exponent
                .is_none_or(|exponent| is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
        if !is_number {
            return None;
        }
        let fraction = fraction.unwrap_or_default();
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        let digits = significant.trim_end_matches('0');
        let zeros = i64::try_from(significant.len() - digits.len()).ok()?;
        let places = i64::try_from(fraction.len()).ok()?;
        // One that 64 bits do not hold is none that a double has.
        let exponent = exponent.map_or(0, |exponent| exponent.parse().unwrap_or(i64::MAX));
        Some(Self {
            is_negative,
            digits: digits.to_owned(),
            exponent: match digits {
                "" => 0,
                _ => exponent.saturating_add(zeros - places),
            },
        })
    }
}

fn split<'t>(text: &'t str, at: &[char]) -> (&'t str, Option<&'t str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The places of the numbers in a JSON text.
struct Numbers<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Numbers<'t> {
    fn of(text: &'t [u8]) -> Self {
        Self { text, at: 0 }
    }

    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(rest) = self.text.get(self.at..) {
            let Some(found) = memchr2(b'"', b'\\', rest) else {
                self.at = self.text.len();
                return;
            };
            if rest[found] == b'"' {
                self.at += found + 1;
                return;
            }
            self.at += found + 2;
        }
    }
}

impl Iterator for Numbers<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.text.get(self.at..)?;
            let skipped = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9'))?;
            self.at += skipped;
            if rest[skipped] == b'"' {
                self.skip_string();
                continue;
            }
            let start = self.at;
            let inside = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
            let rest = &rest[skipped..];
            self.at += rest.iter().position(|byte| !inside(byte)).unwrap_or(rest.len());
            return Some(start..self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn again(text: &str) -> String {
        let exact = Exact::of(&[text.as_bytes()]);
        let value = exact.parse(text.as_bytes()).unwrap();
        exact.text(&value).unwrap()
    }

    #[test]
    fn numbers_come_out_as_they_came_in() {
        for text in [
            "18446744073709551617",
            "-170141183460469231731687303715884105728",
            "1000000000000000000000000000000",
            "0.123456789012345678901234567890",
            "-0.0",
            "1e400",
            "-1e400",
            "1e-400",
            "1e99999999999999999999",
            "9007199254740993.00000000000000000001",
            "0.30000000000000004440892098500626",
            r#"{"a":[18446744073709551617,{"b":1.00000000000000000000001}],"c":"1e400"}"#,
        ] {
            assert_eq!(again(text), text);
        }
        // What a double holds is written as ever.
        assert_eq!(
            again(r#"{"a": 1.50, "b": 1E3, "c": 0.1}"#),
            r#"{"a":1.5,"b":1000.0,"c":0.1}"#
        );
        // As PHP writes it.
        assert_eq!(again("[0.10000000000000001,-12.300000000000001]"), "[0.1,-12.3]");
        assert!(Exact::of(&[br#"{"a":9007199254740993,"b":"18446744073709551617","c":1.5e10}"#]).is_empty());
        assert!(Exact::of(&[b"[0.1, 1.5e3, 18446744073709551615, -9223372036854775808]"]).is_empty());
    }

    #[test]
    fn numbers_of_one_double_stay_apart() {
        let text = "[18446744073709551616,1.8446744073709552e+19,18446744073709551617,18446744073709551618,\
            0.1,0.1000000000000000000001,0.1000000000000000000002,1e400,2e400,1e-400,2e-400,-1e-400,0.0,-0.0]";
        assert_eq!(again(text), text);
        let exact = Exact::of(&[b"[0.1000000000000000000001]", b"[0.1]"]);
        let (first, second) = (exact.parse(b"[0.1000000000000000000001]"), exact.parse(b"[0.1]"));
        assert_eq!(exact.text(&first.unwrap()).unwrap(), "[0.1000000000000000000001]");
        assert_eq!(exact.text(&second.unwrap()).unwrap(), "[0.1]");
    }

    #[test]
    fn what_stands_for_a_number_is_near_it() {
        let exact = Exact::of(&[b"[18446744073709551617]"]);
        let value = exact.parse(b"[18446744073709551617]").unwrap();
        assert_eq!(value, json!([2_f64.powi(64)]));
        assert_eq!(exact.digits(&value[0]), Some("18446744073709551617"));
        let near = Exact::value(b"1e400").unwrap();
        assert_eq!(near, json!(f64::MAX));
    }

    #[test]
    fn numbers_keep_their_order() {
        for ordered in [
            vec![
                "0.0999999999999999999999",
                "0.1",
                "0.100000000000000005",
                "0.1000000000000000051",
            ],
            vec![
                "18446744073709551615",
                "18446744073709551617",
                "18446744073709551618",
                "18446744073709551619",
            ],
            vec!["1.0", "1.0000000000000000000001"],
        ] {
            for turn in 0..ordered.len() {
                let mut turned = ordered.clone();
                turned.rotate_left(turn);
                turned.swap(0, ordered.len() - 1);
                let text = format!("[{}]", turned.join(","));
                let exact = Exact::of(&[text.as_bytes()]);
                let value = |number: &str| exact.parse(number.as_bytes()).unwrap().as_f64().unwrap();
                assert!(ordered.is_sorted_by(|a, b| value(a) <= value(b)), "{text}");
                assert!(value(ordered[0]) < value(ordered[ordered.len() - 1]), "{text}");
            }
        }
    }

    #[test]
    fn texts_that_are_taken_on_later_leave_the_others_alone() {
        let mut exact = Exact::of(&[br#"{"a":0.1}"#]);
        let mut value = exact.parse(br#"{"a":0.1}"#).unwrap();
        let more = "0.10000000000000000000001";
        exact.widen(&value, &[more.to_owned()]);
        value["b"] = exact.parse(more.as_bytes()).unwrap();
        assert_eq!(exact.text(&value).unwrap(), format!(r#"{{"a":0.1,"b":{more}}}"#));
    }

    /// A page that was made to be slow: each number is near the same double.
    #[test]
    fn many_numbers_of_one_double_are_found_room_for() {
        let numbers: Vec<String> = (0..50_000_u128).map(|n| (n + (1 << 100)).to_string()).collect();
        let text = format!("[{}]", numbers.join(","));
        assert_eq!(again(&text), text);
    }

    #[test]
    fn only_numbers_by_themselves_are_given_as_their_digits() {
        assert_eq!(
            lone_inexact(b"18446744073709551617"),
            Some("18446744073709551617")
        );
        assert_eq!(lone_inexact(b"1e400"), Some("1e400"));
        for text in [
            "18446744073709551615",
            "1.5",
            "[18446744073709551617]",
            "\"1e400\"",
            "1e400 ",
            "0x1",
        ] {
            assert_eq!(lone_inexact(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_none() {
        for text in [
            "{\"a\":01e400}",
            "[1.e400]",
            "[-]",
            "{\"a\":\"",
            "[1e]",
            "[1e400",
            "\"\\",
        ] {
            let exact = Exact::of(&[text.as_bytes()]);
            assert!(exact.parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_number_loses_a_digit(
            numbers in proptest::collection::vec("-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", 1..12),
        ) {
            let text = format!("[{}]", numbers.join(","));
            let written = again(&text);
            let came = text.trim_matches(['[', ']']).split(',');
            for (came, written) in came.zip(written.trim_matches(['[', ']']).split(',')) {
                let came_as = Decimal::of(came).unwrap();
                let is_short = came.contains(['.', 'e', 'E']) && came_as.digits.len() <= FRACTION_DIGITS_MAX;
                let is_same_double = is_short && came.parse::<f64>().unwrap() == written.parse::<f64>().unwrap();
                prop_assert!(is_same_double || came_as == Decimal::of(written).unwrap(), "{} {}", came, written);
            }
        }
    }
}
