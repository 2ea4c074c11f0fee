//! From where to where a stream is read.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_protocol::spec::{CursorOrder, CursorRequest, CursorSpec};
use weir_protocol::{Error, Result};

use super::{Format, Formats, Lookback, Point};
use crate::extract::Path;
use crate::interpolate::{Scope, Template, Templates, text_of};

/// A stream's cursor, compiled.
#[derive(Debug, Clone)]
pub struct CursorPlan {
    pub path: Path,
    pub field: String,
    pub formats: Formats,
    pub order: CursorOrder,
    pub request: Option<CursorRequest>,
    request_format: Format,
    lookback: Option<Lookback>,
    start: Option<Template>,
    end: Option<Template>,
}

/// Lower (inclusive) and upper bound of a read, or of one window of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    pub lower: Option<Point>,
    pub upper: Option<Point>,
}

impl CursorPlan {
    pub fn new(templates: &Templates, field: &str, spec: &CursorSpec) -> Result<Self> {
        let formats = Formats::new(&spec.format)?;
        let request = spec.request.clone();
        let request_format = match request.as_ref().and_then(|request| request.format.as_deref()) {
            Some(format) => format.parse()?,
            None => formats.main().clone(),
        };
        let compile = |name: &str, text: &Option<String>| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            text.map(|text| templates.compile(format!("{field}.{name}"), text))
                .transpose()
        };
        Ok(Self {
            path: Path::parse(&spec.field)?,
            field: spec.field.clone(),
            order: spec.order,
            request,
            request_format,
            lookback: spec.lookback.as_deref().map(str::parse).transpose()?,
            start: compile("start", &spec.start)?,
            end: compile("end", &spec.end)?,
            formats,
        })
    }

    /// Where a first read begins. `from` overrides the spec's start.
    pub fn start(&self, scope: &Scope, from: Option<&str>) -> Result<Option<Point>> {
        if let Some(from) = from {
            return self.from(from).map(Some);
        }
        self.render_bound("cursor.start", self.start.as_ref(), scope)
    }

    /// Where a person wants a read to begin.
    pub fn from(&self, written: &str) -> Result<Point> {
        match self.formats.parse(&written_value(written)) {
            Some(point) => Ok(point),
            None => self.read_bound("from", Value::from(written)).map_err(as_usage),
        }
    }

    /// A cursor that a person wrote, as state keeps it: as records hold it where it is written so,
    /// else the same moment in the cursor's format.
    pub fn written(&self, written: &str) -> Result<Value> {
        let candidates = [written_value(written), Value::from(written)];
        if let Some(value) = candidates
            .iter()
            .find(|value| self.formats.parse(value).is_some())
        {
            return Ok(value.clone());
        }
        let point = self
            .read_bound("cursor", Value::from(written))
            .map_err(as_usage)?;
        self.formats.main().write(&point)
    }

    /// Where the read ends, if the spec says so.
    pub fn end(&self, scope: &Scope) -> Result<Option<Point>> {
        self.render_bound("cursor.end", self.end.as_ref(), scope)
    }

    /// As [`Self::end`], but not after what a person wants.
    pub fn end_at_most(&self, scope: &Scope, to: Option<&str>) -> Result<Option<Point>> {
        let end = self.end(scope)?;
        let to = to.map(|to| self.from(to)).transpose()?;
        Ok(match (end, to) {
            (Some(end), Some(to)) if end.is_before(&to) => Some(end),
            (end, to) => to.or(end),
        })
    }

    /// The lower bound of a slice whose stored cursor is `stored`.
    pub fn lower(&self, stored: Option<&Value>, start: Option<&Point>) -> Result<Option<Point>> {
        let Some(stored) = stored else {
            return Ok(start.cloned());
        };
        let point = self.stored(stored)?;
        let lower = match self.lookback {
            Some(lookback) => lookback.apply(&point)?,
            None => point,
        };
        match start {
            Some(start) if lower.is_before(start) => Ok(Some(start.clone())),
            _ => Ok(Some(lower)),
        }
    }

    /// A cursor out of the stored state.
    pub fn stored(&self, value: &Value) -> Result<Point> {
        self.formats.parse(value).ok_or_else(|| {
            Error::state(format!(
                "the stored cursor {value} does not fit the cursor's format"
            ))
            .with("cursor", &self.field)
            .hint("reset the stream's state with `weir state reset`, or restore the connector's earlier cursor format")
        })
    }

    /// As the request carries it.
    pub fn write(&self, point: &Point) -> Result<Value> {
        match point {
            Point::Instant(at) => {
                let at = self.request_format.truncate(*at);
                self.request_format.write(&Point::Instant(at))
            }
            other => self.request_format.write(other),
        }
    }

    /// `cursor.start` and `cursor.end` of templates.
    pub fn scope_value(&self, bounds: &Bounds) -> Result<Value> {
        let write = |point: &Option<Point>| point.as_ref().map_or(Ok(Value::Null), |point| self.write(point));
        Ok(serde_json::json!({ "start": write(&bounds.lower)?, "end": write(&bounds.upper)? }))
    }

    /// A value that lies further ahead than a clock can be wrong must not move the cursor there.
    pub fn is_far_ahead(point: &Point, now: Timestamp) -> bool {
        let Point::Instant(at) = point else {
            return false;
        };
        now.checked_add(SignedDuration::from_hours(24))
            .is_ok_and(|limit| *at > limit)
    }

    fn render_bound(&self, name: &str, template: Option<&Template>, scope: &Scope) -> Result<Option<Point>> {
        let Some(template) = template else {
            return Ok(None);
        };
        // A start over an optional setting means "from the beginning" where nobody set it.
        let value = template.render_optional(scope)?;
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(value) => self.read_bound(name, value).map(Some),
        }
    }

    fn read_bound(&self, name: &str, value: Value) -> Result<Point> {
        let usual = [Format::Rfc3339, Format::Date];
        let is_time = !matches!(self.formats.main(), Format::Integer | Format::Text);
        let found = self.formats.parse(&value).or_else(|| {
            let mut usual = usual.iter().filter(|_| is_time);
            usual.find_map(|format| format.parse_value(&value))
        });
        found.ok_or_else(|| {
            Error::spec(format!("{name}: '{}' is no value of the cursor", text_of(value)))
                .with("cursor", &self.field)
                .hint("write it as the cursor's format says, or as 2026-01-31 or 2026-01-31T00:00:00Z")
        })
    }
}

/// A whole number is one; anything else is text.
fn written_value(written: &str) -> Value {
    written
        .parse::<i64>()
        .map_or_else(|_| Value::from(written), Value::from)
}

/// What a person wrote on the command line is no fault of a file.
fn as_usage(error: Error) -> Error {
    let usage = error
        .context()
        .iter()
        .fold(Error::usage(error.message()), |usage, (key, value)| {
            usage.with(key, value)
        });
    match error.next_step() {
        Some(hint) => usage.hint(hint),
        None => usage,
    }
}
