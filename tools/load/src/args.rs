//! The command line of a load, and the plan that it makes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use domain::OrderId;
use host::tokens::Tokens;
use http::HeaderValue;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::call::Call;
use crate::client::{Client, Target};
use crate::plan::Plan;

/// Drive a running system with orders, measure it, and check what it acknowledged
#[derive(Args, Clone, Debug)]
// In the list of commands it stands behind `held`, which is the sixth.
#[command(display_order = 6)]
pub struct LoadArgs {
    /// Where the system answers. Given several times, clients are spread over these replicas, and a client whose replica
    /// fails goes on with the next.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = Target::parse)]
    pub url: Vec<Target>,

    /// How many orders.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub orders: u64,

    /// How many clients call at the same time, each over a connection of its own.
    #[arg(long, value_name = "C", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,

    /// What to call for each order, one after the other.
    #[arg(long, value_enum, value_name = "CALLS", value_delimiter = ',', default_value = "create,process")]
    pub only: Vec<Call>,

    /// Calls a second in total. Orders start on a fixed schedule whether or not the former were answered, and latency
    /// counts from the scheduled time. Without it: as fast as the clients go.
    #[arg(long, value_name = "R", value_parser = positive)]
    pub rate: Option<f64>,

    /// Append every acknowledgement to this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,

    /// Make no load: read back every order that this file says was acknowledged. Each must be there with its version, and
    /// each that was to be processed must end so. Exits 1 when any is missed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "queryable", "rate", "only"])]
    pub verify: Option<PathBuf>,

    /// How long --verify waits for the orders, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub within: Duration,

    /// Measure how long it takes from sending a command until a plain GET shows it, for one order in EVERY. With
    /// --clients 1, one at a time.
    #[arg(long, value_name = "EVERY", num_args = 0..=1, default_missing_value = "1",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub queryable: Option<u64>,

    /// A file of tokens as `orders serve --auth-token-file` reads it, a name and a token a line; the first is sent.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// What the orders' ids begin with. Default: another one each run.
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,

    /// Makes the default prefix and the delays between retries repeatable.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// How long one try of a call may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,

    /// How often a call is repeated on each replica, under the same Idempotency-Key, when it can't be reached or is
    /// overloaded (408, 429, 502, 503, 504). The delays grow from 50 ms to 1 s.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub retries: u32,

    /// Print one JSON object instead of a table. Latencies are in milliseconds.
    #[arg(long)]
    pub json: bool,
}

impl LoadArgs {
    pub(crate) fn plan(&self) -> anyhow::Result<Plan> {
        let calls = if self.only.contains(&Call::All) {
            vec![Call::Create, Call::Process, Call::Get]
        } else {
            self.only.clone()
        };
        let seed = self.seed.unwrap_or_else(rand::random);
        let prefix = match &self.prefix {
            Some(prefix) => prefix.clone(),
            None => format!("load-{:08x}", SmallRng::seed_from_u64(seed).random::<u32>()),
        };
        OrderId::parse(&format!("{prefix}-{}", self.orders))
            .context("--prefix does not make an order's id")?;
        Ok(Plan {
            orders: self.orders,
            clients: self.clients,
            calls_per_second: self.rate,
            calls,
            prefix,
            seed,
            queryable_every: self.queryable,
            // Each replica gets this number of repeats.
            repeats: self.retries * self.url.len() as u32,
            patience: self.timeout * 3,
            queryable_within: self.timeout,
        })
    }

    /// The clients, spread over the replicas.
    pub(crate) fn clients(&self) -> anyhow::Result<Vec<Client>> {
        let authorization = self.authorization()?;
        let client = |number| Client::new(&self.url, number as usize, authorization.as_ref(), self.timeout);
        Ok((0..self.clients).map(client).collect())
    }

    fn authorization(&self) -> anyhow::Result<Option<HeaderValue>> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let file = || format!("--token-file {}", path.display());
        let token = Tokens::read(path).with_context(file)?.first().with_context(file)?;
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).with_context(file)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("not a number above 0".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = positive(text)?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}
