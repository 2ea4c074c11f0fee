//! What a rendered text means as a Python literal: `12`, `None`, `['a', 1]`. Everything else stays
//! text.

use serde_json::{Map, Number, Value};

use super::text::py_text;
use super::value::int_json;

/// Nesting beyond which a text is no literal.
const DEPTH_MAX: usize = 100;

/// A literal, and whether it is a tuple, which counts as none of the types that a place may ask for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Literal {
    pub(super) value: Value,
    pub(super) is_tuple: bool,
}

pub(super) fn literal(text: &str) -> Option<Literal> {
    let start = text.trim_start_matches([' ', '\t']);
    let first = *start.as_bytes().first()?;
    // Most texts are no literal; their first letter tells.
    if !(first.is_ascii_digit()
        || matches!(
            first,
            b'\''
                | b'"'
                | b'['
                | b'{'
                | b'('
                | b'-'
                | b'+'
                | b'.'
                | b'T'
                | b'F'
                | b'N'
                | b'r'
                | b'u'
                | b'R'
                | b'U'
        ))
    {
        return None;
    }
    let mut parser = Parser { rest: start, open: 0 };
    let found = parser.top()?;
    parser.space();
    parser.rest.is_empty().then_some(found)
}

struct Parser<'a> {
    rest: &'a str,
    /// Brackets that are open: line ends count as space within them.
    open: usize,
}

impl Parser<'_> {
    fn space(&mut self) {
        loop {
            let trimmed = if self.open > 0 {
                self.rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}'])
            } else {
                self.rest.trim_start_matches([' ', '\t', '\u{c}'])
            };
            self.rest = trimmed;
            if trimmed.starts_with('#') {
                let end = trimmed.find('\n').unwrap_or(trimmed.len());
                self.rest = trimmed.get(end..).unwrap_or_default();
                continue;
            }
            // Blank lines after the literal.
            if self.open == 0 && self.rest.trim_start().is_empty() {
                self.rest = "";
            }
            return;
        }
    }

    fn eat(&mut self, wanted: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A value, or several with commas between: a tuple.
    fn top(&mut self) -> Option<Literal> {
        let first = self.value(0)?;
        if !self.eat(",") {
            return Some(first);
        }
        let mut items = vec![first.value];
        loop {
            self.space();
            if self.rest.is_empty() {
                break;
            }
            items.push(self.value(0)?.value);
            if !self.eat(",") {
                break;
            }
        }
        Some(tuple(items))
    }

    fn value(&mut self, depth: usize) -> Option<Literal> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.space();
        match self.rest.as_bytes().first()? {
            b'[' => self.list(depth),
            b'(' => self.parenthesis(depth),
            b'{' => self.dict(depth),
            b'\'' | b'"' | b'r' | b'R' | b'u' | b'U' => self.texts(),
            b'0'..=b'9' | b'.' | b'-' | b'+' => self.number(),
            _ => self.word(),
        }
    }

    fn items(&mut self, depth: usize, close: &str) -> Option<(Vec<Value>, bool)> {
        let mut items = Vec::new();
        let mut comma = false;
        loop {
            if self.eat(close) {
                return Some((items, comma));
            }
            if !items.is_empty() && !comma {
                return None;
            }
            items.push(self.value(depth + 1)?.value);
            comma = self.eat(",");
        }
    }

    fn bracketed<T>(&mut self, open: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if !self.eat(open) {
            return None;
        }
        self.open += 1;
        let found = read(self);
        self.open -= 1;
        found
    }

    fn list(&mut self, depth: usize) -> Option<Literal> {
        let (items, _) = self.bracketed("[", |parser| parser.items(depth, "]"))?;
        Some(plain(Value::Array(items)))
    }

    fn parenthesis(&mut self, depth: usize) -> Option<Literal> {
        let (mut items, comma) = self.bracketed("(", |parser| parser.items(depth, ")"))?;
        if items.len() == 1 && !comma {
            return items.pop().map(plain);
        }
        Some(tuple(items))
    }

    fn dict(&mut self, depth: usize) -> Option<Literal> {
        self.bracketed("{", |parser| {
            let mut members = Map::new();
            let mut comma = true;
            loop {
                if parser.eat("}") {
                    return Some(plain(Value::Object(members)));
                }
                if !comma {
                    return None;
                }
                let key = parser.value(depth + 1)?.value;
                if !parser.eat(":") {
                    return None;
                }
                let value = parser.value(depth + 1)?.value;
                if matches!(key, Value::Array(_) | Value::Object(_)) {
                    return None;
                }
                members.insert(py_text(&key), value);
                comma = parser.eat(",");
            }
        })
    }

    fn word(&mut self) -> Option<Literal> {
        for (word, value) in [
            ("True", Value::Bool(true)),
            ("False", Value::Bool(false)),
            ("None", Value::Null),
        ] {
            if let Some(rest) = self.rest.strip_prefix(word)
                && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            {
                self.rest = rest;
                return Some(plain(value));
            }
        }
        None
    }

    /// Texts side by side are one.
    fn texts(&mut self) -> Option<Literal> {
        let mut all = String::new();
        let mut found = false;
        loop {
            self.space();
            let raw = self.rest.starts_with(['r', 'R']);
            let after = self.rest.strip_prefix(['r', 'R', 'u', 'U']).unwrap_or(self.rest);
            if !after.starts_with(['\'', '"']) {
                return found.then(|| plain(Value::String(all)));
            }
            self.rest = after;
            self.text(raw, &mut all)?;
            found = true;
        }
    }

    fn text(&mut self, raw: bool, all: &mut String) -> Option<()> {
        let quote = self.rest.chars().next()?;
        let triple: String = [quote; 3].iter().collect();
        let close = if self.rest.starts_with(&triple) {
            triple
        } else {
            quote.to_string()
        };
        self.rest = self.rest.get(close.len()..)?;
        loop {
            if let Some(rest) = self.rest.strip_prefix(close.as_str()) {
                self.rest = rest;
                return Some(());
            }
            let c = self.next()?;
            if c == '\n' && close.len() == 1 {
                return None;
            }
            if c != '\\' {
                all.push(c);
                continue;
            }
            if raw {
                all.push('\\');
                all.push(self.next()?);
            } else {
                self.escape(all)?;
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let found = chars.next();
        self.rest = chars.as_str();
        found
    }

    fn escape(&mut self, all: &mut String) -> Option<()> {
        let c = self.next()?;
        let hex = |parser: &mut Self, width: usize| {
            let digits = parser.rest.get(..width)?;
            parser.rest = parser.rest.get(width..)?;
            char::from_u32(u32::from_str_radix(digits, 16).ok()?)
        };
        let found = match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'a' => '\u{7}',
            '\\' | '\'' | '"' => c,
            '\n' => return Some(()),
            'x' => hex(self, 2)?,
            'u' => hex(self, 4)?,
            'U' => hex(self, 8)?,
            'N' => return None,
            '0'..='7' => {
                let more = self
                    .rest
                    .bytes()
                    .take(2)
                    .take_while(|b| (b'0'..=b'7').contains(b))
                    .count();
                let mut digits = c.to_string();
                digits.push_str(self.rest.get(..more)?);
                self.rest = self.rest.get(more..)?;
                char::from_u32(u32::from_str_radix(&digits, 8).ok()?)?
            }
            other => {
                all.push('\\');
                other
            }
        };
        all.push(found);
        Some(())
    }

    fn number(&mut self) -> Option<Literal> {
        let mut negative = false;
        // One sign; Python reads no second one.
        if let Some(sign) = self.rest.chars().next().filter(|c| matches!(c, '-' | '+')) {
            negative = sign == '-';
            self.next();
            self.space();
        }
        let end = number_end(self.rest);
        let token = self.rest.get(..end)?;
        self.rest = self.rest.get(end..)?;
        if self.rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let value = number(token)?;
        Some(plain(match value {
            Num::Int(number) => int_json(if negative { -number } else { number }),
            Num::Float(number) => Value::Number(Number::from_f64(if negative { -number } else { number })?),
        }))
    }
}

enum Num {
    Int(i128),
    Float(f64),
}

fn number_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_radix = text.len() > 2
        && bytes.first() == Some(&b'0')
        && bytes.get(1).is_some_and(u8::is_ascii_alphabetic)
        && !matches!(bytes.get(1), Some(b'e' | b'E'));
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let after_exponent = at > 0 && !is_radix && matches!(bytes.get(at - 1), Some(b'e' | b'E'));
        let is_part = byte.is_ascii_digit()
            || matches!(byte, b'_' | b'.' | b'e' | b'E')
            || (is_radix && byte.is_ascii_alphanumeric())
            || (after_exponent && matches!(byte, b'+' | b'-'));
        if !is_part {
            break;
        }
        at += 1;
    }
    at
}

fn number(token: &str) -> Option<Num> {
    if token.ends_with('_') || token.starts_with('_') || token.contains("__") {
        return None;
    }
    let plain = token.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            return i128::from_str_radix(digits, radix).ok().map(Num::Int);
        }
    }
    if lower.contains(['.', 'e']) {
        let is_number = lower.bytes().any(|b| b.is_ascii_digit()) && !lower.starts_with('e');
        return is_number
            .then(|| lower.parse::<f64>().ok())
            .flatten()
            .filter(|number| number.is_finite())
            .map(Num::Float);
    }
    // A leading zero is an error in Python, but for zero itself.
    if lower.len() > 1 && lower.starts_with('0') && lower.bytes().any(|b| b != b'0') {
        return None;
    }
    lower.parse().ok().map(Num::Int)
}

fn plain(value: Value) -> Literal {
    Literal {
        value,
        is_tuple: false,
    }
}

fn tuple(items: Vec<Value>) -> Literal {
    Literal {
        value: Value::Array(items),
        is_tuple: true,
    }
}
