//! The service that fulfils orders, or a mock of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use command_handler::command_hash;
use domain::{OrderId, OrderName, Reason, Version};
use http::Uri;
use runtime::SecretUrl;
use runtime::settings::seconds;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::answer::{self, Answer, Failure};
use crate::breaker::Breaker;

/// How orders are fulfilled.
#[derive(Args, Clone, Debug)]
pub struct FulfilmentSettings {
    /// What fulfils an order: an HTTP service (`https://…`), or a mock: `mock:?latency=MS&failure_rate=0.1`
    #[arg(long, env = "FULFILMENT", value_name = "URL", default_value = "mock:")]
    pub fulfilment: SecretUrl,
    /// Seconds that a call to the fulfilment service may take
    #[arg(long, env = "FULFILMENT_TIMEOUT", value_name = "S", default_value = "10", value_parser = seconds)]
    pub fulfilment_timeout: Duration,
    /// Orders of one batch that are fulfilled at the same time
    #[arg(long, env = "FULFILMENT_CONCURRENCY", value_name = "ORDERS", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub fulfilment_concurrency: u16,
}

/// The URL of the fulfilment service is not one that this program supports.
#[derive(Debug, Error)]
#[error(
    "the fulfilment {url:?} {problem}; allowed: http://…, https://…, mock:, mock:?latency=MS&failure_rate=0..1"
)]
pub struct BadFulfilment {
    url: SecretUrl,
    problem: String,
}

/// An order to fulfil.
#[derive(Clone, Debug)]
pub struct FulfilmentRequest<'a> {
    /// The order.
    pub order: &'a OrderId,
    /// Its name.
    pub name: &'a OrderName,
    /// The version of the ProcessingStarted event that asks for it.
    pub version: Version,
    /// The trace that the request belongs to.
    pub traceparent: Option<&'a str>,
}

/// Fulfils orders.
#[derive(Clone, Debug)]
pub enum Fulfilment {
    /// A mock. It waits for a while and then fulfils the order, or refuses it; the order's id decides.
    Mock {
        /// The time that each order takes.
        latency: Duration,
        /// The share of orders that is refused, 0 to 1.
        failure_rate: f64,
    },
    /// Calls a service: POST with `{"order","name","version"}` and `Idempotency-Key: order@version`. See [`crate::answer`] for
    /// the meaning of its answers.
    Http(Arc<HttpService>),
}

/// An HTTP service and how to reach it.
#[derive(Debug)]
pub struct HttpService {
    client: reqwest::Client,
    url: SecretUrl,
    timeout: Duration,
    breaker: Breaker,
}

#[derive(Serialize)]
struct RequestBody<'a> {
    order: &'a OrderId,
    name: &'a OrderName,
    version: Version,
}

impl FulfilmentSettings {
    /// Opens the fulfilment service that the settings name.
    ///
    /// # Errors
    /// [`BadFulfilment`] when the URL is not supported, or no HTTP client can be built.
    pub fn open(&self) -> Result<Fulfilment, BadFulfilment> {
        let url = &self.fulfilment;
        let bad = |problem: &str| BadFulfilment { url: url.clone(), problem: url.scrub(problem) };
        match url.expose().split_once(':') {
            Some(("mock", options)) => mock(options).map_err(|problem| bad(&problem)),
            Some(("http" | "https", _))
                if url.expose().parse::<Uri>().is_ok_and(|uri| uri.host().is_some()) =>
            {
                // Fails only if another part of the process has installed a provider; that one serves as well.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let client = reqwest::Client::builder()
                    .redirect(reqwest::redirect::Policy::none())
                    .build()
                    .map_err(|error| bad(&error.to_string()))?;
                let (url, timeout) = (url.clone(), self.fulfilment_timeout);
                Ok(Fulfilment::Http(Arc::new(HttpService {
                    client,
                    url,
                    timeout,
                    breaker: Breaker::default(),
                })))
            }
            _ => Err(bad("is not one of ours")),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MockOptions {
    #[serde(default)]
    latency: u64,
    #[serde(default)]
    failure_rate: f64,
}

fn mock(options: &str) -> Result<Fulfilment, String> {
    let uri: Uri = format!("/{options}").parse().map_err(|_| "is not a URL".to_owned())?;
    let MockOptions { latency, failure_rate } =
        runtime::http::query(&uri).map_err(|problem| problem.detail().to_owned())?;
    if !(0.0..=1.0).contains(&failure_rate) {
        return Err(format!("has failure_rate {failure_rate}"));
    }
    Ok(Fulfilment::Mock { latency: Duration::from_millis(latency), failure_rate })
}

impl Fulfilment {
    /// Fulfils an order, or returns by `deadline` that the outcome is unknown.
    pub async fn fulfil(&self, asked: &FulfilmentRequest<'_>, deadline: Instant) -> Answer {
        match self {
            Self::Mock { latency, failure_rate } => pretend(asked, *latency, *failure_rate, deadline).await,
            Self::Http(service) => service.call(asked, deadline).await,
        }
    }
}

async fn pretend(
    asked: &FulfilmentRequest<'_>,
    latency: Duration,
    failure_rate: f64,
    deadline: Instant,
) -> Answer {
    if Instant::now() + latency > deadline {
        return Answer::NotAsked("there is no time left");
    }
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    if share(asked.order) < failure_rate {
        Answer::Refused(Reason::from_any("the mock refuses this order"))
    } else {
        Answer::Fulfilled
    }
}

/// Returns a number from 0 to just below 1. It follows from the id and is the same in every process.
fn share(order: &OrderId) -> f64 {
    let [a, b, c, d, ..] = command_hash("mock", order, b"").0;
    f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

impl HttpService {
    async fn call(&self, asked: &FulfilmentRequest<'_>, deadline: Instant) -> Answer {
        let left = deadline.saturating_duration_since(Instant::now()).min(self.timeout);
        if left.is_zero() {
            return Answer::NotAsked("there is no time left");
        }
        if !self.breaker.allows(Instant::now()) {
            return Answer::NotAsked("the service is down; calls are held back");
        }
        let answer = self.send(asked, left).await;
        match &answer {
            Answer::Failed(failure) => self.breaker.failed(Instant::now(), failure.pause),
            _ => self.breaker.succeeded(),
        }
        answer
    }

    async fn send(&self, asked: &FulfilmentRequest<'_>, timeout: Duration) -> Answer {
        let body = RequestBody { order: asked.order, name: asked.name, version: asked.version };
        let mut request = self
            .client
            .post(self.url.expose())
            .timeout(timeout)
            .header("content-type", "application/json")
            .header("idempotency-key", format!("{}@{}", asked.order, asked.version))
            .body(serde_json::to_vec(&body).unwrap_or_default());
        if let Some(traceparent) = asked.traceparent {
            request = request.header("traceparent", traceparent);
        }
        match request.send().await {
            Ok(response) => answer::read(response).await,
            Err(error) => Failure { problem: error.without_url().to_string(), pause: None }.into(),
        }
    }
}
