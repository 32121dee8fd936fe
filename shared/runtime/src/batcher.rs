//! Batches of waiting jobs. One worker takes every job that was queued while its last batch was in hand, and works on them as one
//! batch. There is no timer, so a lone job waits for nothing, and batches grow with the load.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// The worker is gone: its store is closed, or it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the worker has stopped")]
pub struct NoWorker;

/// Sends a job that carries the way for its answer, and waits for the answer.
///
/// # Errors
/// [`NoWorker`] when the worker is gone, or lost the job in a panic.
pub async fn ask<A, S>(send: impl FnOnce(oneshot::Sender<A>) -> S) -> Result<A, NoWorker>
where
    S: Future<Output = Result<(), NoWorker>>,
{
    let (answer, answered) = oneshot::channel();
    send(answer).await?;
    answered.await.map_err(|_| NoWorker)
}

/// A handle to a worker thread that takes jobs in batches. Cheap to clone. When the last handle is dropped, the thread does the
/// jobs that it had accepted, and ends. The drop waits for that.
pub struct Batcher<J: Send + 'static> {
    worker: Arc<Worker<J>>,
}

struct Worker<J> {
    jobs: Option<mpsc::Sender<J>>,
    thread: Option<JoinHandle<()>>,
}

impl<J: Send + 'static> Clone for Batcher<J> {
    fn clone(&self) -> Self {
        Self { worker: Arc::clone(&self.worker) }
    }
}

impl<J: Send + 'static> Batcher<J> {
    /// Starts the thread. It calls `work` with 1 to `limit` jobs at a time, and `work` may leave the vector empty or not. At most
    /// `4 * limit` jobs queue up; then [`Batcher::send`] waits for room.
    ///
    /// # Errors
    /// When the system can't start another thread.
    pub fn start(
        name: &str,
        limit: usize,
        mut work: impl FnMut(&mut Vec<J>) + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel(limit * 4);
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            let mut batch = Vec::new();
            while queue.blocking_recv_many(&mut batch, limit) > 0 {
                work(&mut batch);
                batch.clear();
            }
        })?;
        Ok(Self { worker: Arc::new(Worker { jobs: Some(jobs), thread: Some(thread) }) })
    }

    /// Queues a job. The job itself carries the way for its answer.
    ///
    /// # Errors
    /// [`NoWorker`] when the worker is gone.
    pub async fn send(&self, job: J) -> Result<(), NoWorker> {
        match &self.worker.jobs {
            Some(jobs) => jobs.send(job).await.map_err(|_| NoWorker),
            None => Err(NoWorker),
        }
    }
}

impl<J> Drop for Worker<J> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            // A worker's own job may hold the last handle; a thread can't wait for itself.
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// A handle to workers that wait for somebody else, such as a server. Each batch is a task, and a few of them may be in hand at the
/// same time. Cheap to clone. Accepted jobs are done even when the last handle is dropped.
pub struct TaskBatcher<J> {
    jobs: mpsc::Sender<J>,
}

impl<J> Clone for TaskBatcher<J> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone() }
    }
}

impl<J: Send + 'static> TaskBatcher<J> {
    /// Starts on the runtime that this is called in. It calls `work` with 1 to `limit` jobs, again while fewer than `side_by_side`
    /// of its futures run. At most `4 * limit` jobs queue up; then [`TaskBatcher::send`] waits for room. A batch that panics loses
    /// its own jobs and no others.
    pub fn start<W>(limit: usize, side_by_side: usize, work: impl Fn(Vec<J>) -> W + Send + 'static) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let (jobs, mut queue) = mpsc::channel(limit * 4);
        tokio::spawn(async move {
            let mut running = JoinSet::new();
            loop {
                // This wait comes before the queue is read, so that jobs that arrive meanwhile join the batch.
                while running.try_join_next().is_some() {}
                if running.len() >= side_by_side {
                    running.join_next().await;
                }
                let mut batch = Vec::new();
                if queue.recv_many(&mut batch, limit).await == 0 {
                    break;
                }
                running.spawn(work(batch));
            }
            while running.join_next().await.is_some() {}
        });
        Self { jobs }
    }

    /// Queues a job. The job itself carries the way for its answer.
    ///
    /// # Errors
    /// [`NoWorker`] when the runtime that it was started on is gone.
    pub async fn send(&self, job: J) -> Result<(), NoWorker> {
        self.jobs.send(job).await.map_err(|_| NoWorker)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc as std_mpsc;

    use super::*;

    #[tokio::test]
    async fn everything_queued_while_a_batch_is_in_hand_is_the_next_batch() {
        let (started, first_started) = std_mpsc::channel();
        let (go_on, may_go_on) = std_mpsc::channel();
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&sizes);
        let batcher = Batcher::start("test", 100, move |batch: &mut Vec<oneshot::Sender<()>>| {
            seen.lock().unwrap().push(batch.len());
            started.send(()).unwrap();
            may_go_on.recv().unwrap();
            batch.drain(..).for_each(|answer| answer.send(()).unwrap());
        })
        .unwrap();

        let mut answers = Vec::new();
        for number in 0..8 {
            let (answer, answered) = oneshot::channel();
            batcher.send(answer).await.unwrap();
            answers.push(answered);
            if number == 0 {
                first_started.recv().unwrap();
            }
        }
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        for answer in answers {
            answer.await.unwrap();
        }
        assert_eq!(*sizes.lock().unwrap(), [1, 7]);
    }

    #[tokio::test]
    async fn dropping_the_last_handle_finishes_what_was_accepted() {
        let done = Arc::new(Mutex::new(0));
        let count = Arc::clone(&done);
        let batcher = Batcher::start("test", 2, move |batch: &mut Vec<()>| {
            *count.lock().unwrap() += batch.len();
        })
        .unwrap();
        for () in [(); 5] {
            batcher.send(()).await.unwrap();
        }
        drop(batcher);
        assert_eq!(*done.lock().unwrap(), 5);
    }

    #[tokio::test]
    async fn a_worker_that_panicked_refuses_jobs() {
        let batcher = Batcher::start("test", 1, |_: &mut Vec<()>| panic!("on purpose")).unwrap();
        while batcher.send(()).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(batcher.send(()).await, Err(NoWorker));
    }

    /// A batch that has begun, and the way to tell it to go on.
    type RunningBatch = (Vec<u32>, oneshot::Sender<()>);

    /// A batcher, and its batches as they begin. Each batch goes on when it is told to.
    fn held(limit: usize, side_by_side: usize) -> (TaskBatcher<u32>, mpsc::UnboundedReceiver<RunningBatch>) {
        let (begun, batches) = mpsc::unbounded_channel();
        let batcher = TaskBatcher::start(limit, side_by_side, move |batch| {
            let begun = begun.clone();
            async move {
                let (go_on, may_go_on) = oneshot::channel();
                begun.send((batch, go_on)).unwrap();
                may_go_on.await.unwrap();
            }
        });
        (batcher, batches)
    }

    #[tokio::test]
    async fn tasks_take_what_was_queued_while_as_many_as_may_be_were_in_hand() {
        let (batcher, mut batches) = held(3, 2);
        batcher.send(1).await.unwrap();
        let (first, first_goes_on) = batches.recv().await.unwrap();
        batcher.send(2).await.unwrap();
        let (second, _second_never) = batches.recv().await.unwrap();
        for job in 3..=7 {
            batcher.send(job).await.unwrap();
        }
        tokio::task::yield_now().await;
        assert!(batches.try_recv().is_err());
        first_goes_on.send(()).unwrap();
        let (third, third_goes_on) = batches.recv().await.unwrap();
        third_goes_on.send(()).unwrap();
        let (fourth, _) = batches.recv().await.unwrap();
        assert_eq!([first, second, third, fourth], [vec![1], vec![2], vec![3, 4, 5], vec![6, 7]]);
    }

    #[tokio::test]
    async fn tasks_finish_what_was_accepted_when_the_last_handle_is_dropped() {
        let (batcher, mut batches) = held(1, 1);
        for job in 1..=3 {
            batcher.send(job).await.unwrap();
        }
        drop(batcher);
        for job in 1..=3 {
            let (batch, go_on) = batches.recv().await.unwrap();
            assert_eq!(batch, [job]);
            go_on.send(()).unwrap();
        }
        assert!(batches.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_task_that_panics_takes_only_its_own_batch_along() {
        let (done, mut dones) = mpsc::unbounded_channel();
        let batcher = TaskBatcher::start(1, 1, move |batch: Vec<u32>| {
            let done = done.clone();
            async move {
                assert_ne!(batch, [1], "on purpose");
                done.send(batch).unwrap();
            }
        });
        batcher.send(1).await.unwrap();
        batcher.send(2).await.unwrap();
        assert_eq!(dones.recv().await, Some(vec![2]));
    }
}
