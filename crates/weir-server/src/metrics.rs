//! What a monitor reads: `/metrics`, in the text format of Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;
use weir_control::{runs, schedules};
use weir_protocol::{Error, Result};

use crate::ServerState;
use crate::problem::Problem;

/// The store is asked at most so often, whoever scrapes.
const FRESH: Duration = Duration::from_secs(5);
/// Promises that were due in so long a time count for how well they were kept.
const COMPLIANCE_SPAN_MS: i64 = 30 * 86_400_000;
const SECONDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    runs: Family<StatusLabels, Gauge>,
    waiting: Gauge,
    oldest_waiting: Seconds,
    due: Gauge,
    kept: Seconds,
    succeeded: Seconds,
    store: Seconds,
    clock: Seconds,
    read_at: Mutex<Option<Instant>>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let requests = Family::default();
        let request_seconds: Family<RouteLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        let runs = Family::default();
        let [waiting, due] = [Gauge::default(), Gauge::default()];
        let [oldest_waiting, kept, succeeded, store, clock] = std::array::from_fn(|_| Seconds::default());
        let mut registry = Registry::with_prefix("weir");
        let all = &mut registry;
        let counted = "Requests that were answered";
        all.register("http_requests", counted, Family::clone(&requests));
        all.register(
            "http_request_duration_seconds",
            "Time to an answer",
            request_seconds.clone(),
        );
        let counted = "Open runs, and those of the last day that have ended";
        all.register("runs", counted, Family::clone(&runs));
        all.register(
            "queue_depth",
            "Runs that a worker could take now",
            Gauge::clone(&waiting),
        );
        all.register(
            "queue_oldest_waiting_seconds",
            "For how long the first of them could have been taken",
            oldest_waiting.clone(),
        );
        all.register(
            "schedule_due",
            "Moments that were due in the last 30 days and are decided",
            Gauge::clone(&due),
        );
        all.register(
            "schedule_kept_ratio",
            "Share of them that succeeded in time",
            kept.clone(),
        );
        all.register(
            "schedule_succeeded_ratio",
            "Share of them that succeeded at all",
            succeeded.clone(),
        );
        all.register(
            "store_ping_seconds",
            "Time of one round trip to the control store",
            store.clone(),
        );
        all.register(
            "store_clock_offset_seconds",
            "By how much the store's clock is ahead of this machine's, as far as the way there does not explain it",
            clock.clone(),
        );
        Self {
            registry,
            requests,
            request_seconds,
            runs,
            waiting,
            oldest_waiting,
            due,
            kept,
            succeeded,
            store,
            clock,
            read_at: Mutex::new(None),
        }
    }

    pub(crate) fn answered(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        // Methods that nobody knows are the caller's invention, and could be any number.
        let method = match method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
            _ => "other",
        };
        let labels = RequestLabels {
            method: method.to_owned(),
            route: route.to_owned(),
            status: status.as_u16(),
        };
        self.requests.get_or_create(&labels).inc();
        let labels = RouteLabels {
            method: method.to_owned(),
            route: route.to_owned(),
        };
        let seconds = self.request_seconds.get_or_create(&labels);
        seconds.observe(took.as_secs_f64());
    }

    async fn refresh(&self, state: &ServerState) -> Result<()> {
        let mut read_at = self.read_at.lock().await;
        if read_at.is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(());
        }
        let began = Instant::now();
        let now_ms = state.store.now_ms().await?;
        self.store.set(began.elapsed().as_secs_f64());
        let ahead_ms = state.store.clock_offset().await?.ms;
        let ahead = Duration::from_millis(ahead_ms.unsigned_abs()).as_secs_f64();
        self.clock.set(if ahead_ms < 0 { -ahead } else { ahead });
        let figures = runs::figures(&state.store).await?;
        for (status, runs) in figures.by_status {
            let status = StatusLabels {
                status: status.as_str(),
            };
            self.runs.get_or_create(&status).set(gauge(runs));
        }
        self.waiting.set(gauge(figures.waiting));
        self.oldest_waiting
            .set(Duration::from_millis(figures.oldest_waiting_ms).as_secs_f64());
        let compliance = schedules::overall_compliance(&state.store, now_ms - COMPLIANCE_SPAN_MS).await?;
        self.due.set(gauge(compliance.due));
        self.kept.set(compliance.kept_share());
        self.succeeded.set(compliance.success_share());
        *read_at = Some(Instant::now());
        Ok(())
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(crate) async fn show(State(state): State<ServerState>) -> Result<Response, Problem> {
    state.metrics.refresh(&state).await?;
    let mut text = String::new();
    encode(&mut text, &state.metrics.registry).map_err(|error| {
        Problem::from(
            Error::internal("cannot write the metrics")
                .caused_by(error)
                .hint("report it"),
        )
    })?;
    let media_type = HeaderValue::from_static(MEDIA_TYPE);
    Ok(([(header::CONTENT_TYPE, media_type)], text).into_response())
}
