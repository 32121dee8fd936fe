//! The table of guarantees. A row has the guarantee, the line of code that gives it, the tests that show it, and their figures.
//! The sources are a file of guarantees, the lines that fault tests report (see [`crate::report`]), and the results of the
//! mutations.
//!
//! A test is named by its function, or as a mutation names it. If it is no fault test, the folder of its package and its test
//! target come before its name: `shared/event-store lib mongodb::read::tests::…`. Such a test reports no line.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A guarantee.
#[derive(Clone, Debug)]
pub struct Guarantee {
    what: String,
    /// Files, and a text that is in each.
    by: Vec<(String, String)>,
    tests: Vec<Test>,
    /// The mutations that break it.
    mutations: Vec<String>,
    figures: Vec<Figure>,
}

/// A test that shows the guarantee.
#[derive(Clone, Debug)]
struct Test {
    name: String,
    /// The test's name in the lines of a report.
    reported_as: String,
}

/// A figure, computed from lines of a report.
#[derive(Clone, Debug)]
struct Figure {
    /// The pointer to it in a line.
    pointer: String,
    /// The tests whose lines are used; if there are none, all tests of the guarantee.
    of: Vec<String>,
    combined: Combined,
    say: String,
}

#[derive(Clone, Copy, Debug)]
enum Combined {
    Sum,
    Most,
}

/// A change of the code that a test must notice.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// The name of its file.
    pub name: String,
    /// The change, in words.
    pub what: String,
    /// The test that must fail.
    pub test: String,
    /// The message with which it must fail.
    pub expect: String,
}

/// Returns the root folder of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Returns the guarantees.
///
/// # Panics
/// When their file is malformed.
#[must_use]
pub fn guarantees() -> Vec<Guarantee> {
    let file = read(&root().join("tests/reliability/guarantees.json"));
    let all: Value = serde_json::from_str(&file).expect("JSON");
    let test = |name: String| {
        let reported_as = all["reported_as"][&name].as_str().unwrap_or(&name).to_owned();
        Test { name, reported_as }
    };
    let guarantee = |value: &Value| Guarantee {
        what: value["guarantee"].as_str().expect("what is guaranteed").to_owned(),
        by: value["by"].as_array().expect("places").iter().map(texts).map(place).collect(),
        tests: texts(&value["tests"]).into_iter().map(test).collect(),
        mutations: texts(&value["mutations"]),
        figures: value["figures"].as_array().expect("figures").iter().map(figure).collect(),
    };
    all["guarantees"].as_array().expect("a list").iter().map(guarantee).collect()
}

/// Reads a figure. A text is the name of a figure to be added up. Otherwise it is `{"sum" or "most": "its/path", "of": [tests],
/// "say": "what it is"}`. `its/*word*` stands for all figures there whose names have that word.
fn figure(value: &Value) -> Figure {
    let said = |name: &str| value[name].as_str().map(str::to_owned);
    let (path, combined) = match (value.as_str(), said("sum"), said("most")) {
        (Some(name), ..) => (name.to_owned(), Combined::Sum),
        (None, Some(path), _) => (path, Combined::Sum),
        (None, None, Some(path)) => (path, Combined::Most),
        (None, None, None) => panic!("a figure is a sum or the most: {value}"),
    };
    let say = said("say").unwrap_or_else(|| words(&path));
    Figure { pointer: format!("/figures/{path}"), of: texts(&value["of"]), combined, say }
}

fn place(texts: Vec<String>) -> (String, String) {
    let [file, symbol] = texts.try_into().expect("a file and a symbol");
    (file, symbol)
}

/// Returns the mutations, by name. Each is a patch whose first lines say `Mutation: …`, `Test: …` and `Expect: …`.
///
/// # Panics
/// When a patch lacks one of these lines.
#[must_use]
pub fn mutations() -> Vec<Mutation> {
    let folder = root().join("tests/reliability/mutations");
    let entries = fs::read_dir(&folder).expect("a folder of mutations");
    let mut patches: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    patches.sort();
    let mutation = |path: PathBuf| {
        let text = read(&path);
        let line = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{} does not say {name}", path.display())).trim().to_owned()
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Mutation { name, what: line("Mutation:"), test: line("Test:"), expect: line("Expect:") }
    };
    patches.into_iter().map(mutation).collect()
}

/// Parses a report: one line of JSON for each run of a test.
///
/// # Panics
/// When a line is not JSON.
#[must_use]
pub fn lines(report: &str) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    report.lines().map(line).collect()
}

/// Returns all tables as Markdown. `mutated` has a line for each mutation that was tried.
#[must_use]
pub fn table(about: &str, reported: &[Value], mutated: &[Value]) -> String {
    let mut text = format!("# Reliability\n\n{about}\n\n");
    guarantees_table(&mut text, reported, mutated);
    runs(&mut text, reported);
    kills(&mut text, reported);
    mutations_table(&mut text, mutated);
    text
}

fn guarantees_table(text: &mut String, reported: &[Value], mutated: &[Value]) {
    let passed = passed(mutated);
    text.push_str(
        "## What is guaranteed\n\n| guarantee | given by | shown by | on | figures |\n|---|---|---|---|---|\n",
    );
    for guarantee in guarantees() {
        let by: Vec<_> = guarantee.by.iter().map(|(file, symbol)| format!("`{file}`: `{symbol}`")).collect();
        let shown: Vec<_> = guarantee.tests.iter().map(|test| format!("`{}`", test.name)).collect();
        let (what, by, shown) = (&guarantee.what, by.join("<br>"), shown.join("<br>"));
        let (on, figures) = (guarantee.ran_on(reported), guarantee.came_to(reported, &passed));
        let _ = writeln!(text, "| {what} | {by} | {shown} | {on} | {figures} |");
    }
}

/// Returns the tests that caught their mutation. Each of them had passed before, without the mutation.
fn passed(mutated: &[Value]) -> BTreeSet<String> {
    let is_caught = |mutation: &Mutation| {
        mutated.iter().any(|line| line["mutation"] == *mutation.name && line["caught"] == true)
    };
    mutations().into_iter().filter(is_caught).map(|mutation| mutation.test).collect()
}

impl Guarantee {
    /// Returns the stores on which its tests ran.
    fn ran_on(&self, reported: &[Value]) -> String {
        let ran = reported.iter().filter(|line| self.tests.iter().any(|test| test.is_of(line)));
        let stores: BTreeSet<&str> = ran.filter_map(|line| line["stores"].as_str()).collect();
        stores.into_iter().collect::<Vec<_>>().join("<br>")
    }

    /// Returns its figures, and those of its tests that were not run.
    fn came_to(&self, reported: &[Value], passed: &BTreeSet<String>) -> String {
        let figures: Vec<_> =
            self.figures.iter().filter_map(|figure| self.figure(figure, reported)).collect();
        let is_run =
            |test: &&Test| passed.contains(&test.name) || reported.iter().any(|line| test.is_of(line));
        let not_run = self.tests.iter().filter(|test| !is_run(test));
        let not_run: Vec<_> = not_run.map(|test| format!("`{}`", test.name)).collect();
        let not_run = (!not_run.is_empty()).then(|| format!("**not run**: {}", not_run.join(", ")));
        let figures = (!figures.is_empty()).then(|| figures.join(", "));
        let said: Vec<_> = [figures, not_run].into_iter().flatten().collect();
        if said.is_empty() { "passed".to_owned() } else { said.join("<br>") }
    }

    fn figure(&self, figure: &Figure, reported: &[Value]) -> Option<String> {
        let is_looked_at = |test: &&Test| figure.of.is_empty() || figure.of.contains(&test.name);
        let tests: Vec<&Test> = self.tests.iter().filter(is_looked_at).collect();
        let lines = reported.iter().filter(|line| tests.iter().any(|test| test.is_of(line)));
        let amounts = lines.flat_map(|line| amounts(line, &figure.pointer));
        let amount = match figure.combined {
            Combined::Sum => amounts.reduce(|sum, amount| sum + amount),
            Combined::Most => amounts.reduce(f64::max),
        };
        Some(format!("{} {}", rounded(amount?), figure.say))
    }
}

/// Returns the amount at a pointer. If the pointer ends with `*word*`, returns all amounts there whose names have the word.
fn amounts(line: &Value, pointer: &str) -> Vec<f64> {
    let (folder, name) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    let Some(word) = name.strip_prefix('*').and_then(|name| name.strip_suffix('*')) else {
        return line.pointer(pointer).and_then(Value::as_f64).into_iter().collect();
    };
    let all = line.pointer(folder).and_then(Value::as_object).into_iter().flatten();
    all.filter(|(name, _)| name.contains(word)).filter_map(|(_, amount)| amount.as_f64()).collect()
}

impl Test {
    /// Returns whether the test reported the line. In the line, the modules of the test may stand before its name.
    fn is_of(&self, line: &Value) -> bool {
        let name = line["test"].as_str().unwrap_or_default();
        let function = name.rsplit_once("::").map(|(_, function)| function);
        name == self.reported_as || function == Some(self.reported_as.as_str())
    }
}

/// The figure that has a table of its own.
const POINTS: &str = "points";

/// Writes a row for each reported line.
fn runs(text: &mut String, reported: &[Value]) {
    text.push_str("\n## What was run\n\n| test | on | seed | figures |\n|---|---|---|---|\n");
    for line in reported {
        let figures = line["figures"].as_object().into_iter().flatten();
        let figures = figures.filter(|(name, _)| *name != POINTS);
        let figures: Vec<_> =
            figures.filter_map(|(name, value)| Some(format!("{} {}", words(name), shown(value)?))).collect();
        let said = |name: &str| plain(&line[name]).unwrap_or_default();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            said("test"),
            said("stores"),
            said("seed"),
            figures.join(", ")
        );
    }
}

/// Writes how often a process was killed at each point.
fn kills(text: &mut String, reported: &[Value]) {
    let killed = |line: &&Value| line["figures"][POINTS].is_object();
    let runs: Vec<&Value> = reported.iter().filter(killed).collect();
    let points: BTreeSet<&String> = runs
        .iter()
        .filter_map(|line| line["figures"][POINTS].as_object())
        .flat_map(|points| points.keys())
        .collect();
    if points.is_empty() {
        return;
    }
    let stores: Vec<String> = runs.iter().filter_map(|line| plain(&line["stores"])).collect();
    let _ = writeln!(
        text,
        "\n## Kills\n\n| point | {} |\n|---|{}",
        stores.join(" | "),
        "---|".repeat(stores.len())
    );
    for point in points {
        let times: Vec<_> =
            runs.iter().map(|line| plain(&line["figures"][POINTS][point]).unwrap_or_default()).collect();
        let _ = writeln!(text, "| {point} | {} |", times.join(" | "));
    }
}

fn mutations_table(text: &mut String, mutated: &[Value]) {
    text.push_str(
        "\n## Mutations\n\nEach breaks one thing, and the test, which passes without it, must say so (`deploy/checks/mutations`).\n\n",
    );
    text.push_str("| mutation | what it breaks | guarantee | test | result |\n|---|---|---|---|---|\n");
    let guarantees = guarantees();
    for Mutation { name, what, test, .. } in mutations() {
        let tried = mutated.iter().rfind(|line| line["mutation"] == *name);
        let result = match tried {
            Some(line) => {
                let result = if line["caught"] == true { "caught" } else { "**NOT CAUGHT**" };
                let said = plain(&line["said"]).unwrap_or_default();
                format!("{result}: {}", said.replace('|', "\\|"))
            }
            None => "**not run**".to_owned(),
        };
        let broken = guarantees.iter().filter(|guarantee| guarantee.mutations.contains(&name));
        let broken: Vec<_> = broken.map(|guarantee| &*guarantee.what).collect();
        let _ = writeln!(text, "| {name} | {what} | {} | `{test}` | {result} |", broken.join("<br>"));
    }
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Returns a figure as text. A list is shown by its first and last value, latencies by p50 and p99, any other object by all
/// parts.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Array(values) => {
            Some(format!("{} first, {} last", plain(values.first()?)?, plain(values.last()?)?))
        }
        Value::Object(parts) => {
            let is_latency = parts.contains_key("p50");
            let parts =
                parts.iter().filter(|(name, _)| !is_latency || ["p50", "p99"].contains(&name.as_str()));
            let parts: Vec<_> =
                parts.filter_map(|(name, value)| Some(format!("{name}: {}", plain(value)?))).collect();
            Some(if parts.is_empty() { "none".to_owned() } else { format!("({})", parts.join(", ")) })
        }
        _ => plain(value),
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => {
            Some(number.as_u64().map_or_else(|| rounded(number.as_f64().unwrap_or_default()), thousands))
        }
        Value::String(text) => Some(text.clone()),
        Value::Bool(is) => Some(if *is { "yes" } else { "no" }.to_owned()),
        _ => None,
    }
}

/// Returns a number as text: whole numbers as they are, others to a tenth, and those below 10 to a hundredth.
fn rounded(amount: f64) -> String {
    match amount {
        _ if amount.fract() == 0.0 => thousands(amount as u64),
        _ if amount < 10.0 => format!("{amount:.2}"),
        _ => format!("{amount:.1}"),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    groups.iter().map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns whether there is a test of this name. A fault test may be named by its function alone.
    fn is_there(test: &str) -> bool {
        let (binary, name) = test.rsplit_once(' ').unwrap_or(("tests faults", test));
        let (package, target) = binary.split_once(' ').unwrap();
        let written_in = if target == "lib" { "src" } else { "tests" };
        let mut written = String::new();
        sources(&root().join(package).join(written_in), &mut written);
        written.contains(&format!("fn {}(", name.rsplit("::").next().unwrap()))
    }

    /// Appends all Rust code in a folder to `found`.
    fn sources(folder: &Path, found: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push_str(&read(&path));
            }
        }
    }

    /// Returns the part of a reported name that is in the code. The flag after a colon is added as the test runs.
    fn reported_words(name: &str) -> String {
        name.split_once(": ").map_or_else(|| name.to_owned(), |(words, _)| words.to_owned())
    }

    #[test]
    fn every_guarantee_is_given_by_a_line_that_is_there_and_shown_by_tests_that_are() {
        let mut tests = String::new();
        sources(&root().join("tests/tests"), &mut tests);
        let mutated: BTreeSet<_> = mutations().into_iter().map(|mutation| mutation.test).collect();
        for Guarantee { what, by, tests: names, figures, .. } in guarantees() {
            assert!(!by.is_empty() && !names.is_empty(), "{what}");
            for name in figures.iter().flat_map(|figure| &figure.of) {
                assert!(names.iter().any(|test| test.name == *name), "{what}: {name} is none of its tests");
            }
            for (file, symbol) in by {
                let text = read(&root().join(&file));
                assert!(text.contains(&symbol), "{what}: there is no {symbol} in {file}");
            }
            for Test { name, reported_as } in names {
                assert!(is_there(&name), "{what}: there is no test {name}");
                if name.contains(' ') {
                    assert!(mutated.contains(&name), "{what}: no mutation shows that {name} passes");
                } else {
                    let words = reported_words(&reported_as);
                    assert!(tests.contains(&words), "{name}: nothing says {reported_as}");
                }
            }
        }
    }

    /// Returns, for each hunk of a patch, its file and the text that it expects there.
    fn changed(patch: &str) -> Vec<(&str, String)> {
        let (mut file, mut hunks) = ("", Vec::new());
        for line in patch.lines() {
            match (line.strip_prefix("+++ b/"), line.strip_prefix([' ', '-'])) {
                (Some(name), _) => file = name,
                _ if line.starts_with("@@ ") => hunks.push((file, String::new())),
                (None, Some(text)) if !line.starts_with("--- a/") => {
                    hunks.last_mut().expect("a hunk").1.extend([text, "\n"]);
                }
                _ => {}
            }
        }
        hunks
    }

    #[test]
    fn every_mutation_changes_what_is_there_and_names_a_test_that_is() {
        let all = mutations();
        assert!(!all.is_empty());
        let guarantees = guarantees();
        let known: BTreeSet<_> = all.iter().map(|mutation| mutation.name.clone()).collect();
        let breaking = guarantees.iter().flat_map(|guarantee| guarantee.mutations.clone());
        assert_eq!(known, breaking.collect(), "each breaks a guarantee");
        for Mutation { name, test, expect, .. } in all {
            assert!(!expect.is_empty(), "{name}");
            assert!(is_there(&test), "{name}: there is no test {test}");
            let patch = read(&root().join(format!("tests/reliability/mutations/{name}.patch")));
            let changed = changed(&patch);
            assert!(!changed.is_empty(), "{name} changes nothing");
            for (file, before) in changed {
                let text = read(&root().join(file));
                assert!(text.contains(&before), "{name} does not apply: {file} does not have\n{before}");
            }
        }
    }

    #[test]
    fn figures_are_added_up_and_what_was_not_run_is_said() {
        let test = "a_server_killed_at_every_step_loses_nothing";
        let line = json!({
            "test": test, "stores": "embedded", "seed": 7,
            "figures": {"kills": 1200, "commands": 1234567, "lost": 0, "points": {"after-parse": 3}},
        });
        let text = table("Of today.", std::slice::from_ref(&line), &[]);
        assert!(
            text.contains(
                "| embedded | 1,200 kills, 1,234,567 commands, 0 lost<br>**not run**: `a_server_on"
            ),
            "{text}"
        );
        assert!(
            text.contains("| after-parse | 3 |")
                && text.contains("| `a_server_killed_at_every_step_loses_nothing` | embedded | 7 |"),
            "{text}"
        );
    }

    #[test]
    fn a_figure_may_be_of_some_of_the_tests_and_the_most_instead_of_a_sum() {
        let outage = |test: &str, healed: f64| json!({"test": test, "figures": {"faults": 1, "commands": 3000, "lost": 0, "healed_s": healed}});
        let lines =
            [outage("kafka killed", 1.25), outage("mongodb killed", 2.5), outage("kafka frozen", 0.5)];
        let guarantee =
            guarantees().into_iter().find(|guarantee| guarantee.what.starts_with("Commands go on"));
        let said = guarantee.unwrap().came_to(&lines, &BTreeSet::new());
        let expected = "2 servers killed and started again, 1 servers frozen for 10 s, 9,000 commands meanwhile, 0 lost, \
            2.50 s at most until all went on<br>**not run**: `postgresql_is_killed_and_commands_go_on`";
        assert!(said.starts_with(expected), "{said}");
    }

    #[test]
    fn kills_at_some_points_are_added_up_alone() {
        let points = json!({"rebuild-before-swap": 3, "rebuild-after-begin": 4, "after-parse": 100});
        let line = json!({"figures": {"kills": 107, "points": points}});
        assert_eq!(amounts(&line, "/figures/points/*rebuild*"), [4.0, 3.0]);
        assert_eq!(amounts(&line, "/figures/points/after-parse"), [100.0]);
        assert_eq!(amounts(&line, "/figures/points/*redrive*"), [0.0; 0]);
    }

    #[test]
    fn figures_with_parts_are_shown_by_what_they_came_to() {
        let shown = |value: Value| shown(&value).unwrap();
        assert_eq!(
            shown(json!({"mean": 7.0, "p50": 2.25, "p99": 17.04, "p999": 99.0})),
            "(p50: 2.25, p99: 17.0)"
        );
        assert_eq!(shown(json!([61_000, 70_000, 64_000])), "61,000 first, 64,000 last");
        assert_eq!(
            (shown(json!({})), shown(json!({"503": 12}))),
            ("none".to_owned(), "(503: 12)".to_owned())
        );
    }

    #[test]
    fn a_test_that_reports_nothing_has_passed_where_it_caught_its_mutation() {
        let line = |caught: bool| json!({"mutation": "key-shared-by-callers", "caught": caught, "said": ""});
        let shown = |caught| table("Of today.", &[], &[line(caught)]);
        let test = "`tests black_box both::auth::the_same_key_of_two_callers_is_two_commands`";
        assert!(shown(true).contains(&format!("{test} |  | passed |\n")), "{}", shown(true));
        assert!(shown(false).contains(&format!("{test} |  | **not run**: {test} |\n")), "{}", shown(false));
    }

    #[test]
    fn a_mutation_that_was_not_caught_is_told_with_what_the_test_said() {
        let line = json!({"mutation": "relay-off", "caught": false, "said": "failed otherwise: a | b"});
        let text = table("Of today.", &[], &[line]);
        assert!(text.contains("| **NOT CAUGHT**: failed otherwise: a \\| b |\n"), "{text}");
        assert!(text.contains("| **not run** |\n"), "{text}");
    }
}
