//! `is` tests.

use super::eval::Args;
use super::value::Py;
use super::{Fault, ops};

pub(super) fn test<'a>(name: &str, value: &Py<'a>, args: &Args<'a>) -> Result<bool, Fault> {
    let other = || args.need(0, "other");
    Ok(match name {
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "none" => matches!(value, Py::None),
        "true" => matches!(value, Py::Bool(true)),
        "false" => matches!(value, Py::Bool(false)),
        "boolean" => matches!(value, Py::Bool(_)),
        "integer" => matches!(value, Py::Int(_)),
        "float" => matches!(value, Py::Float(_)),
        "number" => matches!(value, Py::Int(_) | Py::Float(_) | Py::Bool(_)),
        "string" => value.as_str().is_some(),
        "mapping" => value.members().is_some(),
        "sequence" => value.len().is_ok(),
        "iterable" => value.iterate().is_ok(),
        "callable" => matches!(value, Py::Function(_) | Py::Method(_)),
        "sameas" | "eq" | "equalto" | "==" => ops::equal(value, other()?),
        "ne" | "!=" => !ops::equal(value, other()?),
        "lt" | "lessthan" | "<" => ops::order(value, other()?)?.is_lt(),
        "le" | "<=" => ops::order(value, other()?)?.is_le(),
        "gt" | "greaterthan" | ">" => ops::order(value, other()?)?.is_gt(),
        "ge" | ">=" => ops::order(value, other()?)?.is_ge(),
        "in" => ops::contains(other()?, value)?,
        "even" | "odd" => {
            let number = value
                .as_int()
                .ok_or_else(|| Fault::kind("even and odd take a whole number"))?;
            (number % 2 == 0) == (name == "even")
        }
        "divisibleby" => match (value.as_int(), other()?.as_int()) {
            (Some(number), Some(by)) if by != 0 => number % by == 0,
            _ => return Err(Fault::kind("divisibleby takes whole numbers")),
        },
        "lower" => text_is(value, |text| text == text.to_lowercase()),
        "upper" => text_is(value, |text| text == text.to_uppercase()),
        other => return Err(Fault::other(format!("there is no test named '{other}'"))),
    })
}

/// Of texts that have any letter of two cases.
fn text_is(value: &Py<'_>, holds: impl Fn(&str) -> bool) -> bool {
    let text = value.text();
    holds(&text) && text.to_lowercase() != text.to_uppercase()
}
