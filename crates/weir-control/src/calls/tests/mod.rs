//! Calls against a vendor that remembers every effect, and ignores keys unless it is told to honour them.

mod govern;
mod kills;
mod outcomes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use weir_protocol::action::{self, Actions, Performed, Reply, Shown};
use weir_protocol::spec::{ActionSpec, Approval};
use weir_protocol::{Error, Result};

use super::*;
use crate::DEFAULT_TENANT;
use crate::connections::{self, Connection};
use crate::policies::InForce;
use crate::principals::{self, Kind, NewToken, Role};

/// How the vendor answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Fine,
    /// It does what it is asked for, and the answer is lost.
    LosesAnswers,
    /// The request is lost before it arrives, and nobody can tell.
    LosesRequests,
    Refuses,
    /// It cannot be reached: nothing was sent.
    IsAway,
    /// It failed so often that nothing is sent for now.
    IsShut,
    /// It does what it is asked for, the answer is lost, and it cannot be reached from then on.
    DoesItAndGoes,
}

/// What happened at the vendor: the keys of effects, in order.
pub(crate) struct Vendor {
    pub(crate) specs: Vec<ActionSpec>,
    pub(crate) version: String,
    pub(crate) fingerprint: String,
    pub(crate) mood: Mutex<Mood>,
    pub(crate) honours_keys: bool,
    pub(crate) effects: Mutex<Vec<String>>,
    pub(crate) requests: Mutex<u32>,
    /// Held by a test, it keeps calls under way.
    pub(crate) gate: tokio::sync::Semaphore,
}

pub(crate) fn spec(idempotency: Value) -> ActionSpec {
    serde_json::from_value(json!({
        "name": "pay", "title": "Pay", "effect": "money", "approval": "auto",
        "input": { "type": "object", "required": ["amount"], "properties": { "amount": { "type": "integer" } } },
        "request": { "path": "/pay" }, "idempotency": idempotency,
    }))
    .unwrap()
}

pub(crate) fn lookup() -> Value {
    json!({ "lookup": { "request": { "path": "/payments" } } })
}

impl Vendor {
    pub(crate) fn new(spec: ActionSpec) -> Self {
        Self {
            honours_keys: rules::remedy(&spec) == rules::Remedy::Again,
            specs: vec![spec],
            version: "1.0.0".to_owned(),
            fingerprint: "as-asked".to_owned(),
            mood: Mutex::new(Mood::Fine),
            effects: Mutex::default(),
            requests: Mutex::default(),
            gate: tokio::sync::Semaphore::new(1000),
        }
    }

    pub(crate) fn feels(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn effects(&self) -> Vec<String> {
        self.effects.lock().unwrap().clone()
    }

    fn happen(&self, key: &str) {
        let mut effects = self.effects.lock().unwrap();
        if !(self.honours_keys && effects.iter().any(|other| other == key)) {
            effects.push(key.to_owned());
        }
    }

    fn reply(key: &str) -> Reply {
        Reply {
            output: json!({ "id": key }),
            remote_id: Some(format!("pay_{key}")),
            status: 201,
            warning: None,
        }
    }
}

#[async_trait]
impl Actions for Vendor {
    fn connector(&self) -> (&str, &str) {
        ("fake", &self.version)
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn specs(&self) -> Vec<&ActionSpec> {
        self.specs.iter().collect()
    }

    fn spec(&self, action: &str) -> Result<&ActionSpec> {
        let found = self.specs.iter().find(|spec| spec.name == action);
        found.ok_or_else(|| Error::not_found("no such action").hint("use pay"))
    }

    fn approval(&self) -> Approval {
        Approval::Required
    }

    fn check(&self, _action: &str, input: &Map<String, Value>) -> Result<Map<String, Value>> {
        if input.get("amount").is_some_and(Value::is_i64) {
            return Ok(input.clone());
        }
        Err(Error::usage("input.amount is missing").hint("add it"))
    }

    fn show(&self, call: &action::Call) -> Result<Shown> {
        Ok(Shown {
            method: "POST".to_owned(),
            url: "https://pay.example/pay".to_owned(),
            headers: Vec::new(),
            body: Some(Value::Object(call.input.clone())),
        })
    }

    fn shut(&self, _action: &str) -> Option<Error> {
        let is_shut = *self.mood.lock().unwrap() == Mood::IsShut;
        is_shut.then(|| Error::unavailable("the circuit breaker is open").hint("wait"))
    }

    async fn perform(&self, call: &action::Call) -> Performed {
        let mood = *self.mood.lock().unwrap();
        if matches!(mood, Mood::IsAway | Mood::IsShut) {
            return Performed::Failed(Error::unavailable("cannot be reached").hint("wait"));
        }
        *self.requests.lock().unwrap() += 1;
        tokio::task::yield_now().await;
        if mood == Mood::Refuses {
            return Performed::Failed(Error::source_failed("the vendor says no").hint("ask for less"));
        }
        if mood != Mood::LosesRequests {
            self.happen(&call.idempotency_key);
        }
        if mood == Mood::DoesItAndGoes {
            self.feels(Mood::IsAway);
        }
        let _pass = self.gate.acquire().await.unwrap();
        tokio::task::yield_now().await;
        match mood {
            Mood::Fine => Performed::Done(Self::reply(&call.idempotency_key)),
            _ => Performed::Uncertain(Error::timeout("no answer").hint("look")),
        }
    }

    async fn look_up(&self, call: &action::Call) -> Result<Option<Reply>> {
        tokio::task::yield_now().await;
        if *self.mood.lock().unwrap() == Mood::IsAway {
            return Err(Error::unavailable("cannot be reached").hint("wait"));
        }
        let found = self.effects().contains(&call.idempotency_key);
        Ok(found.then(|| Self::reply(&call.idempotency_key)))
    }
}

pub(crate) struct Known {
    pub(crate) vendor: Mutex<Arc<Vendor>>,
    pub(crate) rules: Mutex<Vec<Rule>>,
}

#[async_trait]
impl Vendors for Known {
    async fn actions(&self, _tenant: &str, connection: &str) -> Result<Arc<dyn Actions>> {
        if connection != "shop" {
            return Err(Error::not_found("no such connection").hint("use shop"));
        }
        Ok(self.vendor.lock().unwrap().clone())
    }

    async fn offers(&self, _tenant: &str) -> Result<Vec<Offer>> {
        let vendor = self.vendor.lock().unwrap().clone();
        let offer = |spec| Offer::new("shop", vendor.connector(), vendor.approval(), spec);
        Ok(vendor.specs().into_iter().map(offer).collect())
    }

    async fn rules(&self, _tenant: &str) -> Result<Vec<Rule>> {
        Ok(self.rules.lock().unwrap().clone())
    }
}

/// A desk, its vendor, and people.
pub(crate) struct World {
    _folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) known: Arc<Known>,
    pub(crate) vendor: Arc<Vendor>,
    pub(crate) desk: Desk,
}

impl World {
    pub(crate) async fn of(idempotency: Value) -> Self {
        Self::with(spec(idempotency)).await
    }

    pub(crate) async fn with(spec: ActionSpec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::testing::store(folder.path()).await;
        let connection = Connection::new("shop", "fake", "shop");
        connections::register(&store, &connection).await.unwrap();
        let vendor = Arc::new(Vendor::new(spec));
        let known = Arc::new(Known {
            vendor: Mutex::new(vendor.clone()),
            rules: Mutex::default(),
        });
        let desk = Desk::new(
            &store,
            DEFAULT_TENANT,
            known.clone(),
            Arc::new(InForce::default()),
        );
        Self {
            _folder: folder,
            store,
            known,
            vendor,
            desk,
        }
    }

    /// A desk of a process that is dead by the time anybody looks.
    pub(crate) fn doomed(&self) -> Desk {
        let mut desk = self.desk.clone();
        desk.owner.process_start = "1".to_owned();
        desk
    }

    pub(crate) async fn person(&self, name: &str, kind: Kind, role: Role) -> Access {
        self.person_of(&Access::command_line(DEFAULT_TENANT), name, kind, role)
            .await
    }

    pub(crate) async fn person_of(&self, maker: &Access, name: &str, kind: Kind, role: Role) -> Access {
        let new = NewToken {
            principal: name.to_owned(),
            kind,
            roles: [role].into(),
            scopes: [].into(),
            groups: [].into(),
            expires_in: principals::EXPIRY_DEFAULT,
        };
        let issued = principals::create(&self.store, maker, &new).await.unwrap();
        principals::authenticate(&self.store, issued.text.expose())
            .await
            .unwrap()
    }

    pub(crate) async fn agent(&self) -> Access {
        self.person("bot", Kind::Agent, Role::Agent).await
    }

    pub(crate) async fn ask(&self, access: &Access, amount: i64, key: Option<&str>) -> Result<Answered> {
        self.desk.ask(access, &pay(amount), key, "test").await
    }

    pub(crate) async fn call(&self, id: &str) -> Call {
        find(&self.store, DEFAULT_TENANT, id).await.unwrap().unwrap()
    }

    pub(crate) fn rule(&self, rules: Value) {
        *self.known.rules.lock().unwrap() = serde_json::from_value(rules).unwrap();
    }

    /// Makes what is due later due now.
    pub(crate) async fn later(&self) {
        crate::store::testing::execute(
            &self.store,
            "UPDATE calls SET look_at_ms = 0 WHERE look_at_ms IS NOT NULL",
        )
        .await;
    }

    /// Outcomes by audit action, oldest first; the chain is whole.
    pub(crate) async fn noted(&self) -> Vec<(String, String)> {
        let found = crate::audit::verify(&self.store, DEFAULT_TENANT, &[], None)
            .await
            .unwrap();
        found.unwrap();
        let filter = crate::audit::EntryFilter {
            limit: 500,
            ..Default::default()
        };
        let entries = crate::audit::list(&self.store, DEFAULT_TENANT, &filter)
            .await
            .unwrap();
        let mine = entries.into_iter().rev().filter(|entry| {
            entry.action.starts_with("call.")
                || entry.action.starts_with("approval.")
                || entry.action.starts_with("policy.")
        });
        mine.map(|entry| (entry.action, entry.outcome)).collect()
    }

    pub(crate) async fn told(&self) -> BTreeMap<String, usize> {
        let filter = crate::events::EventFilter {
            limit: 500,
            ..Default::default()
        };
        let events = crate::events::list(&self.store, DEFAULT_TENANT, &filter)
            .await
            .unwrap();
        let mut count = BTreeMap::new();
        for event in events {
            *count.entry(event.family).or_default() += 1;
        }
        count
    }
}

pub(crate) fn pay(amount: i64) -> Wanted {
    let Value::Object(input) = json!({ "amount": amount }) else {
        panic!()
    };
    Wanted {
        connection: "shop".to_owned(),
        action: "pay".to_owned(),
        input,
    }
}

pub(crate) fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(one, two)| ((*one).to_owned(), (*two).to_owned()))
        .collect()
}
