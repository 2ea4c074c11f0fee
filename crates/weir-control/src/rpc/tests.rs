//! The worker protocol between a `Remote` and an `Office`, without a network: every call is carried as
//! bytes. The suite of ledgers runs over the store itself and over this.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, json};
use weir_protocol::connection::{ConnectionSpec, Credential};
use weir_protocol::oauth::AccessToken;
use weir_protocol::permits::{Draw, Drawn, Rate};
use weir_protocol::source::{Notice, Progress};
use weir_protocol::{Books, Error, ErrorKind, Receipt, Result, Secret, StreamState, SyncMode};

use super::*;
use crate::clocks::ClockOffset;
use crate::ledger::{Beginning, Checkpoint, Ended, Entry, Ledger, Renewed, RunLedger, StreamLedger, failure};
use crate::principals::{Access, Kind, Role};
use crate::runs::queue::{self, Claimed, RunOptions};
use crate::runs::{self, Begin, RunStatus};
use crate::store::testing;
use crate::worker::RunSupply;
use crate::{
    Acting, Connection, DEFAULT_TENANT, Owner, Store, audit, connections, leases, sync_over, workers,
};

const PLANTED: &str = "pl4nted-cr3dential";
const STREAM: &str = "orders";

struct Files;

fn spec(name: &str) -> ConnectionSpec {
    let text = format!(
        "connector: http_json\nconfig: {{ url: 'https://{PLANTED}@x' }}\ncredential: {{ method: bearer, token: {PLANTED} }}\n"
    );
    ConnectionSpec::parse(std::path::Path::new(&format!("{name}.yaml")), &text).unwrap()
}

#[async_trait]
impl Supplies for Files {
    async fn papers(&self, claimed: &Claimed) -> Result<Papers> {
        if claimed.connection == "broken" {
            return Err(Error::spec("the connection cannot be read").hint("mend it"));
        }
        let mut connection = spec(&claimed.connection);
        Lent::take_from(&mut connection, Secret::new(""));
        Ok(Papers {
            connection,
            connector: BTreeMap::new(),
            lake_location: "/lake".to_owned(),
            lake_options: BTreeMap::new(),
            roots_pem: None,
        })
    }

    async fn lend(&self, claimed: &Claimed, _acting: Acting) -> Result<Lent> {
        Ok(Lent::take_from(
            &mut spec(&claimed.connection),
            Secret::new("pii"),
        ))
    }

    async fn token(&self, _of: &Claimed, _acting: Acting, refused: Option<&Secret>) -> Result<AccessToken> {
        Ok(AccessToken {
            token: Secret::new(refused.map_or("first", |_| "second")),
            use_for: Some(Duration::from_secs(60)),
        })
    }
}

/// Carries calls within the process; loses as many answers as it is told to.
struct Within {
    office: Office,
    access: Access,
    losses: AtomicU32,
}

#[async_trait]
impl Carrier for Within {
    async fn carry(&self, call: &'static str, body: Vec<u8>) -> Result<Vec<u8>> {
        let answer = self.office.answer(&self.access, call, &body).await?;
        let loses = |left: u32| left.checked_sub(1);
        match self
            .losses
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, loses)
        {
            Ok(_) => Err(Error::unavailable("the answer was lost").hint("ask again")),
            Err(_) => Ok(answer),
        }
    }
}

struct World {
    _folder: tempfile::TempDir,
    store: Store,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::store(folder.path()).await;
        for name in ["shop", "broken"] {
            let connection = Connection::new(name, "http_json", name);
            connections::register(&store, &connection).await.unwrap();
        }
        Self {
            _folder: folder,
            store,
        }
    }

    fn access(&self, role: Role, tenant: &str) -> Access {
        Access {
            tenant: tenant.to_owned(),
            principal: "carrier".to_owned(),
            kind: Kind::Token,
            token: Some("0123456789abcdef".to_owned()),
            permissions: role.permissions(),
            roles: [role].into(),
            groups: Default::default(),
        }
    }

    fn carrier(&self, access: Access) -> Arc<Within> {
        Arc::new(Within {
            office: Office::new(self.store.clone(), Arc::new(Files)),
            access,
            losses: AtomicU32::new(0),
        })
    }

    fn remote(&self) -> Remote {
        self.remote_of(DEFAULT_TENANT)
    }

    fn remote_of(&self, tenant: &str) -> Remote {
        let carrier = self.carrier(self.access(Role::Worker, tenant));
        Remote::new(carrier, Sender::new("north").unwrap())
    }

    async fn ask(&self, connection: &str) -> String {
        let run = queue::ask(&self.store, DEFAULT_TENANT, connection, RunOptions::default());
        run.await.unwrap().id
    }

    async fn status(&self, run: &str) -> RunStatus {
        runs::get(&self.store, DEFAULT_TENANT, run).await.unwrap().status
    }
}

fn beginning(run: &str) -> Beginning {
    Beginning {
        connection: Connection::new("shop", "http_json", "shop"),
        streams: vec![(STREAM.to_owned(), SyncMode::IncrementalMerge)],
        begin: Begin::Claimed(run.to_owned()),
        owner: Owner::this_process(),
    }
}

fn checkpoint(sequence: u64) -> Entry {
    let state: StreamState = serde_json::from_value(json!({ "floor": sequence, "complete": true })).unwrap();
    Entry::Checkpoint(Box::new(Checkpoint {
        receipt: Receipt {
            sequence,
            table: "shop_orders".to_owned(),
            version: 7,
            books: Books {
                read: 3,
                landed: 3,
                ..Books::default()
            },
            bronze_bytes: 1,
            silver_bytes: 2,
            schema_changes: Vec::new(),
            quarantine_reasons: Vec::new(),
            child_rows: BTreeMap::new(),
        },
        state,
        mode: SyncMode::IncrementalMerge,
        progress: Progress::default(),
    }))
}

fn status(to: RunStatus, error: Option<&Error>) -> Entry {
    Entry::Status {
        source: "shop".to_owned(),
        mode: SyncMode::IncrementalMerge,
        to,
        error: failure(error),
    }
}

/// What every ledger promises. `run` is claimed by it.
async fn keeps_its_promises(world: &World, ledger: &dyn Ledger, run: &str) {
    let mut begun = ledger.begin(&beginning(run)).await.unwrap();
    assert_eq!((begun.run.as_str(), begun.leases.len()), (run, 1));
    // The answer was lost: begun again it is the same run, under a newer term.
    let first = begun.leases.remove(0);
    let again = ledger.begin(&beginning(run)).await.unwrap();
    let lease = &again.leases[0];
    assert!(lease.term > first.term);
    assert_eq!(ledger.renew(&first).await.unwrap(), Renewed::Lost);
    let Renewed::Held {
        is_cancel_asked,
        now_ms,
    } = ledger.renew(lease).await.unwrap()
    else {
        panic!("the lease is lost")
    };
    assert!(!is_cancel_asked && now_ms > 1_700_000_000_000);

    ledger
        .write(lease, &status(RunStatus::Running, None))
        .await
        .unwrap();
    assert_eq!(
        ledger.standing(lease).await.unwrap(),
        crate::ledger::Standing::default()
    );
    for _ in 0..2 {
        ledger.write(lease, &checkpoint(1)).await.unwrap();
    }
    let standing = ledger.standing(lease).await.unwrap();
    assert_eq!(standing.stored.unwrap().sequence, 1);
    assert_eq!(standing.mode, Some(SyncMode::IncrementalMerge));
    assert_eq!(
        ledger.mode_of(lease, run).await.unwrap(),
        Some(SyncMode::IncrementalMerge)
    );
    assert_eq!(ledger.mode_of(lease, "unknown").await.unwrap(), None);

    queue::cancel(&world.store, DEFAULT_TENANT, run).await.unwrap();
    let renewed = ledger.renew(lease).await.unwrap();
    assert!(matches!(
        renewed,
        Renewed::Held {
            is_cancel_asked: true,
            ..
        }
    ));

    ends_once(world, ledger, lease).await;
}

/// The end of a run whose only stream failed. What is said twice changes nothing, what comes late is refused.
async fn ends_once(world: &World, ledger: &dyn Ledger, lease: &leases::Lease) {
    let run = lease.run.as_str();
    let failed = Error::source_failed("it broke").with("page", 3).hint("mend it");
    ledger
        .write(lease, &status(RunStatus::Failed, Some(&failed)))
        .await
        .unwrap();
    for _ in 0..2 {
        ledger.write(lease, &Entry::Release).await.unwrap();
    }
    let late = ledger.write(lease, &checkpoint(2)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Conflict, "{late:?}");
    let ended = Ended {
        tenant: DEFAULT_TENANT.to_owned(),
        run: run.to_owned(),
        status: RunStatus::Failed,
        error: failure(Some(&failed)),
    };
    for _ in 0..2 {
        ledger.end(&ended).await.unwrap();
    }
    let other = Ended {
        status: RunStatus::Succeeded,
        ..ended
    };
    assert_eq!(ledger.end(&other).await.unwrap_err().kind(), ErrorKind::Conflict);
    let stored = runs::get(&world.store, DEFAULT_TENANT, run).await.unwrap();
    assert_eq!(
        (stored.status, stored.totals().books.landed),
        (RunStatus::Failed, 3)
    );
    let error = stored.error.unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_str()),
        ("source", "it broke (page: 3)")
    );
    assert_eq!(error.hint.as_deref(), Some("mend it"));
}

#[tokio::test]
async fn the_store_is_a_ledger() {
    let world = World::new().await;
    let run = world.ask("shop").await;
    queue::claim(&world.store, "me", None, 1).await.unwrap();
    keeps_its_promises(&world, &world.store, &run).await;
}

#[tokio::test]
async fn a_server_elsewhere_is_a_ledger() {
    let world = World::new().await;
    let run = world.ask("shop").await;
    let remote = world.remote();
    let greeting = remote.greet().await.unwrap();
    assert_eq!(greeting.tenant, DEFAULT_TENANT);
    assert_eq!(
        greeting.clock,
        Some(ClockOffset::default()),
        "one machine has one clock"
    );
    assert_eq!(remote.claim(5).await.unwrap()[0].run, run);
    keeps_its_promises(&world, &remote, &run).await;
    let known = workers::list(&world.store, DEFAULT_TENANT).await.unwrap();
    assert_eq!((known[0].name.as_str(), known[0].runs_carried), ("north", 1));
    let carried = runs::get(&world.store, DEFAULT_TENANT, &run).await.unwrap();
    assert_eq!(carried.worker, Some(known[0].id.clone()));
}

#[tokio::test]
async fn a_worker_reads_what_its_runs_connection_received_and_nothing_else() {
    let world = World::new().await;
    let run = world.ask("shop").await;
    let remote = Arc::new(world.remote());
    let inbox = remote.inbox(&run);
    assert_eq!(inbox.after(0, 10).await.unwrap_err().kind(), ErrorKind::Conflict);
    remote.claim(1).await.unwrap();
    testing::execute(
        &world.store,
        "INSERT INTO received (tenant, connection, place, id, kind, received_at_ms, body)
         SELECT tenant, other.name, 1, 'evt_' || other.name, NULL, 5, '{}'
         FROM runs, (SELECT 'shop' AS name UNION SELECT 'till') AS other LIMIT 2",
    )
    .await;
    let received = inbox.after(0, 10).await.unwrap();
    assert_eq!((received.len(), received[0].id.as_str()), (1, "evt_shop"));
    inbox.landed(1).await.unwrap();
    // Its right is over.
    testing::execute(&world.store, "UPDATE runs SET expires_at_ms = 0").await;
    assert_eq!(inbox.after(0, 10).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(inbox.landed(1).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_run_comes_with_all_but_its_secrets_and_they_are_lent_while_it_is_held() {
    let world = World::new().await;
    let run = world.ask("shop").await;
    let remote = Arc::new(world.remote());
    remote.claim(1).await.unwrap();
    let mut connection = remote.papers(&run).unwrap().connection;
    assert!(!serde_json::to_string(&connection).unwrap().contains(PLANTED));
    let lent = remote.lend(&run).await.unwrap();
    assert!(!format!("{lent:?}").contains("token: pl4nted"));
    assert_eq!(lent.give_to(&mut connection).expose(), "pii");
    let Some(Credential { method, values }) = connection.credential else {
        panic!("no credential came back")
    };
    assert_eq!(
        (method.as_deref(), values["token"].expose()),
        (Some("bearer"), PLANTED)
    );
    assert!(connection.config["url"].as_str().unwrap().contains(PLANTED));

    let noted = audit::list(
        &world.store,
        DEFAULT_TENANT,
        &audit::EntryFilter {
            limit: 100,
            ..audit::EntryFilter::default()
        },
    )
    .await
    .unwrap();
    let lent: Vec<_> = noted
        .iter()
        .filter(|entry| entry.action == "secret.lend")
        .collect();
    assert_eq!(lent.len(), 1);
    assert_eq!(
        (lent[0].subject.as_str(), lent[0].principal.as_str()),
        ("connection:shop", "token:0123456789abcdef")
    );
    assert_eq!(lent[0].correlation_id.as_deref(), Some(run.as_str()));
    assert!(lent[0].details.contains("credential.token") && !lent[0].details.contains(PLANTED));

    let tokens = remote.tokens(&run);
    let first = tokens.token(None).await.unwrap();
    assert_eq!(
        (first.token.expose(), first.use_for),
        ("first", Some(Duration::from_secs(60)))
    );
    let second = tokens.token(Some(&first.token)).await.unwrap();
    assert_eq!(second.token.expose(), "second");
    let permits = remote.permits(&run);
    let draw = Draw {
        rates: vec![Rate {
            requests: 10,
            per_ms: 1_000,
        }],
        batch: "1".to_owned(),
        least: 1,
        wanted: 1,
        ..Draw::default()
    };
    assert!(matches!(
        permits.draw(&draw).await.unwrap(),
        Drawn::Permits { permits: 1, .. }
    ));

    // Its right is over: nothing is lent any more.
    testing::execute(&world.store, "UPDATE runs SET expires_at_ms = 0").await;
    let draw = Draw {
        batch: "2".to_owned(),
        ..draw
    };
    assert_eq!(permits.draw(&draw).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(tokens.token(None).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(remote.lend(&run).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(remote.papers("unknown").is_err());
}

#[tokio::test]
async fn a_run_whose_claim_was_answered_to_nobody_is_claimed_again_by_its_worker_alone() {
    let world = World::new().await;
    let run = world.ask("shop").await;
    let carrier = world.carrier(world.access(Role::Worker, DEFAULT_TENANT));
    let remote = Remote::new(carrier.clone(), Sender::new("north").unwrap());
    carrier.losses.store(1, Ordering::SeqCst);
    remote.claim(1).await.unwrap_err();
    assert!(world.remote().claim(1).await.unwrap().is_empty());
    let claimed = remote.claim(usize::MAX).await.unwrap();
    assert_eq!((claimed[0].run.as_str(), claimed[0].attempt), (run.as_str(), 1));
    // Heard of now: not given again, begun or not.
    assert!(remote.claim(1).await.unwrap().is_empty());
    remote.begin(&beginning(&run)).await.unwrap();
    assert!(remote.claim(1).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_late_copy_of_a_checkpoint_puts_nothing_back() {
    let world = World::new().await;
    let run = world.ask("shop").await;
    let remote = world.remote();
    remote.claim(1).await.unwrap();
    let lease = remote.begin(&beginning(&run)).await.unwrap().leases.remove(0);
    for sequence in [1, 2, 2, 1] {
        remote.write(&lease, &checkpoint(sequence)).await.unwrap();
    }
    let stored = remote.standing(&lease).await.unwrap().stored.unwrap();
    assert_eq!(stored.sequence, 2);
    let whole = runs::whole(&world.store, DEFAULT_TENANT, &run).await.unwrap();
    assert_eq!(whole.run.streams[0].sequence, Some(2));
    // What is not a stream of the lease's connection is nobody's to look at.
    let other = leases::Lease {
        stream: "elsewhere".to_owned(),
        ..lease
    };
    assert!(remote.standing(&other).await.is_err());
}

#[tokio::test]
async fn nobody_reaches_the_runs_of_others() {
    let world = World::new().await;
    let run = world.ask("shop").await;
    let remote = world.remote();
    // A token of another tenant sees nothing to claim.
    crate::tenants::create(&world.store, "other").await.unwrap();
    let stranger = world.remote_of("other");
    assert!(stranger.claim(1).await.unwrap().is_empty());
    remote.claim(1).await.unwrap();
    let lease = remote.begin(&beginning(&run)).await.unwrap().leases.remove(0);
    for other in [world.remote(), stranger] {
        assert!(other.begin(&beginning(&run)).await.is_err());
        assert_eq!(other.lend(&run).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert!(StreamLedger::renew(&other, &lease).await.is_err());
        assert!(other.write(&lease, &checkpoint(1)).await.is_err());
        let ended = Ended {
            tenant: DEFAULT_TENANT.to_owned(),
            run: run.clone(),
            status: RunStatus::Succeeded,
            error: None,
        };
        assert!(other.end(&ended).await.is_err());
        assert!(
            RunSupply::renew(&other, std::slice::from_ref(&run))
                .await
                .unwrap()
                .is_empty()
        );
    }
    assert_eq!(world.status(&run).await, RunStatus::Running);
    let analyst = world.carrier(world.access(Role::Analyst, DEFAULT_TENANT));
    let analyst = Remote::new(analyst, Sender::new("north").unwrap());
    assert_eq!(analyst.claim(1).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_worker_of_another_protocol_is_told_who_has_to_be_upgraded() {
    let world = World::new().await;
    for (protocol, hint) in [
        (PROTOCOL - 1, "upgrade the worker"),
        (PROTOCOL + 1, "upgrade the server"),
    ] {
        let sender = Sender {
            protocol,
            ..Sender::new("north").unwrap()
        };
        let carrier = world.carrier(world.access(Role::Worker, DEFAULT_TENANT));
        let refused = Remote::new(carrier, sender).greet().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Usage);
        assert!(refused.next_step().unwrap().starts_with(hint), "{refused:?}");
    }
    Sender::new("a/b").unwrap_err();
}

#[tokio::test]
async fn what_cannot_be_read_or_is_unknown_is_refused_without_being_quoted() {
    let world = World::new().await;
    let carrier = world.carrier(world.access(Role::Worker, DEFAULT_TENANT));
    let secret = format!("{{\"call\": {PLANTED}");
    let refused = carrier.carry("claim", secret.into_bytes()).await.unwrap_err();
    assert!(!format!("{refused:?}").contains(PLANTED));
    let sender = serde_json::to_value(Sender::new("north").unwrap()).unwrap();
    let mut body: Map<String, serde_json::Value> = sender.as_object().unwrap().clone();
    body.insert("call".to_owned(), json!({}));
    let body = serde_json::to_vec(&body).unwrap();
    assert_eq!(
        carrier.carry("dance", body).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn a_run_whose_papers_are_broken_fails_at_once() {
    let world = World::new().await;
    let run = world.ask("broken").await;
    assert!(world.remote().claim(1).await.unwrap().is_empty());
    assert_eq!(world.status(&run).await, RunStatus::Failed);
}

/// A worker that hears every answer only at the second time writes nothing twice.
#[tokio::test]
async fn a_sync_whose_answers_are_lost_ends_as_one_whose_are_not() {
    use crate::sync::{Silent, SyncOptions, SyncPlan};
    use crate::twins::{Api, Lake};
    let world = World::new().await;
    let mut ends = Vec::new();
    for losses in [0, 3] {
        let run = world.ask("shop").await;
        let carrier = world.carrier(world.access(Role::Worker, DEFAULT_TENANT));
        let remote = Arc::new(Remote::new(carrier.clone(), Sender::new("north").unwrap()));
        remote.claim(1).await.unwrap();
        carrier.losses.store(losses, Ordering::SeqCst);
        let api = Api::new((1..=12).map(|id| (id, id * 10)));
        let stream = weir_protocol::StreamDescriptor {
            name: STREAM.to_owned(),
            entity: STREAM.to_owned(),
            primary_key: vec!["id".to_owned()],
            mode: Some(SyncMode::FullRefreshReplace),
            ..weir_protocol::StreamDescriptor::default()
        };
        let plan = SyncPlan {
            connection: Connection::new("shop", "http_json", "shop"),
            source: Arc::new(api),
            destination: Arc::new(Lake::default()),
            streams: vec![stream],
            options: SyncOptions::default(),
            begin: Begin::Claimed(run.clone()),
            owner: Owner::this_process(),
            cancel: tokio_util::sync::CancellationToken::new(),
            observer: Arc::new(Silent),
            sharing: None,
        };
        let outcome = sync_over(remote, plan).await.unwrap();
        assert!(outcome.first_error().is_none(), "{:?}", outcome.first_error());
        let stored = runs::get(&world.store, DEFAULT_TENANT, &run).await.unwrap();
        assert_eq!(stored.status, RunStatus::Succeeded);
        ends.push((stored.totals(), stored.streams[0].status));
        testing::execute(&world.store, "DELETE FROM states").await;
    }
    assert_eq!(ends[0].0.books, ends[1].0.books);
    assert_eq!(ends[0].0.books.landed, 12);
}

#[tokio::test]
async fn a_lease_that_was_taken_over_writes_nothing_from_elsewhere() {
    let world = World::new().await;
    let run = world.ask("shop").await;
    let remote = world.remote();
    remote.claim(1).await.unwrap();
    let lease = remote.begin(&beginning(&run)).await.unwrap().leases.remove(0);
    leases::expire_all(&world.store).await;
    testing::execute(&world.store, "UPDATE runs SET expires_at_ms = 0").await;
    // This process lives, but its lease has ended: nobody renewed it.
    let other = Beginning {
        begin: Begin::Anew(runs::Trigger::Person),
        ..beginning("")
    };
    RunLedger::begin(&world.store, &other).await.unwrap();
    assert_eq!(StreamLedger::renew(&remote, &lease).await.unwrap(), Renewed::Lost);
    for entry in [
        checkpoint(1),
        status(RunStatus::Succeeded, None),
        Entry::Recovered(None),
        Entry::FullAsked,
        Entry::FullDone,
        Entry::Notice(Notice {
            message: "late".to_owned(),
            hint: None,
        }),
    ] {
        let refused = remote.write(&lease, &entry).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused:?}");
    }
    assert!(
        RunSupply::renew(&remote, std::slice::from_ref(&run))
            .await
            .unwrap()
            .is_empty()
    );
}
