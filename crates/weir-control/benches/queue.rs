//! How fast schedules that became due are queued, and workers go through the queue: empty runs, so that only the control
//! store counts.
//!
//! `cargo bench -p weir-control --bench queue -- [SCHEDULES] [WAITING]`, with `WEIR_DATABASE_URL` on
//! PostgreSQL (an empty database), else on a SQLite file in a temporary folder.
#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use weir_control::runs::queue::{self, Claimed, Order, RunOptions};
use weir_control::worker::{Limits, Performer, Worker};
use weir_control::{Connection, DEFAULT_TENANT, Place, Store, schedules};
use weir_protocol::Result;
use weir_protocol::schedule::ScheduleSpec;
use weir_protocol::units::Span;

const WORKERS: usize = 4;
/// Set up at once.
const AT_ONCE: usize = 16;

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

/// Connections with a schedule of every minute; gives back once all of them are due.
async fn schedule(store: &Store, schedules: usize) -> Result<()> {
    let spec = &ScheduleSpec {
        cron: Some("* * * * *".to_owned()),
        jitter: Some(Span::from_secs(0)),
        ..ScheduleSpec::default()
    };
    let set = stream::iter(0..schedules).map(|n| async move {
        let name = format!("c{n}");
        let connection = Connection::new(&name, "http_json", &name);
        schedules::put(store, &connection, Some(spec)).await
    });
    set.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    let latest = schedules::list(store, DEFAULT_TENANT).await?;
    let latest = latest.iter().map(|schedule| schedule.next_due_at_ms).max();
    while store.now_ms().await? < latest.unwrap_or(0) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Runs that were asked for, of all connections in turn.
async fn fill(store: &Store, runs: usize, connections: usize) -> Result<()> {
    let put = stream::iter(0..runs).map(|n| async move {
        let connection = format!("c{}", n % connections);
        queue::put(
            store,
            &Order::asked(DEFAULT_TENANT, &connection, RunOptions::default()),
        )
        .await
    });
    put.buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await
        .map(drop)
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
    let (scheduled, waiting) = (number(1, 10_000), number(2, 100_000));
    let folder = tempfile::tempdir().map_err(|error| weir_protocol::Error::internal(error.to_string()))?;
    #[expect(clippy::disallowed_methods, reason = "a benchmark is told where to measure")]
    let place = match std::env::var("WEIR_DATABASE_URL") {
        Ok(url) => Place::parse(&url)?,
        Err(_) => Place::Sqlite(folder.path().join("weir.db")),
    };
    let store = Store::connect(&place).await?;
    schedule(&store, scheduled).await?;
    let began = Instant::now();
    let mut queued = 0;
    while queued < scheduled as u64 {
        queued += schedules::tick(&store).await?;
    }
    let took = began.elapsed().as_secs_f64();
    println!("{queued} due schedules: {:.0} queued/s", queued as f64 / took);
    let took = work_through(&store, scheduled).await.as_secs_f64();
    println!(
        "{scheduled} runs, {WORKERS} workers: {:.0} runs/s",
        scheduled as f64 / took
    );

    fill(&store, waiting, scheduled).await?;
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
