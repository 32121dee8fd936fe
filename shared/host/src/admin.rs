//! The admin listener: `/metrics`, `/healthz`, `/readyz`. Never on the public address.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::ArgMatches;
use command_handler::Relay;
use event_store::{OtherProcesses, ReminderCounts, Reminders};
use futures_util::future::join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use metrics::Label;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::layers::{Layer, PrefixLayer};
use parking_lot::Mutex;
use read_store::{HeldSummary, Walk};
use runtime::Problem;
use runtime::http::{check_head, traced, with_fallbacks};
use runtime::telemetry::LostLines;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::aggregates::OpenAggregate;
use crate::auth::identify;
use crate::functions::{Functions, Parts};
use crate::listener::call;
use crate::output::plural;
use crate::registration::ViewStatus;
use crate::stores::Stores;
use crate::tokens::Tokens;
use crate::views::OpenView;
use crate::{CannotStart, application};

/// How long a store may take to answer `/readyz`.
const PATIENCE: Duration = Duration::from_secs(2);

/// Upper bounds of the latency histograms, in seconds.
const LATENCIES: &[f64] =
    &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Upper bounds of the batch size histograms, in records.
const BATCHES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 10_000.0];

/// What the admin listener tells about.
pub struct Admin {
    /// For the application's own measurements.
    pub functions: Arc<Functions>,
    /// The flags from which these are made.
    pub flags: ArgMatches,
    /// True once work has to end.
    pub stop: watch::Receiver<bool>,
    /// For the backlogs, the channels' lags, what waits for an outcome and what is held.
    pub stores: Stores,
    /// The relays of the aggregates, in the sequence of the stores', for what they leave to others.
    pub relays: Vec<Relay>,
    /// Whether each view can be queried, in the sequence of the stores' views.
    pub view_statuses: Vec<watch::Receiver<ViewStatus>>,
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
pub fn router(admin: Admin) -> Router {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
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

/// Whether the stores answer. Where there is one aggregate and one view, both are told as one object.
#[derive(Serialize)]
#[serde(untagged)]
enum Readiness {
    One {
        #[serde(flatten)]
        aggregate: AggregateReadiness,
        #[serde(flatten)]
        view: ViewReadiness,
    },
    Several {
        aggregates: BTreeMap<&'static str, AggregateReadiness>,
        views: BTreeMap<&'static str, ViewReadiness>,
    },
}

#[derive(Serialize)]
struct AggregateReadiness {
    event_store: String,
    /// None where the event store does not tell.
    reminders: Option<ReminderCounts>,
    /// The same, and where it keeps no record of them.
    other_replicas: Option<OtherProcesses>,
}

#[derive(Serialize)]
struct ViewReadiness {
    read_store: String,
    /// None where the view does not tell.
    held: Option<Vec<HeldSummary>>,
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

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let Stores { aggregates, views } = &admin.stores;
    let (views, relays) = (views.iter().zip(&admin.view_statuses), aggregates.iter().zip(&admin.relays));
    let (mut aggregates, mut views) = tokio::join!(
        join_all(relays.map(|(aggregate, relay)| aggregate_readiness(aggregate, relay))),
        join_all(views.map(|(view, status)| view_readiness(view, status))),
    );
    let is_ready = aggregates.iter().all(|(_, aggregate)| aggregate.event_store == "ok")
        && views.iter().all(|(_, view)| view.read_store == "ok");
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let readiness = match (aggregates.len(), views.len(), aggregates.pop(), views.pop()) {
        (1, 1, Some((_, aggregate)), Some((_, view))) => Readiness::One { aggregate, view },
        (_, _, aggregate, view) => Readiness::Several {
            aggregates: aggregates.into_iter().chain(aggregate).collect(),
            views: views.into_iter().chain(view).collect(),
        },
    };
    runtime::http::json(status, &readiness)
}

async fn aggregate_readiness(aggregate: &OpenAggregate, relay: &Relay) -> (&'static str, AggregateReadiness) {
    let OpenAggregate { handler, reminders } = aggregate;
    let event_store = told(timeout(PATIENCE, handler.store().ping()).await);
    let is_ok = event_store == "ok";
    let (reminders, others) = tokio::join!(
        in_time(is_ok.then_some(reminders).map(Reminders::count)),
        in_time(is_ok.then_some(relay).map(Relay::other_processes)),
    );
    (handler.kind(), AggregateReadiness { event_store, reminders, other_replicas: others.flatten() })
}

async fn view_readiness(
    view: &OpenView,
    status: &watch::Receiver<ViewStatus>,
) -> (&'static str, ViewReadiness) {
    let view = &view.view;
    let told = told(timeout(PATIENCE, view.ping()).await);
    let read_store = match (told, &*status.borrow()) {
        (ok, ViewStatus::Filling(progress)) if ok == "ok" => {
            format!("is being filled from the event store: {progress}")
        }
        (ok, ViewStatus::Unknown) if ok == "ok" => "has not been registered with yet".to_owned(),
        (told, _) => told,
    };
    let answering = || (read_store == "ok").then_some(view);
    let (held, walk) = tokio::join!(
        in_time(answering().map(|view| view.held_summary())),
        in_time(answering().map(|view| view.walk())),
    );
    (view.name(), ViewReadiness { read_store, held, comparison: walk.map(Comparison::from) })
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

async fn metrics_text(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(tokens) = &admin.tokens {
        identify(tokens, &headers)?;
    }
    admin.measure_now().await;
    let text = admin.metrics.render();
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

impl Admin {
    /// What is not counted as it happens, but looked at when somebody asks.
    async fn measure_now(&self) {
        // While a store is away, or busy with lists, the last figures stand: that nothing waits or is held is not known.
        let Stores { aggregates, views } = &self.stores;
        let of_aggregates = aggregates.iter().map(|aggregate| {
            measure_aggregate(aggregate, labels("aggregate", aggregate.handler.kind(), aggregates.len()))
        });
        let of_views =
            views.iter().map(|view| measure_view(view, labels("view", view.view.name(), views.len())));
        let parts =
            Parts { application: application(), stores: &self.stores, flags: &self.flags, stop: &self.stop };
        let own = async {
            // The start has shown that they can be made.
            if let Ok(measures) = self.functions.measures(&parts) {
                let _ = timeout(PATIENCE, measures).await;
            }
        };
        tokio::join!(join_all(of_aggregates), join_all(of_views), own);
        metrics::counter!("log_lines_lost_total").absolute(self.lost_lines.count());
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
        let channels = self.stores.aggregates.iter().map(|aggregate| aggregate.handler.publisher().channel());
        let mut told = self.told_lag.lock();
        for (group, partition) in told.drain() {
            set(&group, partition, Some(0));
        }
        for lag in channels.flat_map(|channel| channel.lag()) {
            set(&lag.group, lag.partition, lag.records);
            told.insert((lag.group, lag.partition));
        }
    }
}

/// The label of an aggregate's or a view's series. Where there is one, no label is needed.
fn labels(what: &'static str, name: &'static str, among: usize) -> Vec<Label> {
    if among > 1 { vec![Label::from_static_parts(what, name)] } else { Vec::new() }
}

async fn measure_aggregate(aggregate: &OpenAggregate, labels: Vec<Label>) {
    let OpenAggregate { handler, reminders } = aggregate;
    let _ = tokio::join!(
        timeout(PATIENCE, command_handler::measure_backlog(handler.store(), &labels)),
        timeout(PATIENCE, command_handler::measure_reminders(reminders, &labels)),
    );
    metrics::gauge!("publishing_streams", labels.iter()).set(handler.publisher().in_flight() as f64);
}

async fn measure_view(view: &OpenView, labels: Vec<Label>) {
    let Some(walk) = in_time(Some(view.view.walk())).await else { return };
    let seconds = |time: Timestamp| time.as_millisecond() as f64 / 1_000.0;
    let since = walk.doubt.as_ref().map_or(0.0, |(since, _)| seconds(*since));
    metrics::gauge!("view_in_doubt_since", labels.iter()).set(since);
    metrics::gauge!("view_compared_at", labels.iter()).set(walk.ended.map_or(0.0, seconds));
    metrics::counter!(format!("view_missing_{}_total", plural(view.kind)), labels.iter())
        .absolute(walk.found);
    metrics::counter!("view_filled_events_total", labels.iter()).absolute(walk.filled);
}
