use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::alerts::{AlertFilter, NewSilence, Route, Rule, Severity};
use crate::events::EventFilter;
use crate::store::testing;
use crate::store::testing::execute;
use crate::{DEFAULT_TENANT, alerts};

/// What was sent, and what is answered.
#[derive(Default)]
struct Receiver {
    posts: Mutex<Vec<Post>>,
    notes: Mutex<Vec<(String, Note)>>,
    status: Mutex<u16>,
    is_broken: Mutex<bool>,
    posted: tokio::sync::Notify,
    /// Given by a test to receivers that wait for it.
    leave: tokio::sync::Notify,
}

#[async_trait]
impl Carrier for Receiver {
    async fn post(&self, request: &Post) -> Result<Answer> {
        self.posts.lock().unwrap().push(request.clone());
        self.posted.notify_one();
        if request.url.contains("slow") {
            std::future::pending::<()>().await;
        }
        if request.url.contains("waiting") {
            self.leave.notified().await;
        }
        Ok(Answer {
            status: *self.status.lock().unwrap(),
            retry_after: None,
        })
    }

    async fn tell(&self, channel: &str, note: &Note, _event: &StoredEvent) -> Result<()> {
        if *self.is_broken.lock().unwrap() {
            return Err(Error::unavailable("the mail server is away").hint("start it"));
        }
        self.notes
            .lock()
            .unwrap()
            .push((channel.to_owned(), note.clone()));
        Ok(())
    }

    async fn secret(&self, _tenant: &str, name: &str) -> Result<Option<Secret>> {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        Ok((!name.ends_with(".old")).then(|| Secret::new(secret)))
    }
}

impl Receiver {
    fn ids(&self) -> Vec<String> {
        let posts = self.posts.lock().unwrap();
        posts.iter().map(|post| post.headers[0].1.clone()).collect()
    }

    fn titles(&self) -> Vec<String> {
        let notes = self.notes.lock().unwrap();
        notes.iter().map(|(_, note)| note.title.clone()).collect()
    }
}

struct World {
    _folder: tempfile::TempDir,
    store: Store,
    receiver: Arc<Receiver>,
    settings: Settings,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let mut settings = Settings::default();
    settings.alerts.routes.push(Route {
        channel: "ops".to_owned(),
        severity: Severity::Warning,
        rules: Vec::new(),
    });
    let receiver = Arc::new(Receiver::default());
    *receiver.status.lock().unwrap() = 204;
    World {
        _folder: folder,
        store,
        receiver,
        settings,
    }
}

impl World {
    async fn webhook(&self, name: &str, types: &str) {
        self.webhook_at(name, types, "https://example.com").await;
    }

    async fn webhook_at(&self, name: &str, types: &str, url: &str) {
        let sql = format!(
            "INSERT INTO webhooks (tenant, name, url, types, allow_private, created_at_ms)
             VALUES ('default', '{name}', '{url}', ' {types} ', 0, 1)"
        );
        execute(&self.store, &sql).await;
    }

    async fn tell(&self, event: Event) -> String {
        assert!(events::append(&self.store, &event).await.unwrap());
        event.id().to_owned()
    }

    async fn pass(&self) -> Passed {
        once(&self.store, self.receiver.as_ref(), &self.settings, None)
            .await
            .unwrap()
    }

    /// As if so much time had passed.
    async fn later(&self) {
        execute(
            &self.store,
            "UPDATE deliveries SET not_before_ms = 0, held_until_ms = NULL",
        )
        .await;
    }

    async fn deliveries(&self) -> Vec<Delivery> {
        let filter = DeliveryFilter {
            limit: 100,
            ..DeliveryFilter::default()
        };
        list(&self.store, DEFAULT_TENANT, &filter).await.unwrap()
    }

    async fn open_alerts(&self) -> Vec<alerts::Alert> {
        let filter = AlertFilter {
            limit: 100,
            ..AlertFilter::default()
        };
        alerts::list(&self.store, DEFAULT_TENANT, &filter).await.unwrap()
    }
}

fn failed(connection: &str) -> Event {
    Event::of_connection(DEFAULT_TENANT, Family::RunFailed, connection)
        .with("run", "r1")
        .with("attempt", 1)
        .with("will_retry", false)
        .with(
            "error",
            json!({ "kind": "source", "message": "no answer", "hint": null }),
        )
}

fn succeeded(connection: &str) -> Event {
    Event::of_connection(DEFAULT_TENANT, Family::RunSucceeded, connection).with("run", "r2")
}

#[tokio::test]
async fn an_event_goes_to_each_who_wants_it_once_and_in_order() {
    let world = world().await;
    world.webhook_at("all", "*", "https://all.example.com").await;
    world
        .webhook_at("runs", "run.*", "https://runs.example.com")
        .await;
    let first = world.tell(succeeded("a")).await;
    let second = world
        .tell(Event::new(DEFAULT_TENANT, Family::DestinationEased, "lake"))
        .await;
    let third = world.tell(succeeded("b")).await;
    assert_eq!(world.pass().await.delivered, 5);
    assert_eq!(world.pass().await, Passed::default());
    let ids_of = |host: &str| -> Vec<String> {
        let posts = world.receiver.posts.lock().unwrap();
        let own = posts.iter().filter(|post| post.url.contains(host));
        own.map(|post| post.headers[0].1.clone()).collect()
    };
    assert_eq!(ids_of("all"), [first.clone(), second, third.clone()]);
    assert_eq!(ids_of("runs"), [first, third]);
    let post = world.receiver.posts.lock().unwrap()[0].clone();
    let body: Value = serde_json::from_str(&post.body).unwrap();
    assert_eq!(body["specversion"], "1.0");
    assert!(post.headers[2].1.starts_with("v1,"));
}

#[tokio::test]
async fn what_is_refused_is_tried_again_and_then_stepped_over() {
    let world = world().await;
    world.webhook("all", "*").await;
    *world.receiver.status.lock().unwrap() = 500;
    let first = world.tell(succeeded("a")).await;
    let second = world.tell(succeeded("b")).await;
    for _ in 0..4 {
        assert_eq!(
            world.pass().await,
            Passed {
                delivered: 0,
                failed: 1
            }
        );
        world.later().await;
    }
    // Later ones waited behind it up to here.
    assert!(world.receiver.ids().iter().all(|id| *id == first));
    // Then they no longer do.
    assert_eq!(world.pass().await.failed, 2);
    assert_eq!(world.receiver.ids().last(), Some(&second));
    *world.receiver.status.lock().unwrap() = 200;
    world.later().await;
    assert_eq!(world.pass().await.delivered, 2);
    assert!(
        world
            .deliveries()
            .await
            .iter()
            .all(|delivery| delivery.status == "delivered")
    );
}

#[tokio::test]
async fn what_nobody_takes_is_dead_told_of_and_can_be_replayed() {
    let world = world().await;
    world.webhook("all", "run.*").await;
    *world.receiver.status.lock().unwrap() = 500;
    let id = world.tell(succeeded("a")).await;
    for _ in 0..11 {
        world.pass().await;
        world.later().await;
    }
    let delivery = world
        .deliveries()
        .await
        .into_iter()
        .find(|found| found.event == id)
        .unwrap();
    assert_eq!((delivery.status.as_str(), delivery.attempts), ("dead", 11));
    assert_eq!(delivery.answer, Some(500));
    world.pass().await;
    assert_eq!(world.receiver.titles().len(), 1, "{:?}", world.receiver.titles());
    assert!(world.receiver.titles()[0].contains("events are not taken"));
    *world.receiver.status.lock().unwrap() = 200;
    assert_eq!(replay(&world.store, DEFAULT_TENANT, &id, None).await.unwrap(), 1);
    assert_eq!(world.pass().await.delivered, 1);
    let error = replay(&world.store, DEFAULT_TENANT, &id, Some("webhook:none"))
        .await
        .unwrap_err();
    assert!(error.next_step().is_some());
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_paused() {
    let world = world().await;
    world.webhook("all", "*").await;
    *world.receiver.status.lock().unwrap() = 410;
    world.tell(succeeded("a")).await;
    world.pass().await;
    let webhook = webhooks::get(&world.store, DEFAULT_TENANT, "all").await.unwrap();
    assert!(webhook.paused_because.unwrap().contains("410"));
    world.tell(succeeded("b")).await;
    world.pass().await;
    assert_eq!(world.receiver.posts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_alert_is_told_once_and_its_end_too() {
    let mut world = world().await;
    for _ in 0..5 {
        world.tell(failed("shop")).await;
        world.pass().await;
    }
    let open = world.open_alerts().await;
    assert_eq!((open.len(), open[0].seen, open[0].rule), (1, 5, Rule::RunFailed));
    assert_eq!(world.receiver.titles().len(), 1);
    // Another connection is another case.
    world.tell(failed("other")).await;
    world.pass().await;
    assert_eq!(world.receiver.titles().len(), 2);
    // What stands is told again after a while, also where nothing more happens.
    world.settings.alerts.tell_again = Duration::ZERO;
    alerts::watch(&world.store, &world.settings.alerts).await.unwrap();
    world.pass().await;
    assert_eq!(world.receiver.titles().len(), 4);
    world.tell(succeeded("shop")).await;
    world.pass().await;
    assert_eq!(world.open_alerts().await.len(), 1);
    assert!(world.receiver.titles()[4].contains("resolved"));
    // The same case again is a new alert.
    world.tell(failed("shop")).await;
    world.pass().await;
    assert_eq!(world.receiver.titles().len(), 6);
}

#[tokio::test]
async fn a_silence_holds_and_ends() {
    let world = world().await;
    let new = NewSilence {
        rule: None,
        connection: Some("shop".to_owned()),
        reason: "known".to_owned(),
        ends_at_ms: world.store.now_ms().await.unwrap() + 60_000,
    };
    let silence = alerts::silence(&world.store, DEFAULT_TENANT, &new).await.unwrap();
    world.tell(failed("shop")).await;
    world.tell(failed("other")).await;
    world.pass().await;
    assert_eq!(world.receiver.titles().len(), 1);
    alerts::watch(&world.store, &world.settings.alerts).await.unwrap();
    world.pass().await;
    assert_eq!(world.receiver.titles().len(), 1);
    alerts::unsilence(&world.store, DEFAULT_TENANT, &silence.id)
        .await
        .unwrap();
    alerts::watch(&world.store, &world.settings.alerts).await.unwrap();
    world.pass().await;
    assert_eq!(world.receiver.titles().len(), 2);
    let filter = EventFilter {
        family: Some("alert.*".to_owned()),
        limit: 9,
        ..EventFilter::default()
    };
    // Webhooks hear of silenced ones too, once.
    let told = events::list(&world.store, DEFAULT_TENANT, &filter).await.unwrap();
    assert_eq!(told.len(), 3);
}

#[tokio::test]
async fn a_channel_that_fails_is_tried_again_and_does_not_tell_of_itself() {
    let world = world().await;
    *world.receiver.is_broken.lock().unwrap() = true;
    world.tell(failed("shop")).await;
    for _ in 0..12 {
        world.pass().await;
        world.later().await;
    }
    let dead = world.deliveries().await;
    assert!(dead.iter().any(|delivery| delivery.status == "dead"));
    assert!(dead[0].error.as_ref().unwrap().contains("mail server"));
    let open = world.open_alerts().await;
    assert_eq!(open.len(), 2);
    assert!(open.iter().any(|alert| alert.rule == Rule::DeliveryFailed));
    assert_eq!(dead.len(), 1, "{dead:?}");
}

#[tokio::test]
async fn two_servers_send_each_event_once() {
    let world = world().await;
    world.webhook("all", "*").await;
    for _ in 0..20 {
        world.tell(succeeded("a")).await;
    }
    let one = once(&world.store, world.receiver.as_ref(), &world.settings, None);
    let other = once(&world.store, world.receiver.as_ref(), &world.settings, None);
    let (one, other) = tokio::join!(one, other);
    assert_eq!(one.unwrap().delivered + other.unwrap().delivered, 20);
    let ids = world.receiver.ids();
    assert_eq!(ids.len(), 20);
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
}

#[tokio::test]
async fn what_a_dead_server_held_is_sent_by_another() {
    let world = world().await;
    world.webhook("all", "*").await;
    world.tell(succeeded("a")).await;
    route::route(&world.store, &world.settings).await.unwrap();
    let held = world
        .store
        .write(Scope::Everyone, "claim", |db, _| {
            Box::pin(async move { Ok(sql::claim(db, "dead", (40_000, 10), None).await?) })
        })
        .await
        .unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(world.pass().await, Passed::default());
    execute(&world.store, "UPDATE deliveries SET held_until_ms = 1").await;
    assert_eq!(world.pass().await.delivered, 1);
}

#[tokio::test]
async fn a_test_reaches_only_whom_it_is_for() {
    let world = world().await;
    world.webhook("all", "*").await;
    world.webhook("other", "*").await;
    let id = test(&world.store, DEFAULT_TENANT, "webhook:all").await.unwrap();
    assert_eq!(
        once(&world.store, world.receiver.as_ref(), &world.settings, Some(&id))
            .await
            .unwrap()
            .delivered,
        1
    );
    test(&world.store, DEFAULT_TENANT, "channel:ops").await.unwrap();
    world.pass().await;
    assert_eq!(world.receiver.titles(), ["[weir] test of this channel"]);
    assert_eq!(world.receiver.ids(), [id]);
    assert!(test(&world.store, DEFAULT_TENANT, "ops").await.is_err());
}

#[tokio::test]
async fn a_slow_webhook_holds_up_nobody_else() {
    let world = world().await;
    world.webhook_at("slow", "*", "https://slow.example.com").await;
    world.webhook("fast", "*").await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(
        world.store.clone(),
        world.receiver.clone(),
        Arc::new(world.settings.clone()),
        Duration::from_millis(5),
        stop.clone(),
    ));
    let fast = || {
        let posts = world.receiver.posts.lock().unwrap();
        posts.iter().filter(|post| !post.url.contains("slow")).count()
    };
    // Each is told of while the slow one still has the first.
    for count in 1..=3 {
        world.tell(succeeded("a")).await;
        while fast() < count {
            world.receiver.posted.notified().await;
        }
    }
    let all = world.receiver.posts.lock().unwrap().len();
    assert_eq!(all - fast(), 1, "what waits behind a slow one waits");
    running.abort();
}

#[tokio::test]
async fn a_server_that_stops_ends_what_is_under_way_and_begins_nothing() {
    let world = world().await;
    world
        .webhook_at("waiting", "*", "https://waiting.example.com")
        .await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(
        world.store.clone(),
        world.receiver.clone(),
        Arc::new(world.settings.clone()),
        Duration::from_millis(5),
        stop.clone(),
    ));
    world.tell(succeeded("a")).await;
    world.tell(succeeded("b")).await;
    world.receiver.posted.notified().await;
    stop.cancel();
    world.receiver.leave.notify_one();
    running.await.unwrap();
    assert_eq!(world.receiver.posts.lock().unwrap().len(), 1);
    world.receiver.leave.notify_one();
    assert_eq!(world.pass().await.delivered, 1);
    assert_eq!(
        world.receiver.posts.lock().unwrap().len(),
        2,
        "each was sent once"
    );
}

#[tokio::test]
async fn channels_are_told_of_nothing_of_other_tenants() {
    let world = world().await;
    crate::tenants::create(&world.store, "far").await.unwrap();
    let event = Event::of_connection("far", Family::AlertTest, "x").with("channel", "ops");
    assert!(events::append(&world.store, &event).await.unwrap());
    let error = test(&world.store, "far", "channel:ops").await.unwrap_err();
    assert_eq!(error.kind(), weir_protocol::ErrorKind::Denied);
    let insert = format!(
        "INSERT INTO deliveries (event, target, tenant, status, attempts, not_before_ms)
         VALUES ('{}', 'channel:ops', 'far', 'dead', 0, 0)",
        event.id()
    );
    execute(&world.store, &insert).await;
    replay(&world.store, "far", event.id(), Some("channel:ops"))
        .await
        .unwrap_err();
    // To all that it went to: the channel among them takes nothing.
    replay(&world.store, "far", event.id(), None).await.unwrap();
    world.pass().await;
    assert!(world.receiver.titles().is_empty());
}

#[tokio::test]
async fn an_alert_about_a_secrets_end_ends_with_the_next_value_of_that_secret() {
    let world = world().await;
    let keys = crate::secrets::MasterKeys {
        current: crate::secrets::MasterKey::parse(&crate::secrets::MasterKey::generate().unwrap()).unwrap(),
        old: None,
    };
    let keeper = crate::secrets::Secrets::open(&world.store, DEFAULT_TENANT, Arc::new(keys))
        .await
        .unwrap();
    let stop = CancellationToken::new();
    for how in ["exchange", "set"] {
        for name in ["api_key", "other"] {
            keeper.set(name, &Secret::new("one")).await.unwrap();
            keeper.expires(name, 1).await.unwrap();
        }
        stop.cancel();
        // One look, as it is stopped.
        let tenant = DEFAULT_TENANT.to_owned();
        crate::secrets::keep(world.store.clone(), tenant, Duration::ZERO, stop.clone()).await;
        world.pass().await;
        assert_eq!(world.open_alerts().await.len(), 2, "{how}");
        let new = Secret::new("two");
        if how == "exchange" {
            let connections = ["shop".to_owned()];
            let exchanged = keeper.exchange("api_key", &new, &connections, async || Ok(()));
            exchanged.await.unwrap();
        } else {
            keeper.set("api_key", &new).await.unwrap();
        }
        world.pass().await;
        let open = world.open_alerts().await;
        assert_eq!(open.len(), 1, "{how}");
        assert_eq!(open[0].subject, "secret:other");
        keeper.set("other", &new).await.unwrap();
        world.pass().await;
        assert!(world.open_alerts().await.is_empty());
    }
}

#[tokio::test]
async fn an_alert_about_one_credential_is_not_ended_by_another() {
    let world = world().await;
    let about = |family, credential: &str| {
        Event::of_connection(DEFAULT_TENANT, family, "shop").with("credential", credential)
    };
    world.tell(about(Family::CredentialExpired, "oauth")).await;
    world.tell(about(Family::CredentialRotated, "api_key")).await;
    world.pass().await;
    assert_eq!(world.open_alerts().await.len(), 1);
    world.tell(about(Family::CredentialRotated, "oauth")).await;
    world.pass().await;
    assert!(world.open_alerts().await.is_empty());
}
