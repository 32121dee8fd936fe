//! `deploy/watch`: from the README's calls to the processed order, by Lambda functions alone.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use tests::http::Http;
use tests::poll::{PATIENCE, until};
use tests::process::{Finished, Invocation, Running, binaries};
use tests::report;
use tests::stores::Stores;

use crate::readme::{calls, shell};

/// The exit code of `deploy/watch` when there is no cargo-lambda.
const NO_CARGO_LAMBDA: i32 = 3;

fn script() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "deploy", "watch"].iter().collect()
}

/// Returns whether cargo-lambda is there, and installs it if need be. Prints when it can't be installed.
fn has_cargo_lambda() -> bool {
    let output = Command::new(script()).arg("--install").output().unwrap();
    if output.status.code() == Some(NO_CARGO_LAMBDA) {
        let why = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        report::not_run(&format!("the functions by cargo lambda watch: {why}"));
        return false;
    }
    assert!(output.status.success(), "{output:?}");
    true
}

/// A run of `deploy/watch`. When it is dropped it is told to stop, so that a failing test leaves nothing behind.
struct Watch {
    process: Option<Running>,
    address: SocketAddr,
}

impl Watch {
    async fn start(stores: &Stores) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (port, binaries) = (address.port().to_string(), binaries().display().to_string());
        let script = script().display().to_string();
        // The script leads a process group, as a program does that a shell starts in a terminal. It hears SIGINT even if the
        // process that started the tests does not.
        let words = ["env", "--default-signal=INT", &script, "--port", &port, "--built", &binaries];
        let call = Invocation::of("setsid".into(), &[&words[..], &["--relay-every", "1"]].concat());
        let settings = stores.settings(folder.path());
        let call = settings.into_iter().fold(call, |call, (name, value)| call.env(name, value));
        let mut watch = Self { process: Some(call.start()), address };
        until("the greeting of deploy/watch", async || {
            let process = watch.process();
            assert_eq!(process.ended(), None, "it has ended: {}{}", process.stdout(), process.stderr());
            process.stdout().contains("Ctrl-C stops everything").then_some(())
        })
        .await;
        watch
    }

    fn process(&mut self) -> &mut Running {
        self.process.as_mut().unwrap()
    }

    /// Sends SIGINT to everybody in the process group, as Ctrl-C does.
    async fn interrupt(mut self) -> Finished {
        let process = self.process.take().unwrap();
        let group = format!("kill -s INT -- -{}", process.pid());
        assert!(Command::new("sh").arg("-c").arg(group).status().unwrap().success());
        process.end().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        if process.ended().is_some() {
            return;
        }
        process.signal("TERM");
        let began = Instant::now();
        while process.ended().is_none() && began.elapsed() < PATIENCE {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Returns the processes with this word among their variables or arguments.
fn processes_with(word: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let read =
        |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).replace('\0', " ");
    let others = processes.filter(|path| !path.ends_with("self") && !path.ends_with("thread-self"));
    let found = others.filter(|path| {
        let own = format!("{}", std::process::id());
        !path.ends_with(own)
            && (read(path.join("environ")).contains(word) || read(path.join("cmdline")).contains(word))
    });
    found.map(|path| read(path.join("cmdline"))).collect()
}

#[tokio::test]
async fn the_calls_of_the_readme_are_answered_by_lambda_functions_and_ctrl_c_leaves_nothing_of_them() {
    let Some(stores) = Stores::servers() else { return };
    if !has_cargo_lambda() {
        return;
    }
    let Stores::Servers(servers) = &stores else { panic!("these are servers") };
    let mut watch = Watch::start(&stores).await;
    let address = watch.address;

    let calls = calls();
    let [create, process, list, one] = &calls[..] else { panic!("four calls, not {calls:?}") };
    assert_eq!(shell(create, address).0, 201);
    let (status, order) = shell(process, address);
    assert_eq!((status, &order["status"]), (200, &"processing".into()));
    let orders = until("the order to be processed", async || {
        let (status, orders) = shell(list, address);
        assert_eq!(status, 200);
        (orders[0]["status"] == "processed").then_some(orders)
    })
    .await;
    assert_eq!(shell(one, address), (200, orders[0].clone()));

    every_route_leads_to_its_function(&Http::at(address)).await;
    assert!(!processes_with(servers.database()).is_empty());
    assert_eq!(watch.process().ended(), None);

    let finished = watch.interrupt().await.with_code(0);
    assert_eq!(processes_with(servers.database()), Vec::<String>::new(), "{}", finished.stderr);
    assert!(TcpStream::connect(address).is_err(), "somebody still listens at {address}");
}

/// Checks every route, after the order `someid` was processed.
async fn every_route_leads_to_its_function(api: &Http) {
    let events = api.get("/someid/events").await.with_status(200).json();
    let types: Vec<&Value> = events.as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    let before = api.get("/someid/versions/2").await.with_status(200).json();
    assert_eq!(before["status"], "processing");
    for path in ["/", "/someid", "/someid/events", "/someid/versions/2"] {
        let answer = api.call(http::Method::HEAD, path).await.with_status(200);
        assert!(answer.body.is_empty(), "{answer:?}");
    }
    api.delete("/someid").await.problem(409, "not-allowed-in-state");
    api.get("/nobody").await.problem(404, "order-not-found");
    // The schedule's function, as the schedule calls it.
    let relayed = api.post("/2015-03-31/functions/relay/invocations").json(&json!({})).await.with_status(200);
    let relayed: Value = serde_json::from_slice(&relayed.body).unwrap();
    assert_eq!((&relayed["commits"], &relayed["failed"]), (&0.into(), &0.into()), "{relayed}");
}
