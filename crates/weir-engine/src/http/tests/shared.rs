//! Clients that draw from the same permits.

use std::sync::atomic::AtomicU32;

use weir_protocol::permits::{Draw, Drawn, Permits};
use weir_protocol::spec::RateLimit;

use super::*;

/// Gives what it is told to, and remembers what it was told.
#[derive(Default)]
struct Counting {
    at_once: AtomicU32,
    in_ms: AtomicU64,
    held_ms: AtomicU64,
    shut_ms: AtomicU64,
    draws: Mutex<Vec<Draw>>,
}

#[async_trait]
impl Permits for Counting {
    async fn draw(&self, draw: &Draw) -> Result<Drawn> {
        self.draws.lock().unwrap().push(draw.clone());
        if let Some(hold_ms) = draw.hold_ms {
            self.held_ms.store(hold_ms, Ordering::SeqCst);
        }
        let wait_ms = self.shut_ms.swap(0, Ordering::SeqCst);
        if wait_ms > 0 {
            return Ok(Drawn::Shut { wait_ms });
        }
        // One who asks after a wait finds it over.
        let held = self.held_ms.swap(0, Ordering::SeqCst);
        Ok(match (held, self.at_once.load(Ordering::SeqCst)) {
            (0, 0) => {
                self.at_once.store(3, Ordering::SeqCst);
                Drawn::Wait { wait_ms: 700 }
            }
            (0, permits) => Drawn::Permits {
                permits: permits.min(draw.wanted),
                in_ms: self.in_ms.swap(0, Ordering::SeqCst),
                good_for_ms: 2_000,
            },
            (wait_ms, _) => Drawn::Held { wait_ms },
        })
    }
}

fn sharing(permits: Arc<Counting>) -> Rig {
    let spec = Reliability {
        rate_limit: Some(RateLimit {
            requests: 1,
            per: "1h".parse().unwrap(),
            remaining: None,
            reset: None,
        }),
        retry: Some(Retry::default()),
        ..Reliability::default()
    };
    let silent = Reliability::default();
    let patience = Patience::resolve(&spec, &silent, &ReliabilityDefaults::default()).unwrap();
    let clock = Arc::new(TestClock::default());
    let mut settings = ClientSettings::new(HostRules::new(&["127.0.0.1"], true).unwrap(), patience);
    settings.clock = clock.clone();
    settings.share(Some(permits));
    let transport = Transport::new(&settings).unwrap();
    Rig {
        clock,
        client: Client::new(&settings, transport, Arc::new(Counter::default())),
    }
}

#[tokio::test]
async fn what_is_drawn_grows_with_what_is_sent_and_each_batch_is_told() {
    let permits = Arc::new(Counting::default());
    permits.at_once.store(100, Ordering::SeqCst);
    let server = server(vec![status(200)]).await;
    let rig = sharing(permits.clone());
    for _ in 0..15 {
        // More than the connection's own rate: whoever gives permits counts.
        rig.get(&server.uri()).await.unwrap();
    }
    let draws = permits.draws.lock().unwrap().clone();
    let wanted: Vec<u32> = draws.iter().map(|draw| draw.wanted).collect();
    assert_eq!(wanted, [1, 2, 4, 8]);
    assert_eq!(
        (draws[0].rates[0].requests, draws[0].rates[0].per_ms),
        (1, 3_600_000)
    );
    for (before, draw) in draws.iter().zip(&draws[1..]) {
        let spent = draw.spent.as_ref().unwrap();
        let used: u32 = spent.uses.iter().map(|used| used.permits).sum();
        assert_eq!((&spent.batch, used), (&before.batch, before.wanted));
        assert_eq!(draw.client, draws[0].client);
    }
}

#[tokio::test]
async fn a_rate_that_is_used_up_is_waited_for_and_permits_grow_old() {
    let permits = Arc::new(Counting::default());
    permits.in_ms.store(300, Ordering::SeqCst);
    let server = server(vec![status(200)]).await;
    let rig = sharing(permits.clone());
    for _ in 0..2 {
        rig.get(&server.uri()).await.unwrap();
    }
    assert_eq!(rig.clock.waited(), [700, 300]);
    rig.clock.sleep(Duration::from_millis(2_000)).await;
    rig.get(&server.uri()).await.unwrap();
    let draws = permits.draws.lock().unwrap();
    let last = draws.last().unwrap();
    let uses = &last.spent.as_ref().unwrap().uses;
    assert_eq!((uses[0].permits, uses[0].ago_ms), (1, 2_000));
    assert_eq!(last.wanted, 1, "it needed one in that time");
}

#[tokio::test]
async fn what_the_vendor_asks_of_one_is_told_to_all_and_kept_by_all() {
    let permits = Arc::new(Counting::default());
    permits.at_once.store(10, Ordering::SeqCst);
    let busy = server(vec![status(429).insert_header("retry-after", "7"), status(200)]).await;
    let rig = sharing(permits.clone());
    rig.get(&busy.uri()).await.unwrap();
    let told: Vec<u64> = permits
        .draws
        .lock()
        .unwrap()
        .iter()
        .filter_map(|draw| draw.hold_ms)
        .collect();
    assert_eq!(told, [7_000]);
    assert_eq!(rig.clock.waited(), [7_000]);
    // Another process hears of it when it draws.
    permits.held_ms.store(4_000, Ordering::SeqCst);
    let other = sharing(permits.clone());
    other.get(&busy.uri()).await.unwrap();
    assert_eq!(other.clock.waited(), [4_000]);
    permits.held_ms.store(3_600_000, Ordering::SeqCst);
    let patient = sharing(permits);
    let error = patient.fails(&busy.uri()).await;
    assert_eq!(error.kind(), weir_protocol::ErrorKind::RateLimited);
}

#[tokio::test]
async fn what_another_process_found_failing_is_asked_only_after_its_cooldown() {
    let permits = Arc::new(Counting::default());
    permits.at_once.store(10, Ordering::SeqCst);
    permits.shut_ms.store(4_000, Ordering::SeqCst);
    let server = server(vec![status(200)]).await;
    let rig = sharing(permits.clone());
    // Somebody waits for the answer: it is told at once, and a second asks nobody.
    for _ in 0..2 {
        let out = Outgoing {
            is_interactive: true,
            ..Outgoing::get(server.uri().parse().unwrap())
        };
        let error = rig.client.send(out, &|_| Ok(None)).await.unwrap_err();
        assert_eq!(error.kind(), weir_protocol::ErrorKind::Unavailable);
        assert!(error.message().contains("circuit breaker is open"), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(4)));
    }
    assert_eq!(permits.draws.lock().unwrap().len(), 1);
    assert!(server.received_requests().await.unwrap().is_empty());
    // A sync waits for it, and its answer is told to all.
    rig.get(&server.uri()).await.unwrap();
    assert_eq!(rig.clock.waited(), [4_000]);
    let draws = permits.draws.lock().unwrap();
    let told: Vec<bool> = draws
        .iter()
        .filter_map(|draw| draw.breaker.as_ref().map(|told| told.is_open))
        .collect();
    assert_eq!(told, [false]);
}

#[tokio::test]
async fn a_breaker_that_opens_and_closes_is_told_to_whoever_keeps_the_count() {
    let permits = Arc::new(Counting::default());
    permits.at_once.store(100, Ordering::SeqCst);
    let mut answers = vec![status(503); 5];
    answers.push(status(200));
    let server = server(answers).await;
    let rig = sharing(permits.clone());
    while rig.get(&server.uri()).await.is_err() {}
    let draws = permits.draws.lock().unwrap().clone();
    let told: Vec<_> = draws.iter().filter_map(|draw| draw.breaker.as_ref()).collect();
    assert_eq!(
        told.iter().map(|told| told.is_open).collect::<Vec<_>>(),
        [true, false],
        "{told:?}"
    );
    assert_eq!(
        (told[0].for_ms, told[0].reason.as_str()),
        (30_000, "the source answered 503")
    );
}
