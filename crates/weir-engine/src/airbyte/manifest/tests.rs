use serde_json::json;

use super::*;

fn told(text: &str) -> String {
    format!("{:?}", Manifest::parse("m.yaml", text).unwrap_err())
}

#[test]
fn references_are_resolved_and_parameters_handed_down() {
    let manifest = Manifest::parse(
        "m.yaml",
        r##"
version: 1.0.0
definitions:
  base:
    $parameters: { field: data }
    requester: { type: HttpRequester, url_base: "https://api.example.com", path: "#/definitions/path" }
    record_selector: { extractor: { field_path: ["{{ parameters['field'] }}"] } }
  path: /things
streams:
  - name: things
    $parameters: { primary_key: id }
    retriever: { $ref: "#/definitions/base", paginator: { type: NoPagination } }
"##,
    )
    .unwrap();
    let stream = manifest.root().pointer("/streams/0").unwrap();
    assert_eq!(stream["type"], "DeclarativeStream");
    assert_eq!(stream["primary_key"], "id");
    let retriever = &stream["retriever"];
    assert_eq!(retriever["requester"]["path"], "/things");
    assert_eq!(retriever["record_selector"]["type"], "RecordSelector");
    let extractor = &retriever["record_selector"]["extractor"];
    assert_eq!(extractor["type"], "DpathExtractor");
    assert_eq!(
        extractor["$parameters"],
        json!({ "primary_key": "id", "field": "data" })
    );
}

#[test]
fn references_that_multiply_are_stopped() {
    let mut text = "streams: []\ndefinitions:\n  d0: x\n".to_owned();
    for step in 1..40 {
        let before = format!("'#/definitions/d{}'", step - 1);
        text.push_str(&format!("  d{step}: [{before}, {before}, {before}]\n"));
    }
    let error = told(&text);
    assert!(error.contains("more than 3000000 values"), "{error}");
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    insta::assert_snapshot!(told("streams:\n  - $ref: '#/a'\na:\n  b: { $ref: '#/a' }\n"), @"[spec] a circle of references: #/a → #/a (at: m.yaml:4, component: streams[0].b) -> mend the manifest there");
    insta::assert_snapshot!(told("streams:\n  - $ref: '#/nowhere'\n"), @"[spec] '#/nowhere' points to nothing (at: m.yaml:2, component: streams[0]) -> mend the manifest there");
    insta::assert_snapshot!(told("streams: [\n  }"), @"[spec] m.yaml: line 1: mismatched bracket '[' closed by '}' -> mend the YAML there");
    insta::assert_snapshot!(told("- a\n"), @"[spec] m.yaml is not a manifest: its root is no mapping -> a manifest begins with version, type: DeclarativeSource and streams");
    insta::assert_snapshot!(told("type: DeclarativeSource\n"), @"[spec] m.yaml has neither streams nor dynamic_streams -> a manifest lists its streams under 'streams'");
}

#[test]
fn scalars_mean_what_yaml_1_1_says() {
    for (text, value) in [
        ("yes", json!(true)),
        ("Off", json!(false)),
        ("~", json!(null)),
        ("0x1f", json!(31)),
        ("010", json!(8)),
        ("1_000", json!(1000)),
        ("1.5", json!(1.5)),
        ("1e3", json!("1e3")),
        ("1.0e+3", json!(1000.0)),
        ("2021-01-01", json!("2021-01-01")),
        ("-3", json!(-3)),
        ("12:30", json!("12:30")),
    ] {
        assert_eq!(yaml_scalar(text), value, "{text}");
    }
}

#[test]
fn a_place_is_found_through_references() {
    let text = "streams:\n  - $ref: '#/definitions/s'\ndefinitions:\n  s:\n    name: x\n    retriever:\n      type: Nope\n";
    assert_eq!(yaml::line_of("m", text, "streams[0].retriever"), Some(6));
    assert_eq!(yaml::line_of("m", text, "streams[0].unheard"), Some(4));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        drop(Manifest::parse("m.yaml", &text));
    }

    #[test]
    fn no_yaml_panics(text in "(streams|a|\\$ref|'#/a'|'#/streams/0'|type|: |- |\n|  |\\[|\\]|\\{|\\}|&x |\\*x|<<){0,40}") {
        drop(Manifest::parse("m.yaml", &text));
        let _ = yaml::line_of("m.yaml", &text, "streams[0].a");
    }
}
