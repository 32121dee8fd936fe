//! Registers this process beside the view for as long as it serves, and sees to it that the view is filled.
//!
//! Programs whose views have other shapes have other tables. So a program of a new shape begins with an empty table, and fills it
//! from the event store before it answers queries. Of several such programs one fills it.
//!
//! On a channel in memory, nobody but this process gets the events that it publishes. Others read them in the event store, where
//! they are marked as published or not. So while programs of other shapes run, this one marks nothing, and leaves its commits to
//! them too. A program that fills its view waits until all others know of it.

use std::future::pending;
use std::time::{Duration, Instant};

use command_handler::Publisher;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use indicatif::ProgressBar;
use read_store::{Filled, Program, ReadStoreError};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::rebuild::Rebuilt;
use crate::views::OpenView;

/// How often the registration is renewed, and how long it holds if it is not.
const RENEWAL: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(30);

/// How long a start waits for the first registration, and a shutdown for its end.
const AT_MOST: Duration = Duration::from_secs(2);

/// How long marks are allowed after a renewal: well within the lease, by this process's own clock.
const MARKS: Duration = Duration::from_secs(15);

/// How long a command that is run by hand keeps the tables of its shape.
const KEPT_BY_COMMAND: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether the view can be queried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewStatus {
    /// Nobody knows yet: the read store has not answered.
    Unknown,
    /// The view is being filled from the event store, which is so far.
    Filling(String),
    /// It has been filled.
    Filled,
}

/// A command, as it registers: it keeps the tables of its shape for a day, for the programs that are to come.
pub fn keeper(command: &str) -> Program {
    Program { name: command.to_owned(), lease: KEPT_BY_COMMAND, filling: None, serves: false }
}

/// Keeps the registration.
pub struct Registrar {
    open: OpenView,
    /// Publishes on a channel that other processes do not read, if it does.
    publisher: Option<Publisher>,
    name: String,
    status: watch::Sender<ViewStatus>,
    progress: ProgressBar,
    filling: Option<BoxFuture<'static, anyhow::Result<Option<Rebuilt>>>>,
    problem: String,
}

impl Registrar {
    /// Creates the registrar of a process with this view. With a publisher, it says when commits may be marked.
    pub fn new(open: OpenView, publisher: Option<Publisher>) -> Self {
        if let Some(publisher) = &publisher {
            publisher.allow_marks_until(open.view.name(), Instant::now());
        }
        Self {
            open,
            publisher,
            name: Uuid::new_v4().to_string(),
            status: watch::Sender::new(ViewStatus::Unknown),
            progress: ProgressBar::hidden(),
            filling: None,
            problem: String::new(),
        }
    }

    /// Whether the view can be queried, from now on.
    pub fn status(&self) -> watch::Receiver<ViewStatus> {
        self.status.subscribe()
    }

    /// Registers for the first time. Waits until a view in a file is filled, because nobody else can fill it or answer meanwhile. On
    /// a server an empty event store is noted at once.
    pub async fn begin(&mut self) {
        // A server that does not answer now is asked again and again, while commands are accepted.
        if timeout(AT_MOST, self.renew()).await.is_err() {
            tracing::warn!("the read store does not answer; this program registers as soon as it does");
        }
        if self.filling.is_none() {
            return;
        }
        if self.open.view.is_file() {
            self.end_filling().await;
        } else if let Ok(Ok(true)) =
            timeout(AT_MOST, self.open.view.needs_no_filling(&self.open.events)).await
        {
            self.filling = None;
            self.status.send_replace(ViewStatus::Filled);
        }
    }

    /// Renews the registration until told to stop, and then ends it.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RENEWAL) => {}
                () = self.end_filling() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            self.renew().await;
        }
        // A store that does not answer keeps no shutdown waiting.
        if !matches!(timeout(AT_MOST, self.open.view.leave(&self.name)).await, Ok(Ok(()))) {
            tracing::warn!("the registration was not ended; it ends by itself in {} s", LEASE.as_secs());
        }
    }

    async fn renew(&mut self) {
        match self.try_to_renew().await {
            Ok(()) => self.problem.clear(),
            // Each problem is logged once, however long it lasts.
            Err(error) if error.to_string() != self.problem => {
                self.problem = error.to_string();
                tracing::warn!("this program is not registered with the read store: {error}");
            }
            Err(_) => {}
        }
    }

    async fn try_to_renew(&mut self) -> Result<(), ReadStoreError> {
        let began = Instant::now();
        let (done, all) = (self.progress.position(), self.progress.length().unwrap_or_default());
        let progress = format!("{done} of {all} commits");
        let registration = self.open.view.register(self.program(progress.clone())).await?;
        if let Some(publisher) = &self.publisher {
            let until = if registration.other_shapes { began } else { began + MARKS };
            publisher.allow_marks_until(self.open.view.name(), until);
        }
        let status = match registration.filled {
            Filled::Yes => ViewStatus::Filled,
            Filled::Others(progress) if !self.open.view.is_file() => ViewStatus::Filling(progress),
            // One process serves a file: another one that was to fill it is gone.
            Filled::Mine | Filled::Others(_) => {
                let must_wait = self.publisher.is_some() && registration.unknown_to_others;
                if self.filling.is_none() && !must_wait {
                    self.begin_filling();
                }
                ViewStatus::Filling(progress)
            }
        };
        if let ViewStatus::Filling(progress) = &status
            && *self.status.borrow() != ViewStatus::Unknown
        {
            tracing::info!("the view is being filled from the event store: {progress}");
        }
        self.status.send_replace(status);
        Ok(())
    }

    fn program(&self, progress: String) -> Program {
        Program { name: self.name.clone(), lease: LEASE, filling: Some(progress), serves: true }
    }

    fn begin_filling(&mut self) {
        let (OpenView { view, events, .. }, progress) = (self.open.clone(), self.progress.clone());
        self.filling = Some(async move { view.fill(&events, &progress).await }.boxed());
    }

    /// Ends when the view is filled here, or can't be filled. Without a view to fill it never ends.
    async fn end_filling(&mut self) {
        let Some(filling) = &mut self.filling else { return pending().await };
        let filled = filling.await;
        self.filling = None;
        match filled {
            Ok(rebuilt) => {
                if let Some(rebuilt) = rebuilt {
                    tracing::info!("{rebuilt}");
                }
                self.status.send_replace(ViewStatus::Filled);
            }
            Err(error) => tracing::error!("the view was not filled, and is tried again: {error:#}"),
        }
    }
}
