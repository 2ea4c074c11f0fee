//! Attributes, items and methods of values.

use std::rc::Rc;

use serde_json::Value;

use super::super::time::{Date, Delta, Moment};
use super::eval::Args;
use super::value::Py;
use super::{Fault, ops, strings};

const OF_DICTS: [&str; 8] = [
    "get",
    "items",
    "keys",
    "values",
    "update",
    "pop",
    "setdefault",
    "copy",
];
const OF_LISTS: [&str; 8] = [
    "append", "extend", "index", "count", "insert", "pop", "reverse", "copy",
];
const OF_MOMENTS: [&str; 8] = [
    "strftime",
    "isoformat",
    "timestamp",
    "date",
    "replace",
    "weekday",
    "isoweekday",
    "astimezone",
];
const OF_DATES: [&str; 5] = ["strftime", "isoformat", "replace", "weekday", "isoweekday"];

fn undefined<'a>(name: &str) -> Py<'a> {
    Py::Undefined(Rc::from(name))
}

fn method<'a>(holder: &Py<'a>, name: &str) -> Py<'a> {
    Py::Method(Rc::new((holder.clone(), Rc::from(name))))
}

/// `holder.name`: an attribute or method comes before a member of that name.
pub(super) fn attribute<'a>(holder: &Py<'a>, name: &str) -> Result<Py<'a>, Fault> {
    if let Py::Undefined(missing) = holder {
        return Err(Fault::undefined(missing));
    }
    if let Some(found) = own(holder, name) {
        return Ok(found);
    }
    Ok(holder.member(&Py::str(name)).unwrap_or_else(|| undefined(name)))
}

/// What a value of its kind has by that name.
fn own<'a>(holder: &Py<'a>, name: &str) -> Option<Py<'a>> {
    match holder {
        Py::Slice(slice) => match name {
            "partition" => return Some(Py::Json(&slice.partition)),
            "cursor_slice" => return Some(Py::Json(&slice.cursor)),
            "extra_fields" => return Some(Py::Json(&slice.extra)),
            _ => {}
        },
        Py::Moment(at) => {
            if let Some(part) = part_of(*at, name) {
                return Some(Py::Int(i128::from(part)));
            }
            return OF_MOMENTS.contains(&name).then(|| method(holder, name));
        }
        Py::Date(date) => {
            if let Some(part) = part_of(Date::midnight(*date), name) {
                return Some(Py::Int(i128::from(part)));
            }
            return OF_DATES.contains(&name).then(|| method(holder, name));
        }
        Py::Delta(delta) => return of_delta(holder, *delta, name),
        _ => {}
    }
    let known = if holder.as_str().is_some() {
        strings::METHODS.contains(&name)
    } else if holder.elements().is_some() {
        OF_LISTS.contains(&name)
    } else {
        holder.members().is_some() && OF_DICTS.contains(&name)
    };
    known.then(|| method(holder, name))
}

fn part_of(at: Moment, name: &str) -> Option<i64> {
    let fields = at.fields();
    Some(match name {
        "year" => fields.year,
        "month" => fields.month,
        "day" => fields.day,
        "hour" => fields.hour,
        "minute" => fields.minute,
        "second" => fields.second,
        "microsecond" => fields.micro,
        _ => return None,
    })
}

fn of_delta<'a>(holder: &Py<'a>, delta: Delta, name: &str) -> Option<Py<'a>> {
    let day = super::super::time::DAY;
    let number = |value: i64| Some(Py::Int(i128::from(value)));
    match name {
        "days" => number(delta.micros.div_euclid(day)),
        "seconds" => number(delta.micros.rem_euclid(day) / super::super::time::SECOND),
        "microseconds" => number(delta.micros.rem_euclid(super::super::time::SECOND)),
        "total_seconds" => Some(method(holder, name)),
        _ => None,
    }
}

/// `holder[key]`.
pub(super) fn item<'a>(holder: &Py<'a>, key: &Py<'a>) -> Result<Py<'a>, Fault> {
    for side in [holder, key] {
        if let Py::Undefined(missing) = side {
            return Err(Fault::undefined(missing));
        }
    }
    if let Some(found) = holder.member(key) {
        return Ok(found);
    }
    let name = || undefined(&key.text());
    let Some(index) = key.as_int() else {
        let found = key.as_str().and_then(|name| own(holder, name));
        return Ok(found.unwrap_or_else(name));
    };
    if let Py::Json(Value::Array(items)) = holder {
        let at = place(index, items.len());
        return Ok(at.and_then(|at| items.get(at)).map_or_else(name, Py::of));
    }
    if let Some(items) = holder.elements() {
        let at = place(index, items.len());
        return Ok(at.and_then(|at| items.get(at).cloned()).unwrap_or_else(name));
    }
    if let Some(text) = holder.as_str() {
        let at = place(index, text.chars().count());
        let found = at.and_then(|at| text.chars().nth(at));
        return Ok(found.map_or_else(name, |c| Py::string(c.to_string())));
    }
    Ok(name())
}

fn place(index: i128, length: usize) -> Option<usize> {
    let length = i128::try_from(length).ok()?;
    let at = if index < 0 { index + length } else { index };
    usize::try_from(at).ok()
}

/// `value[start:stop:step]`.
pub(super) fn slice<'a>(value: &Py<'a>, bounds: [Option<i128>; 3]) -> Result<Py<'a>, Fault> {
    if let Py::Undefined(missing) = value {
        return Err(Fault::undefined(missing));
    }
    let text: Option<Vec<char>> = value.as_str().map(|text| text.chars().collect());
    let items = value.elements();
    let length = match (&text, &items) {
        (Some(chars), _) => chars.len(),
        (None, Some(items)) => items.len(),
        (None, None) => {
            return Err(Fault::kind(format!(
                "'{}' object is not subscriptable",
                value.type_name()
            )));
        }
    };
    let chosen = indices(bounds, length)?;
    if let Some(chars) = text {
        return Ok(Py::string(
            chosen.iter().filter_map(|at| chars.get(*at)).collect(),
        ));
    }
    let items = items.unwrap_or_default();
    Ok(Py::list(
        chosen.iter().filter_map(|at| items.get(*at).cloned()).collect(),
    ))
}

fn indices(bounds: [Option<i128>; 3], length: usize) -> Result<Vec<usize>, Fault> {
    let length = i128::try_from(length).unwrap_or(i128::MAX);
    let step = bounds[2].unwrap_or(1);
    if step == 0 {
        return Err(Fault::other("slice step cannot be zero"));
    }
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |bound: i128| (if bound < 0 { bound + length } else { bound }).clamp(low, high);
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let mut at = bounds[0].map_or(first, clamp);
    let stop = bounds[1].map_or(last, clamp);
    let mut chosen = Vec::new();
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        chosen.extend(usize::try_from(at).ok());
        at += step;
    }
    Ok(chosen)
}

pub(super) fn set_member<'a>(holder: &Py<'a>, key: Py<'a>, value: Py<'a>) -> Result<(), Fault> {
    let Py::Dict(members) = holder else {
        return Err(Fault::kind(format!(
            "'{}' object does not support assignment",
            holder.type_name()
        )));
    };
    let mut members = members.borrow_mut();
    match members.iter_mut().find(|(known, _)| ops::equal(known, &key)) {
        Some((_, old)) => *old = value,
        None => members.push((key, value)),
    }
    Ok(())
}

pub(super) fn call<'a>(holder: &Py<'a>, name: &str, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    match holder {
        Py::Text(_) | Py::Str(_) => strings::call(holder.as_str().unwrap_or_default(), name, args),
        Py::Moment(at) => of_moment(*at, name, args),
        Py::Date(date) if name == "isoformat" => Ok(Py::string(date.isoformat())),
        Py::Date(date) => match of_moment(Date::midnight(*date), name, args)? {
            Py::Moment(at) => Ok(Py::Date(at.date())),
            other => Ok(other),
        },
        #[expect(clippy::cast_precision_loss, reason = "as the reference's own seconds")]
        Py::Delta(delta) => Ok(Py::Float(delta.micros as f64 / 1e6)),
        _ if holder.elements().is_some() => of_list(holder, name, args),
        _ => of_dict(holder, name, args),
    }
}

fn of_dict<'a>(holder: &Py<'a>, name: &str, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let members = || holder.members().unwrap_or_default();
    let fallback = || args.get(1, "default").cloned().unwrap_or(Py::None);
    Ok(match name {
        "get" => holder.member(args.need(0, "key")?).unwrap_or_else(fallback),
        "keys" => Py::list(members().into_iter().map(|(key, _)| key).collect()),
        "values" => Py::list(members().into_iter().map(|(_, value)| value).collect()),
        "items" => {
            let pair = |(key, value)| Py::Tuple(Rc::new(vec![key, value]));
            Py::list(members().into_iter().map(pair).collect())
        }
        "copy" => Py::dict(members()),
        "setdefault" => {
            let key = args.need(0, "key")?;
            match holder.member(key) {
                Some(found) => found,
                None => {
                    set_member(holder, key.clone(), fallback())?;
                    fallback()
                }
            }
        }
        "pop" => {
            let key = args.need(0, "key")?;
            let found = holder.member(key);
            if let Py::Dict(members) = holder {
                members.borrow_mut().retain(|(known, _)| !ops::equal(known, key));
            }
            match (found, args.get(1, "default")) {
                (Some(found), _) => found,
                (None, Some(default)) => default.clone(),
                (None, None) => return Err(Fault::other(format!("there is no key '{}'", key.text()))),
            }
        }
        _ => {
            let more = args.positional.first().and_then(Py::members).unwrap_or_default();
            let named = args
                .named
                .iter()
                .map(|(name, value)| (Py::str(name), value.clone()));
            for (key, value) in more.into_iter().chain(named) {
                set_member(holder, key, value)?;
            }
            Py::None
        }
    })
}

fn of_list<'a>(holder: &Py<'a>, name: &str, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    let items = holder.elements().unwrap_or_default();
    match name {
        "count" => {
            let wanted = args.need(0, "value")?;
            let count = items.iter().filter(|item| ops::equal(item, wanted)).count();
            return Ok(Py::Int(i128::try_from(count).unwrap_or(i128::MAX)));
        }
        "index" => {
            let wanted = args.need(0, "value")?;
            let at = items.iter().position(|item| ops::equal(item, wanted));
            return at
                .map(|at| Py::Int(i128::try_from(at).unwrap_or(i128::MAX)))
                .ok_or_else(|| Fault::other(format!("{} is not in list", wanted.repr())));
        }
        "copy" => return Ok(Py::list(items)),
        _ => {}
    }
    let Py::List(list) = holder else {
        return Err(Fault::kind(
            "a list that comes from outside cannot be changed by a template",
        ));
    };
    match name {
        "append" => list.borrow_mut().push(args.need(0, "object")?.clone()),
        "extend" => {
            let more = args.need(0, "iterable")?.iterate()?;
            list.borrow_mut().extend(more);
        }
        "insert" => {
            let at = args.need(0, "index")?.as_int().unwrap_or(0);
            let at = place(at, items.len()).unwrap_or(0).min(items.len());
            list.borrow_mut().insert(at, args.need(1, "object")?.clone());
        }
        "reverse" => list.borrow_mut().reverse(),
        _ => {
            let at = args.get(0, "index").and_then(Py::as_int).unwrap_or(-1);
            let at = place(at, items.len()).filter(|at| *at < items.len());
            let at = at.ok_or_else(|| Fault::other("pop index out of range"))?;
            return Ok(list.borrow_mut().remove(at));
        }
    }
    Ok(Py::None)
}

fn of_moment<'a>(at: Moment, name: &str, args: &Args<'a>) -> Result<Py<'a>, Fault> {
    Ok(match name {
        "strftime" => Py::string(at.strftime(args.text(0, "format")?)),
        "isoformat" => Py::string(at.isoformat('T')),
        "timestamp" => Py::Float(at.seconds()),
        "date" => Py::Date(at.date()),
        "weekday" => Py::Int(i128::from(at.fields().weekday)),
        "isoweekday" => Py::Int(i128::from(at.fields().weekday) + 1),
        "replace" => {
            let mut parts: Vec<i64> = Vec::new();
            for part in ["year", "month", "day", "hour", "minute", "second", "microsecond"] {
                let given = args.get(parts.len(), part).and_then(Py::as_int);
                let given = given.and_then(|given| i64::try_from(given).ok());
                parts.push(given.or_else(|| part_of(at, part)).unwrap_or_default());
            }
            at.with_parts(&parts)
                .map(Py::Moment)
                .ok_or_else(|| Fault::other("replace gives no date that exists"))?
        }
        _ => Py::Moment(at),
    })
}

/// `text % values`.
pub(super) fn percent<'a>(text: &Py<'a>, values: &Py<'a>) -> Result<Py<'a>, Fault> {
    let values = match values {
        Py::Tuple(items) => items.to_vec(),
        // Nothing undefined is formatted; a mapping is looked up by names.
        Py::Undefined(_) if !text.as_str().unwrap_or_default().contains('%') => Vec::new(),
        other => vec![other.clone()],
    };
    strings::percent(text.as_str().unwrap_or_default(), &values)
}
