//! README.md and docs/cli.md agree with the program.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tests::poll::until;
use tests::process::Invocation;
use tests::system::System;

/// The address in the README's calls.
const ADDRESS: &str = "127.0.0.1:8080";

/// The marks around the command line reference.
const BEGIN: &str = "<!-- cli -->\n";
const END: &str = "<!-- /cli -->";

/// Returns the path of a document, which is given by its path from the root.
fn path(document: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", document].iter().collect()
}

fn text(document: &str) -> String {
    fs::read_to_string(path(document)).unwrap()
}

/// Returns the calls in the README's shell blocks, in their order.
pub(crate) fn calls() -> Vec<String> {
    let text = text("README.md");
    let blocks = text.split("\n```sh\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    let lines = blocks.flat_map(str::lines);
    lines.filter(|line| line.starts_with("curl ") && line.contains(ADDRESS)).map(str::to_owned).collect()
}

/// Runs a call through a shell, on another address. Returns the status and the body.
pub(crate) fn shell(call: &str, address: SocketAddr) -> (u16, Value) {
    let output = Command::new("sh").arg("-c").arg(call.replace(ADDRESS, &address.to_string())).output();
    let output = String::from_utf8(output.unwrap().stdout).unwrap();
    let (head, body) = output.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{call}: {output:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{call}: {error}: {output}")))
}

#[tokio::test]
async fn the_calls_of_the_readme_are_answered_as_it_says() {
    let system = System::start().await;
    let address = system.api().address();
    let calls = calls();
    let [create, process, list, one] = &calls[..] else { panic!("four calls, not {calls:?}") };

    let (status, order) = shell(create, address);
    assert_eq!((status, &order["status"], &order["version"]), (201, &"new".into(), &1.into()));
    let (status, order) = shell(process, address);
    assert_eq!((status, &order["status"], &order["version"]), (200, &"processing".into(), &2.into()));
    let orders = until("the order to be processed", async || {
        let (status, orders) = shell(list, address);
        assert_eq!(status, 200);
        (orders[0]["status"] == "processed").then_some(orders)
    })
    .await;
    let expected = serde_json::json!([{
        "id": "someid", "name": "somename", "status": "processed", "version": 3,
        "created_at": orders[0]["created_at"], "updated_at": orders[0]["updated_at"],
    }]);
    assert_eq!(orders, expected);
    assert_eq!(shell(one, address), (200, orders[0].clone()));
}

/// Returns the help of the command `orders`, of the commands below it, and of theirs.
async fn reference() -> String {
    let mut reference = String::new();
    let mut commands = vec!["orders".to_owned()];
    while let Some(command) = commands.pop() {
        let words: Vec<&str> = command.split(' ').skip(1).chain(["--help"]).collect();
        let help = Invocation::new(&words).run().await.with_code(0).stdout;
        let help = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        write!(reference, "\n## {command}\n\n```text\n{help}\n```\n").unwrap();
        commands.extend(commands_in(&help).into_iter().rev().map(|below| format!("{command} {below}")));
    }
    reference + "\n"
}

/// Returns the names under "Commands:" in a help.
fn commands_in(help: &str) -> Vec<&str> {
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A name is indented by two spaces. A line that is indented further continues the text before.
    let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help").collect()
}

#[tokio::test]
async fn the_command_line_reference_is_what_help_prints() {
    const REFERENCE: &str = "docs/cli.md";
    let text = text(REFERENCE);
    let (before, rest) = text.split_once(BEGIN).expect("the reference has <!-- cli -->");
    let (written, after) = rest.split_once(END).expect("the reference has <!-- /cli -->");
    let reference = reference().await;
    for command in ["orders", "orders serve", "orders held list", "orders load"] {
        assert!(reference.contains(&format!("\n## {command}\n")), "{reference}");
    }
    if std::env::var_os("UPDATE_CLI").is_some() {
        return fs::write(path(REFERENCE), format!("{before}{BEGIN}{reference}{END}{after}")).unwrap();
    }
    assert!(
        written == reference,
        "--help has changed; UPDATE_CLI=1 cargo test -p tests readme writes it anew"
    );
}
