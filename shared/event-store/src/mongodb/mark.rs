//! Marks: all that wait, as one update.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};

use super::Answer;
use super::connection::{Connection, Topology, unavailable, within};
use super::document::id;
use crate::{CommitId, StoreError};

/// The most commits that one update names.
const UPDATE: usize = 1_000;

/// How long the next update waits for more when this one was of several callers. Nobody waits for a mark whose command is answered, and
/// an update for each commit would cost the server as much as the commits; whoever marks alone is never kept waiting.
const GATHER: Duration = Duration::from_millis(10);

/// Commits that one caller marks.
pub(super) struct Job {
    pub(super) commits: Vec<CommitId>,
    pub(super) answer: Answer<()>,
}

pub(super) struct Marks {
    connection: Arc<Connection>,
}

impl Marks {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    pub(super) async fn work(self: Arc<Self>, jobs: Vec<Job>) {
        let commits: Vec<&CommitId> = jobs.iter().flat_map(|job| &job.commits).collect();
        let marked = self.mark(&commits).await;
        let several = jobs.len() > 1;
        for job in jobs {
            // Whoever no longer waits does not want to know.
            let _ = job.answer.send(marked.clone());
        }
        if several {
            tokio::time::sleep(GATHER).await;
        }
    }

    async fn mark(&self, commits: &[&CommitId]) -> Result<(), StoreError> {
        for commits in commits.chunks(UPDATE) {
            within(self.update(commits)).await?;
        }
        Ok(())
    }

    /// A commit that is marked leaves the outbox's index, since the field is gone.
    async fn update(&self, commits: &[&CommitId]) -> Result<(), StoreError> {
        let mark = doc! { "$unset": { "unpublished": "" } };
        let filter = filter(commits, self.connection.topology().await?);
        let collection = self.connection.commits().await?;
        let updated = match commits {
            // Servers have a short way to one document by its id.
            [_] => collection.update_one(filter, mark).await,
            _ => collection.update_many(filter, mark).await,
        };
        updated.map(drop).map_err(|error| unavailable(&error))
    }
}

/// A router learns from the streams which shards to ask. Any other server has no use for them, and some take a longer way then.
fn filter(commits: &[&CommitId], topology: Topology) -> Document {
    let ids = commits.iter().map(|commit| id(commit.stream.as_str(), commit.version));
    let mut filter = doc! { "_id": any(ids) };
    if topology == Topology::Sharded {
        filter.insert("stream", any(commits.iter().map(|commit| commit.stream.to_string())));
    }
    filter
}

fn any(values: impl ExactSizeIterator<Item = String>) -> Bson {
    let mut values: Vec<String> = values.collect();
    match values.len() {
        1 => values.remove(0).into(),
        _ => doc! { "$in": values }.into(),
    }
}

#[cfg(test)]
mod tests {
    use domain::{OrderId, Version};

    use super::*;

    #[test]
    fn a_router_is_told_the_streams_and_any_other_server_only_the_ids() {
        let commit = |stream, version| CommitId {
            stream: OrderId::parse(stream).unwrap(),
            version: Version::new(version),
        };
        let (one, other) = (commit("a", 3), commit("b", 12));
        let (a3, b12) = ("a@0000000000000000003", "b@0000000000000000012");
        assert_eq!(filter(&[&one], Topology::Whole), doc! { "_id": a3 });
        assert_eq!(filter(&[&one], Topology::Sharded), doc! { "_id": a3, "stream": "a" });
        let both = doc! { "_id": { "$in": [a3, b12] } };
        assert_eq!(filter(&[&one, &other], Topology::Whole), both);
        let both = doc! { "_id": { "$in": [a3, b12] }, "stream": { "$in": ["a", "b"] } };
        assert_eq!(filter(&[&one, &other], Topology::Sharded), both);
    }
}
