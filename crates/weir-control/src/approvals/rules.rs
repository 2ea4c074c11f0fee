//! Which calls wait for people, and for whom: rules of the project over what connectors say.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use weir_protocol::spec::{Approval, Effect};
use weir_protocol::units::Span;
use weir_protocol::{Error, Result, name};

use crate::calls::PAST_MAX;
use crate::principals::{Access, Kind};

const EXPIRES_DEFAULT: Span = Span::from_secs(24 * 3600);
const EXPIRES_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
const NEEDED_MAX: u32 = 10;

/// One rule. All rules that fit a call count, and the strictest class of them is taken; where none fits,
/// the connector decides.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// As approvals and audit records name it.
    pub name: String,
    /// Fits calls of this connection only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// Fits this action only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Fits actions with this effect only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Fits callers of this kind only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// All of them have to hold. One that cannot be judged, as the field is not there, holds where the class
    /// is `required` or `forbidden`, and does not where it is `auto`.
    #[serde(default)]
    pub when: Vec<Condition>,
    pub class: Approval,
    /// Different people that have to approve.
    #[serde(default = "one")]
    pub needed: u32,
    /// Who may decide: names of principals or roles, and of groups as `group:finance`; `principal:` and `role:` say which is meant. Empty: whoever has `approvals:write`.
    #[serde(default)]
    pub deciders: Vec<String>,
    /// Nobody decided by then: it is rejected.
    #[serde(default = "expires")]
    pub expires: Span,
    /// Whether one person may approve alone in an emergency, with a reason that is looked at later.
    #[serde(default = "yes")]
    pub break_glass: bool,
}

fn one() -> u32 {
    1
}
fn yes() -> bool {
    true
}
fn expires() -> Span {
    EXPIRES_DEFAULT
}

/// Something about a call's input, or about the calls before it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// A number of the input is larger.
    Above { field: String, value: f64 },
    /// A value of the input is one of these.
    AnyOf { field: String, values: Vec<Value> },
    /// A value of the input is none of these.
    NoneOf { field: String, values: Vec<Value> },
    /// Of the newest 1,000 calls of the action that were done, none had this value.
    FirstTime { field: String },
    /// The caller asked for the action so often before within this time.
    MoreThan { count: u64, per: Span },
}

/// What is asked about.
pub(crate) struct Asked<'a> {
    pub(crate) access: &'a Access,
    pub(crate) connection: &'a str,
    pub(crate) action: &'a str,
    pub(crate) effect: Effect,
    pub(crate) input: &'a Map<String, Value>,
    /// What the connector says of the action.
    pub(crate) declared: Approval,
}

/// The calls before, as far as conditions need them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Past {
    /// Inputs of the action's newest calls that were done.
    pub(crate) inputs: Vec<Map<String, Value>>,
    /// When the caller asked for the action, newest first.
    pub(crate) asked_at_ms: Vec<i64>,
    pub(crate) now_ms: i64,
}

/// What people have to do before a call is made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decided {
    pub(crate) class: Approval,
    pub(crate) rules: Vec<String>,
    pub(crate) needed: u32,
    pub(crate) deciders: Vec<Vec<String>>,
    pub(crate) expires: Duration,
    pub(crate) allows_break_glass: bool,
}

/// Refuses rules that cannot be meant.
pub fn check(rules: &[Rule]) -> Result<()> {
    for (place, rule) in rules.iter().enumerate() {
        let wrong = |what: String, hint: &str| Err(Error::spec(what).with("rule", &rule.name).hint(hint));
        name::check("approval rule", &rule.name)?;
        if rules[..place].iter().any(|other| other.name == rule.name) {
            return wrong(
                format!("two approval rules are named '{}'", rule.name),
                "rename one of them",
            );
        }
        if !(1..=NEEDED_MAX).contains(&rule.needed) {
            let what = format!("an approval rule needs {} people", rule.needed);
            return wrong(what, "use 1 to 10");
        }
        let expires = rule.expires.get();
        if expires.is_zero() || expires > EXPIRES_MAX {
            return wrong(
                "an approval rule expires after no time, or after too much".to_owned(),
                "use 1m to 30d",
            );
        }
        let is_beyond = |condition: &Condition| matches!(condition, Condition::MoreThan { count, .. } if *count >= PAST_MAX.unsigned_abs());
        if rule.when.iter().any(is_beyond) {
            let what = format!("an approval rule counts {PAST_MAX} calls or more");
            return wrong(
                what,
                "no more are looked at: use a smaller count, over a shorter time",
            );
        }
    }
    Ok(())
}

/// Names exactly these rules.
pub(crate) fn version(rules: &[Rule]) -> Result<String> {
    let text = serde_json::to_vec(rules).map_err(|error| {
        Error::internal("approval rules cannot be written as JSON")
            .caused_by(error)
            .hint("report it")
    })?;
    Ok(format!("{:x}", Sha256::digest(text)))
}

/// Whether any rule asks about calls before.
pub(crate) fn asks_past(rules: &[Rule]) -> bool {
    let past = |condition: &Condition| {
        matches!(
            condition,
            Condition::FirstTime { .. } | Condition::MoreThan { .. }
        )
    };
    rules.iter().any(|rule| rule.when.iter().any(past))
}

pub(crate) fn decide(rules: &[Rule], asked: &Asked<'_>, past: &Past) -> Decided {
    let fitting: Vec<&Rule> = rules.iter().filter(|rule| fits(rule, asked, past)).collect();
    let ruled = fitting
        .iter()
        .map(|rule| rule.class)
        .max_by_key(|class| strictness(*class));
    let class = match (asked.declared, ruled) {
        // Nothing opens what the connector shuts.
        (Approval::Forbidden, _) => Approval::Forbidden,
        (declared, ruled) => ruled.unwrap_or(declared),
    };
    let counting: Vec<&&Rule> = fitting.iter().filter(|rule| rule.class == class).collect();
    Decided {
        class,
        rules: counting.iter().map(|rule| rule.name.clone()).collect(),
        needed: counting.iter().map(|rule| rule.needed).max().unwrap_or(1),
        deciders: counting
            .iter()
            .filter(|rule| !rule.deciders.is_empty())
            .map(|rule| rule.deciders.clone())
            .collect(),
        expires: counting
            .iter()
            .map(|rule| rule.expires.get())
            .min()
            .unwrap_or(EXPIRES_DEFAULT.get()),
        allows_break_glass: counting.iter().all(|rule| rule.break_glass),
    }
}

/// Whether a call is forbidden whatever its input is.
pub(crate) fn is_shut(rules: &[Rule], asked: &Asked<'_>) -> bool {
    let shuts = |rule: &Rule| {
        rule.class == Approval::Forbidden && rule.when.is_empty() && fits(rule, asked, &Past::default())
    };
    asked.declared == Approval::Forbidden || rules.iter().any(shuts)
}

fn strictness(class: Approval) -> u8 {
    match class {
        Approval::Auto => 0,
        Approval::Required => 1,
        Approval::Forbidden => 2,
    }
}

fn fits(rule: &Rule, asked: &Asked<'_>, past: &Past) -> bool {
    let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    is(&rule.connection, asked.connection)
        && is(&rule.action, asked.action)
        && rule.effect.is_none_or(|effect| effect == asked.effect)
        && rule.kind.is_none_or(|kind| kind == asked.access.kind)
        && rule.when.iter().all(|condition| {
            let unknown = rule.class != Approval::Auto;
            holds(condition, asked.input, past).unwrap_or(unknown)
        })
}

/// None where it cannot be judged.
fn holds(condition: &Condition, input: &Map<String, Value>, past: &Past) -> Option<bool> {
    match condition {
        Condition::Above { field, value } => number(at(input, field)?).map(|found| found > *value),
        Condition::AnyOf { field, values } => Some(is_among(values, at(input, field)?)),
        Condition::NoneOf { field, values } => Some(!is_among(values, at(input, field)?)),
        Condition::FirstTime { field } => {
            let value = at(input, field)?;
            let is_known = |other: &Map<String, Value>| {
                at(other, field).is_some_and(|known| means_the_same(known, value))
            };
            Some(!past.inputs.iter().any(is_known))
        }
        Condition::MoreThan { count, per } => {
            let per = i64::try_from(per.get().as_millis()).unwrap_or(i64::MAX);
            let since = past.now_ms.saturating_sub(per);
            let found = past.asked_at_ms.iter().filter(|at| **at > since).count() as u64;
            Some(found >= *count)
        }
    }
}

fn is_among(values: &[Value], found: &Value) -> bool {
    values.iter().any(|value| means_the_same(value, found))
}

/// Whether two values mean the same, however their numbers are written: `100`, `100.0`, `1e2`, and `"100"` where
/// the other one is a number.
fn means_the_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(_), Value::Number(_) | Value::String(_)) | (Value::String(_), Value::Number(_)) => {
            // Whole numbers as they are: beyond 2^53 different ones have the same float.
            match (whole(one), whole(other)) {
                (Some(one), Some(other)) => one == other,
                _ => number(one).is_some_and(|value| number(other) == Some(value)),
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| means_the_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_same = |(key, value): (&String, &Value)| {
                other.get(key).is_some_and(|other| means_the_same(value, other))
            };
            one.len() == other.len() && one.iter().all(is_same)
        }
        _ => one == other,
    }
}

/// A whole number that is written as one.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or(number.as_u64().map(i128::from)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A number, also where it is written as a text: amounts often are.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

/// The value at a path of keys, as in `customer.email`.
fn at<'a>(input: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    let mut keys = field.split('.');
    let first = input.get(keys.next()?)?;
    let found = keys.try_fold(first, |value, key| value.get(key))?;
    (!found.is_null()).then_some(found)
}

/// Whether somebody is in each of the lists.
pub(crate) fn may_decide(access: &Access, deciders: &[Vec<String>]) -> bool {
    deciders.iter().all(|list| {
        list.iter().any(|wanted| {
            let is_role = |name: &str| access.roles.iter().any(|role| role.as_str() == name);
            match wanted.split_once(':') {
                Some(("principal", name)) => name == access.principal,
                Some(("group", name)) => access.groups.contains(name),
                Some(("role", name)) => is_role(name),
                // An identity provider names groups: one of a role's name gives nobody that role's say.
                _ => *wanted == access.principal || is_role(wanted),
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(rules: Value) -> Vec<Rule> {
        let rules: Vec<Rule> = serde_json::from_value(rules).unwrap();
        check(&rules).unwrap();
        rules
    }

    fn decided(all: &[Rule], declared: Approval, input: Value, past: &Past) -> Decided {
        let Value::Object(input) = input else { panic!() };
        let access = Access::command_line("default");
        let asked = Asked {
            access: &access,
            connection: "shop",
            action: "refund",
            effect: Effect::Money,
            input: &input,
            declared,
        };
        decide(all, &asked, past)
    }

    #[test]
    fn the_connector_decides_where_no_rule_fits_and_nothing_opens_what_it_shuts() {
        let all = rules(json!([{ "name": "other", "action": "pay", "class": "forbidden" }]));
        let past = Past::default();
        for class in [Approval::Auto, Approval::Required, Approval::Forbidden] {
            assert_eq!(decided(&all, class, json!({}), &past).class, class);
        }
        let open = rules(json!([{ "name": "open", "effect": "money", "class": "auto" }]));
        assert_eq!(
            decided(&open, Approval::Required, json!({}), &past).class,
            Approval::Auto
        );
        assert_eq!(
            decided(&open, Approval::Forbidden, json!({}), &past).class,
            Approval::Forbidden
        );
    }

    #[test]
    fn the_strictest_rule_that_fits_counts_and_the_largest_quorum() {
        let all = rules(json!([
            { "name": "small", "class": "auto" },
            { "name": "large", "class": "required", "needed": 2, "expires": "2h", "deciders": ["finance"],
              "when": [{ "above": { "field": "amount", "value": 100 } }] },
            { "name": "strange", "class": "required", "break_glass": false, "deciders": ["approver"],
              "when": [{ "none_of": { "field": "customer.country", "values": ["DE"] } }] },
            { "name": "never", "class": "forbidden", "when": [{ "above": { "field": "amount", "value": 9000 } }] },
        ]));
        let past = Past::default();
        let take = |amount: Value, country: &str| {
            decided(
                &all,
                Approval::Auto,
                json!({ "amount": amount, "customer": { "country": country } }),
                &past,
            )
        };
        assert_eq!(take(json!(100), "DE").class, Approval::Auto);
        let both = take(json!("101"), "FR");
        assert_eq!((both.class, both.needed), (Approval::Required, 2));
        assert_eq!(both.rules, ["large", "strange"]);
        assert_eq!(both.deciders, [["finance"], ["approver"]]);
        assert_eq!(both.expires, Duration::from_secs(7200));
        assert!(!both.allows_break_glass);
        assert_eq!(take(json!(9001), "DE").class, Approval::Forbidden);
        // What cannot be judged is on the strict side.
        assert_eq!(take(json!({}), "DE").class, Approval::Forbidden);
        assert_eq!(take(json!("NaN"), "DE").class, Approval::Forbidden);
    }

    #[test]
    fn numbers_are_compared_by_value() {
        let class = |values: Value, amount: Value| {
            let all = rules(json!([
                { "name": "a", "class": "forbidden", "when": [{ "any_of": { "field": "amount", "values": values } }] },
            ]));
            decided(
                &all,
                Approval::Auto,
                json!({ "amount": amount }),
                &Past::default(),
            )
            .class
        };
        for (value, amount) in [
            (json!(100), json!(100.0)),
            (json!(100.0), json!(100)),
            (json!(1e2), json!("100")),
            (json!("100.00"), json!(100)),
            (json!([{ "a": 1 }]), json!([{ "a": 1.0 }])),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_993_u64)),
        ] {
            assert_eq!(class(json!([value]), amount), Approval::Forbidden, "{value}");
        }
        for (value, amount) in [
            (json!(100), json!(100.5)),
            (json!("007"), json!("7")),
            (json!(true), json!(1)),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64)),
            (json!([1]), json!([1, 1])),
        ] {
            assert_eq!(class(json!([value]), amount), Approval::Auto, "{value}");
        }
        let all = rules(
            json!([{ "name": "new", "class": "required", "when": [{ "first_time": { "field": "to" } }] }]),
        );
        let Value::Object(known) = json!({ "to": 7.0 }) else {
            panic!()
        };
        let past = Past {
            inputs: vec![known],
            ..Past::default()
        };
        assert_eq!(
            decided(&all, Approval::Auto, json!({ "to": 7 }), &past).class,
            Approval::Auto
        );
    }

    #[test]
    fn calls_before_count() {
        let all = rules(json!([
            { "name": "new", "class": "required", "when": [{ "first_time": { "field": "to" } }] },
            { "name": "often", "class": "forbidden", "when": [{ "more_than": { "count": 2, "per": "1m" } }] },
        ]));
        let Value::Object(known) = json!({ "to": "a" }) else {
            panic!()
        };
        let mut past = Past {
            inputs: vec![known],
            asked_at_ms: vec![59_000, 1],
            now_ms: 60_002,
        };
        assert_eq!(
            decided(&all, Approval::Auto, json!({ "to": "a" }), &past).class,
            Approval::Auto
        );
        assert_eq!(
            decided(&all, Approval::Auto, json!({ "to": "b" }), &past).class,
            Approval::Required
        );
        past.now_ms = 60_000;
        assert_eq!(
            decided(&all, Approval::Auto, json!({ "to": "a" }), &past).class,
            Approval::Forbidden
        );
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        let wrong = |rule: Value| check(&serde_json::from_value::<Vec<Rule>>(rule).unwrap()).unwrap_err();
        wrong(json!([{ "name": "a", "class": "auto" }, { "name": "a", "class": "auto" }]));
        wrong(json!([{ "name": "a", "class": "required", "needed": 0 }]));
        wrong(json!([{ "name": "a", "class": "required", "expires": "1y" }]));
        wrong(json!([{ "name": "no name!", "class": "required" }]));
    }
}
