//! A declared call at a vendor.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Template;
use super::governance::{Approval, Classification};
use super::reading::{ErrorRule, Paginate, Request, Select};
use crate::error::{Error, Result};
use crate::name;
use crate::units::Span;

const LOOKUP_PAGES_MAX: u32 = 100;

/// One bounded call that an app or an agent may make through a connection.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionSpec {
    pub name: String,
    /// What it does, in a few words, as people and agents see it.
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it does to the world. Decides what is asked before it runs, and whether it may be tried again.
    pub effect: Effect,
    /// Default: the connector's `governance.approval`; actions that only read run without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// JSON Schema of the input; an object.
    pub input: Value,
    /// Requests that go before, in order, and have no effect that counts: asking for an address to upload to, and
    /// uploading there. Where one fails, the call surely had no effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prepare: Vec<Preparation>,
    /// What weir does itself, by its own code, in place of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<String>,
    /// Templates in it may name `input`, `config`, `credential`, `now`, `idempotency_key`, `correlation_id` and
    /// `prepared.<name>.<field>`. Left out only where `native` says what is done.
    #[serde(default)]
    pub request: Request,
    /// What the vendor answers with.
    #[serde(default, skip_serializing_if = "Answers::is_json")]
    pub answers: Answers,
    #[serde(default)]
    pub errors: Vec<ErrorRule>,
    /// Where the records of a list lie in its answer. Only for `effect: read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Select>,
    /// How a list goes on. Only for `effect: read`.
    #[serde(default)]
    pub paginate: Paginate,
    /// Output field to path in the answer; a path with `*` gives a list. Empty: the whole answer.
    #[serde(default)]
    pub output: BTreeMap<String, String>,
    /// JSON Schema of the output, as it is told to agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Output field that holds the vendor's id of what was made or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    #[serde(default)]
    pub idempotency: Idempotency,
    /// What takes the effect back. Absent: nothing does, as with a message that was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Compensation>,
    /// The whole call ends within this, waits and tries included. Default: 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
}

/// A request before the one that has the effect.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    pub name: String,
    pub request: Request,
    /// Field of `prepared.<name>` to path in the answer; each must be there.
    #[serde(default)]
    pub output: BTreeMap<String, String>,
}

/// In what form a vendor answers an action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    #[default]
    Json,
    /// Bytes as they are, 4 MiB at most: the output has `base64`, `content_type` and `bytes` (their number).
    File,
}

impl Answers {
    pub(super) fn is_json(&self) -> bool {
        *self == Self::Json
    }
}

/// What an action does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Makes or changes something that can be changed again.
    Write,
    /// Deletes or overwrites what cannot be brought back.
    Destructive,
    /// Moves or promises money.
    Money,
    /// Reaches a person.
    Message,
}

impl Effect {
    /// Whether a second call does no harm by the effect alone.
    pub fn is_harmless(self) -> bool {
        self == Self::Read
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
            Self::Money => "money",
            Self::Message => "message",
        }
    }
}

/// What keeps a repeated call from having a second effect.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// Nothing does: where an answer is lost, a person finds out what happened.
    #[default]
    None,
    /// Doing it twice leaves the same as doing it once, as with setting a value or deleting by id.
    Natural,
    /// The vendor honours a key in this header.
    Header(String),
    /// The vendor honours a key at this path of the body.
    Body(String),
    /// A request tells whether the effect is already there.
    Lookup(Box<Lookup>),
}

/// Finds the effect of an earlier call at the vendor. That it finds nothing is believed only where it saw the
/// end: the last page of `paginate`, or an answer for which `complete_when` is true.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// Templates in it may also name `began_at`, when the call began: whole seconds since 1970.
    pub request: Request,
    #[serde(default)]
    pub select: Select,
    /// How the search goes on. Absent: one page, whose end is not known but by `complete_when`.
    #[serde(default)]
    pub paginate: Paginate,
    /// Pages that are looked through at most. More than that: it stays unknown whether it happened.
    #[serde(default = "lookup_pages")]
    pub pages_max: u32,
    /// True where everything that could be the effect was seen with this page, over `response`, `headers`, `record`
    /// (the page's last), `input`, `idempotency_key` and `began_at`; `"{{ true }}"` where the request asks for the
    /// key itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_when: Option<Template>,
    /// True for the record that is the effect, over `record`, `input` and `idempotency_key`. Absent: any record is.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<Template>,
    /// Output field to path in that record. Empty: the paths of the action's own output.
    #[serde(default)]
    pub output: BTreeMap<String, String>,
}

fn lookup_pages() -> u32 {
    20
}

/// The action that takes an effect back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compensation {
    pub action: String,
    /// Its input, over `input` and `output` of the call that is taken back.
    #[serde(default)]
    pub with: BTreeMap<String, Value>,
}

impl ActionSpec {
    /// The class that the connector gives it; a connection or policy may be stricter.
    pub fn approval(&self, default: Approval) -> Approval {
        match self.approval {
            Some(own) => own,
            None if self.effect.is_harmless() => match default {
                Approval::Forbidden => Approval::Forbidden,
                Approval::Auto | Approval::Required => Approval::Auto,
            },
            None => default,
        }
    }

    /// Whether the vendor itself sees to it that a repeated request has one effect.
    pub fn is_repeatable(&self) -> bool {
        match self.idempotency {
            Idempotency::Natural | Idempotency::Header(_) | Idempotency::Body(_) => true,
            Idempotency::None | Idempotency::Lookup(_) => self.effect.is_harmless(),
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        name::check("action", &self.name)?;
        if self.input["type"] != "object" {
            return Err(Error::spec("the input's schema is not one of an object")
                .hint("write input: { type: object, required: […], properties: { … } }"));
        }
        let pages = !matches!(self.paginate, Paginate::None) || self.select.is_some();
        if pages && !self.effect.is_harmless() {
            return Err(Error::spec(format!(
                "an action with effect {} has select or paginate",
                self.effect.as_str()
            ))
            .hint("only actions with effect: read give lists; take it away, or mend the effect"));
        }
        if self.effect.is_harmless() && self.compensate.is_some() {
            return Err(Error::spec("an action that only reads has a compensation")
                .hint("take `compensate` away, or say what the action does by `effect`"));
        }
        self.validate_preparations(pages)?;
        self.validate_native(pages)?;
        if let Idempotency::Lookup(lookup) = &self.idempotency
            && !(1..=LOOKUP_PAGES_MAX).contains(&lookup.pages_max)
        {
            return Err(
                Error::spec(format!("idempotency.lookup.pages_max is {}", lookup.pages_max))
                    .hint(format!("use 1 to {LOOKUP_PAGES_MAX}")),
            );
        }
        match &self.remote_id {
            Some(field) if !self.output.contains_key(field) => Err(Error::spec(format!(
                "remote_id names '{field}', which is no field of the output"
            ))
            .hint("add it under output, with its path in the answer")),
            _ => Ok(()),
        }
    }

    /// Exactly one of `native` and `request` says what is done.
    fn validate_native(&self, pages: bool) -> Result<()> {
        let asks = self.request != Request::default();
        match &self.native {
            None if asks => Ok(()),
            None => Err(Error::spec("the action has no request").hint("write request: { path: /… }")),
            Some(_) if asks || pages || !self.prepare.is_empty() || !self.output.is_empty() => Err(
                Error::spec("a native action has request, prepare, output, select or paginate")
                    .hint("take them away: its code says what it does"),
            ),
            Some(_) if !matches!(self.idempotency, Idempotency::None) => {
                Err(Error::spec("a native action has idempotency").hint("take it away"))
            }
            Some(_) => Ok(()),
        }
    }

    fn validate_preparations(&self, pages: bool) -> Result<()> {
        if pages && (!self.prepare.is_empty() || !self.answers.is_json()) {
            return Err(
                Error::spec("an action that gives a list has `prepare`, or answers with a file")
                    .hint("take select and paginate away, or the other"),
            );
        }
        for (index, step) in self.prepare.iter().enumerate() {
            name::check("prepare", &step.name)?;
            if self.prepare[..index].iter().any(|other| other.name == step.name) {
                return Err(Error::spec(format!("prepare '{}' is declared twice", step.name))
                    .hint("rename or delete one of them"));
            }
        }
        Ok(())
    }
}
