use std::path::Path;

use serde_json::json;
use weir_protocol::spec::Effect;

use super::*;

fn spec(steps: &str) -> BundleSpec {
    let text = format!(
        "title: T\ninput: {{ type: object, required: [n], properties: {{ n: {{ type: integer }}, to: {{ type: string, default: ann }} }} }}\nsteps:\n{steps}"
    );
    BundleSpec::parse(Path::new("order.yaml"), &text).unwrap()
}

fn problem(steps: &str) -> String {
    format!("{:?}", check(&spec(steps), &Clock::system()).unwrap_err())
}

const STEPS: &str = r#"
  - { name: a, connection: shop, action: make, with: { n: "{{ input.n }}", to: "Dear {{ input.to }}" }, compensation: { action: remove, with: { id: "{{ output.id }}", by: "{{ remote_id }}" } } }
  - { name: b, connection: shop, action: make, when: "{{ input.n > 1 }}", with: { of: "{{ steps.a.output.id }}", run: "{{ correlation_id }}" }, compensation: { none: "why" } }
output: { id: "{{ steps.a.output.id }}" }
"#;

fn recipe() -> BundleRecipe {
    let bundle = Bundle {
        spec: spec(STEPS),
        effects: vec![Effect::Write, Effect::Write],
    };
    BundleRecipe::new(bundle, &Clock::system()).unwrap()
}

#[test]
fn parts_are_rendered_with_their_types() {
    let recipe = recipe();
    let Value::Object(input) = json!({ "n": 2 }) else {
        panic!()
    };
    let input = recipe.check(&input).unwrap();
    assert_eq!(Value::Object(input.clone()), json!({ "n": 2, "to": "ann" }));
    let names = json!({ "input": input, "steps": { "a": { "output": { "id": 7 } } }, "correlation_id": "r" });
    let given = |part| recipe.render(part, &names).unwrap();
    assert_eq!(given(Part::Arguments(0)), json!({ "n": 2, "to": "Dear ann" }));
    assert_eq!(given(Part::Condition(0)), json!(true));
    assert_eq!(given(Part::Condition(1)), json!(true));
    assert_eq!(given(Part::Arguments(1)), json!({ "of": 7, "run": "r" }));
    assert_eq!(given(Part::Output), json!({ "id": 7 }));
    let taken = json!({ "input": {}, "output": { "id": 7 }, "remote_id": "x" });
    assert_eq!(
        recipe.render(Part::Compensation(0), &taken).unwrap(),
        json!({ "id": 7, "by": "x" })
    );
    let none = json!({ "input": { "n": 1 }, "steps": {} });
    assert_eq!(recipe.render(Part::Condition(1), &none).unwrap(), json!(false));
    // What is not there is an error, never an empty text.
    recipe.render(Part::Arguments(1), &none).unwrap_err();
}

#[test]
fn input_is_checked() {
    let error = recipe().check(&Map::new()).unwrap_err();
    assert!(error.message().contains("input.n is missing"), "{error:?}");
}

#[test]
fn a_template_names_only_what_is_there_by_then() {
    let step = |name: &str, part: &str| {
        format!(
            "  - {{ name: {name}, connection: shop, action: make, {part}, compensation: {{ none: r }} }}\n"
        )
    };
    let plain = |name: &str| step(name, "with: {}");
    for (steps, says) in [
        (
            step("a", r#"with: { x: "{{ steps.b.output.id }}" }"#) + &plain("b"),
            "comes later",
        ),
        (
            step("a", r#"with: { x: "{{ steps.a.output.id }}" }"#),
            "comes later",
        ),
        (
            step("a", r#"when: "{{ steps.b.output.id }}""#) + &plain("b"),
            "comes later",
        ),
        (
            plain("first") + &step("b", r#"with: { x: "{{ steps.fist.output.id }}" }"#),
            "did you mean 'first'?",
        ),
        (
            step("a", r#"with: { x: "{{ inptu.n }}" }"#),
            "did you mean 'input'?",
        ),
        (step("a", r#"with: { x: ["{{ steps }}"] }"#), "steps.<name>"),
        (step("a", r#"with: { x: "{{ broken" }"#), "step a: with"),
    ] {
        let said = problem(&steps);
        assert!(said.contains(says), "{steps}: {said}");
    }
    let undo = "  - { name: a, connection: shop, action: make, compensation: { action: remove, with: { id: \"{{ steps.a.output.id }}\" } } }\n";
    assert!(problem(undo).contains("names 'steps'"), "{}", problem(undo));
    let output = plain("a") + "output: { x: \"{{ steps.z.output }}\" }\n";
    assert!(problem(&output).contains("does not have"), "{}", problem(&output));
}
