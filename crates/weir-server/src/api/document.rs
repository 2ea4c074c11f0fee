//! The OpenAPI 3.1 document, made from the routes and the types that they take and give.

use std::sync::LazyLock;

use axum::Json;
use axum::http::Method;
use schemars::generate::{Contract, SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::endpoint::Endpoint;
use super::{BASE, endpoints};
use crate::guard::IDEMPOTENCY_KEY;
use crate::problem::ProblemBody;

static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi);

pub(crate) async fn document() -> Json<&'static Value> {
    std::future::ready(Json(&*DOCUMENT)).await
}

pub(crate) fn openapi() -> Value {
    let mut answers = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.contract = Contract::Serialize;
            settings.meta_schema = None;
        })
        .into_generator();
    // What is taken is described where it is taken: its fields may be left out where those that are
    // given may not.
    let mut inputs = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .into_generator();
    let problem = answers.subschema_for::<ProblemBody>().to_value();
    let mut paths = Map::new();
    for endpoint in endpoints() {
        let path = format!("{BASE}{}", endpoint.path);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        let method = endpoint.method.as_str().to_lowercase();
        item[method] = operation(&endpoint, &mut answers, &mut inputs, &problem);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "weir",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Connections, runs, schedules and who may do what. Every request needs a token \
                (`weir token create`), and sees its tenant only.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "bearerFormat": "weir_<id>_<secret>" } },
            "schemas": answers.take_definitions(true),
        },
    })
}

fn operation(
    endpoint: &Endpoint,
    answers: &mut SchemaGenerator,
    inputs: &mut SchemaGenerator,
    problem: &Value,
) -> Value {
    let is_read = endpoint.method == Method::GET;
    let mut parameters = path_parameters(endpoint.path);
    if let Some(query) = endpoint.query {
        parameters.extend(query_parameters(&query(inputs).to_value()));
    }
    let headers: &[(&str, &str)] = if endpoint.streams.is_some() || endpoint.is_secret {
        &[]
    } else if is_read {
        &[(
            "If-None-Match",
            "ETags that the client has: 304 where one is still right",
        )]
    } else {
        &[(
            "Idempotency-Key",
            "The same key again: the same answer, and no second change",
        )]
    };
    let matching: &[(&str, &str)] = if endpoint.conditional {
        &[(
            "If-Match",
            "The ETag of what is to be changed: 412 where it changed since",
        )]
    } else {
        &[]
    };
    for (name, what) in headers.iter().chain(matching) {
        let mut schema = json!({ "type": "string" });
        if name.eq_ignore_ascii_case(IDEMPOTENCY_KEY) {
            schema = json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" });
        }
        parameters.push(
            json!({ "name": name, "in": "header", "required": false, "description": what, "schema": schema }),
        );
    }
    let mut description = format!("Needs the permission `{}`.", endpoint.permission);
    if endpoint.conditional {
        description += " With `If-Match` and the ETag of what is to be changed, it is refused (412) where that \
            changed since.";
    }
    if endpoint.is_secret {
        description +=
            " Takes no `Idempotency-Key`: nothing of the body is kept. Sent again, it leaves the same value.";
    }
    let mut operation = json!({
        "operationId": operation_id(endpoint),
        "summary": endpoint.summary,
        "description": description,
        "tags": [endpoint.path.split('/').nth(1)],
        "parameters": parameters,
        "responses": responses(endpoint, answers, problem),
    });
    if let Some(body) = endpoint.body {
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": body(inputs).to_value() } },
        });
    }
    operation
}

fn operation_id(endpoint: &Endpoint) -> String {
    let words = endpoint
        .path
        .split(['/', '-', '{', '}'])
        .filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    format!("{}_{}", endpoint.method.as_str().to_lowercase(), words.join("_"))
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
        })
        .collect()
}

/// The fields of a query's type, each a parameter.
fn query_parameters(schema: &Value) -> Vec<Value> {
    let Some(fields) = schema["properties"].as_object() else {
        return Vec::new();
    };
    fields
        .iter()
        .map(|(name, field)| {
            let mut schema = field.clone();
            let description = schema
                .as_object_mut()
                .and_then(|field| field.remove("description"));
            without_null(&mut schema);
            json!({ "name": name, "in": "query", "required": false, "description": description.unwrap_or_default(), "schema": schema })
        })
        .collect()
}

/// In an address there is no null: what is not there is left out.
fn without_null(schema: &mut Value) {
    // Not by index: that would put a null where nothing is.
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        if let [only] = choices.as_slice() {
            let only = only.clone();
            *schema = only;
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
}

const WAITS: &str = "It waits for people to approve it; Location says where to ask what became of it";
const OF_CALLS: [(&str, &str); 2] = [
    (
        "502",
        "The vendor refused it, or what became of it is not known; `call_status` says which",
    ),
    ("504", "The vendor did not answer in time"),
];

fn waiting(done: &Value) -> Value {
    let mut waits = done.clone();
    waits["description"] = json!(WAITS);
    waits
}

fn refused(what: &str, problem: &Value) -> Value {
    json!({
        "description": what,
        "content": { "application/problem+json": { "schema": problem } },
    })
}

/// What comes where nothing is wrong.
fn successes(endpoint: &Endpoint, answers: &mut SchemaGenerator) -> Map<String, Value> {
    let mut responses = Map::new();
    if let Some(media) = endpoint.streams {
        let done = json!({
            "description": endpoint.summary,
            "content": { media: { "schema": { "type": "string" } } },
        });
        responses.insert("200".to_owned(), done);
    }
    if let Some((status, answer)) = endpoint.answer {
        let mut headers = json!({});
        if endpoint.method == Method::GET {
            headers["ETag"] = json!({ "schema": { "type": "string" } });
            responses.insert(
                "304".to_owned(),
                json!({ "description": "The client has it already" }),
            );
        } else if !endpoint.is_secret {
            headers["Idempotent-Replayed"] = json!({
                "description": "There where this is the answer of an earlier request with the same key",
                "schema": { "type": "string", "enum": ["true"] },
            });
        }
        let done = json!({
            "description": endpoint.summary,
            "headers": headers,
            "content": { "application/json": { "schema": answer(answers).to_value() } },
        });
        if endpoint.makes_calls {
            responses.insert("202".to_owned(), waiting(&done));
        }
        responses.insert(status.to_string(), done);
    }
    responses
}

fn responses(endpoint: &Endpoint, answers: &mut SchemaGenerator, problem: &Value) -> Value {
    let refused = |what: &str| refused(what, problem);
    let mut responses = successes(endpoint, answers);
    if endpoint.streams.is_some() {
        responses.insert("404".to_owned(), refused("There is nothing yet"));
    }
    responses.insert("400".to_owned(), refused("The request cannot be read"));
    responses.insert(
        "401".to_owned(),
        refused("The token is missing, unknown, expired or revoked"),
    );
    responses.insert("403".to_owned(), refused("The token lacks the permission"));
    if endpoint.path.contains('{') || endpoint.body.is_some() {
        responses.insert("404".to_owned(), refused("There is no such thing in this tenant"));
    }
    if endpoint.method != Method::GET {
        responses.insert(
            "409".to_owned(),
            refused("Something else is under way, or it is over"),
        );
        if endpoint.conditional {
            responses.insert(
                "412".to_owned(),
                refused("It has changed since the ETag was read"),
            );
        }
        responses.insert("413".to_owned(), refused("The body is too large"));
        responses.insert("415".to_owned(), refused("The body is not JSON"));
        responses.insert(
            "422".to_owned(),
            refused("The body does not fit, or its key was used for another one"),
        );
    }
    responses.insert(
        "429".to_owned(),
        refused("Too many requests; Retry-After says how long to wait"),
    );
    let of_calls = OF_CALLS.iter().filter(|_| endpoint.makes_calls);
    if endpoint.asks_outside {
        responses.insert("502".to_owned(), refused("The outside system refused"));
        responses.insert(
            "504".to_owned(),
            refused("The outside system did not answer in time"),
        );
    }
    responses.extend(of_calls.map(|(status, what)| ((*status).to_owned(), refused(what))));
    responses.insert("503".to_owned(), refused("The control store cannot be reached"));
    Value::Object(responses)
}
