//! Methods of texts.

use super::Fault;
use super::eval::Args;
use super::text::float_text;
use super::value::Py;

pub(super) const METHODS: [&str; 27] = [
    "split",
    "rsplit",
    "splitlines",
    "join",
    "replace",
    "strip",
    "lstrip",
    "rstrip",
    "lower",
    "upper",
    "title",
    "capitalize",
    "startswith",
    "endswith",
    "format",
    "find",
    "rfind",
    "index",
    "count",
    "isdigit",
    "isnumeric",
    "isalpha",
    "isalnum",
    "zfill",
    "removeprefix",
    "removesuffix",
    "partition",
];

pub(super) fn call<'a>(text: &str, name: &str, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let number = |value: usize| Py::Int(i128::try_from(value).unwrap_or(i128::MAX));
    let texts = |parts: Vec<String>| Py::list(parts.into_iter().map(Py::string).collect());
    Ok(match name {
        "split" | "rsplit" => texts(split(text, name == "rsplit", args)?),
        "splitlines" => texts(text.lines().map(str::to_owned).collect()),
        "join" => {
            let parts = args.need(0, "iterable")?.iterate()?;
            let mut joined = Vec::with_capacity(parts.len());
            for part in &parts {
                let part = part.as_str().ok_or_else(|| {
                    Fault::kind(format!(
                        "sequence item: expected str instance, {} found",
                        part.type_name()
                    ))
                })?;
                joined.push(part.to_owned());
            }
            Py::string(joined.join(text))
        }
        "replace" => {
            let (old, new) = (args.text(0, "old")?, args.text(1, "new")?);
            match args.get(2, "count").and_then(Py::as_int) {
                Some(count) if count >= 0 => {
                    Py::string(text.replacen(old, new, usize::try_from(count).unwrap_or(usize::MAX)))
                }
                _ => Py::string(text.replace(old, new)),
            }
        }
        "strip" | "lstrip" | "rstrip" => strip(text, name, args)?,
        "lower" => Py::string(text.to_lowercase()),
        "upper" => Py::string(text.to_uppercase()),
        "title" => Py::string(title(text)),
        "capitalize" => Py::string(capitalize(text)),
        "startswith" => Py::Bool(any_of(args, |part| text.starts_with(part))?),
        "endswith" => Py::Bool(any_of(args, |part| text.ends_with(part))?),
        "format" => format(text, args)?,
        "find" | "rfind" | "index" => {
            let wanted = args.text(0, "sub")?;
            let at = if name == "rfind" {
                text.rfind(wanted)
            } else {
                text.find(wanted)
            };
            match at.and_then(|at| text.get(..at)) {
                Some(before) => number(before.chars().count()),
                None if name == "index" => return Err(Fault::other("substring not found")),
                None => Py::Int(-1),
            }
        }
        "count" => number(text.matches(args.text(0, "sub")?).count()),
        "isdigit" | "isnumeric" | "isalpha" | "isalnum" => Py::Bool(is_made_of(text, name)),
        "zfill" => {
            let width = args.need(0, "width")?.as_int().unwrap_or(0).clamp(0, 10_000);
            let width = usize::try_from(width).unwrap_or(0);
            let (sign, digits) = match text.strip_prefix('-') {
                Some(digits) => ("-", digits),
                None => ("", text),
            };
            let width = width.saturating_sub(sign.len());
            Py::string(format!("{sign}{digits:0>width$}"))
        }
        "removeprefix" => Py::str(text.strip_prefix(args.text(0, "prefix")?).unwrap_or(text)),
        "removesuffix" => Py::str(text.strip_suffix(args.text(0, "suffix")?).unwrap_or(text)),
        _ => partition(text, args.text(0, "sep")?),
    })
}

fn partition<'a>(text: &str, by: &str) -> Py<'a> {
    let parts = match text.split_once(by) {
        Some((before, after)) => [before, by, after],
        None => [text, "", ""],
    };
    Py::Tuple(std::rc::Rc::new(parts.into_iter().map(Py::str).collect()))
}

fn is_made_of(text: &str, name: &str) -> bool {
    let fits = match name {
        "isalpha" => char::is_alphabetic,
        "isalnum" => char::is_alphanumeric,
        _ => char::is_numeric,
    };
    !text.is_empty() && text.chars().all(fits)
}

fn split(text: &str, from_right: bool, args: &Args<'_>) -> Result<Vec<String>, Fault> {
    let most = args
        .get(1, "maxsplit")
        .and_then(Py::as_int)
        .filter(|most| *most >= 0);
    let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let pieces = most.saturating_add(1);
    let by = match args.get(0, "sep") {
        None | Some(Py::None) => {
            let words: Vec<&str> = text.split_whitespace().collect();
            if words.len() <= pieces {
                return Ok(words.into_iter().map(str::to_owned).collect());
            }
            return Ok(text
                .trim_start()
                .splitn(pieces, char::is_whitespace)
                .map(|part| part.trim_start().to_owned())
                .collect());
        }
        Some(_) => args.text(0, "sep")?,
    };
    if by.is_empty() {
        return Err(Fault::other("empty separator"));
    }
    Ok(if from_right {
        let mut parts: Vec<String> = text.rsplitn(pieces, by).map(str::to_owned).collect();
        parts.reverse();
        parts
    } else {
        text.splitn(pieces, by).map(str::to_owned).collect()
    })
}

fn strip<'a>(text: &str, name: &str, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let chars: Option<Vec<char>> = match args.get(0, "chars") {
        None | Some(Py::None) => None,
        Some(_) => Some(args.text(0, "chars")?.chars().collect()),
    };
    let goes = |c: char| {
        chars
            .as_ref()
            .map_or_else(|| c.is_whitespace(), |chars| chars.contains(&c))
    };
    Ok(Py::str(match name {
        "lstrip" => text.trim_start_matches(goes),
        "rstrip" => text.trim_end_matches(goes),
        _ => text.trim_matches(goes),
    }))
}

fn any_of(args: &Args<'_>, matches: impl Fn(&str) -> bool) -> Result<bool, Fault> {
    if let Some(Py::Tuple(parts)) = args.get(0, "prefix") {
        return Ok(parts.iter().filter_map(Py::as_str).any(matches));
    }
    Ok(matches(args.text(0, "prefix")?))
}

pub(super) fn title(text: &str) -> String {
    let mut in_word = false;
    text.chars()
        .flat_map(|c| {
            let upper = !in_word;
            in_word = c.is_alphabetic();
            if upper {
                c.to_uppercase().collect::<Vec<_>>()
            } else {
                c.to_lowercase().collect()
            }
        })
        .collect()
}

pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars
        .next()
        .map(|c| c.to_uppercase().collect())
        .unwrap_or_default();
    first + &chars.as_str().to_lowercase()
}

/// `'{} {0} {name}'.format(…)`, without format specifications beyond the plain ones.
fn format<'a>(text: &str, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let mut out = String::new();
    let mut next = 0;
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
            out.push(if from.starts_with('{') { '{' } else { '}' });
            rest = after;
            continue;
        }
        let inner = from.strip_prefix('{').and_then(|from| from.split_once('}'));
        let Some((field, after)) = inner else {
            return Err(Fault::other("single '{' or '}' in format string"));
        };
        rest = after;
        let (name, spec) = field.split_once(':').unwrap_or((field, ""));
        let value = if name.is_empty() {
            next += 1;
            args.positional.get(next - 1)
        } else if let Ok(index) = name.parse::<usize>() {
            args.positional.get(index)
        } else {
            args.named
                .iter()
                .find(|(known, _)| &**known == name)
                .map(|(_, value)| value)
        };
        let value = value.ok_or_else(|| Fault::other(format!("format has no value for '{{{field}}}'")))?;
        out.push_str(&formatted(value, spec));
    }
    out.push_str(rest);
    Ok(Py::string(out))
}

/// A number with a width and digits after the point; other values as they are.
fn formatted(value: &Py<'_>, spec: &str) -> String {
    let digits = spec.trim_end_matches(['d', 'f', 's']);
    let (width, precision) = digits.split_once('.').unwrap_or((digits, ""));
    let precision = precision
        .parse::<usize>()
        .ok()
        .or(spec.ends_with('f').then_some(6));
    let text = match (value.as_float(), precision) {
        (Some(number), Some(precision)) => format!("{number:.precision$}"),
        _ => value.text(),
    };
    let zero = width.starts_with('0');
    let width = width.parse::<usize>().unwrap_or(0).min(1000);
    if zero {
        format!("{text:0>width$}")
    } else {
        format!("{text:>width$}")
    }
}

pub(super) fn percent<'a>(text: &str, values: &[Py<'a>]) -> Result<Py<'a>, Fault> {
    let mut values = values.iter();
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_ascii_alphabetic() || c == '%')
            .unwrap_or(after.len());
        let (spec, tail) = after.split_at(end);
        let kind = tail
            .chars()
            .next()
            .ok_or_else(|| Fault::other("incomplete format"))?;
        rest = tail.get(kind.len_utf8()..).unwrap_or_default();
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = values
            .next()
            .ok_or_else(|| Fault::kind("not enough arguments for format string"))?;
        match (kind, value.as_float()) {
            ('d' | 'i', Some(number)) => out.push_str(&formatted(
                &Py::string(float_text(number.trunc()).trim_end_matches(".0").to_owned()),
                spec,
            )),
            ('f', Some(_)) => out.push_str(&formatted(value, &format!("{spec}f"))),
            ('r', _) => out.push_str(&value.repr()),
            _ => out.push_str(&formatted(value, spec)),
        }
    }
    out.push_str(rest);
    if values.next().is_some() {
        return Err(Fault::kind(
            "not all arguments converted during string formatting",
        ));
    }
    Ok(Py::string(out))
}
