//! The points at which a process is killed, and how each is reached.

use std::collections::BTreeSet;
use std::process::Command;

use tests::process::{Invocation, binary};
use tests::stores::Stores;

/// The binary that has the kill points.
pub(crate) const PROGRAM: &str = "orders-with-kill-points";

/// The process that passes a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    /// `orders serve`, under a load.
    Server,
    /// `orders serve`, which finds unpublished commits when it starts.
    Relay,
    /// `orders serve`, which finds a reminder that is due when it starts.
    Reminder,
    /// `orders serve`, alone, with an order for which the fulfilment service fails.
    SettingAside,
    /// `orders rebuild`, beside a server under a load.
    Rebuild,
    /// `orders held redrive`, beside a server, with held events.
    Redrive,
    /// `orders verify --repair`, beside a server, with a view that was tampered with.
    Repair,
}

/// The stores on which a point is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    All,
    Sqlite,
    Postgres,
    MongoDbAndKafka,
}

/// A point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) name: &'static str,
    pub(crate) victim: Victim,
    /// The largest number of passes before the kill.
    pub(crate) passes: u64,
    on: On,
}

const fn point(name: &'static str, victim: Victim, passes: u64, on: On) -> Point {
    Point { name, victim, passes, on }
}

const POINTS: [Point; 42] = [
    point("after-parse", Victim::Server, 200, On::All),
    point("before-append", Victim::Server, 150, On::All),
    point("before-sqlite-commit", Victim::Server, 100, On::Sqlite),
    point("after-sqlite-commit", Victim::Server, 100, On::Sqlite),
    point("before-mongodb-insert", Victim::Server, 60, On::MongoDbAndKafka),
    point("after-mongodb-insert", Victim::Server, 60, On::MongoDbAndKafka),
    point("before-postgres-insert", Victim::Server, 60, On::Postgres),
    point("after-postgres-insert", Victim::Server, 60, On::Postgres),
    point("after-append", Victim::Server, 150, On::All),
    point("before-remember", Victim::Server, 20, On::All),
    point("after-remember", Victim::Server, 20, On::All),
    point("before-publish", Victim::Server, 100, On::All),
    point("during-publish", Victim::Server, 100, On::All),
    point("after-publish", Victim::Server, 100, On::All),
    point("before-mark", Victim::Server, 100, On::All),
    point("after-mark", Victim::Server, 100, On::All),
    point("relay-after-look", Victim::Relay, 1, On::All),
    point("relay-before-send", Victim::Relay, 2, On::All),
    point("relay-after-send", Victim::Relay, 2, On::All),
    point("reminder-after-claim", Victim::Reminder, 1, On::All),
    point("reminder-after-publish", Victim::Reminder, 1, On::All),
    point("reminder-after-next", Victim::Reminder, 1, On::All),
    point("consumer-after-poll", Victim::Server, 40, On::All),
    point("before-projector-commit", Victim::Server, 30, On::All),
    point("after-projector-commit", Victim::Server, 30, On::All),
    point("before-fulfilment", Victim::Server, 20, On::All),
    point("after-fulfilment", Victim::Server, 20, On::All),
    point("before-set-aside", Victim::SettingAside, 1, On::All),
    point("after-set-aside", Victim::SettingAside, 1, On::All),
    point("before-offset-commit", Victim::Server, 30, On::All),
    point("after-offset-commit", Victim::Server, 30, On::All),
    point("after-kafka-offset-commit", Victim::Server, 4, On::MongoDbAndKafka),
    point("before-redrive-commit", Victim::Redrive, 1, On::All),
    point("after-redrive-commit", Victim::Redrive, 1, On::All),
    point("rebuild-after-begin", Victim::Rebuild, 1, On::All),
    point("rebuild-before-page-commit", Victim::Rebuild, 1, On::All),
    point("rebuild-after-page-commit", Victim::Rebuild, 1, On::All),
    point("rebuild-before-swap", Victim::Rebuild, 1, On::All),
    point("rebuild-before-swap-commit", Victim::Rebuild, 1, On::All),
    point("rebuild-after-swap-commit", Victim::Rebuild, 1, On::All),
    point("before-repair-commit", Victim::Repair, 2, On::All),
    point("after-repair-commit", Victim::Repair, 2, On::All),
];

/// Returns the points that are passed on these stores.
pub(crate) fn points(stores: &Stores) -> Vec<Point> {
    let is_passed = |point: &Point| match point.on {
        On::All => true,
        On::Sqlite => matches!(stores, Stores::Embedded),
        On::Postgres => matches!(stores, Stores::Postgres(_)),
        On::MongoDbAndKafka => matches!(stores, Stores::Servers(_)),
    };
    POINTS.into_iter().filter(is_passed).collect()
}

#[tokio::test]
async fn every_point_that_the_program_has_is_one_at_which_it_is_killed() {
    let said = Invocation::of(binary(PROGRAM), &["--kill-points"]).run().await.with_code(0);
    let has: BTreeSet<&str> = said.stdout.lines().collect();
    assert_eq!(has, POINTS.iter().map(|point| point.name).collect());
}

#[test]
fn no_other_program_has_them() {
    let has = |name: &str| {
        let found = Command::new("grep").args(["--quiet", "--text", "KILL_POINT"]).arg(binary(name)).status();
        found.expect("grep is there").success()
    };
    assert!(has(PROGRAM), "or it can no longer be told by this");
    assert!(!has("orders"));
}
