//! Waits, retries, quotas, the breaker, and what answers mean.

use weir_protocol::ErrorKind;
use weir_protocol::spec::{Breaker, RateLimit, Reliability, Retry};
use wiremock::matchers::{header, method};
use wiremock::{Mock, MockServer};

use super::*;

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
async fn a_source_that_never_answers_is_given_up_before_tries_are_used_up() {
    let late = status(200).set_delay(Duration::from_secs(3600));
    let server = server(vec![late]).await;
    let breaker = Breaker {
        failures: 3,
        ..Breaker::default()
    };
    let rig = rig(Reliability {
        timeout: Some("200ms".parse().unwrap()),
        breaker: Some(breaker),
        retry: Some(Retry {
            attempts: 1000,
            ..Retry::default()
        }),
        ..Reliability::default()
    });
    let error = rig.fails(&server.uri()).await;
    assert!(
        matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable),
        "{error:?}"
    );
    let told: Vec<_> = error.context().iter().map(|(key, _)| *key).collect();
    assert!(
        told.contains(&"no answer for") && told.contains(&"tries"),
        "{error:?}"
    );
    let seconds = rig.clock.elapsed().as_secs();
    assert!(
        (20..=60).contains(&seconds),
        "{seconds} s: {:?}",
        rig.clock.waited()
    );
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
