//! What operators do.

use std::cmp::Ordering;
use std::rc::Rc;

use super::super::time::Delta;
use super::Fault;
use super::ast::Op;
use super::value::Py;

/// Elements or characters that a multiplication may give.
const REPEAT_MAX: i128 = 1 << 20;

pub(super) fn equal<'a>(left: &Py<'a>, right: &Py<'a>) -> bool {
    match (left, right) {
        (Py::Undefined(_), Py::Undefined(_)) | (Py::None, Py::None) => true,
        (Py::Moment(left), Py::Moment(right)) => {
            left.offset.is_some() == right.offset.is_some() && left == right
        }
        (Py::Date(left), Py::Date(right)) => left == right,
        (Py::Delta(left), Py::Delta(right)) => left == right,
        _ => {
            if let (Some(left), Some(right)) = (left.as_int(), right.as_int()) {
                return left == right;
            }
            if let (Some(left), Some(right)) = (left.as_float(), right.as_float()) {
                return left == right;
            }
            if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
                return left == right;
            }
            if left.type_name() != right.type_name() {
                return false;
            }
            if let (Some(left), Some(right)) = (left.elements(), right.elements()) {
                return left.len() == right.len()
                    && left.iter().zip(&right).all(|(left, right)| equal(left, right));
            }
            match (left.members(), right.members()) {
                (Some(some), Some(other)) => {
                    some.len() == other.len()
                        && some
                            .iter()
                            .all(|(key, value)| right.member(key).is_some_and(|there| equal(value, &there)))
                }
                _ => false,
            }
        }
    }
}

pub(super) fn order<'a>(left: &Py<'a>, right: &Py<'a>) -> Result<Ordering, Fault> {
    for side in [left, right] {
        if let Py::Undefined(name) = side {
            return Err(Fault::undefined(name));
        }
    }
    let incomparable = || {
        Fault::kind(format!(
            "'<' not supported between instances of '{}' and '{}'",
            left.type_name(),
            right.type_name()
        ))
    };
    match (left, right) {
        (Py::Moment(left), Py::Moment(right)) if left.offset.is_some() == right.offset.is_some() => {
            return Ok(left.cmp(right));
        }
        (Py::Date(left), Py::Date(right)) => return Ok(left.cmp(right)),
        (Py::Delta(left), Py::Delta(right)) => {
            return Ok((left.months, left.micros).cmp(&(right.months, right.micros)));
        }
        _ => {}
    }
    if let (Some(left), Some(right)) = (left.as_int(), right.as_int()) {
        return Ok(left.cmp(&right));
    }
    if let (Some(left), Some(right)) = (left.as_float(), right.as_float()) {
        return left.partial_cmp(&right).ok_or_else(incomparable);
    }
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        return Ok(left.cmp(right));
    }
    let (Some(some), Some(other)) = (left.elements(), right.elements()) else {
        return Err(incomparable());
    };
    for (left, right) in some.iter().zip(&other) {
        if !equal(left, right) {
            return order(left, right);
        }
    }
    Ok(some.len().cmp(&other.len()))
}

pub(super) fn contains<'a>(container: &Py<'a>, item: &Py<'a>) -> Result<bool, Fault> {
    if let Some(text) = container.as_str() {
        return match item.as_str() {
            Some(part) => Ok(text.contains(part)),
            None => Err(Fault::kind(format!(
                "'in <string>' requires string as left operand, not {}",
                item.type_name()
            ))),
        };
    }
    if container.members().is_some() {
        return Ok(container.member(item).is_some());
    }
    Ok(container.iterate()?.iter().any(|there| equal(there, item)))
}

pub(super) fn compare<'a>(op: Op, left: &Py<'a>, right: &Py<'a>) -> Result<bool, Fault> {
    Ok(match op {
        Op::Eq => equal(left, right),
        Op::Ne => !equal(left, right),
        Op::In => contains(right, left)?,
        Op::NotIn => !contains(right, left)?,
        Op::Lt => order(left, right)?.is_lt(),
        Op::Le => order(left, right)?.is_le(),
        Op::Gt => order(left, right)?.is_gt(),
        _ => order(left, right)?.is_ge(),
    })
}

pub(super) fn negate<'a>(value: &Py<'a>) -> Result<Py<'a>, Fault> {
    match value {
        Py::Undefined(name) => Err(Fault::undefined(name)),
        Py::Float(number) => Ok(Py::Float(-number)),
        Py::Delta(delta) => Ok(Py::Delta(delta.negated())),
        other => match other.as_int() {
            Some(number) => Ok(Py::Int(-number)),
            None => Err(Fault::kind(format!(
                "bad operand type for unary -: '{}'",
                other.type_name()
            ))),
        },
    }
}

pub(super) fn arithmetic<'a>(op: Op, left: &Py<'a>, right: &Py<'a>) -> Result<Py<'a>, Fault> {
    if op == Op::Concat {
        return Ok(Py::string(left.text() + &right.text()));
    }
    for side in [left, right] {
        if let Py::Undefined(name) = side {
            return Err(Fault::undefined(name));
        }
    }
    let done = match op {
        Op::Add => add(left, right)?,
        Op::Sub => subtract(left, right)?,
        Op::Mul => multiply(left, right)?,
        Op::Rem if left.as_str().is_some() => Some(super::methods::percent(left, right)?),
        _ => None,
    };
    if let Some(done) = done {
        return Ok(done);
    }
    numbers(op, left, right)?.ok_or_else(|| {
        Fault::kind(format!(
            "unsupported operand type(s): '{}' and '{}'",
            left.type_name(),
            right.type_name()
        ))
    })
}

fn out_of_range() -> Fault {
    Fault::other("date value out of range")
}

fn add<'a>(left: &Py<'a>, right: &Py<'a>) -> Result<Option<Py<'a>>, Fault> {
    Ok(Some(match (left, right) {
        (Py::Moment(at), Py::Delta(delta)) | (Py::Delta(delta), Py::Moment(at)) => {
            Py::Moment(at.plus(*delta).ok_or_else(out_of_range)?)
        }
        (Py::Date(date), Py::Delta(delta)) | (Py::Delta(delta), Py::Date(date)) => {
            let at = date.midnight().plus(*delta).ok_or_else(out_of_range)?;
            Py::Date(at.date())
        }
        (Py::Delta(left), Py::Delta(right)) => Py::Delta(left.plus(*right).ok_or_else(out_of_range)?),
        _ => {
            if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
                return Ok(Some(Py::string(format!("{left}{right}"))));
            }
            if left.type_name() != right.type_name() {
                return Ok(None);
            }
            let (Some(mut items), Some(more)) = (left.elements(), right.elements()) else {
                return Ok(None);
            };
            items.extend(more);
            match left {
                Py::Tuple(_) => Py::Tuple(Rc::new(items)),
                _ => Py::list(items),
            }
        }
    }))
}

fn subtract<'a>(left: &Py<'a>, right: &Py<'a>) -> Result<Option<Py<'a>>, Fault> {
    Ok(Some(match (left, right) {
        (Py::Moment(at), Py::Delta(delta)) => Py::Moment(at.minus(*delta).ok_or_else(out_of_range)?),
        (Py::Moment(left), Py::Moment(right)) => {
            if left.offset.is_some() != right.offset.is_some() {
                return Err(Fault::kind(
                    "can't subtract offset-naive and offset-aware datetimes",
                ));
            }
            Py::Delta(Delta::micros(left.micros - right.micros))
        }
        (Py::Date(date), Py::Delta(delta)) => {
            let at = date.midnight().minus(*delta).ok_or_else(out_of_range)?;
            Py::Date(at.date())
        }
        (Py::Date(left), Py::Date(right)) => {
            Py::Delta(Delta::micros((left.days - right.days) * super::super::time::DAY))
        }
        (Py::Delta(left), Py::Delta(right)) => {
            Py::Delta(left.plus(right.negated()).ok_or_else(out_of_range)?)
        }
        _ => return Ok(None),
    }))
}

fn multiply<'a>(left: &Py<'a>, right: &Py<'a>) -> Result<Option<Py<'a>>, Fault> {
    let (value, count) = match (left.as_int(), right.as_int()) {
        (None, Some(count)) => (left, count),
        (Some(count), None) => (right, count),
        _ => return Ok(None),
    };
    if let Py::Delta(delta) = value {
        let times = i64::try_from(count).ok();
        let scaled = times.and_then(|times| {
            Some(Delta {
                months: delta.months.checked_mul(times)?,
                micros: delta.micros.checked_mul(times)?,
            })
        });
        return scaled
            .map(|delta| Some(Py::Delta(delta)))
            .ok_or_else(out_of_range);
    }
    let length = match value.len() {
        Ok(length) => i128::try_from(length).unwrap_or(i128::MAX),
        Err(_) => return Ok(None),
    };
    if length.saturating_mul(count) > REPEAT_MAX {
        return Err(Fault::other("a repetition in the template is too long"));
    }
    let times = usize::try_from(count.max(0)).unwrap_or(0);
    if let Some(text) = value.as_str() {
        return Ok(Some(Py::string(text.repeat(times))));
    }
    let Some(items) = value.elements() else {
        return Ok(None);
    };
    let repeated = std::iter::repeat_n(items, times).flatten().collect();
    Ok(Some(Py::list(repeated)))
}

fn numbers<'a>(op: Op, left: &Py<'a>, right: &Py<'a>) -> Result<Option<Py<'a>>, Fault> {
    let zero = || Fault::other("division by zero");
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
        let exact = match op {
            Op::Add => a.checked_add(b),
            Op::Sub => a.checked_sub(b),
            Op::Mul => a.checked_mul(b),
            Op::FloorDiv if b == 0 => return Err(zero()),
            Op::FloorDiv => Some(a.div_euclid(b) - i128::from(b < 0 && a.rem_euclid(b) != 0)),
            Op::Rem if b == 0 => return Err(zero()),
            Op::Rem => Some(((a % b) + b) % b),
            Op::Pow if b >= 0 => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
            _ => None,
        };
        if let Some(exact) = exact {
            return Ok(Some(Py::Int(exact)));
        }
    }
    let (Some(a), Some(b)) = (left.as_float(), right.as_float()) else {
        return Ok(None);
    };
    Ok(Some(Py::Float(match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div | Op::FloorDiv | Op::Rem if b == 0.0 => return Err(zero()),
        Op::Div => a / b,
        Op::FloorDiv => (a / b).floor(),
        Op::Rem => a - b * (a / b).floor(),
        Op::Pow => a.powf(b),
        _ => return Ok(None),
    })))
}
