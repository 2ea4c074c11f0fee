use serde_json::json;

use super::*;

fn eval_with(source: &str, config: &Value, takes: Takes) -> Result<Value> {
    let now = Moment::parse("2025-06-15T12:00:00Z", "%Y-%m-%dT%H:%M:%SZ").unwrap();
    let text = Text::new(source, &json!({ "name": "p" }), Otherwise::Itself)?;
    text.eval(&Scope::new(now, config), takes)
}

fn eval(source: &str) -> Value {
    let config =
        json!({ "a": 1, "text": "x,y", "list": [1, 2, 3], "none": null, "o": { "k": "v" }, "zip": "007" });
    eval_with(source, &config, Takes::Anything).unwrap_or_else(|error| json!(format!("{error}")))
}

#[test]
fn rendered_text_means_a_python_literal() {
    for (source, meaning) in [
        ("12", json!(12)),
        ("{{ config['zip'] }}", json!("007")),
        ("None", json!(null)),
        ("{{ config['none'] }}", json!(null)),
        ("{{ [1, 'a'] }}", json!([1, "a"])),
        ("1_000", json!(1000)),
        ("1e3", json!(1000.0)),
        ("2025-06-15", json!("2025-06-15")),
        ("'quoted'", json!("quoted")),
        ("{{ config['a'] == 1 }}", json!(true)),
        ("{'a': None}", json!({ "a": null })),
        ("{{ config['missing'] }}", json!("")),
        ("1, 2", json!([1, 2])),
        ("nan", json!("nan")),
    ] {
        assert_eq!(eval(source), meaning, "{source}");
    }
}

#[test]
fn a_place_takes_only_its_kinds() {
    let taken = |source: &str, takes| eval_with(source, &json!({}), takes).unwrap();
    assert_eq!(taken("12", Takes::TextOrList), json!("12"));
    assert_eq!(taken("[1]", Takes::TextOrList), json!([1]));
    assert_eq!(taken("(1, 2)", Takes::TextOrList), json!("(1, 2)"));
    assert_eq!(taken("12", Takes::Number), json!("12"));
    assert_eq!(taken("1.5", Takes::Number), json!(1.5));
    assert_eq!(taken("True", Takes::Integer), json!(true));
}

#[test]
fn dates_are_counted_and_written() {
    assert_eq!(
        eval("{{ (now_utc() - duration('P1M')).strftime('%Y-%m-%d') }}"),
        json!("2025-05-15")
    );
    assert_eq!(eval("{{ today_utc() }}"), json!("2025-06-15"));
    assert_eq!(
        eval("{{ day_delta(-1, format='%Y-%m-%d') }}"),
        json!("2025-06-14")
    );
    assert_eq!(
        eval("{{ format_datetime('2025-06-01T00:00:00Z', '%s') }}"),
        json!(1_748_736_000)
    );
    assert_eq!(
        eval("{{ timestamp('2025-06-01T00:00:00Z') | int }}"),
        json!(1_748_736_000)
    );
    assert_eq!(
        eval("{{ now_utc().isoformat() }}"),
        json!("2025-06-15T12:00:00+00:00")
    );
    assert_eq!(
        eval("{{ str_to_datetime('2025-06-01') < now_utc() }}"),
        json!(true)
    );
}

#[test]
fn values_behave_as_in_python() {
    for (source, meaning) in [
        ("{{ config['text'].split(',')[1] }}", json!("y")),
        ("{{ config['list'][-1] + 1 }}", json!(4)),
        ("{{ config['list'][1:] }}", json!([2, 3])),
        ("{{ config.get('q', 'd') }}", json!("d")),
        ("{{ config['o'] }}", json!({ "k": "v" })),
        ("{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }}", json!("3 -4 2")),
        ("{{ 'a' if config['none'] is none else 'b' }}", json!("a")),
        (
            "{{ config['list'] | map('string') | join('-') }}",
            json!("\"\"\"1\"\"\"-\"\"\"2\"\"\"-\"\"\"3\"\"\""),
        ),
        (
            "{% set x = [] %}{% for i in config['list'] %}{{ x.append(i) or '' }}{% endfor %}{{ x }}",
            json!([1, 2, 3]),
        ),
        ("{{ parameters['name'] }}", json!("p")),
        ("{{ 'a' ~ 1 }}", json!("a1")),
        ("{{ config['o'].items() | list }}", json!([["k", "v"]])),
        ("{{ 'x1y' | regex_search('x(.)y') }}", json!(1)),
        (
            "{{ 'abc' | hash('md5') }}",
            json!("900150983cd24fb0d6963f7d28e17f72"),
        ),
        ("{{ config['o'] | tojson }}", json!({ "k": "v" })),
        ("{{ 1e16 | string }}", json!("1e+16")),
    ] {
        assert_eq!(eval(source), meaning, "{source}");
    }
}

#[test]
fn what_is_wrong_is_told() {
    let told = |source: &str| {
        let error = eval_with(source, &json!({}), Takes::Anything).unwrap_err();
        format!("{error:?}")
    };
    insta::assert_snapshot!(told("{{ nobody['x'] }}"), @"[template] a template of the manifest failed: the template uses 'nobody', which does not exist here (template: {{ nobody['x'] }}) -> check that config holds what the template names, and the template itself");
    insta::assert_snapshot!(told("{{ config['a']['b'] }}"), @"[template] a template of the manifest failed: 'a' is undefined (template: {{ config['a']['b'] }}) -> check that config holds what the template names, and the template itself");
    insta::assert_snapshot!(told("{{ 'x' | unheard }}"), @"[template] a template of the manifest failed: there is no filter named 'unheard' (template: {{ 'x' | unheard }}) -> check that config holds what the template names, and the template itself");
    insta::assert_snapshot!(told("{{ 1 / 0 }}"), @"[template] a template of the manifest failed: division by zero (template: {{ 1 / 0 }}) -> check that config holds what the template names, and the template itself");
    // An operation that does not fit its values leaves the template as it stands.
    assert_eq!(eval("{{ 'a' + 1 }}"), json!("{{ 'a' + 1 }}"));
    assert!(Text::new("{{ open", &Value::Null, Otherwise::Itself).is_err());
}

#[test]
fn a_runaway_template_is_stopped() {
    let config = json!({ "big": vec![1; 2000] });
    let source = "{% for a in config['big'] %}{% for b in config['big'] %}{{ a }}{% endfor %}{% endfor %}";
    let error = eval_with(source, &config, Takes::Anything).unwrap_err();
    assert!(error.message().contains("steps"), "{error}");
}

#[test]
fn conditions_know_what_counts_as_nothing() {
    let holds = |source: &str| {
        let config = json!({ "no": false, "zero": 0, "empty": {} });
        let scope = Scope::new(Moment::utc(0), &config);
        Condition::new(source, &Value::Null)
            .unwrap()
            .holds(&scope)
            .unwrap()
    };
    for source in [
        "{{ config['no'] }}",
        "{{ config['zero'] }}",
        "{{ config['empty'] }}",
        "{{ config['gone'] }}",
        "{{ config['a']['b'] }}",
        "0",
        "[]",
    ] {
        assert!(!holds(source), "{source}");
    }
    assert!(holds("{{ not config['no'] }}"));
    assert!(holds("yes"));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(source in ".{0,60}") {
        drop(eval_with(&source, &json!({ "a": [1] }), Takes::Anything));
        drop(literal::literal(&source));
    }

    #[test]
    fn no_expression_panics(source in r"\{\{ [a-z0-9'\[\]().|+*/%,: -]{0,40} \}\}") {
        drop(eval_with(&source, &json!({ "a": [1] }), Takes::Anything));
    }

    #[test]
    fn what_python_writes_it_reads(value in proptest::collection::vec(proptest::option::of("[a-z'\\\\\"\n]{0,8}"), 0..5)) {
        let value = json!(value);
        let written = py_text(&value);
        proptest::prop_assert_eq!(literal::literal(&written).map(|found| found.value), Some(value));
    }
}

#[test]
fn text_and_lists_are_laid_out_as_the_reference_does() {
    for (source, expected) in [
        ("{{ '<b>a  &amp; b</b>' | striptags }}", json!("a & b")),
        ("{{ 'one two, three' | wordcount }}", json!(3)),
        ("{{ 'abc' | center(8) ~ '|' }}", json!("  abc   |")),
        (
            "{{ 'the quick brown fox' | truncate(12, leeway=0) }}",
            json!("the..."),
        ),
        ("{{ 'one two three' | wordwrap(8) }}", json!("one two\nthree")),
        ("{{ '<a>' | escape }}", json!("&lt;a&gt;")),
        ("{{ 1500 | filesizeformat }}", json!("1.5 kB")),
        ("{{ config['list'] | batch(2) | list }}", json!([[1, 2], [3]])),
        ("{{ config['list'] | slice(2) | list }}", json!([[1, 2], [3]])),
        ("{{ 5 | round }}", json!(5)),
        ("{{ 2.6 | round }}", json!(3.0)),
        ("{{ ['b', 'A'] | max }}", json!("b")),
        ("{{ [{'v': 1}, {'v': 2}] | sum(attribute='v') }}", json!(3)),
        (
            "{{ [{'n': 'a'}, {'n': 'A'}] | unique(attribute='n') | map(attribute='n') | list }}",
            json!(["a"]),
        ),
        ("{{ '--5' }}", json!("--5")),
        ("{{ day_delta(1.5, '%Y') }}", json!(2025)),
        // What does not fit its values leaves the template as it is written.
        ("{{ '1' % 2 }}", json!("{{ '1' % 2 }}")),
        ("{{ 'a' | items | list }}", json!("{{ 'a' | items | list }}")),
        (
            "{{ format_datetime(today_utc(), '%Y') }}",
            json!("{{ format_datetime(today_utc(), '%Y') }}"),
        ),
        (
            "{{ config['gone'] | regex_search('(a)') }}",
            json!("{{ config['gone'] | regex_search('(a)') }}"),
        ),
    ] {
        assert_eq!(eval(source), expected, "{source}");
    }
}
