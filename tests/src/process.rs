//! One run of the binary `orders`, or of another program.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::poll::until_within;

/// The time limit for a process. It is longer than any tool's own limit, so that the tool can say what it waited for in vain.
const PATIENCE: Duration = Duration::from_secs(150);

/// Returns the path of the binary `orders`, which cargo puts beside the tests.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn program() -> PathBuf {
    binary("orders")
}

/// Returns the path of a binary of the workspace, which cargo puts beside the tests.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let program = binaries().join(name);
    assert!(program.is_file(), "{} is not there; build it first: cargo build --workspace", program.display());
    program
}

/// Returns the folder of the binaries.
///
/// # Panics
/// When the tests are not where cargo puts them.
#[must_use]
pub fn binaries() -> PathBuf {
    let this = env::current_exe().expect("a test has a path");
    // target/<profile>/deps/suite-…
    this.ancestors().nth(2).expect("a test is in target/<profile>/deps").to_owned()
}

/// A call of `orders`. The tests' own settings don't reach it.
#[derive(Clone, Debug)]
pub struct Invocation {
    program: PathBuf,
    words: Vec<String>,
    variables: Vec<(String, String)>,
    log: Log,
}

/// The destination of a program's log.
#[derive(Clone, Copy, Debug)]
enum Log {
    ToAFile,
    /// The pipe is full once 64 KiB are in it.
    ToAPipeThatNobodyReads,
}

impl Invocation {
    /// Returns a call of `orders` with these words on the command line.
    #[must_use]
    pub fn new<W: AsRef<str>>(words: &[W]) -> Self {
        Self::of(program(), words)
    }

    /// Returns a call of another program.
    #[must_use]
    pub fn of<W: AsRef<str>>(program: PathBuf, words: &[W]) -> Self {
        let words = words.iter().map(|word| word.as_ref().to_owned()).collect();
        Self { program, words, variables: vec![], log: Log::ToAFile }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Limits the number of open files and connections.
    #[must_use]
    pub fn with_files(mut self, most: u32) -> Self {
        let program = self.program.display().to_string();
        let limited = ["-c".to_owned(), format!("ulimit -n {most} && exec \"$0\" \"$@\""), program];
        self.words.splice(0..0, limited);
        self.program = "/bin/sh".into();
        self
    }

    /// Sends its log to a pipe that nobody reads.
    #[must_use]
    pub const fn with_unread_log(mut self) -> Self {
        self.log = Log::ToAPipeThatNobodyReads;
        self
    }

    /// Starts the program.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(&self) -> Running {
        let output = tempfile::tempdir().expect("a folder for output");
        let file = |name| Stdio::from(File::create(output.path().join(name)).expect("a file for output"));
        let mut command = Command::new(&self.program);
        command.args(&self.words).stdin(Stdio::null()).stdout(file("out"));
        // The pipe's read end belongs to `child`, and stays open as long as it exists.
        command.stderr(match self.log {
            Log::ToAFile => file("err"),
            Log::ToAPipeThatNobodyReads => Stdio::piped(),
        });
        for (name, _) in env::vars_os().filter(|(name, _)| is_ours(name)) {
            command.env_remove(name);
        }
        // A backtrace shows if there is one, and help has the same width everywhere.
        command.env("RUST_BACKTRACE", "1").env("COLUMNS", "100");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        Running { words: format!("{name} {}", self.words.join(" ")), child, output }
    }

    /// Runs it to its end.
    pub async fn run(&self) -> Finished {
        self.start().end().await
    }
}

fn is_ours(variable: &OsStr) -> bool {
    variable.to_str().is_some_and(|name| name.starts_with("ORDERS_"))
}

/// A process that was started. When it is dropped, it is killed, and shows its log if the test is failing.
#[derive(Debug)]
pub struct Running {
    words: String,
    child: Child,
    output: TempDir,
}

impl Running {
    /// Returns its output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.printed("out")
    }

    /// Returns its log so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.printed("err")
    }

    fn printed(&self, name: &str) -> String {
        let bytes = fs::read(self.output.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its memory in KiB, including memory that it shares with others.
    ///
    /// # Panics
    /// Where Linux does not tell.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("Linux tells");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Returns the number of its open files and connections.
    ///
    /// # Panics
    /// Where Linux does not tell.
    #[must_use]
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("Linux tells").count()
    }

    /// Returns its exit status, if it has ended.
    ///
    /// # Panics
    /// When the system can't tell.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends it a signal by name, such as `TERM`.
    ///
    /// # Panics
    /// When it has ended before.
    pub fn signal(&mut self, name: &str) {
        assert_eq!(self.ended(), None, "it has ended before the signal");
        // The process was not waited for yet, so the id is still its own.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status();
        assert!(sent.expect("sh is there").success());
    }

    /// Kills it (`kill -9`) and waits until it is gone.
    ///
    /// # Panics
    /// When it has ended before.
    pub fn kill(mut self) {
        assert_eq!(self.ended(), None, "it has ended before it was killed");
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Waits for its end.
    pub async fn end(self) -> Finished {
        self.end_within(PATIENCE).await
    }

    /// Waits for its end, up to this time limit.
    pub async fn end_within(mut self, patience: Duration) -> Finished {
        let what = format!("the end of {}", self.words);
        let status = until_within(patience, &what, async || self.ended()).await;
        Finished { code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("── {}\n{}{}──", self.words, self.stdout(), self.stderr());
        }
    }
}

/// A process that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its output.
    pub stdout: String,
    /// Its log.
    pub stderr: String,
}

impl Finished {
    /// Checks the exit code, and returns the process.
    ///
    /// # Panics
    /// When it has another.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        self
    }

    /// Returns its output as one JSON value.
    ///
    /// # Panics
    /// When it is not one.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns its output as one JSON value a line.
    ///
    /// # Panics
    /// When a line is not one.
    #[must_use]
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let value = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(value).collect()
    }
}
