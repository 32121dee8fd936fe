//! A rebuild that was killed leaves nothing on PostgreSQL that holds up the system or the next rebuild.

use sqlx::{Connection, PgConnection, query_scalar, raw_sql};
use tests::damage::View;
use tests::poll::until;
use tests::servers::Servers;
use tests::stores::Stores;
use tests::system::Setup;

/// Locks the list of views as a batch of the projector does, but for as long as the test likes.
const AS_A_BATCH: &str = "BEGIN; LOCK TABLE read_store_views IN ROW SHARE MODE";

async fn connect(servers: &Servers) -> PgConnection {
    PgConnection::connect(&servers.read_store()).await.unwrap()
}

/// Returns whether a session waits for a lock on the list of views in this mode.
async fn is_waiting(connection: &mut PgConnection, mode: &str) -> bool {
    let sql = "SELECT EXISTS (SELECT FROM pg_locks
        WHERE NOT granted AND relation = 'read_store_views'::regclass AND mode = $1)";
    query_scalar(sql).bind(mode).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn a_rebuild_that_is_killed_while_it_waits_for_its_swap_waits_no_more() {
    let Some(stores) = Stores::servers() else { return };
    let system = Setup::on(stores.clone()).start().await;
    system.load(&["--orders", "200", "--clients", "16"]).run().await.with_code(0);
    system.expect_verified().await;
    let Stores::Servers(servers) = &stores else { unreachable!("these are servers") };
    let mut view = View::of(&system).await;
    let (mut first, mut second) = (connect(servers).await, connect(servers).await);
    let mut looking = connect(servers).await;
    let mut until_waiting = async |mode, is_so| {
        let what = format!("{mode} to be waited for: {is_so}");
        until(&what, async || (is_waiting(&mut looking, mode).await == is_so).then_some(())).await;
    };

    // One batch comes before the registration of the new view, and one right behind it. The swap then has to wait for the second.
    raw_sql(AS_A_BATCH).execute(&mut first).await.unwrap();
    let rebuild = system.invocation(&["rebuild"]).start();
    until_waiting("ExclusiveLock", true).await;
    let behind = tokio::spawn(async move {
        raw_sql(AS_A_BATCH).execute(&mut second).await.unwrap();
        second
    });
    until_waiting("RowShareLock", true).await;
    raw_sql("COMMIT").execute(&mut first).await.unwrap();
    let mut second = behind.await.unwrap();
    until_waiting("ExclusiveLock", true).await;
    assert_eq!(view.building().await, 1);

    rebuild.kill();
    until_waiting("ExclusiveLock", false).await;
    system.create_and_process("meanwhile").await;
    raw_sql("COMMIT").execute(&mut second).await.unwrap();
    system.orders(&["rebuild"]).await.with_code(0);
    assert_eq!((view.building().await, view.tables().await), (0, 1));
    system.expect_verified().await;
}
