//! An event as others get it: CloudEvents 1.0 in JSON.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::StoredEvent;

/// The media type of one event in structured mode.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    pub specversion: String,
    /// Together with the source it is no other event's.
    pub id: String,
    /// `/tenants/<tenant>`
    pub source: String,
    /// `weir.<family>`
    #[serde(rename = "type")]
    pub kind: String,
    pub subject: String,
    /// RFC 3339, UTC.
    pub time: String,
    pub datacontenttype: String,
    /// `urn:weir:event-schema:<family>:<version>`; `/api/v1/event-schemas/<family>/<version>` has it.
    pub dataschema: String,
    /// The run or request that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlationid: Option<String>,
    pub data: Map<String, Value>,
}

impl From<StoredEvent> for Envelope {
    fn from(event: StoredEvent) -> Self {
        let time = Timestamp::from_millisecond(event.happened_at_ms).unwrap_or_default();
        Self {
            specversion: "1.0".to_owned(),
            id: event.id,
            source: format!("/tenants/{}", event.tenant),
            kind: format!("weir.{}", event.family),
            subject: event.subject,
            time: format!("{time:.3}"),
            datacontenttype: "application/json".to_owned(),
            dataschema: schema_id(&event.family, event.version),
            correlationid: event.correlation_id,
            data: event.data,
        }
    }
}

/// Names a version of a family's schema.
pub(crate) fn schema_id(family: &str, version: u32) -> String {
    format!("urn:weir:event-schema:{family}:{version}")
}
