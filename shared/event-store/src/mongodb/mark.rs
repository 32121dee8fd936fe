//! Marks: all that wait, as one update.

use std::sync::Arc;

use mongodb::bson::doc;

use super::Answer;
use super::connection::{Connection, unavailable, within};
use super::document::id;
use crate::{CommitId, StoreError};

/// The most commits that one update names.
const UPDATE: usize = 1_000;

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
        for job in jobs {
            // Whoever no longer waits does not want to know.
            let _ = job.answer.send(marked.clone());
        }
    }

    async fn mark(&self, commits: &[&CommitId]) -> Result<(), StoreError> {
        for commits in commits.chunks(UPDATE) {
            within(self.update(commits)).await?;
        }
        Ok(())
    }

    /// A commit that is marked leaves the outbox's index, since the field is gone. The streams are named for a sharded collection,
    /// where they say which shards to ask.
    async fn update(&self, commits: &[&CommitId]) -> Result<(), StoreError> {
        let ids: Vec<String> =
            commits.iter().map(|commit| id(commit.stream.as_str(), commit.version)).collect();
        let streams: Vec<&str> = commits.iter().map(|commit| commit.stream.as_str()).collect();
        let marked = doc! { "_id": { "$in": ids }, "stream": { "$in": streams } };
        let commits = self.connection.commits().await?;
        let updated = commits.update_many(marked, doc! { "$unset": { "unpublished": "" } }).await;
        updated.map(drop).map_err(|error| unavailable(&error))
    }
}
