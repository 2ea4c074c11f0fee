//! What a request is about, and whether policies let it pass. Derived from the route's path, so that a
//! new route is guarded without anybody thinking of it.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{FromRequestParts as _, Query, RawPathParams};
use axum::http::Uri;
use axum::http::request::Parts;
use serde_json::{Map, Value};
use weir_control::events::connection_of;
use weir_control::policies::Target;
use weir_control::principals::{Access, Permission};
use weir_control::{Store, bundles};
use weir_protocol::{Error, ErrorKind, Result};

use crate::ServerState;
use crate::observe::RequestId;

/// How a request comes, as policies see it in `context.via`.
pub(crate) const VIA: &str = "api";

/// What the parts of a route's path name, once they are filled in.
pub(crate) fn target(path: &str, filled: &[(String, String)]) -> Target {
    let value = |name: &str| {
        let found = filled.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let noun = parts.next().unwrap_or_default();
    let Some(first) = parts.find_map(name_of) else {
        return Target::Tenant;
    };
    let id = value(first);
    match noun {
        "connections" | "schedules" | "hooks" => {
            match parts.find_map(name_of).filter(|name| *name == "stream") {
                Some(stream) => Target::Stream(id, value(stream)),
                None => Target::Connection(id),
            }
        }
        "actions" => Target::Connection(id),
        "calls" | "approvals" => Target::Call(id),
        "backfills" => Target::Backfill(id),
        "events" => Target::Event(id),
        "alerts" => Target::Alert(id),
        "silences" => Target::Silence(id),
        "runs" => Target::Run(id),
        "bundle-runs" => Target::BundleRun(id),
        "connectors" => Target::Connector(id),
        "secrets" => Target::Secret(id),
        "tokens" => Target::Token(id),
        other => Target::Thing(format!("{other}/{id}")),
    }
}

fn name_of(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

/// As the request has it: in its path, its query, or its body.
async fn target_of(path: &str, parts: &mut Parts, body: Option<&Bytes>) -> Target {
    let filled = RawPathParams::from_request_parts(parts, &()).await;
    let filled: Vec<(String, String)> = filled.map_or_else(
        |_| Vec::new(),
        |all| {
            all.iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect()
        },
    );
    let found = target(path, &filled);
    if found != Target::Tenant {
        return found;
    }
    let asked = match body {
        Some(body) => connection_in(body),
        None => connection_of_query(&parts.uri),
    };
    asked.map_or(found, Target::Connection)
}

fn connection_in(body: &Bytes) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    Some(value.get("connection")?.as_str()?.to_owned())
}

fn connection_of_query(uri: &Uri) -> Option<String> {
    let Query(mut pairs) = Query::<HashMap<String, String>>::try_from_uri(uri).ok()?;
    pairs.remove("connection")
}

/// Refuses what policies take away. `body` where the request changes something.
pub(crate) async fn check(
    state: &ServerState,
    access: &Access,
    (path, permission): (&str, Permission),
    parts: &mut Parts,
    body: Option<&Bytes>,
) -> Result<()> {
    if state.policies.policies().is_empty() {
        return Ok(());
    }
    let target = target_of(path, parts, body).await;
    let request = parts.extensions.get::<RequestId>().map(|id| id.0.as_str());
    let store = state.store.acting_as(access.acting(request));
    let policies = &state.policies;
    policies.check(&store, access, permission, &target, VIA).await?;
    for connection in connections_of_bundle(state, &store, access, &target).await? {
        let step = Target::Connection(connection);
        let checked = policies.check(&store, access, permission, &step, VIA).await;
        checked.map_err(|error| unnamed(error, access))?;
    }
    Ok(())
}

/// A refusal that does not name the connection which it is about: who is refused is not to learn of it.
fn unnamed(error: Error, access: &Access) -> Error {
    if error.kind() != ErrorKind::Denied {
        return error;
    }
    let message = format!(
        "'{}' may not see a part of this bundle: a policy forbids it",
        access.principal
    );
    Error::denied(message).hint("ask who keeps the policies of this tenant")
}

/// The connections that a bundle or a run of one tells of. None where there is no such one: the route says so.
async fn connections_of_bundle(
    state: &ServerState,
    store: &Store,
    access: &Access,
    target: &Target,
) -> Result<Vec<String>> {
    if let Target::BundleRun(id) = target {
        let run = bundles::get(store, access, id).await;
        let steps = run.map(|run| run.steps).unwrap_or_default();
        return Ok(steps.into_iter().map(|step| step.connection).collect());
    }
    let (Target::Thing(thing), Some(desk)) = (target, &state.bundles) else {
        return Ok(Vec::new());
    };
    let Some(bundle) = thing.strip_prefix("bundles/") else {
        return Ok(Vec::new());
    };
    let offers = desk.offers(access).await?.into_iter();
    let steps = offers
        .filter(|offer| offer.bundle == bundle)
        .flat_map(|offer| offer.steps);
    Ok(steps.map(|step| step.connection).collect())
}

/// A list without what its reader may not see. None where nothing is left out.
pub(crate) async fn visible(
    state: &ServerState,
    access: &Access,
    (path, permission): (&str, Permission),
    body: &Bytes,
) -> Result<Option<Bytes>> {
    if path.contains('{') || state.policies.policies().is_empty() {
        return Ok(None);
    }
    let Ok(mut page) = serde_json::from_slice::<Value>(body) else {
        return Ok(None);
    };
    let field = if page.get("items").is_some() {
        "items"
    } else {
        "connections"
    };
    let Some(items) = page.get_mut(field).and_then(Value::as_array_mut) else {
        return Ok(None);
    };
    let mut kept = Vec::with_capacity(items.len());
    let before = items.len();
    // Many items are about few things.
    let mut decided: HashMap<Target, bool> = HashMap::new();
    for item in items.drain(..) {
        let mut may = true;
        for target in about(path, &item).into_iter().chain(connections_of_steps(&item)) {
            may &= match decided.get(&target) {
                Some(may) => *may,
                None => {
                    let policies = &state.policies;
                    let asked = policies.allows(&state.store, access, permission, &target, VIA);
                    let may = asked.await?;
                    decided.insert(target, may);
                    may
                }
            };
        }
        if may {
            kept.push(item);
        }
    }
    let is_whole = kept.len() == before;
    *items = kept;
    Ok((!is_whole).then(|| Bytes::from(page.to_string())))
}

/// A bundle tells of every connection that its steps use.
fn connections_of_steps(item: &Value) -> Vec<Target> {
    let steps = item.get("steps").and_then(Value::as_array).into_iter().flatten();
    let names = steps.filter_map(|step| step.get("connection")?.as_str());
    names.map(|name| Target::Connection(name.to_owned())).collect()
}

/// The action that is offered, or that was called.
fn action_of(item: &Value) -> Option<Target> {
    let text = |field: &str| item.get(field).and_then(Value::as_str).map(ToOwned::to_owned);
    Some(Target::Action {
        connection: text("connection")?,
        action: text("action")?,
        effect: serde_json::from_value(item.get("effect")?.clone()).ok()?,
    })
}

/// What a record of the audit trail tells of.
pub(crate) fn noted(record: &Value) -> Option<Target> {
    let subject = record.get("subject")?.as_str()?;
    if let Some(name) = subject.strip_prefix("secret:") {
        return Some(Target::Secret(name.to_owned()));
    }
    let details = record.get("details").and_then(Value::as_str);
    let details: Option<Map<String, Value>> = details.and_then(|text| serde_json::from_str(text).ok());
    let of_stream = subject
        .strip_prefix("stream:")
        .and_then(|stream| stream.split_once('.'));
    let details = details.unwrap_or_default();
    let connection = of_stream.map(|(connection, _)| connection);
    let connection = connection.or_else(|| connection_of(subject, &details))?;
    Some(Target::Connection(connection.to_owned()))
}

/// What an item of a list is about.
fn about(path: &str, item: &Value) -> Option<Target> {
    let text = |field: &str| item.get(field).and_then(Value::as_str).map(ToOwned::to_owned);
    match path.trim_start_matches('/').split('/').next()? {
        "actions" | "calls" => action_of(item),
        "approvals" => action_of(item.get("call")?),
        "bundles" | "bundle-runs" => text("bundle").map(|name| Target::Thing(format!("bundles/{name}"))),
        "connections" => text("name").map(Target::Connection),
        "audit" => noted(item),
        "access-review" => {
            let connection = item.get("oauth")?.get("connection")?.as_str()?;
            Some(Target::Connection(connection.to_owned()))
        }
        "secrets" => text("name").map(Target::Secret),
        "tokens" => text("id").map(Target::Token),
        "events" => match text("event") {
            Some(id) => Some(Target::Event(id)),
            None => connection_of(item.get("subject")?.as_str()?, item.get("data")?.as_object()?)
                .map(|connection| Target::Connection(connection.to_owned())),
        },
        _ => match (text("connection"), text("connector"), text("key")) {
            (Some(connection), _, _) => Some(Target::Connection(connection)),
            (None, Some(key), _) | (None, None, Some(key)) => Some(Target::Connector(key)),
            (None, None, None) => None,
        },
    }
}
