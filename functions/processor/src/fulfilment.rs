//! The service that fulfils orders, or one that pretends to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use command_handler::command_hash;
use domain::{OrderId, OrderName, Reason, Version};
use http::{StatusCode, Uri};
use runtime::settings::seconds;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::breaker::Breaker;

/// How orders are fulfilled.
#[derive(Args, Clone, Debug)]
pub struct FulfilmentSettings {
    /// What fulfils an order: an HTTP service (`https://…`), or a mock: `mock:?latency=MS&failure_rate=0.1`
    #[arg(long, env = "ORDERS_FULFILMENT", value_name = "URL", default_value = "mock:")]
    pub fulfilment: String,
    /// Seconds that a call to the fulfilment service may take
    #[arg(long, env = "ORDERS_FULFILMENT_TIMEOUT", value_name = "S", default_value = "10", value_parser = seconds)]
    pub fulfilment_timeout: Duration,
    /// Orders of one batch that are fulfilled at the same time
    #[arg(long, env = "ORDERS_FULFILMENT_CONCURRENCY", value_name = "ORDERS", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub fulfilment_concurrency: u16,
}

/// The URL of the fulfilment is not one of ours.
#[derive(Debug, Error)]
#[error(
    "the fulfilment {url:?} {problem}; allowed: http://…, https://…, mock:, mock:?latency=MS&failure_rate=0..1"
)]
pub struct BadFulfilment {
    url: String,
    problem: String,
}

/// An order to fulfil.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The order.
    pub order: &'a OrderId,
    /// Its name.
    pub name: &'a OrderName,
    /// The version of the ProcessingStarted that asks for it.
    pub version: Version,
    /// The trace that it belongs to.
    pub traceparent: Option<&'a str>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The order is fulfilled.
    Fulfilled,
    /// It never will be, and why.
    Refused(Reason),
    /// Nobody knows; ask again under the same key.
    Unknown(String),
}

/// Fulfils orders.
#[derive(Clone, Debug)]
pub enum Fulfilment {
    /// Pretends to, after a while, and refuses some: which ones follows from their ids.
    Mock {
        /// How long each takes.
        latency: Duration,
        /// The share that is refused, 0 to 1.
        failure_rate: f64,
    },
    /// Calls a service: POST with `{"order","name","version"}` and `Idempotency-Key: order@version`. 2xx is fulfilled; 4xx save
    /// 408, 425 and 429 is refused; all else is unknown.
    Http(Arc<HttpService>),
}

/// An HTTP service and how to reach it.
#[derive(Debug)]
pub struct HttpService {
    client: reqwest::Client,
    url: String,
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
    /// The fulfilment that the settings name.
    ///
    /// # Errors
    /// [`BadFulfilment`] when the URL is not one of ours.
    pub fn open(&self) -> Result<Fulfilment, BadFulfilment> {
        let url = &self.fulfilment;
        let bad = |problem: &str| BadFulfilment { url: url.clone(), problem: problem.to_owned() };
        match url.split_once(':') {
            Some(("mock", options)) => mock(options).map_err(|problem| bad(&problem)),
            Some(("http" | "https", _)) if url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some()) => {
                // Fails only where another part of the process has installed one, which serves as well.
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
    /// Fulfils an order, or says by `deadline` that it does not know.
    pub async fn fulfil(&self, asked: Asked<'_>, deadline: Instant) -> Answer {
        match self {
            Self::Mock { latency, failure_rate } => pretend(&asked, *latency, *failure_rate, deadline).await,
            Self::Http(service) => service.call(&asked, deadline).await,
        }
    }
}

async fn pretend(asked: &Asked<'_>, latency: Duration, failure_rate: f64, deadline: Instant) -> Answer {
    if Instant::now() + latency > deadline {
        return Answer::Unknown("there is no time left".to_owned());
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

/// A number from 0 up to 1 that follows from the id, the same in every process.
fn share(order: &OrderId) -> f64 {
    let [a, b, c, d, ..] = command_hash("mock", order, b"").0;
    f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

impl HttpService {
    async fn call(&self, asked: &Asked<'_>, deadline: Instant) -> Answer {
        let left = deadline.saturating_duration_since(Instant::now()).min(self.timeout);
        if left.is_zero() {
            return Answer::Unknown("there is no time left".to_owned());
        }
        if !self.breaker.allows(Instant::now()) {
            return Answer::Unknown("the service is down; calls are held back".to_owned());
        }
        let answer = self.send(asked, left).await;
        match answer {
            Answer::Unknown(_) => self.breaker.failed(Instant::now()),
            _ => self.breaker.succeeded(),
        }
        answer
    }

    async fn send(&self, asked: &Asked<'_>, timeout: Duration) -> Answer {
        let body = RequestBody { order: asked.order, name: asked.name, version: asked.version };
        let mut request = self
            .client
            .post(&self.url)
            .timeout(timeout)
            .header("content-type", "application/json")
            .header("idempotency-key", format!("{}@{}", asked.order, asked.version))
            .body(serde_json::to_vec(&body).unwrap_or_default());
        if let Some(traceparent) = asked.traceparent {
            request = request.header("traceparent", traceparent);
        }
        match request.send().await {
            Ok(response) => read(response).await,
            Err(error) => Answer::Unknown(error.without_url().to_string()),
        }
    }
}

async fn read(response: reqwest::Response) -> Answer {
    let status = response.status();
    if status.is_success() {
        return Answer::Fulfilled;
    }
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if !status.is_client_error() || passing.contains(&status) {
        return Answer::Unknown(format!("the service answered {status}"));
    }
    Answer::Refused(Reason::from_any(&format!("{status}: {}", said(response).await)))
}

/// What the service said about it: the detail or the title of a problem, else the beginning of its text.
async fn said(mut response: reqwest::Response) -> String {
    #[derive(Deserialize)]
    struct Said {
        detail: Option<String>,
        title: Option<String>,
    }
    let mut body = Vec::new();
    while body.len() < 4096 {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            _ => break,
        }
    }
    match serde_json::from_slice(&body) {
        Ok(Said { detail: Some(text), .. } | Said { title: Some(text), .. }) => text,
        _ => String::from_utf8_lossy(&body).into_owned(),
    }
}
