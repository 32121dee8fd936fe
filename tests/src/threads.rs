//! Holds threads of a process where they are, while the others go on.

use std::fs;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::report;

/// Threads that are held until this is dropped.
#[derive(Debug)]
pub struct Held {
    /// Dropping it lets the threads go on.
    hold: Option<mpsc::Sender<()>>,
    tracer: Option<JoinHandle<()>>,
    /// The number of held threads.
    pub threads: usize,
}

/// Holds all threads of this name in a child of this process. Returns `None` when that is not permitted, and prints it.
///
/// # Panics
/// When it fails for another reason.
#[must_use]
pub fn hold(process: u32, name: &str) -> Option<Held> {
    let threads = threads_of(process, name);
    let (hold, held) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let count = threads.len();
    // The tracer of a thread is a thread too, and traced threads go on when their tracer ends. So this thread waits.
    let tracer = thread::spawn(move || {
        let stopped = threads.iter().try_for_each(|thread| stop(*thread));
        let are_held = stopped.is_ok();
        tell.send(stopped).expect("the test waits");
        if are_held {
            // It waits until the sender is gone.
            let _ = held.recv();
            for thread in threads {
                ptrace::detach(thread, None).expect("a thread can be let go");
            }
        }
    });
    match told.recv().expect("the threads are held") {
        Err(Errno::EPERM) => {
            report::not_run(&format!(
                "what holds the threads named {name}: this machine lets nobody trace a process"
            ));
            None
        }
        stopped => {
            stopped.expect("threads can be stopped");
            Some(Held { hold: Some(hold), tracer: Some(tracer), threads: count })
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.hold.take());
        let ended = self.tracer.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the threads were not let go");
        }
    }
}

fn stop(thread: Pid) -> nix::Result<()> {
    ptrace::seize(thread, ptrace::Options::empty())?;
    ptrace::interrupt(thread)?;
    let stopped = waitpid(thread, Some(WaitPidFlag::__WALL))?;
    assert!(matches!(stopped, WaitStatus::PtraceEvent(..)), "{stopped:?}");
    Ok(())
}

fn threads_of(process: u32, name: &str) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("Linux tells the threads");
    let named = tasks.filter_map(|task| {
        let task = task.ok()?;
        let is_called = fs::read_to_string(task.path().join("comm")).ok()?;
        let id = task.file_name().to_string_lossy().parse().ok()?;
        (is_called.trim_end() == name).then(|| Pid::from_raw(id))
    });
    named.collect()
}
