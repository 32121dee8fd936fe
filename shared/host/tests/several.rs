//! The example `tasks`, which has two aggregates and two views, as a process on files.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(feature = "embedded")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a condition may take to become true.
const SOON: Duration = Duration::from_secs(20);

/// The example's program. Cargo builds it with the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples/tasks");
    assert!(program.exists(), "{} is missing; `cargo test -p host` builds it", program.display());
    program
}

/// A server on a folder. It ends with the value.
struct Server {
    process: Child,
    api: String,
    admin: String,
}

impl Server {
    fn start(folder: &TempDir) -> Self {
        let mut process = Command::new(program())
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut address = |name: &str| {
            let line = lines.find(|line| line.starts_with(name)).expect("the server's addresses");
            line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned()
        };
        let (api, admin) = (address("API"), address("Admin"));
        Self { process, api, admin }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = call(&self.api, "POST", path, &body.to_string());
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// Waits until a view answers with this.
    fn shows(&self, path: &str, wanted: &Value) {
        until(&self.api, path, |answer| {
            serde_json::from_str::<Value>(answer).is_ok_and(|shown| has(&shown, wanted))
        });
    }

    /// Lets it end by itself.
    fn stop(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until an answer is as it should be.
fn until(address: &str, path: &str, is_right: impl Fn(&str) -> bool) {
    let end = Instant::now() + SOON;
    loop {
        let (_, answer) = call(address, "GET", path, "");
        if is_right(&answer) {
            return;
        }
        assert!(Instant::now() < end, "{path}: {answer}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns whether the object has these members.
fn has(shown: &Value, wanted: &Value) -> bool {
    wanted.as_object().unwrap().iter().all(|(name, value)| shown[name] == *value)
}

fn call(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Runs a command on the folder.
fn run(folder: &TempDir, args: &[&str]) -> Output {
    Command::new(program()).args(args).arg("--data").arg(folder.path()).output().unwrap()
}

/// Runs a command that must succeed, and returns its lines.
fn lines(folder: &TempDir, args: &[&str]) -> Vec<String> {
    let output = run(folder, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Returns the lines as JSON, without what differs from run to run.
fn objects(folder: &TempDir, args: &[&str]) -> Vec<Value> {
    let parsed = lines(folder, args).into_iter().map(|line| serde_json::from_str(&line).unwrap());
    parsed
        .map(|mut object: Value| {
            let members = object.as_object_mut().unwrap();
            members.retain(|name, _| !["seconds", "events_per_second"].contains(&name.as_str()));
            object
        })
        .collect()
}

/// Runs a command that can't begin, and returns its complaint.
fn refusal(folder: &TempDir, args: &[&str]) -> String {
    let output = run(folder, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Streams of both aggregates with the same names: two tasks, and the labels of one.
fn fill(server: &Server) {
    server.post("/tasks/a", &json!({"title": "a lamp"}));
    server.post("/tasks/b", &json!({"title": "a chair"}));
    server.post("/tasks/a/start", &json!({}));
    assert_eq!(server.post("/tasks/a/labels", &json!({"labels": ["home", "new"]}))["version"], 1);
}

#[test]
fn each_aggregate_has_its_own_streams_and_each_view_its_own_rows() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder);
    fill(&server);
    server.shows("/tasks/a", &json!({"title": "a lamp", "stage": "running", "version": 2}));
    server.shows("/tasks/b", &json!({"title": "a chair", "version": 1}));
    server.shows("/labels/home", &json!({"tasks": 1}));
    assert_eq!(call(&server.api, "GET", "/labels/a", "").0, 404);

    // A file has no other replicas.
    let readiness = |waiting| {
        let reminders = json!({"waiting": waiting, "set_aside": 0, "overdue": 0});
        json!({"event_store": "ok", "reminders": reminders, "other_replicas": null})
    };
    until(&server.admin, "/readyz", |answer| {
        let ready: Value = serde_json::from_str(answer).unwrap();
        ready["aggregates"]["task"] == readiness(1)
            && ready["aggregates"]["labelset"] == readiness(0)
            && ["tasks", "labels"].iter().all(|view| ready["views"][view]["read_store"] == "ok")
    });
    until(&server.admin, "/metrics", |metrics| {
        let of_each = ["unpublished_commits{aggregate=\"task\"} 0", "view_compared_at{view=\"labels\"} 0"];
        of_each.iter().all(|series| metrics.contains(&format!("tasks_{series}\n")))
    });
    server.stop();
}

#[test]
fn after_a_restart_both_aggregates_go_on_where_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder);
    fill(&server);
    server.stop();
    let server = Server::start(&folder);
    server.shows("/tasks/a", &json!({"version": 2}));
    server.shows("/labels/new", &json!({"tasks": 1}));
    assert_eq!(server.post("/tasks/a/finish", &json!({}))["version"], 3);
    assert_eq!(server.post("/tasks/a/labels", &json!({"labels": ["home", "old"]}))["version"], 2);
    assert_eq!(server.post("/tasks/b/labels", &json!({"labels": ["home"]}))["version"], 1);
    server.shows("/tasks/a", &json!({"stage": "finished", "version": 3}));
    server.shows("/labels/home", &json!({"tasks": 2}));
    server.shows("/labels/old", &json!({"tasks": 1}));
    server.stop();
}

#[test]
fn tools_work_on_all_views_and_aggregates_or_on_the_one_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder);
    fill(&server);
    server.shows("/labels/home", &json!({"tasks": 1}));
    server.stop();

    let labels = json!({"commits": 1, "events": 1, "unreadable": 0});
    assert_eq!(
        objects(&folder, &["rebuild", "--json"]),
        [
            json!({"view": "tasks", "commits": 3, "events": 3, "unreadable": 0}),
            json!({"view": "labels", "commits": 1, "events": 1, "unreadable": 0}),
        ]
    );
    assert_eq!(objects(&folder, &["rebuild", "--json", "--view", "labels"]), [labels]);
    let verified = lines(&folder, &["verify"]);
    assert_eq!(verified[0], "tasks: 2 tasks compared, 0 faults, 0 repaired");
    assert_eq!(verified[1], "labels: 0 faults, 0 streams can't be read; nothing is repaired");
    assert_eq!(lines(&folder, &["held", "list"]), ["tasks: 0 held events", "labels: 0 held events"]);
    assert_eq!(lines(&folder, &["held", "list", "--view", "tasks"]), ["0 held events"]);
    let waiting = lines(&folder, &["reminders"]);
    assert!(waiting[0].starts_with("task: a@2  waiting"), "{waiting:?}");
    assert_eq!(waiting[1..], ["1 tasks wait", "0 labelsets wait"]);
    assert_eq!(
        objects(&folder, &["republish", "--json"]),
        [
            json!({"aggregate": "task", "tasks": 2, "events": 3, "failed": 0}),
            json!({"aggregate": "labelset", "labelsets": 1, "events": 1, "failed": 0}),
        ]
    );
    let republished = lines(&folder, &["republish", "--aggregate", "task", "--stream", "a"]);
    assert_eq!(republished, ["published 2 events of 1 tasks again; 0 tasks failed"]);
    assert_eq!(objects(&folder, &["relay", "--json"])[0]["left"], 0);
    lines(&folder, &["migrate"]);
}

#[test]
fn a_command_that_works_on_one_asks_which() {
    let folder = tempfile::tempdir().unwrap();
    Server::start(&folder).stop();
    let refused = refusal(&folder, &["held", "show", "1"]);
    assert!(
        refused.contains("give --view NAME, because there are several; allowed: tasks, labels"),
        "{refused}"
    );
    let refused = refusal(&folder, &["republish", "--stream", "a"]);
    assert!(refused.contains("give --aggregate NAME") && refused.contains("task, labelset"), "{refused}");
    let refused = refusal(&folder, &["verify", "--view", "task"]);
    assert!(refused.contains("possible values: tasks, labels"), "{refused}");
}
