use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

fn templates() -> Templates {
    let now: Timestamp = "2026-11-21T04:00:00Z".parse().unwrap();
    Templates::new(&Clock::fixed(now))
}

fn scope() -> Scope {
    Scope::new()
        .with(
            "config",
            json!({ "repository": "a/b", "size": 7, "tags": ["x", "y"] }),
        )
        .with("record", json!({ "id": 1, "draft": null }))
}

fn render(text: &str) -> Value {
    templates()
        .compile("path", text)
        .unwrap()
        .render(&scope())
        .unwrap()
}

fn failure(text: &str) -> String {
    let template = templates().compile("stream issues: path", text);
    let error = template
        .and_then(|template| template.render(&scope()))
        .unwrap_err();
    format!("{error:?}")
}

#[test]
fn one_expression_keeps_its_type() {
    assert_eq!(render("{{ config.size }}"), json!(7));
    assert_eq!(render("{{ config.tags }}"), json!(["x", "y"]));
    assert_eq!(render("{{ config.size + 1 }} "), json!(8));
    assert_eq!(render("n={{ config.size }}"), json!("n=7"));
    assert_eq!(render("{{ config.size }}{{ config.size }}"), json!("77"));
    assert_eq!(render("plain"), json!("plain"));
    assert_eq!(render("{{ record.draft }}"), Value::Null);
}

#[test]
fn python_methods_and_filters() {
    assert_eq!(render("{{ config.repository.split('/')[1] }}"), json!("b"));
    assert_eq!(render("{{ 'a b' | urlencode }}"), json!("a%20b"));
    assert_eq!(
        render("{{ 'x' | hash('md5') }}"),
        json!("9dd4e461268c8034f5c8564e155c67a6")
    );
    assert_eq!(
        render("{{ 'weir' | base64encode | base64decode }}"),
        json!("weir")
    );
    assert_eq!(
        render("{{ 'id=42;' | regex_search('id=(\\\\d+)') }}"),
        json!("42")
    );
    assert_eq!(render("{{ config.tags | tojson }}"), json!("[\"x\", \"y\"]"));
    assert_eq!(render("{{ config.none | default('d') }}"), json!("d"));
}

#[test]
fn time_comes_from_the_clock() {
    assert_eq!(render("{{ now_utc() }}"), json!("2026-11-21T04:00:00Z"));
    assert_eq!(render("{{ today() }}"), json!("2026-11-21"));
    assert_eq!(render("{{ day_delta(-1, '%Y-%m-%d') }}"), json!("2026-11-20"));
    assert_eq!(
        render("{{ format_datetime(now_utc(), '%Y%m%d') }}"),
        json!("20261121")
    );
    assert_eq!(
        render("{{ format_datetime('21/11/2026', 'date', '%d/%m/%Y') }}"),
        json!("2026-11-21")
    );
    assert_eq!(
        render("{{ timestamp(now_utc()) - duration('P1D') }}"),
        json!(1_795_147_200)
    );
}

#[test]
fn says_what_is_undefined() {
    insta::assert_snapshot!(failure("/repos/{{ config.repositry }}"), @"[template] stream issues: path: 'config.repositry' is undefined (template: /repos/{{ config.repositry }}) -> did you mean 'repository' instead of 'repositry'?");
    insta::assert_snapshot!(failure("{{ config.zzz }}"), @"[template] stream issues: path: 'config.zzz' is undefined (template: {{ config.zzz }}) -> there are: repository, size, tags; or write {{ config.zzz | default('…') }} where it may be missing");
    insta::assert_snapshot!(failure("{{ confg.size }}"), @"[template] stream issues: path: 'confg.size' is undefined (template: {{ confg.size }}) -> did you mean 'config' instead of 'confg'?");
    insta::assert_snapshot!(failure("{{ config.size "), @"[template] stream issues: path: the template cannot be compiled (template: {{ config.size , problem: syntax error: unexpected end of input, expected end of variable block) -> write {{ config.name }} for a value and {% if … %}…{% endif %} for a choice");
    insta::assert_snapshot!(failure("{{ config.size | nofilter }}"), @"[template] stream issues: path: the template cannot be rendered (template: {{ config.size | nofilter }}, problem: unknown filter: filter nofilter is unknown) -> check the filters and functions it calls and what they are given");
}

#[test]
fn runs_in_a_sandbox() {
    insta::assert_snapshot!(failure("{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}"), @"[template] stream issues: path: the template takes too many steps (template: {% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}, steps at most: 200000) -> shorten its loops");
    insta::assert_snapshot!(failure("{% for i in range(2000) %}{{ 'x' * 100000 }}{% endfor %}"), @"[template] stream issues: path: the template gives too much text (template: {% for i in range(2000) %}{{ 'x' * 100000 }}{% endfor %}, bytes at most: 8388608) -> shorten what it loops over");
    insta::assert_snapshot!(failure("{{ env('HOME') }}"), @"[template] stream issues: path: the template cannot be rendered (template: {{ env('HOME') }}, problem: unknown function: env is unknown) -> check the filters and functions it calls and what they are given");
}

#[test]
fn conditions_may_be_undefined() {
    let truth = |text: &str| {
        templates()
            .compile("filter", text)
            .unwrap()
            .render_bool(&scope())
            .unwrap()
    };
    assert!(truth("{{ record.id == 1 }}"));
    assert!(!truth("{{ record.pull_request }}"));
    assert!(truth("{{ record.pull_request is not defined }}"));
    assert!(truth("{{ not record.draft }}"));
    assert!(truth("{{ not record.absent }}"));
    assert!(!truth("{{ 'False' }}"));
}

#[test]
fn trees_render_at_any_depth() {
    let tree =
        json!({ "a": ["{{ config.size }}", { "{{ config.repository }}": "{{ config.tags }}" }], "b": 1 });
    let tree = templates().compile_tree("json", &tree).unwrap();
    assert!(tree.uses("config") && !tree.uses("slice"));
    assert_eq!(
        tree.render(&scope()).unwrap(),
        json!({ "a": [7, { "a/b": ["x", "y"] }], "b": 1 })
    );
}
