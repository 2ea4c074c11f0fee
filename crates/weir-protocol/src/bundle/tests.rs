use super::*;

fn action(name: &str, effect: &str, compensate: Value) -> ActionSpec {
    let mut spec = json!({
        "name": name, "title": name, "effect": effect, "request": { "path": "/" },
        "input": {
            "type": "object", "required": ["id"], "additionalProperties": false,
            "properties": { "id": { "type": "string" }, "note": { "type": "string" } },
        },
    });
    if !compensate.is_null() {
        spec["compensate"] = compensate;
    }
    serde_json::from_value(spec).unwrap()
}

fn find(connection: &str, name: &str) -> Result<ActionSpec> {
    let unknown = || Error::not_found(format!("connection '{connection}' has no action '{name}'"));
    if connection != "shop" {
        return Err(unknown().hint("use shop"));
    }
    Ok(match name {
        "look" => action(name, "read", Value::Null),
        "make" => action(name, "write", Value::Null),
        "remove" => action(name, "destructive", Value::Null),
        "pay" => action(
            name,
            "money",
            json!({ "action": "refund", "with": { "id": "{{ output.id }}" } }),
        ),
        "refund" => action(name, "money", Value::Null),
        "tell" => action(name, "message", Value::Null),
        _ => return Err(unknown().hint("use another")),
    })
}

fn read(text: &str) -> Result<BundleSpec> {
    BundleSpec::parse(Path::new("bundles/order.yaml"), text)
}

fn said(text: &str) -> String {
    let error = read(text).and_then(|spec| spec.resolved(&find)).unwrap_err();
    format!("{error:?}")
}

fn with_step(step: &str) -> String {
    format!("title: T\nsteps:\n  - {{ name: a, connection: shop, {step} }}\n")
}

#[test]
fn a_bundle_knows_its_effect_its_pivot_and_the_compensations_of_its_actions() {
    let spec = read(
        "title: Order
steps:
  - { name: look, connection: shop, action: look, with: { id: x } }
  - { name: make, connection: shop, action: make, with: { id: x }, compensation: { action: remove, with: { id: x } } }
  - { name: pay, connection: shop, action: pay, with: { id: x } }
  - { name: tell, connection: shop, action: tell, with: { id: x }, compensation: { none: it was read } }
",
    )
    .unwrap();
    assert_eq!(spec.bundle, "order");
    let bundle = spec.resolved(&find).unwrap();
    assert_eq!(bundle.effect(), Effect::Money);
    assert_eq!(bundle.pivot().unwrap().name, "tell");
    let declared = bundle.spec.steps[2].compensation.clone().unwrap();
    assert_eq!(declared.of("shop"), Some(("shop", "refund")));
    assert_eq!(declared.with["id"], "{{ output.id }}");
    // As it is kept with a run, it reads the same.
    let kept: Bundle = serde_json::from_value(json!(bundle)).unwrap();
    assert_eq!(json!(kept), json!(bundle));
}

#[test]
fn what_is_wrong_is_said_with_the_next_step() {
    for (step, says) in [
        ("action: nothing", "no action 'nothing'"),
        (
            "action: make, with: { id: x }",
            "nothing says how 'make' (effect write) is taken back",
        ),
        ("action: tell, with: { id: x }", "effect message"),
        (
            "action: look, with: { id: x }, compensation: { none: r }",
            "only reads has a compensation",
        ),
        (
            "action: make, with: { id: x }, compensation: {}",
            "an action, or nothing with a reason",
        ),
        (
            "action: make, with: { id: x }, compensation: { none: ' ' }",
            "an action, or nothing with a reason",
        ),
        (
            "action: make, with: { id: x }, compensation: { none: r, action: remove }",
            "an action, or nothing",
        ),
        (
            "action: make, with: { id: x }, compensation: { action: look, with: { id: x } }",
            "'look' only reads",
        ),
        (
            "action: make, with: { id: x }, compensation: { action: gone }",
            "no action 'gone'",
        ),
        (
            "action: make, with: { id: x }, compensation: { action: remove }",
            "'id' is missing",
        ),
        ("action: look", "'id' is missing"),
        ("action: look, with: { id: x, nota: y }", "did you mean 'note'?"),
    ] {
        let found = said(&with_step(step));
        assert!(found.contains(says), "{step}: {found}");
        assert!(found.contains("step=") || found.contains("step"), "{found}");
    }
    let twice = "title: T\nsteps:\n  - { name: a, connection: shop, action: look, with: { id: x } }\n  - { name: a, connection: shop, action: look, with: { id: x } }\n";
    assert!(said(twice).contains("two steps are called 'a'"));
    assert!(said("title: T\nsteps: []\n").contains("0 steps"));
    assert!(said(&format!("bundle: other\n{}", with_step("action: look"))).contains("rename the file"));
    assert!(
        said(&format!(
            "input: {{ type: string }}\n{}",
            with_step("action: look")
        ))
        .contains("object")
    );
}
