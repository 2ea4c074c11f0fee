//! Values of templates, with the meaning they have in Python.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Map, Number, Value};

use super::super::time::{Date, Delta, Moment};
use super::Fault;
use super::text::{float_text, repr_text};

pub(super) type Shared<T> = Rc<RefCell<T>>;

/// A slice as templates see it: a mapping with three attributes.
#[derive(Debug, Default)]
pub(crate) struct SliceView {
    pub(crate) partition: Value,
    pub(crate) cursor: Value,
    pub(crate) extra: Value,
    /// Partition and cursor in one.
    pub(crate) all: Value,
}

/// A value while a template runs. What comes from outside is borrowed.
#[derive(Clone)]
pub(crate) enum Py<'a> {
    /// The name that does not exist.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(&'a str),
    Str(Rc<str>),
    /// An array or object from outside.
    Json(&'a Value),
    /// An object whose keys are found whatever their case; they are kept in lower case.
    Headers(&'a Value),
    /// An answer: its members, and its headers.
    Exchange(&'a Value),
    Slice(&'a SliceView),
    List(Shared<Vec<Self>>),
    Tuple(Rc<Vec<Self>>),
    Dict(Shared<Vec<(Self, Self)>>),
    Moment(Moment),
    Date(Date),
    Delta(Delta),
    Function(Rc<str>),
    Method(Rc<(Self, Rc<str>)>),
}

impl<'a> Py<'a> {
    pub(crate) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::None,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => of_number(number),
            Value::String(text) => Self::Text(text),
            Value::Array(_) | Value::Object(_) => Self::Json(value),
        }
    }

    /// A function of that name.
    pub(crate) fn function(name: &str) -> Self {
        Self::Function(Rc::from(name))
    }

    /// The same as a value of its own.
    pub(super) fn owned(value: &Value) -> Self {
        match value {
            Value::Null => Self::None,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => of_number(number),
            Value::String(text) => Self::str(text),
            Value::Array(items) => Self::list(items.iter().map(Self::owned).collect()),
            Value::Object(members) => Self::dict(
                members
                    .iter()
                    .map(|(key, value)| (Self::str(key), Self::owned(value)))
                    .collect(),
            ),
        }
    }

    pub(super) fn str(text: &str) -> Self {
        Self::Str(Rc::from(text))
    }

    pub(super) fn string(text: String) -> Self {
        Self::Str(Rc::from(text))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(RefCell::new(items)))
    }

    pub(super) fn dict(members: Vec<(Self, Self)>) -> Self {
        Self::Dict(Rc::new(RefCell::new(members)))
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Bool(flag) => Some(i128::from(*flag)),
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "as Python's own conversion")]
    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            other => other.as_int().map(|number| number as f64),
        }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Str(text) => !text.is_empty(),
            Self::Json(value) | Self::Headers(value) | Self::Exchange(value) => !is_empty(value),
            Self::Slice(slice) => !is_empty(&slice.all) || !is_empty(&slice.extra),
            Self::List(items) => !items.borrow().is_empty(),
            Self::Tuple(items) => !items.is_empty(),
            Self::Dict(members) => !members.borrow().is_empty(),
            Self::Delta(delta) => !delta.is_zero(),
            Self::Moment(_) | Self::Date(_) | Self::Function(_) | Self::Method(_) => true,
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) | Self::Str(_) => "str",
            Self::Json(Value::Array(_)) | Self::List(_) => "list",
            Self::Json(_) | Self::Headers(_) | Self::Exchange(_) | Self::Slice(_) | Self::Dict(_) => "dict",
            Self::Tuple(_) => "tuple",
            Self::Moment(_) => "datetime",
            Self::Date(_) => "date",
            Self::Delta(_) => "timedelta",
            Self::Function(_) | Self::Method(_) => "function",
        }
    }

    /// Elements of a list or tuple; None for anything else.
    pub(super) fn elements(&self) -> Option<Vec<Self>> {
        match self {
            Self::Json(Value::Array(items)) => Some(items.iter().map(Py::of).collect()),
            Self::List(items) => Some(items.borrow().clone()),
            Self::Tuple(items) => Some(items.to_vec()),
            _ => None,
        }
    }

    /// Members of a mapping; None for anything else.
    pub(super) fn members(&self) -> Option<Vec<(Self, Self)>> {
        match self {
            Self::Json(Value::Object(members))
            | Self::Headers(Value::Object(members))
            | Self::Exchange(Value::Object(members)) => Some(
                members
                    .iter()
                    .map(|(key, value)| (Py::Text(key.as_str()), Py::of(value)))
                    .collect(),
            ),
            Self::Slice(slice) => Py::of(&slice.all).members().or(Some(Vec::new())),
            Self::Dict(members) => Some(members.borrow().clone()),
            _ => None,
        }
    }

    /// What a `for` goes over.
    pub(super) fn iterate(&self) -> Result<Vec<Self>, Fault> {
        if let Some(items) = self.elements() {
            return Ok(items);
        }
        if let Some(members) = self.members() {
            return Ok(members.into_iter().map(|(key, _)| key).collect());
        }
        match self {
            Self::Undefined(_) => Ok(Vec::new()),
            Self::Text(_) | Self::Str(_) => {
                let text = self.as_str().unwrap_or_default();
                Ok(text.chars().map(|c| Py::string(c.to_string())).collect())
            }
            other => Err(Fault::kind(format!(
                "'{}' object is not iterable",
                other.type_name()
            ))),
        }
    }

    pub(super) fn len(&self) -> Result<usize, Fault> {
        match self {
            Self::Text(_) | Self::Str(_) => Ok(self.as_str().unwrap_or_default().chars().count()),
            Self::Undefined(_) => Ok(0),
            _ => match (self.elements(), self.members()) {
                (Some(items), _) => Ok(items.len()),
                (None, Some(members)) => Ok(members.len()),
                (None, None) => Err(Fault::kind(format!(
                    "object of type '{}' has no len()",
                    self.type_name()
                ))),
            },
        }
    }

    pub(super) fn member(&self, key: &Self) -> Option<Self> {
        let text = key.as_str();
        match self {
            Self::Json(Value::Object(members)) => members.get(text?).map(Py::of),
            Self::Headers(Value::Object(members)) => members.get(&text?.to_ascii_lowercase()).map(Py::of),
            Self::Exchange(answer) if text == Some("headers") => answer.get("headers").map(Py::Headers),
            Self::Exchange(answer) => answer.get(text?).map(Py::of),
            Self::Slice(slice) => slice.all.get(text?).map(Py::of),
            Self::Dict(members) => members
                .borrow()
                .iter()
                .find(|(known, _)| super::ops::equal(known, key))
                .map(|(_, value)| value.clone()),
            _ => None,
        }
    }

    /// As `str()` gives it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Undefined(_) => String::new(),
            Self::Text(text) => (*text).to_owned(),
            Self::Str(text) => text.to_string(),
            Self::Moment(at) => at.isoformat(' '),
            Self::Date(date) => date.isoformat(),
            Self::Delta(delta) => delta.text(),
            other => other.repr(),
        }
    }

    /// As `repr()` gives it.
    pub(super) fn repr(&self) -> String {
        let joined = |items: &[Self]| items.iter().map(Self::repr).collect::<Vec<_>>().join(", ");
        match self {
            Self::Undefined(_) => "Undefined".to_owned(),
            Self::None => "None".to_owned(),
            Self::Bool(true) => "True".to_owned(),
            Self::Bool(false) => "False".to_owned(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => float_text(*number),
            Self::Text(text) => repr_text(text),
            Self::Str(text) => repr_text(text),
            Self::Tuple(items) if items.len() == 1 => format!("({},)", joined(items)),
            Self::Tuple(items) => format!("({})", joined(items)),
            Self::Moment(at) => format!("datetime.datetime({})", at.isoformat(' ')),
            Self::Date(date) => format!("datetime.date({})", date.isoformat()),
            Self::Delta(delta) => format!("datetime.timedelta({})", delta.text()),
            Self::Function(name) => format!("<function {name}>"),
            Self::Method(method) => {
                format!(
                    "<built-in method {} of {} object>",
                    method.1,
                    method.0.type_name()
                )
            }
            other => match (other.elements(), other.members()) {
                (Some(items), _) => format!("[{}]", joined(&items)),
                (None, members) => {
                    let members = members.unwrap_or_default();
                    let members: Vec<String> = members
                        .iter()
                        .map(|(key, value)| format!("{}: {}", key.repr(), value.repr()))
                        .collect();
                    format!("{{{}}}", members.join(", "))
                }
            },
        }
    }

    /// As JSON; what JSON has no word for becomes its text.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::None | Self::Undefined(_) => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Int(number) => int_json(*number),
            Self::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
            Self::Text(text) => Value::String((*text).to_owned()),
            Self::Str(text) => Value::String(text.to_string()),
            Self::Json(value) | Self::Headers(value) | Self::Exchange(value) => (*value).clone(),
            other => match (other.elements(), other.members()) {
                (Some(items), _) => Value::Array(items.iter().map(Self::to_json).collect()),
                (None, Some(members)) => Value::Object(
                    members
                        .iter()
                        .map(|(key, value)| (key.text(), value.to_json()))
                        .collect::<Map<_, _>>(),
                ),
                (None, None) => Value::String(other.text()),
            },
        }
    }
}

/// A whole number as JSON; one that JSON's numbers do not hold keeps its digits as text.
pub(crate) fn int_json(number: i128) -> Value {
    i64::try_from(number)
        .map(Value::from)
        .or_else(|_| u64::try_from(number).map(Value::from))
        .unwrap_or_else(|_| Value::String(number.to_string()))
}

fn of_number<'a>(number: &Number) -> Py<'a> {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(number), _, _) => Py::Int(i128::from(number)),
        (None, Some(number), _) => Py::Int(i128::from(number)),
        (None, None, number) => Py::Float(number.unwrap_or_default()),
    }
}

/// Whether an array or object has nothing in it.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Null => true,
        _ => false,
    }
}
