//! Imports commands in parallel, but the commands of one order in their order. All commands of an order go to one lane, which
//! takes them one after the other. The number and the length of lanes are bounded, so memory is bounded too.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use domain::OrderId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::document::{SeedCommand, translate};
use crate::report::Report;
use crate::source::Documents;
use crate::target::{Taker, Target};

/// How many commands are in hand at a time. The stores take the waiting commands as one batch.
const LANES: usize = 128;

/// How many commands wait in a lane.
const LENGTH: usize = 16;

/// Takes every document of a seed. When this returns, nothing is in hand any more.
///
/// # Errors
/// When the seed or the event store fails. Commands that were imported before that stay.
pub(crate) async fn take_all(
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

/// Sends the commands to their lanes. It ends early when a lane has ended: that lane's error says why.
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

/// Takes the commands of a lane. It stops at the first failure, because a later command of an order must not be taken without the
/// earlier ones.
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
