use serde_json::json;

use super::*;
use crate::clock::Clock;

fn plan(request: Value) -> RequestPlan {
    let http: HttpSpec = serde_json::from_value(json!({
        "base_url": "https://api.example.com/v1/",
        "headers": { "Accept": "a", "X-Empty": "{{ config.none | default('') }}" },
        "params": { "fixed": "1" },
    }))
    .unwrap();
    let request: Request = serde_json::from_value(request).unwrap();
    RequestPlan::new(&Templates::new(&Clock::system()), "stream x", &http, &request).unwrap()
}

fn scope() -> Scope {
    Scope::new()
        .with("config", json!({ "repository": "own/er", "tags": ["x", "y"] }))
        .with(
            "slice",
            json!({ "id": "a/b c?#%", "n": 7, "url": "https://other.example.com/x?y=1" }),
        )
}

fn url(request: Value, injections: &[Injection]) -> String {
    plan(request)
        .build(&scope(), injections, None)
        .unwrap()
        .url
        .to_string()
}

fn put(at: Placed, value: impl Into<Value>) -> Injection {
    Injection {
        at,
        value: value.into(),
    }
}

#[test]
fn slice_values_stay_within_their_segment() {
    assert_eq!(
        url(
            json!({ "path": "/repos/{{ config.repository }}/items/{{ slice.id }}/{{ slice.n }}" }),
            &[]
        ),
        "https://api.example.com/v1/repos/own/er/items/a%2Fb%20c%3F%23%25/7?fixed=1"
    );
    let dots = Scope::new().with("slice", json!({ "id": ".." }));
    let error = plan(json!({ "path": "/a/{{ slice.id }}/b" }))
        .build(&dots, &[], None)
        .err()
        .unwrap();
    assert!(error.to_string().contains(".."), "{error}");
}

#[test]
fn absolute_paths_replace_the_base() {
    assert_eq!(
        url(json!({ "path": "{{ slice.url }}" }), &[]),
        "https://other.example.com/x?y=1&fixed=1"
    );
    assert_eq!(url(json!({}), &[]), "https://api.example.com/v1?fixed=1");
}

#[test]
fn params_repeat_and_leave_out() {
    let request = json!({ "path": "a", "params": {
        "tag": "{{ config.tags }}", "none": null, "empty": "{{ '' }}", "literal": "", "fixed": "2", "flag": true, "page": 1,
    } });
    assert_eq!(
        url(request, &[put(Placed::Param("page".into()), 3)]),
        "https://api.example.com/v1/a?fixed=2&flag=true&literal=&tag=x&tag=y&page=3"
    );
}

#[test]
fn a_page_url_is_taken_whole() {
    let built = plan(json!({ "path": "a", "params": { "x": "1" } }))
        .build(
            &scope(),
            &[put(Placed::Param("size".into()), 3)],
            Some("https://api.example.com/n?cursor=z"),
        )
        .unwrap();
    assert_eq!(built.url.as_str(), "https://api.example.com/n?cursor=z");
}

#[test]
fn bodies_of_every_kind() {
    let body = |request: Value, injections: &[Injection]| {
        let built = plan(request).build(&scope(), injections, None).unwrap();
        let text = match built.body {
            Body::Empty => "empty".to_owned(),
            Body::Json(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Body::Form(text) | Body::Text(text) | Body::Bare(text) => text,
            Body::Multipart(_, bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        };
        format!("{} {text}", built.method)
    };
    let after = put(Placed::Body("variables.after".into()), "c1");
    assert_eq!(
        body(
            json!({ "graphql": { "query": "{ a }", "variables": { "n": "{{ slice.n }}" } } }),
            &[after]
        ),
        r#"POST {"query":"{ a }","variables":{"n":7,"after":"c1"}}"#
    );
    assert_eq!(
        body(
            json!({ "json": { "deep": [{ "tags": "{{ config.tags }}" }] }, "method": "put" }),
            &[]
        ),
        r#"PUT {"deep":[{"tags":["x","y"]}]}"#
    );
    assert_eq!(
        body(
            json!({ "form": { "a": "{{ slice.n }} &" } }),
            &[put(Placed::Body("b".into()), 2)]
        ),
        "POST a=7+%26&b=2"
    );
    assert_eq!(body(json!({ "text": "n={{ slice.n }}" }), &[]), "POST n=7");
    assert_eq!(
        body(json!({}), &[put(Placed::Body("page.n".into()), 2)]),
        r#"POST {"page":{"n":2}}"#
    );
    assert_eq!(body(json!({}), &[]), "GET empty");
}

#[test]
fn undefined_params_are_named() {
    let error = plan(json!({ "path": "a", "params": { "q": "{{ config.repo }}" } }))
        .build(&scope(), &[], None)
        .err()
        .unwrap();
    insta::assert_snapshot!(format!("{error:?}"), @"[template] stream x: params.q: 'config.repo' is undefined (template: {{ config.repo }}) -> there are: repository, tags; or write {{ config.repo | default('…') }} where it may be missing");
}

fn form(fields: Value) -> String {
    let built = plan(json!({ "path": "/x", "form": fields })).build(&scope(), &[], None);
    let Body::Form(form) = built.unwrap().body else {
        panic!("no form");
    };
    form
}

#[test]
fn objects_in_forms_give_a_field_for_each_member() {
    let nested = json!({ "metadata": { "order": 7, "from": { "app": "crm" } },
        "items": [{ "price": "a", "quantity": 2 }, { "price": "b" }], "tags": ["x", "y"] });
    assert_eq!(
        form(nested),
        "items%5B0%5D%5Bprice%5D=a&items%5B0%5D%5Bquantity%5D=2&items%5B1%5D%5Bprice%5D=b\
         &metadata%5Border%5D=7&metadata%5Bfrom%5D%5Bapp%5D=crm&tags=x&tags=y"
    );
}

#[test]
fn what_is_omitted_is_not_there() {
    let gone = "{{ config.nothing | default(omit) }}";
    assert_eq!(
        form(json!({ "a": gone, "b": { "c": gone, "d": 1 }, "e": [gone, "f"] })),
        "b%5Bd%5D=1&e=f"
    );
    assert_eq!(
        url(json!({ "path": "/x", "params": { "a": gone, "b": "1" } }), &[]),
        "https://api.example.com/v1/x?fixed=1&b=1"
    );
    let body = plan(json!({ "path": "/x", "json": { "a": gone, "b": [gone, 1], "c": { "d": gone } } }))
        .build(&scope(), &[], None)
        .unwrap()
        .body;
    let Body::Json(text) = body else {
        panic!("no JSON");
    };
    assert_eq!(
        serde_json::from_slice::<Value>(&text).unwrap(),
        json!({ "b": [1], "c": {} })
    );
}
