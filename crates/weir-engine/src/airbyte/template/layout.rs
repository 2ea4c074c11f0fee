//! Filters that lay text and lists out: Jinja's own, beyond those that values mostly need.

use super::eval::Args;
use super::value::Py;
use super::{Fault, ops};

/// Texts are cut and filled up to this many characters at most.
const WIDTH_MAX: usize = 1 << 20;

pub(super) fn apply<'a>(name: &str, value: &Py<'a>, args: &Args<'a>) -> Result<Option<Py<'a>>, Fault> {
    Ok(Some(match name {
        "striptags" => Py::string(without_tags(&value.text())),
        "wordcount" => Py::Int(i128::try_from(words(&value.text())).unwrap_or(i128::MAX)),
        "center" => Py::string(centered(&value.text(), size(args, 0, "width", 80)?)),
        "indent" => Py::string(indented(defined(value)?, args)?),
        "truncate" => Py::string(truncated(defined(value)?, args)?),
        "wordwrap" => Py::string(wrapped(defined(value)?, size(args, 0, "width", 79)?)),
        "escape" | "e" | "forceescape" => Py::string(escaped(&value.text())),
        "filesizeformat" => Py::string(file_size(value)?),
        "pprint" => Py::string(value.repr()),
        "attr" => Py::Undefined(std::rc::Rc::from("no such attribute")),
        "batch" => batches(value, args)?,
        "slice" => columns(value, args)?,
        _ => return Ok(None),
    }))
}

fn defined<'v>(value: &'v Py<'_>) -> Result<&'v str, Fault> {
    value
        .as_str()
        .ok_or_else(|| Fault::kind(format!("expected text, got {}", value.type_name())))
}

fn size(args: &Args<'_>, index: usize, name: &str, usual: usize) -> Result<usize, Fault> {
    let Some(given) = args.get(index, name) else {
        return Ok(usual);
    };
    let number = given.as_int().and_then(|number| usize::try_from(number).ok());
    number
        .filter(|number| *number <= WIDTH_MAX)
        .ok_or_else(|| Fault::kind(format!("{name} must be a small whole number")))
}

/// Tags and comments go, runs of blanks become one.
fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        let end = if tag.starts_with("!--") { "-->" } else { ">" };
        let Some((_, after)) = tag.split_once(end) else {
            break;
        };
        out.push_str(before);
        rest = after;
    }
    out.push_str(rest);
    let plain = out
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&quot;", "\"")
        .replace("&amp;", "&");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs of letters, digits and underscores.
fn words(text: &str) -> usize {
    let parts = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    parts.filter(|part| !part.is_empty()).count()
}

fn centered(text: &str, width: usize) -> String {
    let length = text.chars().count();
    let fill = width.saturating_sub(length);
    // The odd blank stands left where both are odd.
    let left = fill / 2 + (fill & width & 1);
    format!("{}{text}{}", " ".repeat(left), " ".repeat(fill - left))
}

fn indented(text: &str, args: &Args<'_>) -> Result<String, Fault> {
    let by = match args.get(0, "width").and_then(Py::as_str) {
        Some(by) => by.to_owned(),
        None => " ".repeat(size(args, 0, "width", 4)?),
    };
    let first = args.get(1, "first").is_some_and(Py::is_true);
    let blank = args.get(2, "blank").is_some_and(Py::is_true);
    let lines = text.split('\n').enumerate().map(|(index, line)| {
        let stays = if index == 0 {
            !first
        } else {
            line.is_empty() && !blank
        };
        if stays {
            line.to_owned()
        } else {
            format!("{by}{line}")
        }
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn truncated(text: &str, args: &Args<'_>) -> Result<String, Fault> {
    let length = size(args, 0, "length", 255)?;
    let kills = args.get(1, "killwords").is_some_and(Py::is_true);
    let end = args.get(2, "end").map_or_else(|| "...".to_owned(), Py::text);
    let leeway = size(args, 3, "leeway", 5)?;
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= length + leeway {
        return Ok(text.to_owned());
    }
    let room = length.saturating_sub(end.chars().count());
    let cut: String = chars.iter().take(room).collect();
    let kept = if kills {
        cut.as_str()
    } else {
        cut.rsplit_once(' ').map_or(cut.as_str(), |(kept, _)| kept)
    };
    Ok(format!("{kept}{end}"))
}

fn wrapped(text: &str, width: usize) -> String {
    let width = width.max(1);
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let mut word: Vec<char> = word.chars().collect();
            let used = line.chars().count();
            if used > 0 && used + 1 + word.len() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            while word.len() > width {
                let rest = word.split_off(width);
                lines.push(word.into_iter().collect());
                word = rest;
            }
            line.extend(word);
        }
        lines.push(line);
    }
    lines.join("\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

fn file_size(value: &Py<'_>) -> Result<String, Fault> {
    let number = value
        .as_float()
        .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    let bytes = number.ok_or_else(|| Fault::kind("filesizeformat takes a number"))?;
    #[expect(clippy::float_cmp, reason = "one is exact")]
    if bytes == 1.0 {
        return Ok("1 Byte".to_owned());
    }
    if bytes < 1000.0 {
        return Ok(format!("{bytes:.0} Bytes"));
    }
    let mut size = bytes;
    let mut unit = "Bytes";
    for next in ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"] {
        if size < 1000.0 {
            break;
        }
        (size, unit) = (size / 1000.0, next);
    }
    Ok(format!("{size:.1} {unit}"))
}

/// Lists of so many elements each; the last filled up where something to fill it with is given.
fn batches<'a>(value: &Py<'a>, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let count = size(args, 0, "linecount", 0)?.max(1);
    let items = value.iterate()?;
    let lists = items.chunks(count).map(|chunk| {
        let mut list = chunk.to_vec();
        if let Some(fill) = args
            .get(1, "fill_with")
            .filter(|fill| !ops::equal(fill, &Py::None))
        {
            list.resize(count, fill.clone());
        }
        Py::list(list)
    });
    Ok(Py::list(lists.collect()))
}

/// So many lists, as even as possible; the first ones longer.
fn columns<'a>(value: &Py<'a>, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let count = size(args, 0, "slices", 0)?.max(1);
    let items = value.iterate()?;
    let (each, longer) = (items.len() / count, items.len() % count);
    let fill = args
        .get(1, "fill_with")
        .filter(|fill| !ops::equal(fill, &Py::None));
    let mut rest = items.as_slice();
    let mut lists = Vec::with_capacity(count.min(1024));
    for index in 0..count.min(WIDTH_MAX) {
        let (part, after) = rest.split_at(each + usize::from(index < longer));
        rest = after;
        let mut list = part.to_vec();
        if let Some(fill) = fill.filter(|_| index >= longer && longer > 0) {
            list.push(fill.clone());
        }
        lists.push(Py::list(list));
    }
    Ok(Py::list(lists))
}
