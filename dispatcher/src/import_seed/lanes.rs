//! Commands side by side, those of one order in their order: an order's commands all go to one lane, which takes them one after
//! the other. Lanes are bounded in number and in length, so memory is.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use domain::OrderId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::document::{SeedCommand, translate};
use super::report::Report;
use super::source::Documents;
use super::target::{Taker, Target};

/// How many commands are in hand at a time. The stores take what waits as one batch.
const LANES: usize = 128;

/// How many commands wait in a lane.
const LENGTH: usize = 16;

/// Takes every document of a seed. When this returns, nothing is in hand any more.
///
/// # Errors
/// When the seed or the event store fails; what was taken until then stays.
pub(super) async fn take_all(
    documents: Documents,
    target: &Target,
    report: &Arc<Report>,
) -> anyhow::Result<()> {
    let mut work = JoinSet::new();
    let lanes: Vec<_> = (0..LANES)
        .map(|_| {
            let (lane, commands) = mpsc::channel(LENGTH);
            work.spawn(walk(commands, target.taker(), Arc::clone(report)));
            lane
        })
        .collect();
    let read = distribute(documents, lanes, report).await;
    while let Some(ended) = work.join_next().await {
        ended??;
    }
    read
}

/// Ends early when a lane has: its error says why.
async fn distribute(
    mut documents: Documents,
    lanes: Vec<mpsc::Sender<SeedCommand>>,
    report: &Report,
) -> anyhow::Result<()> {
    while let Some(document) = documents.next().await? {
        match translate(document) {
            Ok(command) => {
                if lanes[lane_of(&command.order)].send(command).await.is_err() {
                    return Ok(());
                }
            }
            Err(refusal) => report.refuse(&refusal)?,
        }
    }
    Ok(())
}

/// Stops at the first failure: what comes later of an order must not be taken without what comes before.
async fn walk(
    mut commands: mpsc::Receiver<SeedCommand>,
    mut taker: Taker,
    report: Arc<Report>,
) -> anyhow::Result<()> {
    while let Some(command) = commands.recv().await {
        let taken = taker.take(&command).await?;
        report.note(command.id, taken)?;
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation)] // The remainder is less than the number of lanes.
fn lane_of(order: &OrderId) -> usize {
    let mut hasher = DefaultHasher::new();
    order.hash(&mut hasher);
    (hasher.finish() % LANES as u64) as usize
}
