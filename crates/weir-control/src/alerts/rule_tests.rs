//! Every rule, from the event that raises it to what ends it, through the routing that a server does.

use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::json;
use weir_protocol::Secret;

use super::*;
use crate::audit::SealKey;
use crate::deliveries::{self, Answer, Carrier, Post};
use crate::events::{Disk, EventFilter, Gate, StoredEvent, tell_disk, tell_gate};
use crate::store::testing;
use crate::{DEFAULT_TENANT, audit};

const A_DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What makes a rule's alert end.
enum End {
    /// An event of this family, about the same.
    By(Event),
    /// A disk with room again.
    Eased,
    /// A day without another event.
    Quiet,
    /// A person, and nothing else.
    Hand,
}

/// Hears what the channel is told.
#[derive(Default)]
struct Channel(Mutex<Vec<(String, String)>>);

#[async_trait]
impl Carrier for Channel {
    async fn post(&self, request: &Post) -> Result<Answer> {
        panic!("there is no webhook: {}", request.url)
    }

    async fn tell(&self, _channel: &str, note: &Note, event: &StoredEvent) -> Result<()> {
        assert!(!note.title.is_empty() && !note.body.is_empty());
        let rule = event.data["rule"].as_str().unwrap().to_owned();
        self.0.lock().unwrap().push((event.family.clone(), rule));
        Ok(())
    }

    async fn secret(&self, _tenant: &str, _name: &str) -> Result<Option<Secret>> {
        Ok(None)
    }
}

struct World {
    _folder: tempfile::TempDir,
    store: Store,
    channel: Channel,
    settings: deliveries::Settings,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = deliveries::Settings::default();
    settings.alerts.routes.push(Route {
        channel: "ops".to_owned(),
        severity: Severity::Info,
        rules: Vec::new(),
    });
    World {
        store: testing::store(folder.path()).await,
        _folder: folder,
        channel: Channel::default(),
        settings,
    }
}

impl World {
    async fn pass(&self) {
        deliveries::once(&self.store, &self.channel, &self.settings, None)
            .await
            .unwrap();
    }

    async fn tell(&self, event: &Event) {
        assert!(events::append(&self.store, event).await.unwrap());
    }

    async fn disk(&self, used_percent: u8) {
        let disk = Disk {
            location: "/lake".to_owned(),
            used_percent,
            free_bytes: 1,
        };
        assert!(tell_disk(&self.store, DEFAULT_TENANT, &disk, 90).await.unwrap());
    }

    /// Writes a record and changes it past weir, as nobody may.
    async fn break_the_trail(&self) {
        let record = Record::new(DEFAULT_TENANT, "test.note", "thing:1");
        audit::append(&self.store, &record).await.unwrap();
        let key = SealKey::parse(&SealKey::generate().unwrap()).unwrap();
        // A head that was noted elsewhere, and that this trail does not have.
        let noted = Some((1, "0"));
        let found = audit::verify(&self.store, DEFAULT_TENANT, &[key.public()], noted).await;
        assert!(found.unwrap().is_err());
    }

    async fn open(&self) -> Vec<Alert> {
        let filter = AlertFilter {
            limit: 9,
            ..AlertFilter::default()
        };
        list(&self.store, DEFAULT_TENANT, &filter).await.unwrap()
    }

    /// As after a day without a further event.
    async fn a_day_later(&self) {
        let sql = format!("UPDATE alerts SET seen_at_ms = seen_at_ms - {A_DAY_MS}");
        testing::execute(&self.store, &sql).await;
        watch(&self.store, &self.settings.alerts).await.unwrap();
    }

    async fn newest(&self, family: Family) -> StoredEvent {
        let filter = EventFilter {
            family: Some(family.as_str().to_owned()),
            limit: 1,
            ..EventFilter::default()
        };
        let mut found = events::list(&self.store, DEFAULT_TENANT, &filter).await.unwrap();
        found.pop().expect("the event was told")
    }

    /// Does what raises the rule; says what ends it.
    async fn raise(&self, rule: Rule) -> End {
        match rule {
            Rule::DestinationFilling => {
                self.disk(95).await;
                End::Eased
            }
            Rule::GateFailed => {
                let gate = Gate {
                    table: "revenue".to_owned(),
                    failed: vec!["total >= 0".to_owned()],
                };
                tell_gate(&self.store, DEFAULT_TENANT, &gate).await.unwrap();
                End::Quiet
            }
            Rule::AuditBroken => {
                self.break_the_trail().await;
                End::Hand
            }
            rule => {
                let (raised, end) = told(rule);
                self.tell(&raised).await;
                end
            }
        }
    }
}

fn of_shop(family: Family) -> Event {
    Event::of_connection(DEFAULT_TENANT, family, "shop")
}

fn run(family: Family) -> Event {
    let counts = ["read", "landed", "filtered", "deduplicated", "quarantined"];
    let run = of_shop(family).with("run", "r1").with("attempt", 1);
    counts.into_iter().fold(run, |run, count| run.with(count, 0))
}

fn credential(family: Family) -> Event {
    of_shop(family).with("credential", "oauth")
}

fn call(family: Family) -> Event {
    Event::new(DEFAULT_TENANT, family, "call:c1")
        .with("call", "c1")
        .with("connection", "shop")
        .with("action", "refund")
        .with("effect", "write")
}

fn bundle(family: Family) -> Event {
    Event::new(DEFAULT_TENANT, family, "bundle_run:b1")
        .with("run", "b1")
        .with("bundle", "onboard")
        .with("effect", "write")
}

/// The event as it is told where it happens, and what ends the alert. A new rule is a line here.
fn told(rule: Rule) -> (Event, End) {
    let names = |names: &[&str]| json!(names);
    let succeeded = || End::By(run(Family::RunSucceeded));
    match rule {
        Rule::RunFailed => {
            let error = json!({ "kind": "unavailable", "message": "no answer", "hint": null });
            let failed = run(Family::RunFailed).with("error", error);
            (failed.with("will_retry", false), succeeded())
        }
        Rule::RunStale => (run(Family::RunStale), succeeded()),
        Rule::SlaMissed => {
            let missed = of_shop(Family::SlaMissed).with("due_at_ms", 1);
            (missed.with("promised_by_ms", 2), succeeded())
        }
        Rule::SchemaChanged => {
            let changed = of_shop(Family::SchemaChanged)
                .with("run", "r1")
                .with("stream", "orders");
            let changed = changed.with("table", "shop_orders").with("column", "vat");
            (changed.with("change", "added"), End::Quiet)
        }
        Rule::QuarantineGrowing => {
            let grown = of_shop(Family::QuarantineGrown).with("run", "r1");
            let grown = grown.with("stream", "orders").with("records", 3);
            (grown.with("reasons", json!([["no key", 3]])), End::Quiet)
        }
        Rule::BreakerOpen => {
            let opened = of_shop(Family::BreakerOpened).with("reason", "503");
            (opened, End::By(of_shop(Family::BreakerClosed)))
        }
        Rule::CredentialExpiring => {
            let expiring = credential(Family::CredentialExpiring).with("expires_at_ms", 1);
            (expiring, End::By(credential(Family::CredentialRotated)))
        }
        Rule::CredentialExpired => {
            let expired = credential(Family::CredentialExpired).with("reason", "the grant is void");
            (expired, End::By(credential(Family::CredentialRotated)))
        }
        Rule::ApprovalWaiting => {
            let asked = call(Family::ApprovalRequested).with("needed", 1);
            let asked = asked.with("rules", names(&["money"])).with("expires_in_s", 60);
            let decided = call(Family::ApprovalDecided).with("status", "approved");
            (asked, End::By(decided))
        }
        Rule::CallUncertain => {
            let uncertain = call(Family::CallUncertain).with("status", "uncertain");
            let ended = call(Family::CallEnded).with("status", "succeeded");
            (uncertain, End::By(ended))
        }
        Rule::BundleParked => {
            let parked = bundle(Family::BundleParked).with("parked_for", "failed");
            let parked = parked.with("step", "invite").with("reason", "no answer");
            let ended = bundle(Family::BundleEnded).with("status", "succeeded");
            (parked, End::By(ended))
        }
        Rule::ToolsChanged => {
            let changed = of_shop(Family::ToolsChanged).with("added", names(&[]));
            let changed = changed.with("changed", names(&["pay"])).with("gone", names(&[]));
            (changed, End::By(of_shop(Family::ToolsAccepted)))
        }
        Rule::DeliveryFailed => {
            let failed = Event::new(DEFAULT_TENANT, Family::DeliveryFailed, "webhook:erp");
            let failed = failed.with("target", "webhook:erp").with("event", "e1");
            let failed = failed.with("type", "weir.run.failed").with("attempts", 9);
            (failed.with("error", "503"), End::Quiet)
        }
        Rule::DestinationFilling | Rule::GateFailed | Rule::AuditBroken => {
            unreachable!("{rule} is raised by what tells it")
        }
    }
}

#[tokio::test]
async fn every_rule_is_raised_by_its_event_told_and_ended() {
    for rule in Rule::ALL {
        let world = world().await;
        let end = world.raise(rule).await;
        let event = world.newest(rule.raised_by()).await;
        let schema: Value = serde_json::from_str(rule.raised_by().schema()).unwrap();
        for required in schema["required"].as_array().unwrap() {
            let name = required.as_str().unwrap();
            assert!(event.data.contains_key(name), "{rule}: {name} is missing");
        }
        world.pass().await;
        let open = world.open().await;
        assert_eq!(open.len(), 1, "{rule} was not raised alone: {open:?}");
        assert_eq!(
            (open[0].rule, open[0].severity),
            (rule, rule.severity()),
            "{rule}"
        );
        assert_eq!(open[0].told, 1, "{rule}");

        let because = match end {
            End::By(ending) => {
                let reason = format!("weir.{}", rule.ended_by()[0]);
                world.tell(&ending).await;
                reason
            }
            End::Eased => {
                world.disk(10).await;
                "weir.destination.eased".to_owned()
            }
            End::Quiet => {
                assert!(rule.ended_by().is_empty(), "{rule} is ended by an event");
                world.a_day_later().await;
                "nothing more was heard of it for 24 hours".to_owned()
            }
            End::Hand => {
                world.a_day_later().await;
                assert_eq!(
                    world.open().await.len(),
                    1,
                    "{rule} stands until a person ends it"
                );
                let reason = "restored from a backup";
                resolve(&world.store, DEFAULT_TENANT, &open[0].id, reason)
                    .await
                    .unwrap();
                reason.to_owned()
            }
        };
        world.pass().await;
        assert!(world.open().await.is_empty(), "{rule} was not ended");
        let ended = get(&world.store, DEFAULT_TENANT, &open[0].id).await.unwrap();
        assert_eq!(ended.resolved_because, Some(because), "{rule}");
        let said = world.channel.0.lock().unwrap().clone();
        let raised = ("alert.raised".to_owned(), rule.as_str().to_owned());
        assert_eq!(said[0], raised, "{rule}");
    }
}

/// What the guide says of each rule is what its rule is.
#[test]
fn the_guide_has_every_rule_with_its_severity() {
    let guide = include_str!("../../../../docs/guides/alerts.md");
    for rule in Rule::ALL {
        let word = format!("`{rule}`");
        let row = guide
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&word))
            .unwrap_or_else(|| panic!("{rule} is not in docs/guides/alerts.md"));
        assert!(row.contains(rule.severity().as_str()), "{row}");
    }
}
