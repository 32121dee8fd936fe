//! Serves metrics for Prometheus.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use event_channel::EventChannel;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::net::TcpListener;

/// The upper bounds of the histograms: seconds of an invocation, records of a batch.
const SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
const RECORDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 10_000.0];

/// The mappings' logical ids and channels. The lag of a mapping is that of its channel.
pub(crate) type Channels = Vec<(String, EventChannel)>;

/// A listener for `/metrics`, and the recorder of its answers. Must be created before anything is counted.
pub(crate) struct Metrics {
    listener: TcpListener,
    handle: metrics_exporter_prometheus::PrometheusHandle,
}

impl Metrics {
    pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<Self> {
        let cannot = || format!("--metrics-listen {address}");
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_batch_size".to_owned()), RECORDS)
            })
            .with_context(cannot)?
            .install_recorder()
            .with_context(cannot)?;
        let listener = TcpListener::bind(address).await.with_context(cannot)?;
        eprintln!("metrics at http://{}/metrics", listener.local_addr().with_context(cannot)?);
        Ok(Self { listener, handle })
    }

    /// Serves until the process ends.
    pub(crate) async fn serve(self, channels: Channels) {
        let handle = self.handle;
        let text = move || {
            tell_lag(&channels);
            handle.run_upkeep();
            let text = handle.render();
            async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text) }
        };
        let router = Router::new().route("/metrics", get(text));
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::warn!(%error, "metrics are not served any more");
        }
    }
}

fn tell_lag(channels: &Channels) {
    for (mapping, channel) in channels {
        for lag in channel.lag() {
            let partition = lag.partition.to_string();
            metrics::gauge!(
                "event_source_mapping_offset_lag",
                "mapping" => mapping.clone(),
                "group" => lag.group,
                "partition" => partition
            )
            .set(lag.records.map_or(f64::NAN, |records| records as f64));
        }
    }
}
