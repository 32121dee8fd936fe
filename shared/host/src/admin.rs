//! The admin listener: `/metrics`, `/healthz`, `/readyz`. Never on the public address.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use event_sourcing::{Aggregate, View};
use event_store::{ReminderCounts, Reminders};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::layers::{Layer, PrefixLayer};
use parking_lot::Mutex;
use read_store::{HeldSummary, ReadStore, Walk};
use runtime::Problem;
use runtime::http::{check_head, traced, with_fallbacks};
use runtime::telemetry::LostLines;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::application::Application;
use crate::auth::identify;
use crate::listener::call;
use crate::output::plural;
use crate::registration::ViewStatus;
use crate::stores::Stores;
use crate::tokens::Tokens;
use crate::{CannotStart, application};

/// How long a store may take to answer `/readyz`.
const PATIENCE: Duration = Duration::from_secs(2);

/// Upper bounds of the latency histograms, in seconds.
const LATENCIES: &[f64] =
    &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Upper bounds of the batch size histograms, in records.
const BATCHES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 10_000.0];

/// What the admin listener tells about.
pub struct Admin<A: Aggregate, V: View> {
    /// For what it measures itself.
    pub application: Arc<Application<A, V>>,
    /// For the backlog, the channel's lag, what waits for an outcome and what is held.
    pub stores: Stores<A, V>,
    /// Whether the view can be queried.
    pub view_status: watch::Receiver<ViewStatus>,
    /// What was counted.
    pub metrics: PrometheusHandle,
    /// What was lost of the log.
    pub lost_lines: LostLines,
    /// Who is shown the metrics; everybody where there are none.
    pub tokens: Option<Tokens>,
    /// The groups and partitions whose lag was told last.
    pub told_lag: Mutex<HashSet<(String, i32)>>,
}

/// Starts to count. Once a process.
///
/// # Errors
/// When counting was started before.
pub fn start_metrics() -> Result<PrometheusHandle, CannotStart> {
    let cannot = |error: &dyn std::fmt::Display| CannotStart(format!("metrics can't be counted: {error}"));
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), LATENCIES)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_batch_size".to_owned()), BATCHES)
        });
    let recorder = builder.map_err(|error| cannot(&error))?.build_recorder();
    let handle = recorder.handle();
    let recorder = PrefixLayer::new(application()).layer(recorder);
    metrics::set_global_recorder(recorder).map_err(|error| cannot(&error))?;
    Ok(handle)
}

/// The admin routes.
pub fn router<A: Aggregate, V: View>(admin: Admin<A, V>) -> Router {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready::<A, V>))
        .route("/metrics", get(metrics_text::<A, V>))
        .with_state(Arc::new(admin));
    with_fallbacks(router)
}

/// Answers a request to these routes.
pub async fn answer(router: Router, request: Request) -> Response {
    traced(request, async |request| match check_head(request.version(), request.headers()) {
        Ok(()) => call(router, request).await,
        Err(problem) => problem.into_response(),
    })
    .await
}

#[derive(Serialize)]
struct Readiness {
    event_store: String,
    read_store: String,
    /// None where the view does not tell.
    held: Option<Vec<HeldSummary>>,
    /// None where the event store does not tell.
    reminders: Option<ReminderCounts>,
    /// The same.
    comparison: Option<Comparison>,
}

/// What the comparison of the view with the event store has found.
#[derive(Serialize)]
struct Comparison {
    /// Since when the view may lack something, and why.
    in_doubt_since: Option<Timestamp>,
    doubt: Option<String>,
    /// When every stream had been compared last.
    ended: Option<Timestamp>,
    /// Streams of which the view lacked something, and events that were filled in.
    found: u64,
    filled: u64,
}

impl From<Walk> for Comparison {
    fn from(walk: Walk) -> Self {
        let Walk { doubt, ended, found, filled, .. } = walk;
        let (in_doubt_since, doubt) = doubt.unzip();
        Self { in_doubt_since, doubt, ended, found, filled }
    }
}

async fn ready<A: Aggregate, V: View>(State(admin): State<Arc<Admin<A, V>>>) -> Response {
    let Stores { handler, view, reminders } = &admin.stores;
    let (events, rows) =
        tokio::join!(timeout(PATIENCE, handler.store().ping()), timeout(PATIENCE, view.ping()),);
    let event_store = told(events);
    let read_store = match (told(rows), &*admin.view_status.borrow()) {
        (ok, ViewStatus::Filling(progress)) if ok == "ok" => {
            format!("is being filled from the event store: {progress}")
        }
        (ok, ViewStatus::Unknown) if ok == "ok" => "has not been registered with yet".to_owned(),
        (told, _) => told,
    };
    let ok = event_store == "ok" && read_store == "ok";
    let view = (read_store == "ok").then_some(view);
    let events = (event_store == "ok").then_some(reminders);
    let (held, walk, reminders) = tokio::join!(
        in_time(view.map(ReadStore::held_summary)),
        in_time(view.map(ReadStore::walk)),
        in_time(events.map(Reminders::count)),
    );
    let comparison = walk.map(Comparison::from);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    runtime::http::json(status, &Readiness { event_store, read_store, held, reminders, comparison })
}

async fn in_time<T, E>(question: Option<impl Future<Output = Result<T, E>>>) -> Option<T> {
    timeout(PATIENCE, question?).await.ok()?.ok()
}

fn told<E: std::fmt::Display>(answer: Result<Result<(), E>, tokio::time::error::Elapsed>) -> String {
    match answer {
        Ok(Ok(())) => "ok".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {} s", PATIENCE.as_secs()),
    }
}

async fn metrics_text<A: Aggregate, V: View>(
    State(admin): State<Arc<Admin<A, V>>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(tokens) = &admin.tokens {
        identify(tokens, &headers)?;
    }
    admin.measure_now().await;
    let text = admin.metrics.render();
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

impl<A: Aggregate, V: View> Admin<A, V> {
    /// What is not counted as it happens, but looked at when somebody asks.
    async fn measure_now(&self) {
        let Stores { handler, view, reminders } = &self.stores;
        // While a store is away, or busy with lists, the last figures stand: that nothing waits or is held is not known.
        let (walk, ..) = tokio::join!(
            in_time(Some(view.walk())),
            timeout(PATIENCE, command_handler::measure_backlog(handler.store())),
            timeout(PATIENCE, command_handler::measure_reminders(reminders)),
            timeout(PATIENCE, self.application.measure_all(&self.stores)),
        );
        if let Some(walk) = walk {
            Self::measure_comparison(&walk);
        }
        metrics::counter!("log_lines_lost_total").absolute(self.lost_lines.count());
        metrics::gauge!("publishing_streams").set(handler.publisher().in_flight() as f64);
        self.measure_lag();
    }

    /// In a partition that has gone to another process, nothing here is behind.
    fn measure_lag(&self) {
        // Not a number where nobody knows.
        let set = |group: &str, partition: i32, records: Option<u64>| {
            let (group, partition) = (group.to_owned(), partition.to_string());
            metrics::gauge!("channel_lag", "group" => group, "partition" => partition)
                .set(records.map_or(f64::NAN, |records| records as f64));
        };
        let now = self.stores.handler.publisher().channel().lag();
        let mut told = self.told_lag.lock();
        for (group, partition) in told.drain() {
            set(&group, partition, Some(0));
        }
        for lag in now {
            set(&lag.group, lag.partition, lag.records);
            told.insert((lag.group, lag.partition));
        }
    }

    fn measure_comparison(walk: &Walk) {
        let seconds = |time: Timestamp| time.as_millisecond() as f64 / 1_000.0;
        let since = walk.doubt.as_ref().map_or(0.0, |(since, _)| seconds(*since));
        metrics::gauge!("view_in_doubt_since").set(since);
        metrics::gauge!("view_compared_at").set(walk.ended.map_or(0.0, seconds));
        metrics::counter!(format!("view_missing_{}_total", plural::<A>())).absolute(walk.found);
        metrics::counter!("view_filled_events_total").absolute(walk.filled);
    }
}
