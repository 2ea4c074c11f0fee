//! The client against a server on loopback, in virtual time: waits are recorded, not slept.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_protocol::spec::{Breaker, RateLimit, Reliability, Retry};
use weir_protocol::{Error, ErrorKind, Result, Secret};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::auth::{Authenticator, Generation};

/// Sleeping moves it on at once.
#[derive(Default)]
pub(crate) struct TestClock {
    elapsed_ms: AtomicU64,
    pub(crate) waits: Mutex<Vec<Duration>>,
}

const STARTED: &str = "2026-11-21T10:00:00Z";

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        STARTED.parse::<Timestamp>().unwrap() + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }

    async fn sleep(&self, time: Duration) {
        self.waits.lock().unwrap().push(time);
        self.elapsed_ms
            .fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
        tokio::task::yield_now().await;
    }

    fn draw(&self) -> f64 {
        1.0
    }
}

impl TestClock {
    fn waited(&self) -> Vec<u64> {
        self.waits
            .lock()
            .unwrap()
            .iter()
            .map(|wait| u64::try_from(wait.as_millis()).unwrap())
            .collect()
    }
}

/// Signs with a number that renewing raises.
#[derive(Default)]
struct Counter {
    generation: AtomicU64,
    renewals_max: u64,
}

#[async_trait]
impl Authenticator for Counter {
    async fn sign(&self, out: &mut Outgoing) -> Result<Generation> {
        out.set_header(
            "authorization",
            format!("token-{}", self.generation.load(Ordering::SeqCst)),
        );
        Ok(Generation::default())
    }

    async fn renew(&self, _refused: Generation) -> Result<bool> {
        Ok(self.generation.fetch_add(1, Ordering::SeqCst) < self.renewals_max)
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![Secret::new("token-0")]
    }

    fn hint(&self) -> String {
        "set credential.token".to_owned()
    }
}

struct Rig {
    clock: Arc<TestClock>,
    client: Client,
}

fn rig(spec: Reliability) -> Rig {
    rig_with(
        spec,
        &["127.0.0.1"],
        Counter {
            renewals_max: 1,
            ..Counter::default()
        },
    )
}

fn rig_with(mut spec: Reliability, hosts: &[&str], auth: Counter) -> Rig {
    spec.retry.get_or_insert_with(Retry::default);
    let silent = Reliability::default();
    let patience = Patience::resolve(&spec, &silent, &ReliabilityDefaults::default()).unwrap();
    let clock = Arc::new(TestClock::default());
    let mut settings = ClientSettings::new(HostRules::new(hosts, true).unwrap(), patience);
    settings.clock = clock.clone();
    let transport = Transport::new(&settings).unwrap();
    Rig {
        clock,
        client: Client::new(&settings, transport, Arc::new(auth)),
    }
}

impl Rig {
    async fn get(&self, url: &str) -> Result<Sent> {
        self.client
            .send(Outgoing::get(Url::parse(url).unwrap()), &|_| Ok(None))
            .await
    }

    async fn fails(&self, url: &str) -> Error {
        self.get(url).await.expect_err("it answers")
    }
}

/// Answers the given templates in turn, the last one for ever.
async fn server(answers: Vec<ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    let last = answers.len() - 1;
    for (index, answer) in answers.into_iter().enumerate() {
        let mock = Mock::given(wiremock::matchers::any()).respond_with(answer);
        let mock = if index == last {
            mock
        } else {
            mock.up_to_n_times(1)
        };
        mock.mount(&server).await;
    }
    server
}

fn status(code: u16) -> ResponseTemplate {
    ResponseTemplate::new(code)
}

fn body(sent: &Sent) -> &[u8] {
    match sent {
        Sent::Answer(answer) | Sent::Ignored(answer) | Sent::NotModified(answer) => &answer.body,
    }
}

#[tokio::test]
async fn retry_after_is_honoured_in_both_forms() {
    let date = "Sat, 21 Nov 2026 10:00:09 GMT";
    let server = server(vec![
        status(429).insert_header("retry-after", "7"),
        status(503).insert_header("retry-after", date),
        status(200).set_body_string("[]"),
    ])
    .await;
    let rig = rig(Reliability::default());
    assert_eq!(body(&rig.get(&server.uri()).await.unwrap()), b"[]");
    assert_eq!(
        rig.clock.elapsed().as_secs(),
        9,
        "waits: {:?}",
        rig.clock.waited()
    );
    assert_eq!(
        rig.client.stats(),
        StatsSnapshot {
            requests: 3,
            retries: 2,
            bytes: 2
        }
    );
}

#[tokio::test]
async fn a_403_with_nothing_remaining_is_a_rate_limit() {
    let server = server(vec![
        status(403)
            .insert_header("x-ratelimit-remaining", "0")
            .insert_header("x-ratelimit-reset", "30"),
        status(200),
    ])
    .await;
    let rig = rig(Reliability::default());
    rig.get(&server.uri()).await.unwrap();
    assert_eq!(rig.clock.waited(), [30_000]);
}

#[tokio::test]
async fn a_wait_holds_back_the_others() {
    let server = server(vec![status(429).insert_header("retry-after", "20"), status(200)]).await;
    let rig = rig(Reliability {
        retry: Some(Retry {
            attempts: 1,
            ..Retry::default()
        }),
        ..Reliability::default()
    });
    assert_eq!(rig.fails(&server.uri()).await.kind(), ErrorKind::RateLimited);
    rig.get(&server.uri()).await.unwrap();
    assert_eq!(
        rig.clock.waited(),
        [20_000],
        "the second request waited for the first one's gate"
    );
}

#[tokio::test]
async fn declared_headers_hold_before_the_vendor_refuses() {
    let limit = RateLimit {
        requests: 1000,
        per: "1h".parse().unwrap(),
        remaining: Some("X-Left".to_owned()),
        reset: Some("X-Reset".to_owned()),
    };
    let server = server(vec![
        status(200)
            .insert_header("x-left", "0")
            .insert_header("x-reset", "45"),
        status(200),
    ])
    .await;
    let rig = rig(Reliability {
        rate_limit: Some(limit),
        ..Reliability::default()
    });
    rig.get(&server.uri()).await.unwrap();
    rig.get(&server.uri()).await.unwrap();
    assert_eq!(rig.clock.waited(), [45_000]);
}

#[tokio::test]
async fn a_wait_beyond_reason_fails_and_says_so() {
    let server = server(vec![status(429).insert_header("retry-after", "7200")]).await;
    let error = rig(Reliability::default()).fails(&server.uri()).await;
    insta::assert_snapshot!(format!("{error:?}"), @"[rate_limited] the source asks to wait 7200 seconds (longest wait: 600 s, ten times reliability.retry.max) -> run again after that time (what was read is kept), or raise reliability.retry.max");
}

#[tokio::test]
async fn tries_are_bounded_and_grow_apart() {
    let server = server(vec![status(500).set_body_string("oops token-0")]).await;
    let breaker = Breaker {
        failures: 99,
        ..Breaker::default()
    };
    let rig = rig(Reliability {
        breaker: Some(breaker),
        ..Reliability::default()
    });
    let error = rig.fails(&server.uri()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(rig.clock.waited(), [1_000, 2_000, 4_000, 8_000]);
    assert!(error.to_string().contains("oops [redacted]"), "{error}");
}

#[tokio::test]
async fn retries_stay_within_the_budget() {
    let server = server(vec![status(500)]).await;
    let retry = Retry {
        attempts: 100,
        ..Retry::default()
    };
    let breaker = Breaker {
        failures: 1000,
        ..Breaker::default()
    };
    let rig = rig(Reliability {
        retry: Some(retry),
        breaker: Some(breaker),
        ..Reliability::default()
    });
    let error = rig.fails(&server.uri()).await;
    assert!(error.to_string().contains("retry budget: used up"), "{error}");
    assert_eq!(rig.client.stats().requests, 11);
}

#[tokio::test]
async fn the_breaker_opens_waits_and_closes_again() {
    let mut answers = vec![status(500); 3];
    answers.push(status(200));
    let server = server(answers).await;
    let breaker = Breaker {
        failures: 3,
        ..Breaker::default()
    };
    let rig = rig(Reliability {
        breaker: Some(breaker),
        ..Reliability::default()
    });
    rig.get(&server.uri()).await.unwrap();
    assert_eq!(rig.client.stats().requests, 4);
    assert!(
        rig.clock.elapsed() >= Duration::from_secs(30),
        "it waited for the cooldown"
    );
    assert_eq!(rig.client.breaker_state(), BreakerState::Closed);
}

#[tokio::test]
async fn an_open_breaker_refuses_when_no_try_is_left() {
    let server = server(vec![status(500)]).await;
    let breaker = Breaker {
        failures: 1,
        ..Breaker::default()
    };
    let retry = Retry {
        attempts: 1,
        ..Retry::default()
    };
    let rig = rig(Reliability {
        breaker: Some(breaker),
        retry: Some(retry),
        ..Reliability::default()
    });
    rig.fails(&server.uri()).await;
    assert_eq!(rig.client.breaker_state(), BreakerState::Open);
    let error = rig.fails(&server.uri()).await;
    assert!(error.to_string().contains("circuit breaker is open"), "{error}");
    assert_eq!(rig.client.stats().requests, 1);
}

#[tokio::test]
async fn refusals_do_not_open_the_breaker() {
    let server = server(vec![status(404)]).await;
    let breaker = Breaker {
        failures: 1,
        ..Breaker::default()
    };
    let rig = rig(Reliability {
        breaker: Some(breaker),
        ..Reliability::default()
    });
    assert_eq!(rig.fails(&server.uri()).await.kind(), ErrorKind::Source);
    assert_eq!(rig.client.breaker_state(), BreakerState::Closed);
}

#[tokio::test]
async fn a_401_renews_once() {
    let server = MockServer::start().await;
    Mock::given(header("authorization", "token-1"))
        .respond_with(status(200))
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .respond_with(status(401))
        .mount(&server)
        .await;
    let rig = rig(Reliability::default());
    rig.get(&server.uri()).await.unwrap();
    assert_eq!(rig.clock.waited(), [] as [u64; 0]);

    let stubborn = rig_with(
        Reliability::default(),
        &["127.0.0.1"],
        Counter {
            renewals_max: 9,
            ..Counter::default()
        },
    );
    stubborn
        .client
        .authenticator
        .renew(Generation::default())
        .await
        .unwrap();
    stubborn
        .client
        .authenticator
        .renew(Generation::default())
        .await
        .unwrap();
    let error = stubborn.fails(&server.uri()).await;
    assert_eq!(
        (error.kind(), error.next_step()),
        (ErrorKind::Auth, Some("set credential.token"))
    );
    assert_eq!(stubborn.client.stats().requests, 2);
}

#[tokio::test]
async fn undeclared_hosts_and_metadata_are_refused_also_by_redirect() {
    let rig = rig_with(
        Reliability::default(),
        &["127.0.0.1", "169.254.169.254"],
        Counter::default(),
    );
    for (target, word) in [
        (
            "http://169.254.169.254/latest/meta-data",
            "link-local or metadata",
        ),
        ("https://evil.example.com/", "not among the connector's hosts"),
    ] {
        let server = server(vec![status(302).insert_header("location", target)]).await;
        for url in [target, &server.uri()] {
            let error = rig.fails(url).await;
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}

#[tokio::test]
async fn names_that_resolve_to_private_addresses_are_refused() {
    let server = server(vec![status(200)]).await;
    let port = server.address().port();
    let patience = |_| {
        Patience::resolve(
            &Reliability::default(),
            &Reliability::default(),
            &ReliabilityDefaults::default(),
        )
    };
    let settings = ClientSettings::new(
        HostRules::new(&["localhost"], true).unwrap(),
        patience(()).unwrap(),
    );
    let transport = Transport::new(&settings).unwrap();
    let client = Client::new(&settings, transport, Arc::new(Counter::default()));
    let url = Url::parse(&format!("http://localhost:{port}/")).unwrap();
    client.send(Outgoing::get(url), &|_| Ok(None)).await.unwrap();
    // The resolver itself, as a rebinding name would meet it.
    let strict = resolver::GuardedResolver {
        rules: HostRules::new(&["localhost"], false).unwrap(),
        plain: false,
    };
    let refused = reqwest::dns::Resolve::resolve(&strict, "localhost".parse().unwrap()).await;
    let error = refused.err().unwrap();
    assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn redirects_keep_the_credential_only_at_home() {
    let away = MockServer::start().await;
    Mock::given(path("/there"))
        .respond_with(status(200))
        .mount(&away)
        .await;
    let home = server(vec![
        status(303).insert_header("location", "/again"),
        status(307).insert_header("location", format!("{}/there", away.uri()).as_str()),
    ])
    .await;
    let rig = rig(Reliability::default());
    let mut out = Outgoing::new(Method::POST, Url::parse(&home.uri()).unwrap());
    out.body = Body::Json(Bytes::from_static(b"{}"));
    out.set_header("x-api-key", "token-0");
    rig.client.send(out, &|_| Ok(None)).await.unwrap();
    let at_home = home.received_requests().await.unwrap();
    assert_eq!(
        at_home
            .iter()
            .map(|request| request.method.as_str())
            .collect::<Vec<_>>(),
        ["POST", "GET"]
    );
    assert!(
        at_home
            .iter()
            .all(|request| request.headers.contains_key("authorization"))
    );
    let there = away.received_requests().await.unwrap();
    assert!(!there[0].headers.contains_key("authorization") && !there[0].headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn redirect_circles_end() {
    let server = server(vec![status(301).insert_header("location", "/")]).await;
    let rig = rig(Reliability::default());
    assert!(
        rig.fails(&server.uri())
            .await
            .to_string()
            .contains("more than 10 redirects")
    );
    assert_eq!(rig.client.stats().requests, 11);
}

#[tokio::test]
async fn large_and_bomb_answers_stop_at_the_limit() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b' '; 4 << 20]).unwrap();
    let bomb = status(200)
        .insert_header("content-encoding", "gzip")
        .set_body_bytes(packed.finish().unwrap());
    for answer in [bomb, status(200).set_body_bytes(vec![b' '; 4 << 20])] {
        let server = server(vec![answer]).await;
        let rig = rig(Reliability {
            response_max: Some("1MiB".parse().unwrap()),
            ..Reliability::default()
        });
        assert_eq!(rig.fails(&server.uri()).await.kind(), ErrorKind::Limit);
        assert_eq!(rig.client.stats().requests, 1, "not tried again");
    }
}

/// Answers raw text per connection, the last one for ever; `None` keeps silent.
async fn raw_server(answers: Vec<Option<&'static str>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut kept = Vec::new();
        for index in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(read > 0);
            match answers[index.min(answers.len() - 1)] {
                Some(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                None => kept.push(stream),
            }
        }
    });
    url
}

#[tokio::test]
async fn cut_answers_are_tried_again() {
    let url = raw_server(vec![
        Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[1,2"),
        Some("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n[1,2]"),
    ])
    .await;
    let rig = rig(Reliability::default());
    assert_eq!(body(&rig.get(&url).await.unwrap()), b"[1,2]");
    assert_eq!(rig.client.stats().requests, 2);
}

#[tokio::test]
async fn what_must_not_happen_twice_is_not_sent_twice() {
    let url = raw_server(vec![Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[1,2")]).await;
    let rig = rig(Reliability::default());
    let mut out = Outgoing::get(Url::parse(&url).unwrap());
    out.repeatable = false;
    assert!(rig.client.send(out, &|_| Ok(None)).await.is_err());
    assert_eq!(rig.client.stats().requests, 1);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let url = raw_server(vec![None]).await;
    let retry = Retry {
        attempts: 2,
        ..Retry::default()
    };
    let timeout = Some("60ms".parse().unwrap());
    let rig = rig(Reliability {
        timeout,
        retry: Some(retry),
        ..Reliability::default()
    });
    assert_eq!(rig.fails(&url).await.kind(), ErrorKind::Timeout);
    assert_eq!(rig.client.stats().requests, 2);
}

#[tokio::test]
async fn rules_come_before_the_default() {
    let server = server(vec![status(404).set_body_string("gone")]).await;
    let rig = rig(Reliability::default());
    let out = Outgoing::get(Url::parse(&server.uri()).unwrap());
    let ignore = |answer: &Answer| Ok((answer.status == 404).then_some(Verdict::Ignore));
    assert!(matches!(
        rig.client.send(out, &ignore).await.unwrap(),
        Sent::Ignored(_)
    ));
}

#[tokio::test]
async fn no_more_than_the_slots_are_in_flight() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(status(200).set_body_string("[]"))
        .mount(&server)
        .await;
    let rig = Arc::new(rig(Reliability {
        concurrency: Some(2),
        ..Reliability::default()
    }));
    let url = server.uri();
    let all = (0..20).map(|_| rig.get(&url));
    let done = futures::future::join_all(all).await;
    assert!(done.iter().all(Result::is_ok));
    assert_eq!(rig.client.stats().requests, 20);
}
