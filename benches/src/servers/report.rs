//! The environment of a measurement, and the file that keeps the last table.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use runtime::SecretUrl;

use super::given::Servers;
use super::mongo;
use super::postgres::Schema;
use super::rounds::Pace;
use crate::table::Table;

/// Returns versions, machine and pace, by name.
pub(crate) async fn environment(servers: &Servers, pace: Pace) -> anyhow::Result<BTreeMap<String, String>> {
    let mut facts = machine_and_servers(servers).await?;
    let pace =
        format!("{} rounds in turns of {:.1} s a figure, medians", pace.rounds, pace.time.as_secs_f64());
    facts.insert("pace".to_owned(), pace);
    Ok(facts)
}

/// Returns the same without the pace.
pub(crate) async fn machine_and_servers(servers: &Servers) -> anyhow::Result<BTreeMap<String, String>> {
    let crates = ["lambda_runtime", "mongodb", "rdkafka", "sqlx", "tokio"]
        .map(|name| Some(format!("{name} {}", locked(name)?)));
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
        ("load before", load()),
    ];
    Ok(facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect())
}

/// Returns the command line of this process, for anybody who wants to have the same figures.
fn command() -> String {
    command_of(env::args().skip(1))
}

fn command_of(words: impl Iterator<Item = String>) -> String {
    let profile = if cfg!(debug_assertions) { "" } else { "--release " };
    // The written file goes into the repository, so URLs are shown without their secrets.
    let shown = |word: String| match word.split_once('=') {
        Some((flag, url)) if flag.starts_with("--") && url.contains("://") => {
            format!("{flag}={}", SecretUrl::from(url))
        }
        _ if word.contains("://") => SecretUrl::from(word).to_string(),
        _ => word,
    };
    let words: Vec<String> = words.map(|word| quoted(&shown(word))).collect();
    format!("cargo run {profile}-p benches -- {}", words.join(" "))
}

/// Returns a word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_./:,=+@…".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Keeps the last table in its section of the file.
pub(crate) fn write(
    file: &Path,
    table: &Table,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let after_colon = "the raw limit";
    write_section(file, "The last measurements on real servers", after_colon, table, environment)
}

/// Keeps the last table of PostgreSQL alone in its section of the file.
pub(crate) fn write_alone(
    file: &Path,
    table: &Table,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let after_colon = "the other contender";
    write_section(file, "The last measurements on PostgreSQL alone", after_colon, table, environment)
}

fn write_section(
    file: &Path,
    heading: &str,
    after_colon: &str,
    table: &Table,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let section = format!(
        "# {heading}\n\n\
         Written by `{}`; what the rows are is in [README.md](README.md).\n\
         What stands after a colon is {after_colon}: `ratio` is ours by it.\n\n{}\n{table}\n",
        command(),
        list(environment)
    );
    let before = match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        before => before.with_context(|| format!("--write {}", file.display()))?,
    };
    replace(file, &with_section(&before, &section))
}

/// Returns a text with this section in the place of the one that has the same heading, or at the end. A section begins with its
/// heading, which is of the first level.
fn with_section(text: &str, section: &str) -> String {
    let heading = section.lines().next().unwrap_or_default();
    let mut sections: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        match sections.last_mut() {
            Some(last) if !line.starts_with("# ") => last.push_str(line),
            _ => sections.push(line.to_owned()),
        }
    }
    match sections.iter_mut().find(|before| before.lines().next() == Some(heading)) {
        Some(before) => *before = section.to_owned(),
        None => sections.push(section.to_owned()),
    }
    let trimmed: Vec<&str> = sections.iter().map(|section| section.trim_end()).collect();
    trimmed.join("\n\n") + "\n"
}

/// Replaces the file that keeps the last cold starts.
pub(crate) fn write_cold_starts(
    file: &Path,
    table: &Table,
    durations: &str,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let text = format!(
        "# The last cold starts\n\n\
         Written by `{}`; what the rows are is in [README.md](README.md).\n\n\
         {}\n{table}\n\n## Invocations by memory\n\n{durations}\n",
        command(),
        list(environment),
    );
    replace(file, &text)
}

fn list(environment: &BTreeMap<String, String>) -> String {
    environment.iter().map(|(name, fact)| format!("- {name}: {fact}\n")).collect()
}

fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("--write {}", file.display()))
}

const LOCK: &str = include_str!("../../../Cargo.lock");
const PEER_LOCK: &str = include_str!("../../peers/cqrs-es/Cargo.lock");

/// Returns the crates of the service on cqrs-es that tell it apart, with their versions.
pub(crate) fn peer() -> String {
    let crates = ["cqrs-es", "postgres-es", "sqlx", "axum"]
        .map(|name| Some(format!("{name} {}", locked_in(PEER_LOCK, name)?)));
    crates.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Returns the version of a crate that this program was built with.
fn locked(name: &str) -> Option<&'static str> {
    locked_in(LOCK, name)
}

fn locked_in(lock: &'static str, name: &str) -> Option<&'static str> {
    let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{name}\"").as_str());
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

/// Returns the version of Kafka that `deploy/services` starts.
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

/// Returns how many processes ran or waited in the last minute. If there were any, figures say less.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown").to_owned()
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

    #[test]
    fn a_section_takes_the_place_of_the_one_with_its_heading() {
        let both = with_section("# One\n\na\n", "# Two\n\nb\n");
        assert_eq!(both, "# One\n\na\n\n# Two\n\nb\n");
        assert_eq!(with_section(&both, "# One\n\nc\n"), "# One\n\nc\n\n# Two\n\nb\n");
        assert_eq!(with_section("", "# One\n"), "# One\n");
    }

    #[test]
    fn the_command_is_told_as_it_was_given_without_a_password() {
        let words = [
            "servers",
            "--seconds",
            "2",
            "--postgres=postgres://ann:s3cret@host:5432/orders?a=b",
            "--json",
            "it's",
        ];
        let command = command_of(words.into_iter().map(str::to_owned));
        let (_, given) = command.split_once(" -p benches -- ").unwrap_or_default();
        assert_eq!(given, r"servers --seconds 2 --postgres=postgres://…@host:5432/orders --json 'it'\''s'");
    }
}
