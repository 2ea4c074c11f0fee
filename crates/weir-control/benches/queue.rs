//! How fast workers go through the queue: empty runs, so that only the control store counts.
//!
//! `cargo bench -p weir-control --bench queue -- [RUNS] [WAITING]`, with `WEIR_DATABASE_URL` on
//! PostgreSQL (an empty database), else on a SQLite file in a temporary folder.
#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use weir_control::runs::queue::{self, Claimed, Order, RunOptions};
use weir_control::worker::{Limits, Performer, Worker};
use weir_control::{Connection, DEFAULT_TENANT, Place, Store, connections};
use weir_protocol::Result;

const WORKERS: usize = 4;
const CONNECTIONS: usize = 500;

struct Nothing {
    store: Store,
    left: Arc<AtomicUsize>,
    done: CancellationToken,
}

#[async_trait]
impl Performer for Nothing {
    async fn perform(&self, claimed: &Claimed, _: CancellationToken) -> Result<()> {
        queue::end(&self.store, claimed, Ok(())).await?;
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.cancel();
        }
        Ok(())
    }
}

async fn fill(store: &Store, runs: usize) -> Result<()> {
    for n in 0..runs {
        let connection = format!("c{}", n % CONNECTIONS);
        queue::put(
            store,
            &Order::asked(DEFAULT_TENANT, &connection, RunOptions::default()),
        )
        .await?;
    }
    Ok(())
}

fn number(at: usize, default: usize) -> usize {
    let given = std::env::args().filter(|arg| !arg.starts_with("--")).nth(at);
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn work_through(store: &Store, runs: usize) -> Duration {
    let left = Arc::new(AtomicUsize::new(runs));
    let done = CancellationToken::new();
    let began = Instant::now();
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let nothing = Nothing {
                store: store.clone(),
                left: left.clone(),
                done: done.clone(),
            };
            let limits = Limits {
                runs_at_once: 16,
                ..Limits::default()
            };
            tokio::spawn(Worker::new(store.clone(), Arc::new(nothing), limits).run(done.clone()))
        })
        .collect();
    for worker in workers {
        if let Ok(Err(error)) = worker.await {
            println!("a worker gave up: {error}");
        }
    }
    began.elapsed()
}

#[tokio::main]
async fn main() -> Result<()> {
    let (runs, waiting) = (number(1, 10_000), number(2, 100_000));
    let folder = tempfile::tempdir().map_err(|error| weir_protocol::Error::internal(error.to_string()))?;
    #[expect(clippy::disallowed_methods, reason = "a benchmark is told where to measure")]
    let place = match std::env::var("WEIR_DATABASE_URL") {
        Ok(url) => Place::parse(&url)?,
        Err(_) => Place::Sqlite(folder.path().join("weir.db")),
    };
    let store = Store::connect(&place).await?;
    for n in 0..CONNECTIONS {
        let name = format!("c{n}");
        connections::register(&store, &Connection::new(&name, "http_json", &name)).await?;
    }
    fill(&store, runs).await?;
    let took = work_through(&store, runs).await.as_secs_f64();
    println!("{runs} runs, {WORKERS} workers: {:.0} runs/s", runs as f64 / took);

    fill(&store, waiting).await?;
    let mut claims = Vec::new();
    for _ in 0..400 {
        let began = Instant::now();
        queue::claim(&store, "bench", None, 1).await?;
        claims.push(began.elapsed());
    }
    claims.sort();
    println!(
        "claim with {waiting} waiting: p50 {:?}, p99 {:?}",
        claims[claims.len() / 2],
        claims[claims.len() * 99 / 100]
    );
    Ok(())
}
