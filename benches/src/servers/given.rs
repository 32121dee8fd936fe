//! The servers that are measured on: given by URL, or started by `deploy/services` and stopped again.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::Args;

#[derive(Args)]
pub(crate) struct ServerArgs {
    /// A MongoDB server. Given for all three or for none
    #[arg(long, env = "TEST_MONGODB", value_name = "mongodb://HOST:PORT", requires_all = ["kafka", "postgres"])]
    mongodb: Option<String>,

    /// Kafka brokers
    #[arg(long, env = "TEST_KAFKA", value_name = "kafka://HOST:PORT", requires_all = ["mongodb", "postgres"])]
    kafka: Option<String>,

    /// A PostgreSQL database in which the user may create schemas
    #[arg(
        long,
        env = "TEST_POSTGRES",
        value_name = "postgres://USER:PASSWORD@HOST:PORT/DATABASE",
        requires_all = ["mongodb", "kafka"]
    )]
    postgres: Option<String>,

    /// Where no servers are given: those of `deploy/services up --offset N`, which are started if they do not run, and
    /// then stopped and deleted at the end
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u16).range(0..=36_000))]
    offset: u16,
}

/// Three servers. Dropping them stops those that were started.
pub(crate) struct Servers {
    mongodb: String,
    kafka: String,
    postgres: String,
    /// True if `deploy/services` runs them at the offset; else they were given.
    pub(crate) by_services: bool,
    _started: Option<Started>,
}

impl Servers {
    pub(crate) fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        match (&args.mongodb, &args.kafka, &args.postgres) {
            (Some(mongodb), Some(kafka), Some(postgres)) => Ok(Self {
                mongodb: mongodb.clone(),
                kafka: kafka.clone(),
                postgres: postgres.clone(),
                by_services: false,
                _started: None,
            }),
            _ => Self::by_services(args.offset),
        }
    }

    fn by_services(offset: u16) -> anyhow::Result<Self> {
        let services = Services { offset };
        let ran = services.command("status").output().context("deploy/services")?.status.success();
        // From here on they are stopped whatever happens.
        let started = (!ran).then_some(Started(services));
        let up = services.command("up").status()?;
        if !up.success() {
            bail!("deploy/services up --offset {offset}: {up}");
        }
        let said = services.command("env").output()?;
        let text = String::from_utf8(said.stdout)?;
        let url = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("export {name}='")));
            let url = line.and_then(|line| line.strip_suffix('\''));
            url.map(str::to_owned).with_context(|| format!("deploy/services env does not say {name}"))
        };
        Ok(Self {
            mongodb: url("ORDERS_EVENT_STORE")?,
            kafka: url("ORDERS_CHANNEL")?,
            postgres: url("ORDERS_READ_STORE")?,
            by_services: true,
            _started: started,
        })
    }

    /// The URL of a database there.
    pub(crate) fn mongodb(&self, database: &str) -> String {
        with_path(&self.mongodb, database)
    }

    /// The URL of a topic there.
    pub(crate) fn kafka(&self, topic: &str) -> String {
        with_path(&self.kafka, topic)
    }

    /// Returns the brokers' addresses: `host:port,host:port`.
    pub(crate) fn brokers(&self) -> anyhow::Result<&str> {
        let (_, rest) = self.kafka.split_once("://").context("--kafka is kafka://HOST:PORT")?;
        if rest.contains(['@', '?']) {
            bail!("--kafka has a user or options; the raw client here knows brokers without security only");
        }
        Ok(rest.split('/').next().unwrap_or(rest))
    }

    /// The URL of the database as it was given.
    pub(crate) fn postgres(&self) -> &str {
        &self.postgres
    }

    /// The URL of a schema in the database.
    pub(crate) fn postgres_schema(&self, schema: &str) -> String {
        let sign = if self.postgres.contains('?') { '&' } else { '?' };
        format!("{}{sign}options[search_path]={schema}", self.postgres)
    }
}

/// Returns a URL with another path, and its options.
fn with_path(url: &str, path: &str) -> String {
    let (base, options) = url.split_once('?').map_or((url, None), |(base, options)| (base, Some(options)));
    let authority = base.find("://").map_or(0, |found| found + 3);
    let end = base[authority..].find('/').map_or(base.len(), |found| authority + found);
    let options = options.map_or_else(String::new, |options| format!("?{options}"));
    format!("{}/{path}{options}", &base[..end])
}

/// Returns a name that nobody else has.
pub(crate) fn fresh_name() -> String {
    format!("bench_{:016x}", rand::random::<u64>())
}

/// `deploy/services` at an offset.
#[derive(Clone, Copy)]
struct Services {
    offset: u16,
}

impl Services {
    fn command(&self, what: &str) -> Command {
        let program: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/services");
        let mut command = Command::new(program);
        command.args([what, "--offset", &self.offset.to_string()]);
        command
    }
}

/// Servers that were started here. When this is dropped, they are stopped and their data is deleted.
struct Started(Services);

impl Drop for Started {
    fn drop(&mut self) {
        if !self.0.command("down").arg("--purge").status().is_ok_and(|status| status.success()) {
            eprintln!("deploy/services down --offset {} failed: its servers may still run", self.0.offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gets_another_path_and_keeps_its_options() {
        for (url, expected) in [
            ("mongodb://h:1", "mongodb://h:1/x"),
            ("mongodb://h:1/orders", "mongodb://h:1/x"),
            ("mongodb://u:p@h:1,i:2/orders?tls=true", "mongodb://u:p@h:1,i:2/x?tls=true"),
            ("kafka://h:1/?partitions=3", "kafka://h:1/x?partitions=3"),
        ] {
            assert_eq!(with_path(url, "x"), expected);
        }
    }
}
