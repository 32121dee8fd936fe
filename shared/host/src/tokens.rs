//! The file of tokens: a name and a token on each line. `orders serve` accepts these tokens; `orders load` sends the first one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use runtime::http::Actor;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

/// The length of the shortest token, in characters. For comparison: 128 bits take 22 characters of base64.
const SHORTEST: usize = 16;

/// How often the file is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The shortest pause between two log lines about wrong tokens. Without it, the senders of wrong tokens would set the pace.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// The reason why a file of tokens can't be used. It contains no text of the file.
#[derive(Debug, Error)]
pub enum BadTokens {
    /// It can't be read.
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
    /// A line has another form.
    #[error("line {0} is not a name and a token of at least {SHORTEST} visible ASCII characters")]
    Line(usize),
    /// Two lines have the same token, so that its owner is not clear.
    #[error("line {0} has the token of line {1}")]
    Twice(usize, usize),
    /// The file has no token.
    #[error("has no token")]
    Empty,
}

/// The accepted tokens, as their file has them now. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    shared: Arc<Shared>,
}

struct Shared {
    file: PathBuf,
    tokens: RwLock<Vec<Token>>,
    /// The number of requests with a wrong token since the last log line.
    wrong: AtomicU64,
    logged: Mutex<Option<Instant>>,
}

struct Token {
    line: usize,
    actor: Actor,
    secret: String,
}

/// The time of the last change, the inode and the length of a file. They differ if the file was changed or replaced.
type Stamp = Option<(SystemTime, u64, u64)>;

impl Tokens {
    /// Reads a file with a name and a token on each line, separated by white space. Empty lines and lines that begin with `#` are
    /// ignored. A name may have several tokens, for the time when a new token replaces an old one.
    ///
    /// # Errors
    /// [`BadTokens`] when the file can't be used.
    pub fn read(file: &Path) -> Result<Self, BadTokens> {
        let (tokens, wrong, logged) = (RwLock::new(read(file)?), AtomicU64::new(0), Mutex::default());
        Ok(Self { shared: Arc::new(Shared { file: file.to_owned(), tokens, wrong, logged }) })
    }

    /// The owner of this token. Every token is compared, each in constant time, so that the time tells nothing about the tokens.
    #[must_use]
    pub fn actor(&self, sent: &str) -> Option<Actor> {
        let tokens = self.shared.tokens.read();
        let mut found = tokens.len() as u64;
        for (index, token) in (0_u64..).zip(tokens.iter()) {
            let same: Choice = token.secret.as_bytes().ct_eq(sent.as_bytes());
            found = u64::conditional_select(&found, &index, same);
        }
        tokens.get(usize::try_from(found).ok()?).map(|token| token.actor.clone())
    }

    /// The token of the file's first line.
    #[must_use]
    pub fn first(&self) -> Option<String> {
        let tokens = self.shared.tokens.read();
        tokens.first().map(|token| token.secret.clone())
    }

    /// Counts a request with a token that is not accepted, and logs the count at most every `LOG_PAUSE`.
    pub fn note_wrong(&self) {
        let count = self.shared.wrong.fetch_add(1, Ordering::Relaxed) + 1;
        let mut logged = self.shared.logged.lock();
        if logged.is_none_or(|logged| logged.elapsed() >= LOG_PAUSE) {
            *logged = Some(Instant::now());
            self.shared.wrong.fetch_sub(count, Ordering::Relaxed);
            tracing::warn!(count, "requests with a wrong token");
        }
    }

    /// Returns a future that reads the file again whenever it changes or SIGHUP comes. If the new file can't be used, that is
    /// logged and the tokens stay.
    ///
    /// # Errors
    /// When the process can't listen for the signal.
    pub fn keep_up(&self) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
        let mut hang_up = signal(SignalKind::hangup())?;
        let this = self.clone();
        let mut stamp = stamp(&this.shared.file);
        Ok(async move {
            let mut looks = tokio::time::interval(LOOK_AGAIN);
            loop {
                tokio::select! {
                    _ = hang_up.recv() => {}
                    _ = looks.tick() => {
                        if self::stamp(&this.shared.file) == stamp {
                            continue;
                        }
                    }
                }
                stamp = self::stamp(&this.shared.file);
                this.read_again();
            }
        })
    }

    fn read_again(&self) {
        let file = self.shared.file.display();
        match read(&self.shared.file) {
            Ok(tokens) => {
                tracing::info!(tokens = tokens.len(), "the tokens of {file} are let in from now on");
                *self.shared.tokens.write() = tokens;
            }
            Err(problem) => tracing::error!("the tokens stay as they were: {file}: {problem}"),
        }
    }
}

fn read(file: &Path) -> Result<Vec<Token>, BadTokens> {
    let text = fs::read_to_string(file)?;
    let mut tokens: Vec<Token> = Vec::new();
    // Some editors put a byte order mark before a text; it is no part of the first line.
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let (Some(name), Some(secret), None) = (words.next(), words.next(), words.next()) else {
            return Err(BadTokens::Line(number));
        };
        // A token with other characters could not arrive in a header as it stands here.
        if secret.len() < SHORTEST || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadTokens::Line(number));
        }
        if let Some(same) = tokens.iter().find(|token| token.secret == secret) {
            return Err(BadTokens::Twice(number, same.line));
        }
        tokens.push(Token { line: number, actor: Actor(name.to_owned()), secret: secret.to_owned() });
    }
    if tokens.is_empty() {
        return Err(BadTokens::Empty);
    }
    warn_if_open_to_all(file);
    Ok(tokens)
}

fn warn_if_open_to_all(file: &Path) {
    use std::os::unix::fs::PermissionsExt;

    if fs::metadata(file).is_ok_and(|about| about.permissions().mode() & 0o004 != 0) {
        tracing::warn!("everybody on this machine can read the tokens in {}: chmod o-r", file.display());
    }
}

fn stamp(file: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;

    let about = fs::metadata(file).ok()?;
    Some((about.modified().ok()?, about.ino(), about.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Tokens, BadTokens> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Tokens::read(file.path())
    }

    fn problem(text: &str) -> String {
        tokens(text).err().unwrap().to_string()
    }

    #[test]
    fn a_token_is_its_owners() {
        let tokens =
            tokens("# who\nada 0123456789abcdef\n\nbob  fedcba9876543210\nada another-token-of-hers\n")
                .unwrap();
        assert_eq!(tokens.actor("0123456789abcdef"), Some(Actor("ada".into())));
        assert_eq!(tokens.actor("another-token-of-hers"), Some(Actor("ada".into())));
        assert_eq!(tokens.actor("fedcba9876543210"), Some(Actor("bob".into())));
        for other in ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF"] {
            assert_eq!(tokens.actor(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_bad_line_is_refused_by_its_number_and_without_its_text() {
        for text in ["ada short", "ada", "ada 0123456789abcdef extra", "ada 0123456789abcdéf"] {
            let problem = problem(text);
            assert!(problem.contains("line 1") && !problem.contains("ada"), "{problem}");
        }
        assert!(problem("# nobody\n").contains("has no token"));
    }

    #[test]
    fn a_token_under_two_names_is_refused() {
        let twice = problem("ada 0123456789abcdef\n\nbob 0123456789abcdef\n");
        assert_eq!(twice, "line 3 has the token of line 1");
    }

    #[test]
    fn a_mark_of_the_encoding_is_no_part_of_the_first_line() {
        assert!(problem("\u{feff}# ada 0123456789abcdef\n").contains("has no token"));
        let tokens = tokens("\u{feff}ada 0123456789abcdef\r\n").unwrap();
        assert_eq!(tokens.actor("0123456789abcdef"), Some(Actor("ada".into())));
    }
}
