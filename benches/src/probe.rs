//! Single requests, where no load is wanted: they show whether a server is ready, and how long one query takes.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use ::http::StatusCode;

/// An HTTP client that keeps its connections.
#[derive(Clone)]
pub(crate) struct Probe {
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// The times of queries, sorted.
#[derive(Default)]
pub(crate) struct Times {
    sorted: Vec<Duration>,
    /// The number of queries that were not answered, or with a server's error.
    pub(crate) failed: usize,
}

impl Probe {
    pub(crate) fn new() -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http() }
    }

    pub(crate) async fn get(&self, url: &str) -> anyhow::Result<StatusCode> {
        let answer = self.client.get(url.parse()?).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        Ok(status)
    }

    /// Returns the answer to a GET, which must be 200.
    pub(crate) async fn text(&self, url: &str) -> anyhow::Result<String> {
        let answer = self.client.get(url.parse()?).await?;
        if !answer.status().is_success() {
            bail!("{url} answers {}", answer.status());
        }
        Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?)
    }

    /// Sends queries to each URL one after the other, with a short pause, until `end` is over. Returns the output of `end`, and
    /// the times.
    pub(crate) async fn during<T>(&self, urls: [&str; 2], end: impl Future<Output = T>) -> (T, [Times; 2]) {
        let mut times = [Times::default(), Times::default()];
        let [first, second] = &mut times;
        let polling = async { tokio::join!(self.poll(urls[0], first), self.poll(urls[1], second)) };
        let ended = tokio::select! {
            ended = end => ended,
            (never, _) = polling => match never {},
        };
        times.iter_mut().for_each(|times| times.sorted.sort_unstable());
        (ended, times)
    }

    async fn poll(&self, url: &str, times: &mut Times) -> Infallible {
        loop {
            let started = Instant::now();
            match self.get(url).await {
                Ok(status) if !status.is_server_error() => times.sorted.push(started.elapsed()),
                _ => times.failed += 1,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Times {
    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Returns the time at a share of the sorted times, in milliseconds; `share` is from 0 to 1.
    pub(crate) fn at(&self, share: f64) -> anyhow::Result<f64> {
        let Some(last) = self.sorted.len().checked_sub(1) else { bail!("no query was answered") };
        Ok(self.sorted[(last as f64 * share).round() as usize].as_secs_f64() * 1e3)
    }
}
