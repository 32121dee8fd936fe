//! What was measured with, and the file that keeps the last table.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::given::Servers;
use super::mongo;
use super::postgres::Schema;
use super::rounds::Pace;
use crate::table::Table;

/// Versions and machine, by what they are of.
pub(crate) async fn environment(servers: &Servers, pace: Pace) -> anyhow::Result<BTreeMap<String, String>> {
    let crates =
        ["mongodb", "rdkafka", "sqlx", "tokio"].map(|name| Some(format!("{name} {}", locked(name)?)));
    let kafka = if servers.by_services { started_kafka() } else { None };
    let facts = [
        ("event store", mongo::Database::version(servers).await?),
        (
            "channel",
            kafka.map_or_else(
                || "Apache Kafka (brokers tell no version)".to_owned(),
                |it| format!("Apache Kafka {it}"),
            ),
        ),
        ("read store", Schema::version(servers).await?),
        ("crates", crates.into_iter().flatten().collect::<Vec<_>>().join(", ")),
        ("compiler", compiler()),
        ("machine", machine()),
        (
            "pace",
            format!("{} rounds in turns of {:.1} s a figure, medians", pace.rounds, pace.time.as_secs_f64()),
        ),
    ];
    Ok(facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect())
}

/// Replaces the file that keeps the last table.
pub(crate) fn write(
    file: &Path,
    table: &Table,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let facts: String = environment.iter().map(|(name, fact)| format!("- {name}: {fact}\n")).collect();
    let text = format!(
        "# The last measurements on real servers\n\n\
         Written by `cargo run --release -p benches -- servers --write benches/RESULTS.md`; what the rows are is in \
         [README.md](README.md).\nWhat stands after a colon is the raw limit: `ratio` is ours by it.\n\n{facts}\n{table}\n"
    );
    fs::write(file, text).with_context(|| format!("--write {}", file.display()))
}

const LOCK: &str = include_str!("../../../Cargo.lock");

/// The version of a crate that this program was built with.
fn locked(name: &str) -> Option<&'static str> {
    let mut lines = LOCK.lines().skip_while(|line| *line != format!("name = \"{name}\"").as_str());
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

/// What `deploy/services` starts.
fn started_kafka() -> Option<&'static str> {
    let pom = include_str!("../../../deploy/native/kafka/pom.xml");
    let (_, after) = pom.split_once("<kafka.version>")?;
    after.split_once('<').map(|(version, _)| version)
}

fn compiler() -> String {
    let said = Command::new("rustc").arg("--version").output().ok();
    let text = said.and_then(|said| String::from_utf8(said.stdout).ok()).unwrap_or_default();
    if text.is_empty() { "not on the PATH".to_owned() } else { text.trim().to_owned() }
}

fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::to_owned));
        value.map_or_else(|| "unknown".to_owned(), |value| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal");
    let kilobytes = memory.split(' ').next().and_then(|number| number.parse::<f64>().ok());
    let memory = kilobytes.map_or(memory.clone(), |kilobytes| format!("{:.0} GB", kilobytes * 1024.0 / 1e9));
    format!("{cores} cores of {}, {memory} of memory", field("/proc/cpuinfo", "model name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_lock_file_and_from_what_is_started() {
        for version in [locked("mongodb"), locked("rdkafka"), locked("sqlx"), started_kafka()] {
            assert!(version.is_some_and(|version| version.split('.').count() == 3), "{version:?}");
        }
        assert_eq!(locked("no-such-crate"), None);
    }
}
