//! Work that runs to its end, even if the client that waits for it goes away.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Work that runs in its caller's task, which costs nothing. When the caller drops it, it goes on in a task of its own. A task
/// from the start would cost every command a change of threads. The end of the process waits for such tasks.
pub struct Uninterrupted<F: Future<Output: Send> + Send + 'static> {
    work: Option<Pin<Box<F>>>,
    orphans: TaskTracker,
}

impl<F: Future<Output: Send> + Send + 'static> Uninterrupted<F> {
    /// Creates the work. If it needs a task of its own, `orphans` tracks that task.
    pub fn new(work: F, orphans: &TaskTracker) -> Self {
        Self { work: Some(Box::pin(work)), orphans: orphans.clone() }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Uninterrupted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // The work is taken out while it is polled, so that work which panics is not polled again.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Uninterrupted<F> {
    fn drop(&mut self) {
        // Without a runtime the process is ending.
        if let (Some(work), Ok(_)) = (self.work.take(), Handle::try_current()) {
            self.orphans.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn work_whose_caller_goes_away_comes_to_its_end_and_is_waited_for() {
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let (done, was_done) = oneshot::channel();
        let orphans = TaskTracker::new();
        let work = async move {
            may_go_on.await.unwrap();
            done.send(()).unwrap();
        };
        assert!(timeout(Duration::ZERO, Uninterrupted::new(work, &orphans)).await.is_err());
        orphans.close();
        assert_eq!(orphans.len(), 1);
        go_on.send(()).unwrap();
        orphans.wait().await;
        was_done.await.unwrap();
    }

    #[tokio::test]
    async fn work_that_is_waited_for_takes_no_task_of_its_own() {
        let orphans = TaskTracker::new();
        assert_eq!(Uninterrupted::new(async { 7 }, &orphans).await, 7);
        assert!(orphans.is_empty());
    }
}
