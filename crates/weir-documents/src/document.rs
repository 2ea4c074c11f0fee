//! What comes out: elements and findings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::format::Format;

/// A document that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    pub format: Format,
    pub language: Language,
    /// How many pages; null where the format has none until it is printed (DOCX, text).
    pub pages: Option<u32>,
    /// Pages whose text was recognised from a picture.
    pub recognised_pages: Vec<u32>,
    /// Pages that have no text, and that nothing here could recognise.
    pub unread_pages: Vec<u32>,
    pub elements: Vec<Element>,
    pub findings: Findings,
}

/// The same name for the schema's title.
pub type DocumentSchema = Document;

/// JSON Schema of [`Document`].
pub fn schema() -> Value {
    schemars::schema_for!(Document).to_value()
}

/// The language of most of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    En,
    Ar,
    /// English and Arabic side by side.
    EnAr,
    /// Any other: findings are by the English rules, and less sure.
    Other,
}

/// A piece of text in reading order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Element {
    pub kind: ElementKind,
    /// From 1; null where the format has no pages.
    pub page: Option<u32>,
    pub text: String,
    /// Row and column of a table's cell, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<(u32, u32)>,
    /// How sure the recognition of a picture was, 0 to 1; absent where the file had the text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recognition: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ElementKind {
    Heading,
    Paragraph,
    ListItem,
    TableCell,
}

/// Where in the document: an element, and a range of characters (Unicode scalar values) of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// From 1; null where the format has no pages.
    pub page: Option<u32>,
    /// Position in `elements`, from 0.
    pub element: u32,
    pub start: u32,
    /// The first character after it.
    pub end: u32,
}

/// What was found, each kind in the order of the text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Findings {
    pub parties: Vec<Party>,
    pub dates: Vec<Date>,
    pub amounts: Vec<Amount>,
    pub terms: Vec<Term>,
    pub renewals: Vec<Renewal>,
    pub notices: Vec<Notice>,
    pub governing_law: Vec<GoverningLaw>,
    /// Kinds of which there were more than are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut_short: Vec<String>,
}

/// Who is bound, once each; the place is where it is named first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Party {
    pub name: String,
    /// What the contract calls it, as `Supplier` or `الطرف الأول`.
    pub role: Option<String>,
    pub place: Place,
    /// 0 to 1.
    pub confidence: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Calendar {
    Gregorian,
    Hijri,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Date {
    /// As it is written.
    pub text: String,
    pub calendar: Calendar,
    /// Gregorian, `YYYY-MM-DD`. Null for a Hijri date to which the document names no Gregorian one.
    pub value: Option<String>,
    /// A Hijri date as `YYYY-MM-DD` of its own calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hijri: Option<String>,
    /// The Gregorian date of a Hijri one by the tabular calendar: a day off where the moon was seen otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The other reading of day and month, where both are possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub or: Option<String>,
    pub place: Place,
    /// 0 to 1.
    pub confidence: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Amount {
    /// As it is written, words and figures together where they say the same.
    pub text: String,
    /// A decimal number without separators.
    pub value: String,
    /// ISO 4217.
    pub currency: String,
    /// Words beside the figures that say another number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words_say: Option<String>,
    pub place: Place,
    /// 0 to 1.
    pub confidence: f64,
}

/// A length of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Duration {
    /// ISO 8601, as `P2Y` or `P30D`.
    pub iso: String,
    /// Days on which business is done, not those of the calendar.
    pub is_business_days: bool,
}

/// How long the contract lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Term {
    pub text: String,
    pub duration: Duration,
    pub place: Place,
    /// 0 to 1.
    pub confidence: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RenewalKind {
    /// Unless somebody objects.
    Automatic,
    /// Where somebody asks for it, or both agree.
    OnRequest,
    /// It ends without one.
    None,
}

/// Whether and how it goes on after its term.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Renewal {
    pub text: String,
    pub kind: RenewalKind,
    /// Of each further term, where it is named.
    pub duration: Option<Duration>,
    pub place: Place,
    /// 0 to 1.
    pub confidence: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticePurpose {
    Termination,
    Renewal,
    Other,
}

/// How long before, or within which time, somebody has to be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    pub text: String,
    pub purpose: NoticePurpose,
    pub duration: Duration,
    pub place: Place,
    /// 0 to 1.
    pub confidence: f64,
}

/// The law under which it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoverningLaw {
    /// As the contract names it.
    pub law: String,
    pub place: Place,
    /// 0 to 1.
    pub confidence: f64,
}
