//! The data folder belongs to one process.

use tests::process::{Finished, Invocation};
use tests::stores::Stores;
use tests::system::{Setup, System};

/// Checks that one line names the folder that is in use, and the process that uses it.
fn expect_in_use(refused: Finished, system: &mut System) {
    let (data, pid) = (system.folder().display().to_string(), system.server().pid().to_string());
    let refused = refused.with_code(2);
    let line = refused.stderr.strip_suffix('\n').unwrap_or_default();
    assert!(!line.contains('\n'), "one line: {refused:?}");
    for part in [&*data, &*pid, "in use", "--data"] {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
}

#[tokio::test]
async fn a_second_server_on_it_is_refused() {
    let mut system = Setup::on(Stores::Embedded).start().await;
    let data = system.folder().to_str().unwrap();
    let words = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", data];
    let refused = Invocation::new(&words).run().await;
    assert_eq!(refused.stdout, "", "nothing is promised");
    expect_in_use(refused, &mut system);
    system.create_and_process("a").await;
}

#[tokio::test]
async fn a_relay_is_refused_while_a_server_has_it() {
    let mut system = Setup::on(Stores::Embedded).start().await;
    let refused = system.orders(&["relay"]).await;
    expect_in_use(refused, &mut system);
    system.create_and_process("a").await;
}
