//! The way to take figures: each caller makes one call after the other, and contenders take turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::task::JoinSet;

use crate::table::median;

/// The time and the number of all measurements.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// The time of one measurement.
    pub(crate) time: Duration,
    /// The number of measurements of each contender.
    pub(crate) rounds: u32,
}

impl Pace {
    /// The time before each measurement that does not count. Connections are made, and code and caches get warm.
    pub(crate) fn warm_up(self) -> Duration {
        self.time / 4
    }

    /// Returns the number of calls in a measurement and its warm-up, if there are this many a second.
    pub(crate) fn calls(self, a_second: u64) -> u64 {
        let seconds = (self.time + self.warm_up()).as_secs_f64();
        (seconds * a_second as f64).ceil() as u64
    }
}

/// Measures the contenders in turn, A B A B, and returns the median of each.
pub(crate) async fn medians<C: Copy>(
    pace: Pace,
    contenders: &[C],
    measure: impl AsyncFn(C) -> anyhow::Result<f64>,
) -> anyhow::Result<Vec<f64>> {
    let mut figures = vec![Vec::new(); contenders.len()];
    for _ in 0..pace.rounds {
        for (contender, figures) in contenders.iter().zip(&mut figures) {
            figures.push(measure(*contender).await?);
        }
    }
    Ok(figures.into_iter().map(median).collect())
}

/// The numbers that tell calls apart. Each is given once.
#[derive(Clone)]
pub(crate) struct Numbers {
    next: Arc<AtomicU64>,
    end: u64,
}

impl Numbers {
    /// Returns the numbers from 0 to before `end`.
    pub(crate) fn up_to(end: u64) -> Self {
        Self { next: Arc::default(), end }
    }

    /// Returns as many numbers as anybody wants.
    pub(crate) fn endless() -> Self {
        Self::up_to(u64::MAX)
    }

    pub(crate) fn take(&self) -> Option<u64> {
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < self.end)
    }
}

/// Returns the calls a second. Each of so many callers makes its next call as soon as the last was answered, for so long or until
/// no numbers are left. Every call that was begun counts. The time runs until the last call and `after` are over.
pub(crate) async fn rate<F, A>(
    callers: usize,
    time: Duration,
    numbers: &Numbers,
    call: impl Fn(u64) -> F + Clone + Send + 'static,
    after: impl FnOnce() -> A,
) -> anyhow::Result<f64>
where
    F: Future<Output = anyhow::Result<()>> + Send,
    A: Future<Output = anyhow::Result<()>>,
{
    let started = Instant::now();
    let end = started + time;
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let (call, numbers) = (call.clone(), numbers.clone());
        running.spawn(async move {
            let mut calls = 0_u64;
            while Instant::now() < end
                && let Some(number) = numbers.take()
            {
                call(number).await?;
                calls += 1;
            }
            anyhow::Ok(calls)
        });
    }
    let mut calls = 0;
    while let Some(caller) = running.join_next().await {
        calls += caller.context("a caller panicked")??;
    }
    after().await?;
    if calls == 0 {
        bail!("no call was made: there was nothing left to call for");
    }
    Ok(calls as f64 / started.elapsed().as_secs_f64())
}

/// Does the same as [`rate`], after a warm-up of the same calls.
pub(crate) async fn warm_rate<F, A>(
    callers: usize,
    pace: Pace,
    numbers: &Numbers,
    call: impl Fn(u64) -> F + Clone + Send + 'static,
    after: impl Fn() -> A,
) -> anyhow::Result<f64>
where
    F: Future<Output = anyhow::Result<()>> + Send,
    A: Future<Output = anyhow::Result<()>>,
{
    rate(callers, pace.warm_up(), numbers, call.clone(), &after).await?;
    rate(callers, pace.time, numbers, call, &after).await
}

/// The `after` of calls behind which nothing goes on.
pub(crate) async fn nothing() -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn contenders_take_turns_and_the_middle_figure_of_each_counts() {
        let pace = Pace { time: Duration::ZERO, rounds: 3 };
        let turns = std::sync::Mutex::new(Vec::new());
        let middle = medians(pace, &[1.0, 10.0], async |contender| {
            let mut turns = turns.lock().unwrap();
            turns.push(contender);
            Ok(contender * turns.len() as f64)
        });
        assert_eq!(middle.await.unwrap(), [3.0, 40.0]);
        assert_eq!(*turns.lock().unwrap(), [1.0, 10.0, 1.0, 10.0, 1.0, 10.0]);
    }

    #[tokio::test]
    async fn every_number_is_called_once_and_then_it_ends() {
        let called = Arc::new(std::sync::Mutex::new(Vec::new()));
        let call = {
            let called = Arc::clone(&called);
            move |number| {
                let called = Arc::clone(&called);
                async move {
                    called.lock().unwrap().push(number);
                    Ok(())
                }
            }
        };
        let numbers = Numbers::up_to(100);
        let long = Duration::from_secs(3_600);
        assert!(rate(3, long, &numbers, call.clone(), nothing).await.unwrap() > 0.0);
        called.lock().unwrap().sort_unstable();
        assert!(called.lock().unwrap().iter().copied().eq(0..100));
        rate(3, long, &numbers, call, nothing).await.unwrap_err();
    }
}
