//! Bundles against a vendor with state that remembers every effect and ignores keys.

mod kills;
mod outcomes;
mod people;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use weir_engine::Clock;
use weir_engine::bundle::BundleRecipe;
use weir_protocol::action::{self, Actions, Performed, Reply, Shown};
use weir_protocol::bundle::{Bundle, BundleSpec, Recipe};
use weir_protocol::spec::{ActionSpec, Approval};
use weir_protocol::{Error, Result};

use super::*;
use crate::DEFAULT_TENANT;
use crate::approvals::{self, Decision, Rule, Verdict};
use crate::calls::{self, Vendors};
use crate::connections::{self, Connection};
use crate::policies::InForce;
use crate::principals::{self, Kind, NewToken, Role};

/// How the vendor takes one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Fine,
    /// It does what it is asked for, and the answer is lost.
    LosesAnswer,
    /// The request is lost before it arrives, and nobody can tell.
    LosesRequest,
    Refuses,
    /// It cannot be reached: nothing was sent.
    IsAway,
}

/// One thing that the vendor did.
#[derive(Debug, Clone)]
struct Effect {
    key: String,
    action: String,
    thing: String,
    correlation_id: String,
}

struct Mart {
    specs: Vec<ActionSpec>,
    /// Of the requests to come; then it is fine.
    moods: Mutex<VecDeque<Mood>>,
    effects: Mutex<Vec<Effect>>,
}

fn spec(name: &str, effect: &str, idempotency: &Value, approval: &str) -> ActionSpec {
    let spec = json!({
        "name": name, "title": name, "effect": effect, "approval": approval,
        "input": { "type": "object", "required": ["thing"], "properties": { "thing": { "type": "string" } } },
        "request": { "path": "/" }, "idempotency": idempotency,
    });
    serde_json::from_value(spec).unwrap()
}

fn lookup() -> Value {
    json!({ "lookup": { "request": { "path": "/things" } } })
}

impl Mart {
    fn new(idempotency: &Value) -> Self {
        Self {
            specs: vec![
                spec("look", "read", &json!("none"), "auto"),
                spec("make", "write", idempotency, "auto"),
                spec("make_asked", "write", idempotency, "required"),
                spec("remove", "destructive", idempotency, "auto"),
                spec("tell", "message", idempotency, "auto"),
            ],
            moods: Mutex::default(),
            effects: Mutex::default(),
        }
    }

    fn will(&self, moods: &[Mood]) {
        *self.moods.lock().unwrap() = moods.iter().copied().collect();
    }

    fn effects(&self) -> Vec<Effect> {
        self.effects.lock().unwrap().clone()
    }

    /// How often a thing is there: made and not removed.
    fn net(&self, thing: &str) -> i64 {
        let of = |effect: &Effect| match effect.action.as_str() {
            _ if effect.thing != thing => 0,
            "make" | "make_asked" | "tell" => 1,
            "remove" => -1,
            _ => 0,
        };
        self.effects().iter().map(of).sum()
    }

    fn happened(&self, call: &str) -> usize {
        let key = format!("weir-{call}");
        self.effects().iter().filter(|effect| effect.key == key).count()
    }

    fn do_it(&self, call: &action::Call) {
        self.effects.lock().unwrap().push(Effect {
            key: call.idempotency_key.clone(),
            action: call.action.clone(),
            thing: call.input["thing"].as_str().unwrap_or_default().to_owned(),
            correlation_id: call.correlation_id.clone(),
        });
    }

    fn reply(call: &action::Call) -> Reply {
        Reply {
            output: json!({ "id": call.input["thing"] }),
            remote_id: Some(format!("r-{}", call.input["thing"].as_str().unwrap_or_default())),
            status: 201,
            warning: None,
        }
    }
}

#[async_trait]
impl Actions for Mart {
    fn connector(&self) -> (&str, &str) {
        ("mart", "1.0.0")
    }

    fn fingerprint(&self) -> &str {
        "mart"
    }

    fn specs(&self) -> Vec<&ActionSpec> {
        self.specs.iter().collect()
    }

    fn spec(&self, action: &str) -> Result<&ActionSpec> {
        let found = self.specs.iter().find(|spec| spec.name == action);
        found.ok_or_else(|| Error::not_found(format!("no action '{action}'")).hint("use make"))
    }

    fn approval(&self) -> Approval {
        Approval::Auto
    }

    fn check(&self, _action: &str, input: &Map<String, Value>) -> Result<Map<String, Value>> {
        if input.get("thing").is_some_and(Value::is_string) {
            return Ok(input.clone());
        }
        Err(Error::usage("input.thing is missing").hint("add it"))
    }

    fn show(&self, call: &action::Call) -> Result<Shown> {
        Ok(Shown {
            method: "POST".to_owned(),
            url: "https://mart.example/".to_owned(),
            headers: vec![("x-correlation-id".to_owned(), call.correlation_id.clone())],
            body: Some(Value::Object(call.input.clone())),
        })
    }

    async fn perform(&self, call: &action::Call) -> Performed {
        let mood = self.moods.lock().unwrap().pop_front().unwrap_or(Mood::Fine);
        tokio::task::yield_now().await;
        // Looking has no effect, and is done again after a death.
        if matches!(mood, Mood::Fine | Mood::LosesAnswer) && call.action != "look" {
            self.do_it(call);
        }
        tokio::task::yield_now().await;
        match mood {
            Mood::Fine => Performed::Done(Self::reply(call)),
            Mood::Refuses => Performed::Failed(Error::source_failed("the mart says no").hint("ask for less")),
            Mood::IsAway => Performed::Failed(Error::unavailable("cannot be reached").hint("wait")),
            // Of what only reads nothing is left open.
            _ if call.action == "look" => Performed::Failed(Error::timeout("no answer").hint("wait")),
            _ => Performed::Uncertain(Error::timeout("no answer").hint("look")),
        }
    }

    async fn look_up(&self, call: &action::Call) -> Result<Option<Reply>> {
        tokio::task::yield_now().await;
        let is_there = self
            .effects()
            .iter()
            .any(|effect| effect.key == call.idempotency_key);
        Ok(is_there.then(|| Self::reply(call)))
    }
}

/// The vendor of every connection, the project's rules, and its bundles.
struct Known {
    mart: Mutex<Arc<Mart>>,
    rules: Mutex<Vec<Rule>>,
    bundles: Mutex<BTreeMap<String, Bundle>>,
    /// Whether bundles can be read.
    is_away: Mutex<bool>,
}

#[async_trait]
impl Vendors for Known {
    async fn actions(&self, _tenant: &str, connection: &str) -> Result<Arc<dyn Actions>> {
        if connection != "shop" {
            return Err(Error::not_found("no such connection").hint("use shop"));
        }
        Ok(self.mart.lock().unwrap().clone())
    }

    async fn offers(&self, _tenant: &str) -> Result<Vec<calls::Offer>> {
        let mart = self.mart.lock().unwrap().clone();
        let offer = |spec| calls::Offer::new("shop", mart.connector(), mart.approval(), spec);
        Ok(mart.specs().into_iter().map(offer).collect())
    }

    async fn rules(&self, _tenant: &str) -> Result<Vec<Rule>> {
        Ok(self.rules.lock().unwrap().clone())
    }
}

#[async_trait]
impl Recipes for Known {
    async fn all(&self, _tenant: &str) -> Result<Vec<Arc<dyn Recipe>>> {
        let all: Vec<Bundle> = self.bundles.lock().unwrap().values().cloned().collect();
        all.into_iter().map(|bundle| self.compile(bundle)).collect()
    }

    async fn get(&self, _tenant: &str, bundle: &str) -> Result<Arc<dyn Recipe>> {
        let found = self.bundles.lock().unwrap().get(bundle).cloned();
        let found =
            found.ok_or_else(|| Error::not_found(format!("no bundle '{bundle}'")).hint("use another"))?;
        self.compile(found)
    }

    fn compile(&self, bundle: Bundle) -> Result<Arc<dyn Recipe>> {
        if *self.is_away.lock().unwrap() {
            return Err(Error::unavailable("no bundle can be read").hint("wait"));
        }
        Ok(Arc::new(BundleRecipe::new(bundle, &Clock::system())?))
    }
}

struct World {
    _folder: tempfile::TempDir,
    store: Store,
    known: Arc<Known>,
    mart: Arc<Mart>,
    desk: Desk,
}

/// Three things, the second of the first's id, taken back by what was given for them.
const THREE: &str = r#"
title: Three things
input: { type: object, required: [run], properties: { run: { type: string } } }
steps:
  - { name: look, connection: shop, action: look, with: { thing: "{{ input.run }}" } }
  - name: a
    connection: shop
    action: make
    with: { thing: "{{ input.run }}-a" }
    compensation: { action: remove, with: { thing: "{{ input.thing }}" } }
  - name: b
    connection: shop
    action: make
    with: { thing: "{{ steps.a.input.thing | replace('-a', '-b') }}" }
    compensation: { action: remove, with: { thing: "{{ input.thing }}" } }
  - name: c
    connection: shop
    action: make
    with: { thing: "{{ input.run }}-c" }
    compensation: { action: remove, with: { thing: "{{ input.thing }}" } }
output: { first: "{{ steps.a.remote_id }}" }
"#;

/// The second thing cannot be taken back.
const PIVOT: &str = r#"
title: A pivot
input: { type: object, required: [run], properties: { run: { type: string } } }
steps:
  - name: a
    connection: shop
    action: make
    with: { thing: "{{ input.run }}-a" }
    compensation: { action: remove, with: { thing: "{{ input.thing }}" } }
  - name: b
    connection: shop
    action: tell
    with: { thing: "{{ input.run }}-b" }
    compensation: { none: it was read }
  - name: c
    connection: shop
    action: make
    with: { thing: "{{ input.run }}-c" }
    compensation: { action: remove, with: { thing: "{{ input.thing }}" } }
"#;

impl World {
    async fn of(idempotency: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::testing::store(folder.path()).await;
        let connection = Connection::new("shop", "mart", "shop");
        connections::register(&store, &connection).await.unwrap();
        let mart = Arc::new(Mart::new(&idempotency));
        let known = Arc::new(Known {
            mart: Mutex::new(mart.clone()),
            rules: Mutex::default(),
            bundles: Mutex::default(),
            is_away: Mutex::default(),
        });
        let policies = Arc::new(InForce::default());
        let calls = calls::Desk::new(&store, DEFAULT_TENANT, known.clone(), policies);
        let desk = Desk::new(&store, DEFAULT_TENANT, calls, known.clone());
        let world = Self {
            _folder: folder,
            store,
            known,
            mart,
            desk,
        };
        world.bundle("three", THREE);
        world.bundle("pivot", PIVOT);
        world.bundle(
            "asked",
            &THREE.replace(
                "name: b\n    connection: shop\n    action: make",
                "name: b\n    connection: shop\n    action: make_asked",
            ),
        );
        world
    }

    fn bundle(&self, name: &str, text: &str) {
        let spec = BundleSpec::parse(Path::new(&format!("{name}.yaml")), text).unwrap();
        let find = |_: &str, action: &str| self.mart.spec(action).cloned();
        let bundle = spec.resolved(&find).unwrap();
        self.known.bundles.lock().unwrap().insert(name.to_owned(), bundle);
    }

    /// A desk of a process that is dead by the time anybody looks.
    fn doomed(&self) -> Desk {
        let mut desk = self.desk.clone();
        desk.owner.process_start = "1".to_owned();
        desk.calls.owner.process_start = "1".to_owned();
        desk
    }

    async fn person(&self, name: &str, kind: Kind, role: Role) -> Access {
        let new = NewToken {
            principal: name.to_owned(),
            kind,
            roles: [role].into(),
            scopes: [].into(),
            groups: [].into(),
            expires_in: principals::EXPIRY_DEFAULT,
        };
        let maker = Access::command_line(DEFAULT_TENANT);
        let issued = principals::create(&self.store, &maker, &new).await.unwrap();
        principals::authenticate(&self.store, issued.text.expose())
            .await
            .unwrap()
    }

    async fn agent(&self) -> Access {
        self.person("bot", Kind::Agent, Role::Agent).await
    }

    async fn approver(&self) -> Access {
        self.person("ann", Kind::User, Role::Approver).await
    }

    async fn ask(&self, access: &Access, bundle: &str, run: &str, key: Option<&str>) -> Result<Answered> {
        self.desk.ask(access, &wanted(bundle, run), key, "test").await
    }

    async fn run(&self, id: &str) -> Run {
        find(&self.store, DEFAULT_TENANT, id).await.unwrap().unwrap()
    }

    /// Goes on with everything until nothing is due any more, as if it were late.
    async fn rest(&self) {
        for _ in 0..60 {
            self.later().await;
            let calls = self.desk.calls.work().await.unwrap();
            let runs = self.desk.work().await.unwrap();
            if calls + runs == 0 {
                return;
            }
        }
    }

    /// Makes what is due later due now.
    async fn later(&self) {
        for table in ["calls", "bundle_runs"] {
            let sql = format!("UPDATE {table} SET look_at_ms = 0 WHERE look_at_ms IS NOT NULL");
            crate::store::testing::execute(&self.store, &sql).await;
        }
    }

    async fn decide(&self, person: &Access, call: &str, verdict: Verdict) {
        let decision = Decision {
            verdict,
            reason: None,
            break_glass: false,
            digest: None,
        };
        self.desk.calls.decide(person, call, &decision).await.unwrap();
    }

    /// What a person does who looks at the vendor: says what happened, and lets the rest go on.
    async fn help(&self, person: &Access, id: &str) -> Run {
        for _ in 0..30 {
            self.rest().await;
            let run = self.run(id).await;
            if run.status != Status::Parked {
                return run;
            }
            let error = run.parked_error.clone().unwrap();
            assert!(error.hint.is_some() && !error.message.is_empty(), "{run:?}");
            match run.parked_for.unwrap() {
                Parked::Uncertain => {
                    let call = run.waits_for.clone().unwrap();
                    let happened = self.mart.happened(&call) > 0;
                    let settled = Settled {
                        reason: "seen at the mart".to_owned(),
                        happened: Some(happened),
                        remote_id: happened.then(|| "r".to_owned()),
                    };
                    self.desk.settle(person, id, &settled).await.unwrap();
                }
                Parked::Compensation | Parked::Pivot => {
                    self.desk.retry(person, id).await.unwrap();
                }
            }
        }
        panic!("nobody can help {:?}", self.run(id).await);
    }

    /// Audit actions of a run, oldest first; the chain is whole.
    async fn noted(&self, run: &str) -> Vec<String> {
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
        let own = entries
            .into_iter()
            .rev()
            .filter(|entry| entry.correlation_id.as_deref() == Some(run));
        own.map(|entry| entry.action).collect()
    }

    async fn told(&self, run: &str) -> Vec<String> {
        let filter = crate::events::EventFilter {
            limit: 500,
            ..Default::default()
        };
        let events = crate::events::list(&self.store, DEFAULT_TENANT, &filter)
            .await
            .unwrap();
        let own = events
            .into_iter()
            .rev()
            .filter(|event| event.correlation_id.as_deref() == Some(run));
        own.map(|event| event.family)
            .filter(|family| family.starts_with("bundle."))
            .collect()
    }
}

fn wanted(bundle: &str, run: &str) -> Wanted {
    let Value::Object(input) = json!({ "run": run }) else {
        panic!()
    };
    Wanted {
        bundle: bundle.to_owned(),
        input,
    }
}

/// What is there of a run's three things.
fn nets(mart: &Mart, run: &str) -> [i64; 3] {
    ["a", "b", "c"].map(|thing| mart.net(&format!("{run}-{thing}")))
}

/// How the steps of a run stand.
fn steps(run: &Run) -> Vec<&'static str> {
    run.steps.iter().map(|step| step.status.as_str()).collect()
}
