//! Filters.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use regex::Regex;
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::eval::Args;
use super::text::{dumps, quote};
use super::value::Py;
use super::{Fault, layout, methods, ops, strings, tests};
use crate::interpolate::hex;

pub(super) fn apply<'a>(name: &str, value: &Py<'a>, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    if let Some(done) = of_collections(name, value, args)? {
        return Ok(done);
    }
    if let Some(done) = of_numbers(name, value, args)? {
        return Ok(done);
    }
    if let Some(done) = layout::apply(name, value, args)? {
        return Ok(done);
    }
    let text = || text_of(value);
    Ok(match name {
        "default" | "d" => {
            let even_if_false = args.get(1, "boolean").is_some_and(Py::is_true);
            if value.is_undefined() || (even_if_false && !value.is_true()) {
                args.get(0, "default_value")
                    .cloned()
                    .unwrap_or_else(|| Py::str(""))
            } else {
                value.clone()
            }
        }
        "string" | "tojson" if value.is_undefined() => return Err(Fault::kind("undefined is no JSON")),
        "string" if value.as_str().is_some() => value.clone(),
        "string" => Py::string(format!("\"\"\"{}\"\"\"", dumps(&value.to_json(), false))),
        "tojson" => Py::string(
            dumps(&value.to_json(), true)
                .replace('<', "\\u003c")
                .replace('>', "\\u003e")
                .replace('&', "\\u0026")
                .replace('\'', "\\u0027"),
        ),
        "lower" => Py::string(value.text().to_lowercase()),
        "upper" => Py::string(value.text().to_uppercase()),
        "title" => Py::string(strings::title(&value.text())),
        "capitalize" => Py::string(strings::capitalize(&value.text())),
        "trim" => strings::call(&value.text(), "strip", args)?,
        "replace" => strings::call(&value.text(), "replace", args)?,
        "format" => methods::percent(value, &Py::Tuple(Rc::new(args.positional.clone())))?,
        "safe" => Py::string(value.text()),
        "urlencode" => urlencode(value)?,
        "hash" => hash(value, args)?,
        "hmac" => hmac(value, args)?,
        "base64encode" | "base64decode" | "base64binascii_decode" => base64(name, value)?,
        "regex_search" => {
            let found = regex(args.text(0, "regex")?)?;
            let found = found
                .captures(text()?)
                .and_then(|found| found.get(1).map(|part| part.as_str().to_owned()));
            Py::string(found.unwrap_or_default())
        }
        "regex_replace" => {
            let with = group_references(args.text(1, "replacement")?);
            Py::string(
                regex(args.text(0, "regex")?)?
                    .replace_all(text()?, with.as_str())
                    .into_owned(),
            )
        }
        other => return Err(Fault::other(format!("there is no filter named '{other}'"))),
    })
}

fn text_of<'v>(value: &'v Py<'_>) -> Result<&'v str, Fault> {
    value
        .as_str()
        .ok_or_else(|| Fault::kind(format!("expected text, got {}", value.type_name())))
}

fn base64<'a>(name: &str, value: &Py<'a>) -> Result<Py<'a>, Fault> {
    let text = match value {
        Py::Undefined(name) => return Err(Fault::undefined(name)),
        other => other
            .as_str()
            .ok_or_else(|| Fault::other(format!("{name} takes text, not {}", other.type_name())))?,
    };
    if name != "base64decode" {
        return Ok(Py::string(STANDARD.encode(text)));
    }
    let bytes = STANDARD.decode(text.trim());
    let bytes = bytes.map_err(|error| Fault::other(format!("not base64: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| Fault::other("what base64 holds is not UTF-8"))?;
    Ok(Py::string(text))
}

fn regex(pattern: &str) -> Result<Regex, Fault> {
    Regex::new(pattern).map_err(|error| Fault::other(format!("bad pattern: {error}")))
}

/// `\1` and `\g<name>` as this library writes them.
fn group_references(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some(digit) if digit.is_ascii_digit() => out.push_str(&format!("${{{digit}}}")),
                Some('g') if chars.peek() == Some(&'<') => {
                    let name: String = chars.by_ref().skip(1).take_while(|c| *c != '>').collect();
                    out.push_str(&format!("${{{name}}}"));
                }
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

fn urlencode<'a>(value: &Py<'a>) -> Result<Py<'a>, Fault> {
    let pair = |key: &Py<'_>, value: &Py<'_>| {
        format!(
            "{}={}",
            quote(&key.text(), "", true),
            quote(&value.text(), "", true)
        )
    };
    if let Some(members) = value.members() {
        let pairs: Vec<String> = members.iter().map(|(key, value)| pair(key, value)).collect();
        return Ok(Py::string(pairs.join("&")));
    }
    if let Some(items) = value.elements() {
        let pairs = items.iter().map(|item| match item.elements().as_deref() {
            Some([key, value]) => Ok(pair(key, value)),
            _ => Err(Fault::other("urlencode takes text, a mapping or a list of pairs")),
        });
        let pairs: Vec<String> = pairs.collect::<Result<_, _>>()?;
        return Ok(Py::string(pairs.join("&")));
    }
    Ok(Py::string(quote(&value.text(), "/", false)))
}

fn hash<'a>(value: &Py<'a>, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let kind = match args.get(0, "hash_type") {
        Some(_) => args.text(0, "hash_type")?,
        None => "md5",
    };
    let mut bytes = value.text().into_bytes();
    if let Some(salt) = args.get(1, "salt").filter(|salt| salt.is_true()) {
        bytes.extend_from_slice(salt.text().as_bytes());
    }
    let digest = match kind {
        "md5" => hex(&md5::Md5::digest(&bytes)),
        "sha256" => hex(&Sha256::digest(&bytes)),
        "sha384" => hex(&Sha384::digest(&bytes)),
        "sha512" => hex(&Sha512::digest(&bytes)),
        other => return Err(Fault::other(format!("No hashing function named {other}"))),
    };
    Ok(Py::string(digest))
}

fn hmac<'a>(value: &Py<'a>, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let key = args.need(0, "key")?.text();
    if let Some(kind) = args.get(1, "hash_type").filter(|kind| kind.text() != "sha256") {
        return Err(Fault::other(format!(
            "Hash type '{}' is not allowed",
            kind.text()
        )));
    }
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|error| Fault::other(error.to_string()))?;
    mac.update(value.text().as_bytes());
    Ok(Py::string(hex(&mac.finalize().into_bytes())))
}

fn of_numbers<'a>(name: &str, value: &Py<'a>, args: &Args<'a>) -> Result<Option<Py<'a>>, Fault> {
    let fallback = |usual: Py<'a>| args.get(0, "default").cloned().unwrap_or(usual);
    if let ("int" | "float", Py::Undefined(name)) = (name, value) {
        return Err(Fault::undefined(name));
    }
    Ok(Some(match name {
        "int" => to_int(value).unwrap_or_else(|| fallback(Py::Int(0))),
        "float" => {
            let number = value
                .as_float()
                .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
            number.map_or_else(|| fallback(Py::Float(0.0)), Py::Float)
        }
        "abs" => match value {
            Py::Float(number) => Py::Float(number.abs()),
            other => Py::Int(
                other
                    .as_int()
                    .ok_or_else(|| Fault::kind("abs takes a number"))?
                    .abs(),
            ),
        },
        "round" if value.as_int().is_some() && args.get(1, "method").is_none() => {
            Py::Int(value.as_int().unwrap_or_default())
        }
        "round" => {
            let number = value
                .as_float()
                .ok_or_else(|| Fault::kind("round takes a number"))?;
            let digits = args.get(0, "precision").and_then(Py::as_int).unwrap_or(0);
            let factor = 10_f64.powi(i32::try_from(digits).unwrap_or(0));
            let scaled = number * factor;
            let rounded = match args.get(1, "method").and_then(Py::as_str) {
                Some("ceil") => scaled.ceil(),
                Some("floor") => scaled.floor(),
                _ => scaled.round_ties_even(),
            };
            Py::Float(rounded / factor)
        }
        _ => return Ok(None),
    }))
}

fn to_int<'a>(value: &Py<'a>) -> Option<Py<'a>> {
    if let Some(number) = value.as_int() {
        return Some(Py::Int(number));
    }
    let number = match value.as_str() {
        Some(text) => {
            if let Ok(number) = text.trim().replace('_', "").parse::<i128>() {
                return Some(Py::Int(number));
            }
            text.trim().parse::<f64>().ok()?
        }
        None => value.as_float()?,
    };
    #[expect(clippy::cast_possible_truncation, reason = "cut off as Python does")]
    number.is_finite().then_some(Py::Int(number as i128))
}

fn of_collections<'a>(name: &str, value: &Py<'a>, args: &Args<'a>) -> Result<Option<Py<'a>>, Fault> {
    let picked = |items: Vec<Py<'a>>| -> Result<Vec<Py<'a>>, Fault> {
        match args.get(1, "attribute").and_then(Py::as_str) {
            Some(path) => items.iter().map(|item| follow(item, path)).collect(),
            None => Ok(items),
        }
    };
    Ok(Some(match name {
        "length" | "count" => Py::Int(i128::try_from(value.len()?).unwrap_or(i128::MAX)),
        "first" | "last" => {
            let items = value.iterate()?;
            let found = if name == "first" {
                items.first()
            } else {
                items.last()
            };
            found
                .cloned()
                .unwrap_or_else(|| Py::Undefined(Rc::from("no item in the sequence")))
        }
        "list" => Py::list(value.iterate()?),
        "join" => {
            let items = picked(value.iterate()?)?;
            let by = args.get(0, "d").map(Py::text).unwrap_or_default();
            Py::string(items.iter().map(Py::text).collect::<Vec<_>>().join(&by))
        }
        "map" => map(value, args)?,
        "select" | "reject" | "selectattr" | "rejectattr" => select(name, value, args)?,
        "unique" => {
            let mut kept: Vec<Py<'a>> = Vec::new();
            let mut keys: Vec<Py<'a>> = Vec::new();
            let items = value.iterate()?;
            let known = picked(items.clone())?;
            for (item, key) in items.into_iter().zip(known) {
                if !keys.iter().any(|known| same(known, &key)) {
                    keys.push(key);
                    kept.push(item);
                }
            }
            Py::list(kept)
        }
        "sort" => sort(value, args)?,
        "reverse" if value.as_str().is_some() => Py::string(value.text().chars().rev().collect()),
        "reverse" => Py::list(value.iterate()?.into_iter().rev().collect()),
        "min" | "max" => folded(name, value, args)?,
        "sum" => sum(value, args)?,
        "items" | "dictsort" => {
            let mut members = members(name, value)?;
            if name == "dictsort" {
                members.sort_by_key(|(key, _)| key.text().to_lowercase());
            }
            Py::list(
                members
                    .into_iter()
                    .map(|(key, value)| Py::Tuple(Rc::new(vec![key, value])))
                    .collect(),
            )
        }
        _ => return Ok(None),
    }))
}

fn members<'a>(name: &str, value: &Py<'a>) -> Result<Vec<(Py<'a>, Py<'a>)>, Fault> {
    match (value.members(), value) {
        (Some(members), _) => Ok(members),
        (None, Py::Undefined(_)) if name == "items" => Ok(Vec::new()),
        (None, Py::Undefined(name)) => Err(Fault::undefined(name)),
        (None, _) if name == "items" => Err(Fault::kind("items takes a mapping")),
        (None, _) => Err(Fault::other("dictsort takes a mapping")),
    }
}

fn sum<'a>(value: &Py<'a>, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let path = args.get(0, "attribute").and_then(Py::as_str);
    let mut total = args.get(1, "start").cloned().unwrap_or(Py::Int(0));
    for item in value.iterate()? {
        let item = match path {
            Some(path) => followed(&item, path)?,
            None => item,
        };
        total = ops::arithmetic(super::ast::Op::Add, &total, &item)?;
    }
    Ok(total)
}

/// A path that has to lead somewhere.
fn followed<'a>(value: &Py<'a>, path: &str) -> Result<Py<'a>, Fault> {
    match follow(value, path)? {
        Py::Undefined(name) => Err(Fault::undefined(&name)),
        found => Ok(found),
    }
}

/// The least or the greatest; texts are compared whatever their case.
fn folded<'a>(name: &str, value: &Py<'a>, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let is_exact = args.get(0, "case_sensitive").is_some_and(Py::is_true);
    let path = args.get(1, "attribute").map(Py::text);
    let key = |item: &Py<'a>| -> Result<Py<'a>, Fault> {
        let at = match &path {
            Some(path) => follow(item, path)?,
            None => item.clone(),
        };
        Ok(match at.as_str().filter(|_| !is_exact) {
            Some(text) => Py::string(text.to_lowercase()),
            None => at,
        })
    };
    let mut items = value.iterate()?.into_iter();
    let Some(mut best) = items.next() else {
        return Ok(Py::Undefined(Rc::from("no item in the sequence")));
    };
    for item in items {
        let order = ops::order(&key(&item)?, &key(&best)?)?;
        if (order.is_gt() && name == "max") || (order.is_lt() && name == "min") {
            best = item;
        }
    }
    Ok(best)
}

/// Texts are the same whatever their case.
fn same<'a>(left: &Py<'a>, right: &Py<'a>) -> bool {
    match (left.as_str(), right.as_str()) {
        (Some(left), Some(right)) => left.to_lowercase() == right.to_lowercase(),
        _ => ops::equal(left, right),
    }
}

/// A dotted path of members.
fn follow<'a>(value: &Py<'a>, path: &str) -> Result<Py<'a>, Fault> {
    let mut at = value.clone();
    for step in path.split('.') {
        let key = step.parse::<i128>().map_or_else(|_| Py::str(step), Py::Int);
        at = methods::item(&at, &key)?;
    }
    Ok(at)
}

fn map<'a>(value: &Py<'a>, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let named = args.named.iter().find(|(name, _)| &**name == "attribute");
    let items = value.iterate()?;
    let Some((_, path)) = named else {
        let filter = args.text(0, "filter")?;
        let rest = Args {
            positional: args.positional.iter().skip(1).cloned().collect(),
            named: args.named.clone(),
        };
        let done: Result<Vec<_>, _> = items.iter().map(|item| apply(filter, item, &rest)).collect();
        return done.map(Py::list);
    };
    let fallback = args.named.iter().find(|(name, _)| &**name == "default");
    let path = path.text();
    let mut done = Vec::with_capacity(items.len());
    for item in &items {
        let found = follow(item, &path)?;
        done.push(match fallback {
            Some((_, fallback)) if found.is_undefined() => fallback.clone(),
            _ => found,
        });
    }
    Ok(Py::list(done))
}

fn select<'a>(name: &str, value: &Py<'a>, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let by_attribute = name.ends_with("attr");
    let keeps = name.starts_with("select");
    let skipped = usize::from(by_attribute);
    let path = if by_attribute {
        Some(args.text(0, "attribute")?)
    } else {
        None
    };
    let test = args.positional.get(skipped).map(Py::text);
    let rest = Args {
        positional: args.positional.iter().skip(skipped + 1).cloned().collect(),
        named: Vec::new(),
    };
    let mut kept = Vec::new();
    for item in value.iterate()? {
        let judged = match path {
            Some(path) => follow(&item, path)?,
            None => item.clone(),
        };
        let holds = match &test {
            Some(test) => tests::test(test, &judged, &rest)?,
            None => judged.is_true(),
        };
        if holds == keeps {
            kept.push(item);
        }
    }
    Ok(Py::list(kept))
}

fn sort<'a>(value: &Py<'a>, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let path = args.get(2, "attribute").map(Py::text);
    let mut keyed = Vec::new();
    for item in value.iterate()? {
        let key = match &path {
            Some(path) => follow(&item, path)?,
            None => item.clone(),
        };
        let key = key
            .as_str()
            .map_or(key.clone(), |text| Py::string(text.to_lowercase()));
        keyed.push((key, item));
    }
    let mut fault = None;
    keyed.sort_by(|(left, _), (right, _)| {
        ops::order(left, right).unwrap_or_else(|error| {
            fault = Some(error);
            std::cmp::Ordering::Equal
        })
    });
    if let Some(fault) = fault {
        return Err(fault);
    }
    let mut items: Vec<Py<'a>> = keyed.into_iter().map(|(_, item)| item).collect();
    if args.get(0, "reverse").is_some_and(Py::is_true) {
        items.reverse();
    }
    Ok(Py::list(items))
}

/// Whether a JSON value is one that counts as false.
pub(crate) fn json_is_true(value: &Value) -> bool {
    Py::of(value).is_true()
}
