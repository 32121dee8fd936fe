//! A system that can't start says why, in one line, and ends with 2.

use std::fs;
use std::net::TcpListener;

use tests::process::{Finished, Invocation};
use tests::stores::Stores;
use tests::system::{Setup, System};

/// Runs a start that must fail. It has free ports and a folder of its own, unless the words say otherwise.
async fn refused(words: &[&str]) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let mut all = vec!["serve"];
    for (flag, value) in [
        ("--listen", "127.0.0.1:0"),
        ("--admin-listen", "127.0.0.1:0"),
        ("--data", folder.path().to_str().unwrap()),
    ] {
        if !words.contains(&flag) {
            all.extend([flag, value]);
        }
    }
    all.extend(words);
    Invocation::new(&all).run().await.with_code(2)
}

fn expect_one_line(finished: &Finished, parts: &[&str]) {
    let line = finished.stderr.strip_suffix('\n').unwrap_or_default();
    assert!(line.starts_with("orders: ") && !line.contains('\n'), "one line: {finished:?}");
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
    assert_eq!(finished.stdout, "", "nothing is promised");
}

#[tokio::test]
async fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--admin-listen"] {
        expect_one_line(&refused(&[flag, &address]).await, &[&address, "in use", flag]);
    }
}

#[tokio::test]
async fn a_folder_that_can_not_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for data in [file.clone(), file.join("below")] {
        let data = data.to_str().unwrap();
        expect_one_line(&refused(&["--data", data]).await, &["data folder", data]);
    }
}

#[tokio::test]
async fn a_file_that_is_not_ours() {
    for name in ["events.db", "views.db"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::write(&file, "my diary, which is long enough to be mistaken for something else\n".repeat(100))
            .unwrap();
        let before = fs::read(&file).unwrap();
        expect_one_line(&refused(&["--data", folder.path().to_str().unwrap()]).await, &[name]);
        assert_eq!(fs::read(&file).unwrap(), before, "it is left as it was");
    }
}

#[tokio::test]
async fn a_url_of_an_unknown_scheme() {
    for (flag, url, allowed) in [
        ("--event-store", "nosql://localhost/orders", "sqlite:"),
        ("--event-store", "events.db", "sqlite:"),
        ("--channel", "amqp://localhost", "memory:"),
        ("--read-store", "mysql://localhost/orders", "sqlite:"),
        ("--fulfilment", "ftp://localhost", "http://"),
        ("--fulfilment", "mock:?failure_rate=2", "failure_rate"),
        ("--fulfilment", "mock:?speed=2", "speed"),
    ] {
        // The path may be a key.
        let shown = url.replace("/orders", "/…");
        expect_one_line(&refused(&[flag, url]).await, &[&shown, allowed]);
    }
}

#[tokio::test]
async fn one_database_for_both_stores_goes_with_no_url_of_either() {
    let postgres = ["--postgres", "postgres://me:hunter2@localhost/orders"];
    let others = [("--event-store", "ORDERS_EVENT_STORE"), ("--read-store", "ORDERS_READ_STORE")];
    for (flag, variable) in others {
        for words in [&["serve"][..], &["verify"], &["relay"]] {
            let by_flag = Invocation::new(&[words, &postgres, &[flag, "sqlite:x"]].concat());
            let by_variable = Invocation::new(&[words, &postgres].concat()).env(variable, "sqlite:x");
            for call in [by_flag, by_variable] {
                let finished = call.run().await.with_code(2);
                let first = finished.stderr.lines().next().unwrap();
                assert!(first.contains("cannot be used with"), "{finished:?}");
                assert!(first.contains(flag) && first.contains("--postgres"), "{finished:?}");
                assert!(!finished.stderr.contains("hunter"), "{finished:?}");
            }
        }
    }
    for url in ["mongodb://me:hunter2@localhost/orders", "orders.db"] {
        let finished = refused(&["--postgres", url]).await;
        let first = finished.stderr.lines().next().unwrap();
        assert!(first.contains("--postgres") && first.contains("allowed: postgres://"), "{finished:?}");
        assert!(!finished.stderr.contains("hunter"), "{finished:?}");
    }
}

#[tokio::test]
async fn the_password_in_a_url_is_not_told() {
    for flag in ["--event-store", "--channel", "--read-store", "--fulfilment"] {
        let finished = refused(&[flag, "nosql://me:hunter2@localhost/orders?key=hunter3"]).await;
        expect_one_line(&finished, &["nosql://…@localhost/…"]);
        assert!(!finished.stderr.contains("hunter"), "{flag}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn a_token_file_that_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let path = file.to_str().unwrap();
    expect_one_line(&refused(&["--auth-token-file", path]).await, &["--auth-token-file", path]);
    for (text, problem) in [
        ("", "no token"),
        ("# nobody\n", "no token"),
        ("\nada short\n", "line 2"),
        ("ada 0123456789abcdef\nbob 0123456789abcdef\n", "line 2 has the token of line 1"),
        ("ada 0123456789abcdéf\n", "line 1"),
        ("\u{feff}# ada 0123456789abcdef\n", "no token"),
    ] {
        fs::write(&file, text).unwrap();
        let finished = refused(&["--auth-token-file", path]).await;
        expect_one_line(&finished, &["--auth-token-file", path, problem]);
        assert!(!finished.stderr.contains("ada"), "{finished:?}");
    }
}

#[tokio::test]
async fn listening_beyond_this_machine_without_tokens_is_refused_unless_it_is_meant() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let api = ["--listen", "beyond this machine", "--auth-token-file", "or --allow-unauthenticated"];
        expect_one_line(&refused(&["--listen", address]).await, &api);
        let admin = [
            "--admin-listen",
            "beyond this machine",
            "--auth-token-file",
            "or --admin-allow-unauthenticated",
        ];
        expect_one_line(&refused(&["--admin-listen", address]).await, &admin);
        // Each listener has its own switch.
        let other = ["--admin-listen", address, "--allow-unauthenticated"];
        expect_one_line(&refused(&other).await, &admin);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    fs::write(&file, "ada 0123456789abcdef\n").unwrap();
    let tokens = ["--auth-token-file", file.to_str().unwrap()];
    let everywhere = || Setup::on(Stores::fresh()).listening_at("0.0.0.0:0".parse().unwrap());
    everywhere().with(&tokens).start().await.get("/").await.with_status(401);
    everywhere().with(&["--allow-unauthenticated"]).start().await.get("/").await.with_status(200);
}

#[tokio::test]
async fn a_value_that_a_flag_does_not_take() {
    for words in [
        &["--listen", "nonsense"][..],
        &["--kept-orders", "0"],
        &["--kept-orders", "many"],
        &["--max-in-flight", "0"],
        &["--fulfilment-timeout", "soon"],
        &["--fulfilment-concurrency", "0"],
        &["--log-format", "xml"],
        &["--no-such-flag"],
    ] {
        let finished = refused(words).await;
        let first = finished.stderr.lines().next().unwrap();
        assert!(first.starts_with("error: ") && first.contains(words[0]), "{finished:?}");
        assert!(!finished.stderr.contains("backtrace"), "{finished:?}");
    }
    expect_one_line(&refused(&["--log", "orders=loud"]).await, &["--log", "orders=loud"]);
}

#[tokio::test]
async fn a_word_that_is_no_command() {
    let finished = Invocation::new(&["sreve"]).run().await.with_code(2);
    assert!(finished.stderr.contains("sreve"), "{finished:?}");
}

#[tokio::test]
async fn variables_do_what_flags_do_and_a_flag_wins() {
    let folder = tempfile::tempdir().unwrap();
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [one, other] = taken.each_ref().map(|taken| taken.local_addr().unwrap().to_string());
    let set = |words: &[&str]| {
        Invocation::new(words)
            .env("ORDERS_LISTEN", "127.0.0.1:0")
            .env("ORDERS_ADMIN_LISTEN", &one)
            .env("ORDERS_DATA", folder.path().join("data").to_str().unwrap())
    };
    // No command and no flag, as in a container: the variables say it all.
    let finished = set(&[]).run().await.with_code(2);
    expect_one_line(&finished, &[&one, "in use"]);
    let finished = set(&["--admin-listen", &other]).run().await.with_code(2);
    expect_one_line(&finished, &[&other, "in use"]);
    let finished = set(&["verify"]).env("ORDERS_EVENT_STORE", "nosql://x").run().await.with_code(2);
    expect_one_line(&finished, &["nosql://x"]);
    for (variable, value) in
        [("ORDERS_LISTEN", "nonsense"), ("ORDERS_KEPT_ORDERS", "0"), ("ORDERS_LOG_FORMAT", "xml")]
    {
        let finished = set(&[]).env(variable, value).run().await.with_code(2);
        assert!(finished.stderr.contains(value), "{finished:?}");
    }
}

#[tokio::test]
async fn the_greeting_says_what_is_served_where_state_is_and_what_to_try() {
    let mut system = System::start().await;
    let (api, admin) = (system.api().address(), system.admin().address());
    let greeting = system.server().stdout();
    for part in
        [format!("http://{api}\n"), format!("http://{admin}/metrics"), format!("curl -i http://{api}/ ")]
    {
        assert!(greeting.contains(&part), "{part:?} is not in {greeting}");
    }
    for name in ["Events", "Channel", "View"] {
        assert!(greeting.lines().any(|line| line.starts_with(name)), "{greeting}");
    }
    assert!(greeting.contains(system.folder().to_str().unwrap()), "{greeting}");
}

#[tokio::test]
async fn completions_are_what_the_shell_takes() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Invocation::new(&["completions", shell]).run().await.with_code(0).stdout;
        assert!(script.contains("orders") && script.contains("rebuild"), "{shell}: {script}");
        if shell == "bash" {
            let file = folder.path().join("orders.bash");
            fs::write(&file, script).unwrap();
            let checked = std::process::Command::new("bash").arg("-n").arg(file).output().unwrap();
            assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
        }
    }
}
