//! How many files and connections the process may have open.

/// Takes as many as it is allowed at all: where it begins with 1,024, as is usual, idle clients would soon have them all.
#[cfg(unix)]
pub fn take_all() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the number of open files stays as it is");
    }
}

/// Nothing: there is no such limit.
#[cfg(not(unix))]
pub fn take_all() {}
