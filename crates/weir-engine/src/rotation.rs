//! New values of a credential from the vendor, and the end of old ones there.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weir_protocol::action::{Actions as _, Call, Performed};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::{ActionSpec, ConnectorSpec, Effect, Idempotency, Request, RotationSpec};
use weir_protocol::{Error, ErrorKind, Result, Secret};

use crate::action::HttpActions;
use crate::catalog::Connector;
use crate::connect::EngineSettings;

/// Names of the two requests, in errors.
const CREATE: &str = "rotation.create";
const REVOKE: &str = "rotation.revoke";

/// A value that a vendor made. Nothing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub value: Secret,
    /// The vendor's id of it.
    pub vendor_id: Option<String>,
    pub expires_at_ms: Option<i64>,
}

/// Has a vendor make and end values of a connection's credential.
pub struct Rotator {
    requests: HttpActions,
}

/// The requests of a connector's rotation, as actions that nobody is offered.
pub(crate) fn actions(spec: &ConnectorSpec) -> Vec<ActionSpec> {
    let Some(rotation) = &spec.rotation else {
        return Vec::new();
    };
    let paths = [
        ("value", Some(&rotation.value)),
        ("id", rotation.id.as_ref()),
        ("expires_at", rotation.expires_at.as_ref()),
    ];
    let paths = paths.into_iter().filter_map(|(name, path)| Some((name, path?)));
    let output = paths
        .map(|(name, path)| (name.to_owned(), path.clone()))
        .collect();
    let mut actions = vec![action(rotation, CREATE, &rotation.create, output)];
    if let Some(revoke) = &rotation.revoke {
        let mut revoke = action(rotation, REVOKE, revoke, BTreeMap::new());
        // What is ended cannot be ended again.
        (revoke.effect, revoke.idempotency) = (Effect::Destructive, Idempotency::Natural);
        actions.push(revoke);
    }
    actions
}

fn action(
    rotation: &RotationSpec,
    name: &str,
    request: &Request,
    output: BTreeMap<String, String>,
) -> ActionSpec {
    ActionSpec {
        name: name.to_owned(),
        title: name.to_owned(),
        description: None,
        effect: Effect::Write,
        approval: None,
        classification: None,
        input: json!({ "type": "object" }),
        prepare: Vec::new(),
        native: None,
        request: request.clone(),
        answers: Default::default(),
        errors: rotation.errors.clone(),
        select: None,
        paginate: Default::default(),
        output,
        output_schema: None,
        remote_id: None,
        idempotency: Idempotency::None,
        compensate: None,
        deadline: None,
    }
}

impl Rotator {
    /// Compiles the connector's rotation for a connection. Sends nothing.
    pub fn connect(
        connector: &Connector,
        connection: &ConnectionSpec,
        settings: &EngineSettings,
    ) -> Result<Self> {
        let actions = actions(&connector.spec);
        let requests = HttpActions::connect_some(connector, connection, settings, &actions)?;
        Ok(Self { requests })
    }

    /// Has the vendor make a new value. `rotation` goes along as the correlation id. Where the answer was lost, the
    /// error says that there may be one that nobody knows.
    pub async fn create(&self, rotation: &str) -> Result<Made> {
        let output = match self.perform(CREATE, Map::new(), rotation).await {
            Performed::Done(reply) => reply.output,
            Performed::Failed(error) => return Err(error),
            Performed::Uncertain(error) => {
                return Err(Error::new(
                    error.kind(),
                    "the answer with the new value was lost: the vendor may have made one that nobody knows",
                )
                .caused_by(error)
                .hint("look at the vendor for a value made just now, and end it there; then rotate again"));
            }
        };
        let value = match output.get("value").and_then(Value::as_str) {
            Some(value) if !value.is_empty() => Secret::new(value),
            _ => {
                return Err(
                    Error::decode("the vendor's answer has no new value where the connector looks for it")
                        .hint("compare the vendor's documentation with `rotation.value` of the connector; the vendor may have made one: end it there"),
                );
            }
        };
        Ok(Made {
            value,
            vendor_id: output.get("id").and_then(id_of),
            expires_at_ms: output.get("expires_at").and_then(moment_of),
        })
    }

    /// Has the vendor end a value. One that is not there any more is ended.
    pub async fn revoke(&self, vendor_id: Option<&str>, rotation: &str) -> Result<()> {
        let mut input = Map::new();
        if let Some(id) = vendor_id {
            input.insert("id".to_owned(), id.into());
        }
        match self.perform(REVOKE, input, rotation).await {
            Performed::Done(_) => Ok(()),
            Performed::Failed(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Performed::Failed(error) | Performed::Uncertain(error) => Err(error),
        }
    }

    async fn perform(&self, action: &str, input: Map<String, Value>, rotation: &str) -> Performed {
        let call = Call {
            action: action.to_owned(),
            input,
            idempotency_key: format!("weir-{action}-{rotation}"),
            correlation_id: rotation.to_owned(),
            began_at_ms: None,
        };
        self.requests.perform(&call).await
    }
}

fn id_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Milliseconds since 1970 of an RFC 3339 text, or of seconds since then.
fn moment_of(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => {
            let moment: jiff::Timestamp = text.parse().ok()?;
            Some(moment.as_millisecond())
        }
        Value::Number(seconds) => seconds.as_i64()?.checked_mul(1000),
        _ => None,
    }
}
