//! The client against a server on loopback, in virtual time: waits are recorded, not slept.

mod bounds;
mod patience;
mod shared;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use weir_protocol::spec::{Reliability, Retry};
use weir_protocol::{Error, Result, Secret};
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
