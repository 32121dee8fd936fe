//! The admin listener: `/metrics`, `/healthz`, `/readyz`. Never on the public address.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use command_handler::CommandHandler;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use read_store::{HeldReason, HeldSummary, ReadStore};
use serde::Serialize;

use crate::CannotStart;

/// How long a store may take to answer `/readyz`.
const PATIENCE: Duration = Duration::from_secs(2);

/// Upper bounds of the latency histograms, in seconds.
const LATENCIES: &[f64] =
    &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Upper bounds of the batch size histograms, in records.
const BATCHES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 10_000.0];

/// What the admin listener tells about.
#[derive(Clone)]
pub struct Admin {
    /// For the backlog and the channel's lag.
    pub handler: CommandHandler,
    /// For what is held.
    pub view: ReadStore,
    /// What was counted.
    pub metrics: PrometheusHandle,
    /// The groups and partitions whose lag was told last.
    pub told_lag: Arc<Mutex<HashSet<(String, i32)>>>,
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
    builder.map_err(|error| cannot(&error))?.install_recorder().map_err(|error| cannot(&error))
}

/// The admin routes.
pub fn router(admin: Admin) -> Router {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(admin);
    runtime::http::wrap(router)
}

#[derive(Serialize)]
struct Readiness {
    event_store: String,
    read_store: String,
    /// None where the view does not tell.
    held: Option<Vec<HeldSummary>>,
}

async fn ready(State(admin): State<Admin>) -> Response {
    let (events, view) = tokio::join!(
        tokio::time::timeout(PATIENCE, admin.handler.store().ping()),
        tokio::time::timeout(PATIENCE, admin.view.ping()),
    );
    let event_store = told(events);
    let read_store = told(view);
    let ok = event_store == "ok" && read_store == "ok";
    let held = if read_store == "ok" { held_in_time(&admin.view).await } else { None };
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    runtime::http::json(status, &Readiness { event_store, read_store, held })
}

async fn held_in_time(view: &ReadStore) -> Option<Vec<HeldSummary>> {
    tokio::time::timeout(PATIENCE, view.held_summary()).await.ok()?.ok()
}

fn told<E: std::fmt::Display>(answer: Result<Result<(), E>, tokio::time::error::Elapsed>) -> String {
    match answer {
        Ok(Ok(())) => "ok".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {} s", PATIENCE.as_secs()),
    }
}

async fn metrics_text(State(admin): State<Admin>) -> Response {
    measure_now(&admin).await;
    let text = admin.metrics.render();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// In a partition that has gone to another process, nothing here is behind.
fn measure_lag(admin: &Admin) {
    let set = |group: &str, partition: i32, records: u64| {
        let (group, partition) = (group.to_owned(), partition.to_string());
        metrics::gauge!("orders_channel_lag", "group" => group, "partition" => partition).set(records as f64);
    };
    let now = admin.handler.publisher().channel().lag();
    let mut told = admin.told_lag.lock().unwrap_or_else(PoisonError::into_inner);
    for (group, partition) in told.drain() {
        set(&group, partition, 0);
    }
    for lag in now {
        set(&lag.group, lag.partition, lag.records);
        told.insert((lag.group, lag.partition));
    }
}

/// What is not counted as it happens, but looked at when somebody asks.
async fn measure_now(admin: &Admin) {
    if let Ok(backlog) = admin.handler.store().backlog().await {
        let age = backlog.oldest.map_or(0.0, |oldest| Timestamp::now().duration_since(oldest).as_secs_f64());
        metrics::gauge!("orders_unpublished_commits").set(backlog.commits as f64);
        metrics::gauge!("orders_unpublished_oldest_age").set(age.max(0.0));
    }
    metrics::gauge!("orders_publishing_streams").set(admin.handler.publisher().in_flight() as f64);
    measure_lag(admin);
    // While the view is away, the last figures stand: that nothing is held is not known.
    let Ok(held) = admin.view.held_summary().await else { return };
    for reason in HeldReason::ALL {
        let of_reason = held.iter().find(|held| held.reason == reason);
        let (events, orders) = of_reason.map_or((0, 0), |held| (held.events, held.orders));
        metrics::gauge!("orders_held_events", "reason" => reason.as_str()).set(events as f64);
        metrics::gauge!("orders_held_orders", "reason" => reason.as_str()).set(orders as f64);
    }
}
