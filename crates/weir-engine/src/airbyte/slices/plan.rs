//! A cursor as the manifest declares it.

use std::sync::Arc;

use serde_json::Value;
use weir_protocol::{Error, Result};

use super::super::env::Env;
use super::super::node::Node;
use super::super::request::{Injection, SliceOption};
use super::super::template::{Otherwise, Takes, json_is_true, py_text};
use super::super::time::{Delta, Moment, SECOND, parse_duration};
use super::Slice;
use super::clamp::Clamp;

/// Where a date has no format of its own.
const USUAL_FORMAT: &str = "%Y-%m-%dT%H:%M:%S.%f%z";

/// How cursor values are read and written. A count is kept as a moment of that many microseconds.
#[derive(Debug, Clone)]
enum Form {
    Dates { read: Vec<String>, write: String },
    Count,
}

pub(crate) struct CursorPlan {
    pub(crate) field: String,
    form: Form,
    pub(super) start: Moment,
    /// None is without end.
    pub(super) end: Option<Moment>,
    pub(super) step: Option<Delta>,
    pub(super) granularity: Option<Delta>,
    pub(super) lookback: Option<Delta>,
    pub(super) bounds: (String, String),
    pub(super) clamp: Clamp,
    pub(super) is_strict: bool,
    pub(crate) is_data_feed: bool,
    pub(crate) is_client_side: bool,
    pub(crate) is_global: bool,
    pub(crate) options: Vec<SliceOption>,
}

impl CursorPlan {
    /// The cursor of the stream of that name.
    pub(crate) fn new(env: &Arc<Env>, node: &Node<'_>, stream: &str) -> Result<Self> {
        let mut plan = match node.kind() {
            "DatetimeBasedCursor" => Self::dates(env, node)?,
            "IncrementingCountCursor" => Self::count(env, node)?,
            _ => return Err(node.unknown("a cursor")),
        };
        let chosen = env
            .catalog
            .get(stream)
            .map(|chosen| chosen.cursor_field.as_slice());
        if node.flag("allow_catalog_defined_cursor_field")
            && let Some([first, rest @ ..]) =
                chosen.filter(|chosen| chosen.first().is_some_and(|first| !first.is_empty()))
        {
            if !rest.is_empty() {
                return Err(node.error("the catalog's cursor_field leads into an object; a cursor is a field of the record itself"));
            }
            plan.field.clone_from(first);
        }
        Ok(plan)
    }

    fn dates(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        let scope = env.scope();
        let text = |field: &str, usual: &str| node.text_or(field, usual)?.eval_text(&scope);
        let format = node
            .str("datetime_format")
            .ok_or_else(|| node.error("the cursor needs datetime_format"))?;
        let mut read: Vec<String> = node
            .list("cursor_datetime_formats")
            .iter()
            .map(|item| py_text(item.value))
            .collect();
        read.push(format.to_owned());
        let granularity = node
            .str("cursor_granularity")
            .map(|text| duration(node, text))
            .transpose()?;
        let duration_of = |field: &str| -> Result<Option<Delta>> {
            let Some(text) = node.text(field)? else {
                return Ok(None);
            };
            let value = text.eval(&scope, Takes::Anything)?;
            json_is_true(&value)
                .then(|| duration(node, &py_text(&value)))
                .transpose()
        };
        let step = duration_of("step")?;
        if node.get("step").is_some() != granularity.is_some() {
            return Err(node.error("step and cursor_granularity belong together: give both or none"));
        }
        let bounds = (
            text("partition_field_start", "start_time")?,
            text("partition_field_end", "end_time")?,
        );
        let clamp = clamp(env, node)?;
        let end = end_of(env, node, format, (clamp, granularity))?;
        let options = time_options(node, &bounds)?;
        Ok(Self {
            field: node.need_text("cursor_field")?.eval_text(&scope)?,
            form: Form::Dates {
                read,
                write: format.to_owned(),
            },
            start: date(env, &node.need("start_datetime")?, format)?,
            end: Some(end),
            step,
            granularity,
            lookback: duration_of("lookback_window")?,
            bounds,
            clamp,
            is_strict: node.flag("is_compare_strictly"),
            is_data_feed: node.flag("is_data_feed"),
            is_client_side: node.flag("is_client_side_incremental"),
            is_global: node.flag("global_substream_cursor"),
            options,
        })
    }

    fn count(env: &Arc<Env>, node: &Node<'_>) -> Result<Self> {
        let scope = env.scope();
        let start = match node.text("start_value")? {
            Some(text) => {
                let value = text.eval(&scope, Takes::Anything)?;
                value.as_i64().ok_or_else(|| {
                    node.error(format!("start_value is '{}', no whole number", py_text(&value)))
                })?
            }
            None => 0,
        };
        let bounds = ("start".to_owned(), "end".to_owned());
        let option = node.get("start_value_option");
        let option = option.map(|option| -> Result<SliceOption> {
            Ok(SliceOption {
                injection: Injection::new(&option)?,
                field: node.template(&bounds.0, &Value::Null, Otherwise::Itself)?,
                always: true,
            })
        });
        Ok(Self {
            field: node.need_text("cursor_field")?.eval_text(&scope)?,
            form: Form::Count,
            start: Moment::utc(start),
            end: None,
            step: None,
            granularity: None,
            lookback: None,
            options: option.transpose()?.into_iter().collect(),
            bounds,
            clamp: Clamp::None,
            is_strict: false,
            is_data_feed: false,
            is_client_side: false,
            is_global: false,
        })
    }

    /// A cursor value of a record or state.
    pub(crate) fn parse(&self, value: &Value) -> Option<Moment> {
        match &self.form {
            Form::Count => value.as_i64().map(Moment::utc),
            Form::Dates { read, .. } => {
                let text = match value {
                    Value::String(text) => std::borrow::Cow::Borrowed(text.as_str()),
                    // int(1.5) is 1 where text of it would be none.
                    Value::Number(number) if number.is_f64() => {
                        let is_number = read
                            .iter()
                            .any(|format| matches!(format.as_str(), "%s" | "%ms" | "%epoch_microseconds"));
                        let number = number.as_f64().unwrap_or_default();
                        if is_number {
                            format!("{}", number.trunc()).into()
                        } else {
                            py_text(value).into()
                        }
                    }
                    other => py_text(other).into(),
                };
                read.iter().find_map(|format| Moment::parse(&text, format))
            }
        }
    }

    pub(crate) fn write(&self, at: Moment) -> Value {
        match &self.form {
            Form::Count => Value::from(at.micros),
            Form::Dates { write, .. } => Value::String(at.format(write)),
        }
    }

    /// A cursor value as it is when it was written into a state and read again.
    pub(crate) fn stored(&self, at: Moment) -> Moment {
        self.parse(&self.write(at)).unwrap_or(at)
    }

    /// The slice from a moment on.
    pub(crate) fn from(&self, slice: &Slice, at: Moment) -> Slice {
        let mut window = slice.view.cursor.clone();
        if let Value::Object(bounds) = &mut window {
            bounds.insert(self.bounds.0.clone(), self.write(at));
        }
        slice.with_cursor(window)
    }

    /// Why a window cannot be cut in halves; None where it can.
    pub(crate) fn keeps_whole(&self) -> Option<&'static str> {
        let Form::Dates { write, .. } = &self.form else {
            return Some("its cursor is no date");
        };
        if self.is_client_side {
            return Some("is_client_side_incremental sends no window");
        }
        match self.granularity {
            None => Some("the cursor needs cursor_granularity"),
            Some(least) if least.months == 0 && least.micros < smallest(write).max(1) => {
                Some("cursor_granularity is finer than datetime_format can tell")
            }
            Some(_) => None,
        }
    }

    /// The two halves of a slice's window; None where it is as narrow as may be.
    pub(crate) fn halves(&self, slice: &Slice, least: Option<Delta>) -> Option<[Slice; 2]> {
        let bound = |name: &str| slice.view.cursor.get(name).and_then(|value| self.parse(value));
        let (start, end) = (bound(&self.bounds.0)?, bound(&self.bounds.1)?);
        let step = self
            .granularity
            .filter(|step| step.months == 0 && step.micros > 0)?;
        let span = end.micros - start.micros;
        if span <= 0 || least.is_some_and(|least| span <= least.micros) {
            return None;
        }
        let units = span / step.micros + 1;
        let first_end = start.plus(Delta::micros((units / 2 - 1).checked_mul(step.micros)?))?;
        let second = first_end.plus(step)?;
        if units <= 1 || first_end.micros < start.micros || second.micros > end.micros {
            return None;
        }
        let window = |start: Moment, end: Moment| {
            let mut window = slice.view.cursor.clone();
            if let Value::Object(bounds) = &mut window {
                bounds.insert(self.bounds.0.clone(), self.write(start));
                bounds.insert(self.bounds.1.clone(), self.write(end));
            }
            slice.with_cursor(window)
        };
        Some([window(start, first_end), window(second, end)])
    }

    /// What follows at once.
    pub(super) fn after(&self, at: Moment) -> Moment {
        let least = match &self.form {
            Form::Count => Delta::micros(1),
            Form::Dates { .. } => self.granularity.unwrap_or(Delta::micros(1000)),
        };
        at.plus(least).unwrap_or(at)
    }

    pub(super) fn unreadable(&self, value: &Value) -> Error {
        Error::new(
            weir_protocol::ErrorKind::State,
            format!(
                "the state's '{}' is '{}', which none of the cursor's formats reads",
                self.field,
                py_text(value)
            ),
        )
        .hint("check that the state belongs to this stream, or start without it")
    }
}

/// Microseconds of the finest part that a date format writes.
fn smallest(format: &str) -> i64 {
    let parts = [
        ("%epoch_microseconds", 1),
        ("%s_as_float", 1),
        ("%f", 1),
        ("%_ms", 1000),
        ("%ms", 1000),
        ("%S", SECOND),
        ("%s", SECOND),
        ("%M", 60 * SECOND),
        ("%H", 3600 * SECOND),
        ("%I", 3600 * SECOND),
        ("%d", super::super::time::DAY),
    ];
    let written = parts.iter().filter(|(part, _)| format.contains(part));
    written.map(|(_, micros)| *micros).min().unwrap_or(0)
}

fn duration(node: &Node<'_>, text: &str) -> Result<Delta> {
    parse_duration(text).ok_or_else(|| node.error(format!("'{text}' is no ISO 8601 duration, such as P30D")))
}

fn date(env: &Arc<Env>, node: &Node<'_>, format: &str) -> Result<Moment> {
    let scope = env.scope();
    let is_plain = !node.value.is_object();
    let field = |name: &str| if is_plain { Ok(None) } else { node.text(name) };
    let format = match node
        .str("datetime_format")
        .filter(|format| !is_plain && !format.is_empty())
    {
        Some(own) => own,
        None if format.is_empty() => USUAL_FORMAT,
        None => format,
    };
    let parse = |text: &str| {
        Moment::parse(text, format)
            .ok_or_else(|| node.error(format!("'{text}' is not a date-time in the format '{format}'")))
    };
    let text = if is_plain {
        node.as_text(&Value::Null)?
    } else {
        node.need_text("datetime")?
    };
    let mut at = parse(&text.eval_text(&scope)?)?;
    if let Some(least) = field("min_datetime")? {
        let least = least.eval_text(&scope)?;
        if !least.is_empty() {
            at = at.max(parse(&least)?);
        }
    }
    if let Some(most) = field("max_datetime")? {
        let most = most.eval_text(&scope)?;
        if !most.is_empty() {
            at = at.min(parse(&most)?);
        }
    }
    Ok(at)
}

fn end_of(
    env: &Arc<Env>,
    node: &Node<'_>,
    format: &str,
    (clamp, granularity): (Clamp, Option<Delta>),
) -> Result<Moment> {
    let end = match node.get("end_datetime") {
        Some(end) => date(env, &end, format)?,
        None => env.now(),
    };
    if clamp == Clamp::None {
        return Ok(end);
    }
    let usual = Delta::micros(if clamp == Clamp::Day {
        SECOND
    } else {
        super::super::time::DAY
    });
    let end = clamp.apply(end, false);
    Ok(end.minus(granularity.unwrap_or(usual)).unwrap_or(end))
}

/// What a window's bounds put into requests.
fn time_options(node: &Node<'_>, bounds: &(String, String)) -> Result<Vec<SliceOption>> {
    let mut options = Vec::new();
    for (option, bound) in [("start_time_option", &bounds.0), ("end_time_option", &bounds.1)] {
        if let Some(option) = node.get(option) {
            options.push(SliceOption {
                injection: Injection::new(&option)?,
                field: node.template(bound, &Value::Null, Otherwise::Itself)?,
                always: true,
            });
        }
    }
    Ok(options)
}

fn clamp(env: &Arc<Env>, node: &Node<'_>) -> Result<Clamp> {
    let Some(clamping) = node.get("clamping") else {
        return Ok(Clamp::None);
    };
    let target = clamping.need_text("target")?.eval_text(&env.scope())?;
    Ok(match target.as_str() {
        "DAY" => Clamp::Day,
        "MONTH" => Clamp::Month,
        "WEEK" => {
            let details = clamping.need("target_details")?;
            let name = details.str("weekday").unwrap_or_default();
            let days = [
                "MONDAY",
                "TUESDAY",
                "WEDNESDAY",
                "THURSDAY",
                "FRIDAY",
                "SATURDAY",
                "SUNDAY",
            ];
            let at = days.iter().position(|day| *day == name);
            let at = at.and_then(|at| i64::try_from(at).ok());
            Clamp::Week(at.ok_or_else(|| details.error(format!("'{name}' is no weekday")))?)
        }
        other => {
            return Err(clamping.error(format!(
                "the clamping target '{other}' is none of DAY, WEEK, MONTH"
            )));
        }
    })
}
