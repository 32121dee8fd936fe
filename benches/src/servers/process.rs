//! Process commands, on orders in the handler's cache and on orders that are not in it, against the driver's find and insert.

use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use command_handler::{AnswerPolicy, CommandHandler, CommandRequest, KeyOrigin};
use domain::{Command, CommandId, Order, OrderName, Version};
use event_channel::EventChannel;
use event_store::{CommandHash, Metadata};
use mongodb::bson::doc;

use super::bench::Bench;
use super::commits::{Outbox, order, started};
use super::given::fresh_name;
use super::mongo::{Database, Template};
use super::rounds::{Numbers, medians, nothing, rate, warm_rate};
use crate::table::Table;

const CALLERS: usize = 64;

/// More orders than were ever processed in a second. If they are not enough, the measurement fails.
const ORDERS_A_SECOND: u64 = 30_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    /// The command handler on orders that it has never seen. The channel is in memory and has no subscribers.
    Cold,
    /// The same, and the events are published to Kafka.
    ColdPublished,
    /// The command handler on orders that it has created itself.
    Warm,
    /// The driver: all commits of the order, then `insert_one` of the next.
    Raw,
}

pub(crate) async fn measure(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let [first, _] = Template::both(&bench.servers, Outbox::Published).await?;
    let [_, second] = Template::both(&bench.servers, Outbox::Unpublished).await?;
    let contenders = [Contender::Cold, Contender::Raw, Contender::ColdPublished, Contender::Warm];
    let rates = medians(bench.pace, &contenders, async |contender| {
        let database = Database::fresh(&bench.servers).await?;
        let rate = match contender {
            Contender::Raw => raw(bench, &database, &first, &second).await?,
            _ => ours(bench, contender, &database, &first).await?,
        };
        database.remove().await?;
        Ok(rate)
    });
    let [cold, raw, published, warm] = rates.await?[..] else { bail!("four contenders have four figures") };
    table.compared("process cold at 64 callers, marked : find and insert_one", cold, raw, "a second");
    table.compared("process cold, published to Kafka, marked : same", published, raw, "a second");
    table.compared("process warm at 64 callers, marked : same", warm, raw, "a second");
    Ok(())
}

fn orders(bench: &Bench) -> u64 {
    bench.pace.calls(ORDERS_A_SECOND)
}

async fn ours(
    bench: &Bench,
    contender: Contender,
    database: &Database,
    first: &Template,
) -> anyhow::Result<f64> {
    let orders = orders(bench);
    let channel = match contender {
        Contender::ColdPublished => EventChannel::open(bench.servers.kafka(&fresh_name()))?,
        _ => EventChannel::open("memory:")?,
    };
    let kept = NonZeroUsize::new(usize::try_from(orders)?).context("no orders")?;
    let handler = CommandHandler::new(database.store().await?, channel, kept, AnswerPolicy::Answer);
    let settled = {
        let handler = handler.clone();
        move || settle(handler.clone())
    };
    if contender == Contender::Warm {
        create(&handler, orders).await?;
    } else {
        database.fill(first, orders).await?;
    }
    let call = move |number| {
        let handler = handler.clone();
        async move {
            let outcome = handler.handle(request(number, Command::Process)?).await?;
            if outcome.with_events { Ok(()) } else { bail!("order {number} was processed before") }
        }
    };
    measured(bench, orders, call, settled).await
}

/// Measures the rate. It fails when there were too few orders, because then callers were at rest while the clock ran.
async fn measured<F, A>(
    bench: &Bench,
    orders: u64,
    call: impl Fn(u64) -> F + Clone + Send + 'static,
    after: impl Fn() -> A,
) -> anyhow::Result<f64>
where
    F: Future<Output = anyhow::Result<()>> + Send,
    A: Future<Output = anyhow::Result<()>>,
{
    let numbers = Numbers::up_to(orders);
    let rate = warm_rate(CALLERS, bench.pace, &numbers, call, after).await?;
    ensure!(numbers.take().is_some(), "{orders} orders were not enough");
    Ok(rate)
}

/// Waits until everything is published and marked.
async fn settle(handler: CommandHandler<Order>) -> anyhow::Result<()> {
    handler.publisher().idle().await;
    let left = handler.store().backlog().await?.commits;
    if left > 0 { bail!("{left} commits were not published") } else { Ok(()) }
}

async fn create(handler: &CommandHandler<Order>, orders: u64) -> anyhow::Result<()> {
    let name = OrderName::parse("an order of some length")?;
    let creating = handler.clone();
    let call = move |number| {
        let (handler, name) = (creating.clone(), name.clone());
        async move {
            handler.handle(request(number, Command::Create { name })?).await?;
            Ok(())
        }
    };
    let numbers = Numbers::up_to(orders);
    rate(512, super::bench::PATIENCE, &numbers, call, || settle(handler.clone())).await?;
    Ok(())
}

fn request(number: u64, command: Command) -> anyhow::Result<CommandRequest<Order>> {
    let id = if matches!(command, Command::Process) { "process" } else { "create" };
    Ok(CommandRequest {
        stream: order(number)?,
        command,
        command_id: CommandId::system(&format!("019ab3c4-5d6e-7f80-{id}-{number:012}"))?,
        key: KeyOrigin::Fresh,
        hash: CommandHash([7; 32]),
        if_match: None,
        metadata: Metadata {
            correlation_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            ..Metadata::default()
        },
        published: Version::NONE,
    })
}

async fn raw(bench: &Bench, database: &Database, first: &Template, second: &Template) -> anyhow::Result<f64> {
    let orders = orders(bench);
    database.fill(first, orders).await?;
    let (template, commits) = (Arc::new(second.clone()), database.commits(None).await?);
    let call = move |number| {
        let (template, commits) = (Arc::clone(&template), commits.clone());
        async move {
            let commit = started(number, Outbox::Unpublished)?;
            let mut found = commits.find(doc! { "stream": commit.stream.as_str() }).await?;
            if !found.advance().await? {
                bail!("order {number} is not there");
            }
            commits.insert_one(template.document(&commit)?).await?;
            Ok(())
        }
    };
    measured(bench, orders, call, nothing).await
}
