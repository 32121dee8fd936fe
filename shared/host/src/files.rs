//! How many files and connections the process may have open.

/// Takes as many as it is allowed at all: where it begins with 1,024, as is usual, idle clients would soon have them all. How many it
/// has.
#[cfg(unix)]
pub fn take_all() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the number of open files stays as it is");
    }
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| most.try_into().unwrap_or(usize::MAX))
}

/// There is no such limit.
#[cfg(not(unix))]
pub const fn take_all() -> usize {
    usize::MAX
}
