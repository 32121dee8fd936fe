//! Several real processes on one store, one of which is killed.
//!
//! The other process is this test program again. An environment variable tells it to write, and to print each answer.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use event_sourcing::Version;
use event_store::{Commit, EventStore};
use futures_util::future::join_all;

use crate::build::{commit, commit_by, load, namespace, wins};
use crate::stores::Stores;

const STORE: &str = "EVENT_STORE_OF_A_WRITING_PROCESS";
const ANSWERED: &str = "answered ";
const WRITERS: usize = 8;

/// The other process. The drop kills it however the test ends.
struct WriterProcess(Child);

impl Drop for WriterProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl WriterProcess {
    fn start<S: Stores>(stores: &S, scenario: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", &format!("{}::{scenario}", S::NAME)])
            .env(STORE, stores.url())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Returns the answers to the process as they come: a stream and its last version. The iterator ends with the process.
    fn answers(&mut self) -> impl Iterator<Item = (String, u64)> + use<> {
        let said = BufReader::new(self.0.stdout.take().unwrap());
        said.lines().map_while(Result::ok).filter_map(|line| {
            let (stream, version) = line.strip_prefix(ANSWERED)?.split_once(' ')?;
            Some((stream.to_owned(), version.parse().ok()?))
        })
    }
}

/// Appends to streams of its own, side by side, until the process is killed.
async fn write_without_end(url: &str) {
    let store = EventStore::open(url, &namespace()).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let stream = format!("stream-{writer}");
            for version in (1..).step_by(2) {
                let commit = commit(&stream, version, 2);
                let last = commit.last_version();
                store.append(Arc::new(commit)).await.unwrap();
                // Each line is one write, made only after the answer.
                std::io::stdout().write_all(format!("{ANSWERED}{stream} {last}\n").as_bytes()).unwrap();
            }
        })
    });
    join_all(writers.collect::<Vec<_>>()).await;
}

pub(crate) async fn what_was_answered_is_there_after_kill_9<S: Stores>(stores: &S) {
    if let Ok(url) = std::env::var(STORE) {
        return write_without_end(&url).await;
    }
    let mut writing = WriterProcess::start(stores, "what_was_answered_is_there_after_kill_9");
    let mut answers = writing.answers();
    let mut answered: BTreeMap<String, u64> = answers.by_ref().take(1_000).collect();
    // SIGKILL, in the middle of appends. Then read the answers that the process could still print.
    writing.0.kill().unwrap();
    answered.extend(answers);
    assert_eq!(answered.len(), WRITERS);

    let store = stores.open().await;
    for (stream, version) in answered {
        let commits = load(&store, &stream).await;
        let last = commits.last().map_or(Version::NONE, Commit::last_version);
        assert!(last.get() >= version, "{stream}: {version} was answered, {last} is there");
        assert!(commits.iter().all(|commit| commit.unpublished));
        // The stream can be written to at once, or after the one append that a server may still have been doing.
        assert!(append_after(&store, &stream).await || append_after(&store, &stream).await, "{stream}");
    }
}

async fn append_after(store: &EventStore, stream: &str) -> bool {
    let last = load(store, stream).await.last().map_or(Version::NONE, Commit::last_version);
    wins(store, commit_by("after", stream, last.next().get())).await
}

pub(crate) async fn processes_see_and_respect_what_others_wrote<S: Stores>(stores: &S) {
    if let Ok(url) = std::env::var(STORE) {
        return write_without_end(&url).await;
    }
    let store = stores.open().await;
    let mut writing = WriterProcess::start(stores, "processes_see_and_respect_what_others_wrote");
    let mut answers = writing.answers();
    let mut own = 0;
    for (stream, last) in answers.by_ref().take(200) {
        // The other process goes on writing. Meanwhile this process reads, gets a conflict for a taken version, and writes a free
        // one.
        let commits = load(&store, &stream).await;
        assert!(commits.last().is_some_and(|commit| commit.last_version().get() >= last));
        assert!(!wins(&store, commit_by("late", &stream, last)).await);
        own += 1;
        assert!(wins(&store, commit("own", own, 1)).await);
    }
    assert_eq!(own, 200);
    // Kill the process before its pipe closes. It could not write to a closed pipe.
    drop(writing);
}
