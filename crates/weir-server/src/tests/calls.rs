//! Calls of actions and their approvals, as clients make them.

use std::sync::Mutex;

use serde_json::{Map, json};
use weir_control::approvals::Rule;
use weir_control::bundles::{self, Recipes};
use weir_control::calls::{Desk, Offer, Vendors, Wanted};
use weir_control::connections;
use weir_control::policies::InForce;
use weir_protocol::action::{self, Actions, Performed, Reply, Shown};
use weir_protocol::bundle::{Bundle, BundleSpec, Part, Recipe};
use weir_protocol::spec::{ActionSpec, Approval};

use super::*;

/// A vendor that does what the input says.
pub(super) struct Till {
    specs: Vec<ActionSpec>,
    pub(super) done: Mutex<Vec<String>>,
}

impl Till {
    pub(super) fn new() -> Arc<Self> {
        Self::with(0)
    }

    /// With so many actions more.
    pub(super) fn with(more: usize) -> Arc<Self> {
        let spec = |name: &str, approval: &str| {
            let spec = json!({
                "name": name, "title": "Pay", "effect": "money", "approval": approval,
                "input": { "type": "object" }, "request": { "path": "/pay" },
            });
            serde_json::from_value(spec).unwrap()
        };
        let more = (0..more).map(|nth| spec(&format!("act_{nth:02}"), "auto"));
        let specs = [spec("pay", "required"), spec("tip", "auto")];
        Arc::new(Self {
            specs: specs.into_iter().chain(more).collect(),
            done: Mutex::default(),
        })
    }
}

#[async_trait]
impl Actions for Till {
    fn connector(&self) -> (&str, &str) {
        ("till", "1.0.0")
    }

    fn fingerprint(&self) -> &str {
        "till"
    }

    fn specs(&self) -> Vec<&ActionSpec> {
        self.specs.iter().collect()
    }

    fn spec(&self, action: &str) -> Result<&ActionSpec> {
        let found = self.specs.iter().find(|spec| spec.name == action);
        found.ok_or_else(|| Error::not_found("no such action").hint("use pay or tip"))
    }

    fn approval(&self) -> Approval {
        Approval::Required
    }

    fn check(&self, _action: &str, input: &Map<String, Value>) -> Result<Map<String, Value>> {
        if input.get("amount").is_some_and(Value::is_string) {
            return Err(Error::usage("input.amount: the value is not a number").hint("write a number"));
        }
        Ok(input.clone())
    }

    fn show(&self, call: &action::Call) -> Result<Shown> {
        Ok(Shown {
            method: "POST".to_owned(),
            url: "https://till.example/pay".to_owned(),
            headers: Vec::new(),
            body: Some(Value::Object(call.input.clone())),
        })
    }

    async fn perform(&self, call: &action::Call) -> Performed {
        match call.input.get("then").and_then(Value::as_str) {
            Some("refuse") => {
                Performed::Failed(Error::source_failed("the till says no").hint("ask for less"))
            }
            Some("unsigned") => Performed::Failed(Error::auth("nobody consented yet").hint("connect it")),
            Some("lose") => Performed::Uncertain(Error::timeout("no answer").hint("look")),
            _ => {
                self.done.lock().unwrap().push(call.idempotency_key.clone());
                Performed::Done(Reply {
                    output: json!({ "paid": true }),
                    remote_id: Some("p1".to_owned()),
                    status: 201,
                    warning: None,
                })
            }
        }
    }

    async fn look_up(&self, _call: &action::Call) -> Result<Option<Reply>> {
        Ok(None)
    }
}

/// The till at every connection of every tenant.
struct Everywhere(Arc<Till>);

#[async_trait]
impl Vendors for Everywhere {
    async fn actions(&self, _tenant: &str, _connection: &str) -> Result<Arc<dyn Actions>> {
        Ok(self.0.clone())
    }

    async fn offers(&self, _tenant: &str) -> Result<Vec<Offer>> {
        let offer = |spec| Offer::new("shop", self.0.connector(), self.0.approval(), spec);
        Ok(self.0.specs.iter().map(offer).collect())
    }

    async fn rules(&self, _tenant: &str) -> Result<Vec<Rule>> {
        Ok(Vec::new())
    }
}

fn desk(store: &Store, tenant: &str, till: &Arc<Till>) -> Desk {
    desk_under(store, tenant, till, Arc::new(InForce::default()))
}

fn desk_under(store: &Store, tenant: &str, till: &Arc<Till>, policies: Arc<InForce>) -> Desk {
    Desk::new(store, tenant, Arc::new(Everywhere(till.clone())), policies)
}

/// A tenant's call that waits for an approval.
pub(super) async fn waiting_call(store: &Store, tenant: &str, connection: &str) -> String {
    let access = Access {
        principal: "asker".to_owned(),
        ..Access::command_line(tenant)
    };
    let wanted = Wanted {
        connection: connection.to_owned(),
        action: "pay".to_owned(),
        input: Map::new(),
    };
    let desk = desk(store, tenant, &Till::new());
    desk.ask(&access, &wanted, None, "test").await.unwrap().call.id
}

/// The till at one connection, and a bundle of one step there.
struct At(Arc<Till>, String);

#[async_trait]
impl Vendors for At {
    async fn actions(&self, _tenant: &str, _connection: &str) -> Result<Arc<dyn Actions>> {
        Ok(self.0.clone())
    }

    async fn offers(&self, _tenant: &str) -> Result<Vec<Offer>> {
        let offer = |spec| Offer::new(&self.1, self.0.connector(), self.0.approval(), spec);
        Ok(self.0.specs.iter().map(offer).collect())
    }

    async fn rules(&self, _tenant: &str) -> Result<Vec<Rule>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Recipes for At {
    async fn all(&self, tenant: &str) -> Result<Vec<Arc<dyn Recipe>>> {
        Ok(vec![self.get(tenant, "paying").await?])
    }

    async fn get(&self, _tenant: &str, bundle: &str) -> Result<Arc<dyn Recipe>> {
        let step = format!(
            "title: Pay\nsteps: [{{ name: pay, connection: {}, action: pay, compensation: {{ none: gone }} }}]\n",
            self.1
        );
        let spec = BundleSpec::parse(std::path::Path::new(&format!("{bundle}.yaml")), &step)?;
        self.compile(spec.resolved(&|_, action| self.0.spec(action).cloned())?)
    }

    fn compile(&self, bundle: Bundle) -> Result<Arc<dyn Recipe>> {
        Ok(Arc::new(Plain(bundle)))
    }
}

/// A bundle without templates.
struct Plain(Bundle);

impl Recipe for Plain {
    fn bundle(&self) -> &Bundle {
        &self.0
    }

    fn check(&self, input: &Map<String, Value>) -> Result<Map<String, Value>> {
        Ok(input.clone())
    }

    fn render(&self, part: Part, _names: &Value) -> Result<Value> {
        Ok(match part {
            Part::Condition(_) => Value::Bool(true),
            _ => json!({}),
        })
    }
}

/// A tenant's run of a bundle that waits for an approval.
pub(super) async fn waiting_run(store: &Store, tenant: &str, connection: &str) -> String {
    let access = Access {
        principal: "asker".to_owned(),
        ..Access::command_line(tenant)
    };
    let at = Arc::new(At(Till::new(), connection.to_owned()));
    let calls = Desk::new(store, tenant, at.clone(), Arc::new(InForce::default()));
    let desk = bundles::Desk::new(store, tenant, calls, at);
    let wanted = bundles::Wanted {
        bundle: "paying".to_owned(),
        input: Map::new(),
    };
    desk.ask(&access, &wanted, None, "test").await.unwrap().run.id
}

pub(super) struct Shop {
    pub(super) served: Served,
    pub(super) till: Arc<Till>,
    pub(super) desk: Desk,
    pub(super) agent: String,
}

pub(super) async fn shop() -> Shop {
    shop_with(Till::new(), |_, _, settings| settings).await
}

pub(super) async fn shop_with(
    till: Arc<Till>,
    more: impl FnOnce(&Store, &str, Settings) -> Settings,
) -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let (sent, got) = (till.clone(), Arc::new(Mutex::new(None)));
    let made = got.clone();
    // The tenant is made first, so that the desk knows whose files it has.
    let served = {
        let store = store(folder.path()).await;
        let tenant = new_tenant(&store).await;
        served_at(folder, store, tenant, move |store, tenant| {
            let desk = desk(store, tenant, &sent);
            *made.lock().unwrap() = Some(desk.clone());
            let settings = Settings {
                calls: Some(desk),
                ..Settings::default()
            };
            more(store, tenant, settings)
        })
        .await
    };
    connections::register(&served.store, &served.shop())
        .await
        .unwrap();
    let agent = token(&served.store, &served.tenant, Role::Agent).await;
    let desk = got.lock().unwrap().take().unwrap();
    Shop {
        served,
        till,
        desk,
        agent,
    }
}

/// A shop whose calls policies are asked about.
pub(super) async fn shop_under(policies: Arc<InForce>) -> Shop {
    let till = Till::new();
    let sold = till.clone();
    shop_with(till, move |store, tenant, settings| Settings {
        calls: Some(desk_under(store, tenant, &sold, policies.clone())),
        policies,
        ..settings
    })
    .await
}

impl Shop {
    async fn call(&self, key: Option<&str>, body: &Value) -> Answer {
        let bearer = format!("Bearer {}", self.agent);
        let mut headers = vec![
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        self.served
            .send("POST", "/api/v1/calls", &headers, &body.to_string())
            .await
    }
}

#[tokio::test]
async fn a_call_answers_with_its_outcome_and_the_same_key_with_the_same() {
    let shop = shop().await;
    let body = json!({ "connection": "shop", "action": "tip", "input": { "amount": 5 } });
    let first = shop.call(Some("k1"), &body).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let call = first.json();
    assert_eq!(
        (call["status"].as_str(), call["output"]["paid"].as_bool()),
        (Some("done"), Some(true))
    );
    let place = first.header("location").unwrap();
    assert_eq!(shop.served.get(place).await.1["id"], call["id"]);
    let again = shop.call(Some("k1"), &body).await;
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (200, Some("true"))
    );
    assert_eq!(again.text, first.text);
    let other = json!({ "connection": "shop", "action": "tip", "input": { "amount": 6 } });
    shop.call(Some("k1"), &other).await.problem(422);
    shop.call(Some("a b"), &body).await.problem(400);
    let wrong = json!({ "connection": "shop", "action": "tip", "input": { "amount": "x" } });
    shop.call(Some("k2"), &wrong).await.problem(400);
    let unknown = json!({ "connection": "shop", "action": "tipp" });
    shop.call(None, &unknown).await.problem(404);
    shop.call(
        None,
        &json!({ "connection": "shop", "action": "tip", "inputs": {} }),
    )
    .await
    .problem(422);
    assert_eq!(shop.till.done.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_vendor_refuses_and_what_is_not_known_are_problems_that_name_the_call() {
    let shop = shop().await;
    for (then, status, call_status, kind) in [
        ("refuse", 502, "failed", "source"),
        ("lose", 502, "uncertain", "timeout"),
    ] {
        let body = json!({ "connection": "shop", "action": "tip", "input": { "then": then } });
        let answer = shop.call(Some(then), &body).await;
        let problem = answer.problem(status);
        assert_eq!(problem["call_status"], call_status);
        assert_eq!(problem["type"], format!("urn:weir:error:{kind}"));
        let place = answer.header("location").unwrap();
        assert!(place.ends_with(problem["call"].as_str().unwrap()));
        let again = shop.call(Some(then), &body).await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.problem(status)["call"], problem["call"]);
    }
    let (_, found) = shop.served.get("/api/v1/calls?status=uncertain").await;
    let id = found["items"][0]["id"].as_str().unwrap();
    let body = r#"{"happened": false, "reason": "not in the dashboard"}"#;
    let path = format!("/api/v1/calls/{id}/settle");
    let settled = shop.served.ask("POST", &path, body).await;
    assert_eq!(
        (settled.status, settled.json()["status"].as_str()),
        (200, Some("failed"))
    );
    shop.served.ask("POST", &path, body).await.problem(409);
    assert_eq!(
        shop.served.ask_as(&shop.agent, "POST", &path, body).await.status,
        403
    );
}

#[tokio::test]
async fn a_call_that_waits_answers_202_and_is_made_once_somebody_approved_it() {
    let shop = shop().await;
    let body = json!({ "connection": "shop", "action": "pay", "input": { "amount": 5 } });
    let asked = shop.call(Some("k1"), &body).await;
    assert_eq!(
        (asked.status, asked.json()["status"].as_str()),
        (202, Some("waiting"))
    );
    let id = asked.json()["id"].as_str().unwrap().to_owned();
    let (_, pending) = shop.served.get("/api/v1/approvals?status=pending").await;
    assert_eq!(pending["items"][0]["request"]["body"]["amount"], 5);
    let path = format!("/api/v1/approvals/{id}/approve");
    assert_eq!(
        shop.served.ask_as(&shop.agent, "POST", &path, "{}").await.status,
        403
    );
    let digest = pending["items"][0]["call"]["digest"].as_str().unwrap();
    let approved = shop
        .served
        .ask("POST", &path, &json!({ "digest": digest }).to_string())
        .await;
    assert_eq!(
        (approved.status, approved.json()["status"].as_str()),
        (200, Some("approved")),
        "{}",
        approved.text
    );
    shop.served.ask("POST", &path, "{}").await.problem(409);
    shop.desk.work().await.unwrap();
    let done = shop.call(Some("k1"), &body).await;
    assert_eq!((done.status, done.json()["status"].as_str()), (200, Some("done")));
    assert_eq!(shop.till.done.lock().unwrap().len(), 1);
    let rejected = shop.call(None, &body).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/api/v1/approvals/{rejected}/reject");
    assert_eq!(
        shop.served.ask("POST", &path, r#"{"reason": "no"}"#).await.json()["status"],
        "rejected"
    );
    let (_, call) = shop.served.get(&format!("/api/v1/calls/{rejected}")).await;
    assert_eq!(call["status"], "refused");
}

#[tokio::test]
async fn actions_are_listed_and_a_dry_run_sends_nothing() {
    let shop = shop().await;
    let (_, actions) = shop.served.get("/api/v1/actions").await;
    assert_eq!(actions["items"].as_array().unwrap().len(), 2);
    let (_, one) = shop.served.get("/api/v1/actions/shop/pay").await;
    assert_eq!(
        (one["effect"].as_str(), one["approval"].as_str()),
        (Some("money"), Some("required"))
    );
    shop.served
        .ask("GET", "/api/v1/actions/shop/none", "")
        .await
        .problem(404);
    let body = json!({ "connection": "shop", "action": "pay", "input": { "amount": 5 } }).to_string();
    let dry = shop
        .served
        .ask_as(&shop.agent, "POST", "/api/v1/calls/dry-run", &body)
        .await;
    assert_eq!(
        (dry.status, dry.json()["approval"].as_str()),
        (200, Some("required"))
    );
    assert_eq!(dry.json()["request"]["method"], "POST");
    assert!(shop.till.done.lock().unwrap().is_empty());
    let (_, calls) = shop.served.get("/api/v1/calls").await;
    assert_eq!(calls["items"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn another_tenant_has_no_actions_here_and_makes_no_calls() {
    let shop = shop().await;
    let other = new_tenant(&shop.served.store).await;
    let stranger = token(&shop.served.store, &other, Role::Admin).await;
    let listed = shop.served.ask_as(&stranger, "GET", "/api/v1/actions", "").await;
    assert_eq!(listed.json()["items"], json!([]));
    shop.served
        .ask_as(&stranger, "GET", "/api/v1/actions/shop/pay", "")
        .await
        .problem(404);
    let body = json!({ "connection": "shop", "action": "tip", "input": { "amount": 5 } }).to_string();
    for path in ["/api/v1/calls", "/api/v1/calls/dry-run"] {
        shop.served
            .ask_as(&stranger, "POST", path, &body)
            .await
            .problem(404);
    }
    assert!(shop.till.done.lock().unwrap().is_empty());
}
