use std::path::Path;

use super::*;

const SMALL: &str = r#"
spec: 1
connector: acme
version: 1.0.0
name: { en: Acme }
hosts: [api.acme.example]
http: { base_url: "https://api.acme.example/v1" }
auth: [{ method: bearer, token: "{{ credential.token }}" }]
streams:
  - name: invoices
    path: /invoices
    select: data
    primary_key: [id]
    cursor: { field: updated_at, request: { param: updated_since }, lookback: 1m }
    paginate: { by: page_token, path: next_token, request: { param: page_token } }
  - name: invoice_lines
    path: "/invoices/{{ slice.invoice }}/lines"
    slices: [{ by: parent, stream: invoices, fields: { invoice: id } }]
    primary_key: [id]
"#;

fn parse(text: &str) -> Result<ConnectorSpec> {
    ConnectorSpec::parse(Path::new("connector.yaml"), text)
}

fn refusal(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "the example lacks {from}");
    format!("{:?}", parse(&SMALL.replace(from, to)).unwrap_err())
}

#[test]
fn a_small_connector_is_read() {
    let spec = parse(SMALL).unwrap();
    assert_eq!(spec.streams[0].default_mode().as_str(), "incremental_merge");
    assert_eq!(spec.streams[1].parents().collect::<Vec<_>>(), ["invoices"]);
}

#[test]
fn it_survives_the_way_to_json_and_back() {
    let spec = parse(SMALL).unwrap();
    let json = serde_json::to_string(&spec).unwrap();
    let again: ConnectorSpec = serde_json::from_str(&json).unwrap();
    assert_eq!(json, serde_json::to_string(&again).unwrap());
}

#[test]
fn errors_name_place_field_and_nearest_spelling() {
    insta::assert_snapshot!(refusal("primary_key: [id]\n    cursor", "primary_keys: [id]\n    cursor"), @"[spec] connector.yaml:13:5: unknown field `primary_keys`, expected one of name, entity, description, path, method, params, headers, json, form, text, graphql, job, decode, select, filter, paginate, slices, primary_key, cursor, transform, errors, etag, schema, mode, classification, contract, pii, partition_by, explode, deleted_field, deletion_vectors (line: primary_keys: [id]) -> did you mean 'primary_key'?");
    insta::assert_snapshot!(refusal("by: page_token", "by: page_tokens"), @"[spec] connector.yaml:15:17: unknown variant `page_tokens`, expected one of none, page_number, offset, page_token, next_url, link_header (line: paginate: { by: page_tokens, path: next_token, request: { param: page_token } }) -> did you mean 'page_token'?");
    insta::assert_snapshot!(refusal("lookback: 1m", "lookback: soon"), @"[spec] lookback 'soon' is neither a duration nor a number (stream: invoices, file: connector.yaml) -> write 10m, 1d, or a plain number for an integer cursor");
    insta::assert_snapshot!(refusal("method: bearer", "method: barer"), @r#"[spec] connector.yaml:8:10: unknown variant `barer`, expected one of none, basic, bearer, api_key, oauth2, session, jwt, standard_webhooks (line: auth: [{ method: barer, token: "{{ credential.token }}" }]) -> did you mean 'bearer'?"#);
    insta::assert_snapshot!(refusal("version: 1.0.0", "version: [1"), @"[spec] connector.yaml:4:10: expected text (line: version: [1) -> `weir schema connector` and `weir schema connection` print what is allowed where");
    insta::assert_snapshot!(refusal("name: { en: Acme }", "name: Acme"), @"[spec] connector.yaml:5:7: expected fields (name: value) (line: name: Acme) -> `weir schema connector` and `weir schema connection` print what is allowed where");
    insta::assert_snapshot!(refusal("stream: invoices,", "stream: invoice,"), @"[spec] connector 'acme' has no stream 'invoice' (sliced by it: invoice_lines, file: connector.yaml) -> did you mean 'invoices'?");
    insta::assert_snapshot!(refusal("stream: invoices,", "stream: invoice_lines,"), @"[spec] streams are parents of each other: invoice_lines -> invoice_lines (file: connector.yaml) -> break the circle: a stream cannot be sliced by itself");
}

#[test]
fn an_action_has_a_request_or_is_native() {
    let told = |rest: &str| {
        let action =
            format!("actions:\n  - {{ name: a, title: A, effect: read, input: {{ type: object }}{rest} }}\n");
        parse(&format!("{SMALL}{action}"))
            .map(drop)
            .map_err(|error| format!("{error:?}"))
    };
    told(", native: read_document").unwrap();
    told(", request: { path: /a }").unwrap();
    assert!(told("").unwrap_err().contains("the action has no request"));
    for beside in [
        "request: { path: /a }",
        "select: { path: x }",
        "idempotency: natural",
    ] {
        let error = told(&format!(", native: read_document, {beside}")).unwrap_err();
        assert!(error.contains("a native action has"), "{beside}: {error}");
    }
}

#[test]
fn a_list_is_neither_prepared_nor_a_file_and_preparations_have_names_of_their_own() {
    let with = |more: &str| {
        let action = format!(
            "actions:\n  - {{ name: find, title: Find, effect: read, input: {{ type: object }}, request: {{ path: /x }}, {more} }}\n"
        );
        format!("{:?}", parse(&format!("{SMALL}{action}")).unwrap_err())
    };
    let step = "{ name: place, request: { path: /y } }";
    insta::assert_snapshot!(with(&format!("select: data, prepare: [{step}]")), @"[spec] an action that gives a list has `prepare`, or answers with a file (action: find, file: connector.yaml) -> take select and paginate away, or the other");
    insta::assert_snapshot!(with("select: data, answers: file"), @"[spec] an action that gives a list has `prepare`, or answers with a file (action: find, file: connector.yaml) -> take select and paginate away, or the other");
    insta::assert_snapshot!(with(&format!("prepare: [{step}, {step}]")), @"[spec] prepare 'place' is declared twice (action: find, file: connector.yaml) -> rename or delete one of them");
}
