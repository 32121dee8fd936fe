//! The values that flags and variables take, and commands whose output nobody takes.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use http::Method;
use tests::process::{Finished, Invocation, program};
use tests::system::System;

/// Starts a server on an address that is taken. If the start gets as far as that address, it has accepted everything that it read
/// before.
async fn reaches_its_address(words: &[&str], variables: &[(&str, &str)]) -> Result<(), Finished> {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = folder.path().to_str().unwrap();
    let mut all = vec!["serve", "--admin-listen", &address, "--data", data];
    if !words.contains(&"--listen") {
        all.extend(["--listen", "127.0.0.1:0"]);
    }
    all.extend(words);
    let call = variables.iter().fold(Invocation::new(&all), |call, (name, value)| call.env(name, *value));
    let finished = call.run().await.with_code(2);
    if finished.stderr.contains("in use") { Ok(()) } else { Err(finished) }
}

#[tokio::test]
async fn an_empty_variable_is_as_none() {
    let help = Invocation::new(&["serve", "--help"]).run().await.with_code(0).stdout;
    let variables: Vec<(&str, &str)> =
        help.split("[env: ").skip(1).map(|rest| (rest.split([']', '=']).next().unwrap(), "")).collect();
    assert!(variables.len() > 10, "{variables:?}");
    reaches_its_address(&[], &variables).await.unwrap();
    // An empty flag is refused, because nobody leaves it empty by oversight.
    reaches_its_address(&["--cors-origin", ""], &[]).await.unwrap_err();
}

#[tokio::test]
async fn a_variable_that_says_yes_or_no_does_so_in_all_the_usual_words() {
    let open = ["--listen", "0.0.0.0:0"];
    for yes in ["1", "yes", "on", "true", "TRUE", "y"] {
        reaches_its_address(&open, &[("ORDERS_ALLOW_UNAUTHENTICATED", yes)]).await.unwrap();
    }
    for no in ["0", "no", "off", "false", "FALSE", "n", ""] {
        let refused = reaches_its_address(&open, &[("ORDERS_ALLOW_UNAUTHENTICATED", no)]).await.unwrap_err();
        assert!(refused.stderr.contains("beyond this machine"), "{no}: {refused:?}");
    }
    let refused =
        reaches_its_address(&open, &[("ORDERS_ALLOW_UNAUTHENTICATED", "perhaps")]).await.unwrap_err();
    assert!(refused.stderr.contains("perhaps"), "{refused:?}");
}

#[tokio::test]
async fn what_is_no_origin_is_refused_by_name() {
    for wrong in [
        "https://good.example/",
        "https://good.example/path",
        "HTTPS://good.example",
        "https://Good.example",
        "good.example",
        "ftp://good.example",
        "https://",
        "https://a b",
        "null",
    ] {
        let refused = reaches_its_address(&["--cors-origin", wrong], &[]).await.unwrap_err();
        assert!(refused.stderr.contains(wrong) && refused.stderr.contains("--cors-origin"), "{refused:?}");
    }
    let refused =
        reaches_its_address(&["--cors-origin", "https://me:Hunter2@good.example"], &[]).await.unwrap_err();
    assert!(refused.stderr.contains("https://…@good.example"), "{refused:?}");
    let several = "https://good.example,http://localhost:3000,https://[::1]:8443";
    reaches_its_address(&[], &[("ORDERS_CORS_ORIGIN", several)]).await.unwrap();
}

#[tokio::test]
async fn a_star_is_any_origin() {
    let system = System::start_with(&["--cors-origin", "*"]).await;
    let asked = system.api().call(Method::OPTIONS, "/").header("origin", "https://any.example");
    let answer = asked.header("access-control-request-method", "POST").await.with_status(200);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
}

#[test]
fn a_path_that_is_not_utf_8_is_refused_and_nothing_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let mut path = OsString::from(folder.path().join("data-"));
    path.push(OsStr::from_bytes(b"\xff"));
    let mut url = OsString::from("sqlite:");
    url.push(&path);
    for (flag, variable, value) in
        [("--data", "ORDERS_DATA", &path), ("--event-store", "ORDERS_EVENT_STORE", &url)]
    {
        let mut by_flag = Command::new(program());
        by_flag.current_dir(&folder).args(["verify", flag]).arg(value);
        let mut by_variable = Command::new(program());
        by_variable.current_dir(&folder).arg("verify").env(variable, value);
        for mut call in [by_flag, by_variable] {
            let output = call.output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(2) && stderr.contains("UTF-8"), "{output:?}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{flag}");
        }
    }
}

#[test]
fn a_command_whose_output_nobody_takes_fails_with_1_and_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for words in [
        &["verify"][..],
        &["verify", "--json"],
        &["held", "list"],
        &["relay"],
        &["rebuild"],
        &["migrate"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
    ] {
        let closed = || {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            Stdio::from(writer)
        };
        let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        for stdout in [closed(), full()] {
            let mut call = Command::new(program());
            call.args(words).env("ORDERS_DATA", folder.path().join("data")).env("ORDERS_LOG", "error");
            let output = call.stdout(stdout).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(1) && stderr.lines().count() <= 1, "{words:?}: {output:?}");
        }
        for stderr in [closed(), full()] {
            let mut call = Command::new(program());
            call.args(words).env("ORDERS_DATA", "/dev/null/data").env("ORDERS_EVENT_STORE", "nosql://x");
            let status = call.arg("--no-such-flag").stdout(Stdio::null()).stderr(stderr).status().unwrap();
            assert!(matches!(status.code(), Some(0..=2)), "{words:?}: {status}");
        }
    }
}
